"""The vocabulary: words to ids and back, with four special symbols in front."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hvae_mnn.errors import TextError, UnknownWordsWarning

PAD, UNK, SOS, EOS = 0, 1, 2, 3
"""Ids of the special symbols: padding, out-of-vocabulary word, start and end of a sentence."""

SPECIALS = ("<pad>", "<unk0>", "<sos>", "<eos>")
"""Names of the special symbols. A literal `<unk>` in a corpus (Penn Treebank) is an ordinary word and not `<unk0>`."""

MOST_UNKNOWN = 0.2
"""Largest fraction of unknown words in a text that belongs to a vocabulary."""


@dataclass(frozen=True)
class Vocabulary:
    """Words in the order of their ids; ids 0 to 3 are `SPECIALS`."""

    words: tuple[str, ...] = field(repr=False)
    """Every word, specials first; a word's index is its id."""
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises `TextError` for wrong special symbols or a repeated word."""
        if self.words[: len(SPECIALS)] != SPECIALS:
            raise TextError(f"a vocabulary begins with {SPECIALS}, found {self.words[: len(SPECIALS)]}")
        # A corpus word that looks like a special must not be read as one, so only real words go into the table.
        ids = {word: index for index, word in enumerate(self.words) if index >= len(SPECIALS)}
        if len(ids) != len(self.words) - len(SPECIALS):
            twice = next(word for word, count in Counter(self.words[len(SPECIALS) :]).items() if count > 1)
            raise TextError(f"the vocabulary holds {twice!r} twice; allowed: each word once")
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def build(cls, sentences: Iterable[Sequence[str]], min_count: int = 1, max_size: int | None = None) -> Vocabulary:
        """Vocabulary of tokenized sentences: falling frequency, ties in alphabetical order.

        `min_count` drops words that occur less often; `max_size` bounds the number of ids, specials included.

        Raises `TextError` if no word is left or a bound is out of range.
        """
        if min_count < 1:
            raise TextError(f"min_count is {min_count}; allowed: 1 or more")
        if max_size is not None and max_size <= len(SPECIALS):
            raise TextError(f"max_size is {max_size}; allowed: more than the {len(SPECIALS)} special symbols")
        counts = Counter(word for sentence in sentences for word in sentence)
        kept = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
        if max_size is not None:
            kept = kept[: max_size - len(SPECIALS)]
        if not kept:
            raise TextError("the vocabulary would be empty; give text with words, or a smaller min_count")
        return cls(SPECIALS + tuple(kept))

    def __len__(self) -> int:
        """Number of ids, specials included."""
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        """Whether a word has an id of its own."""
        return word in self._ids

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Ids of the words, without start and end symbols; unknown words become `UNK`."""
        return [self._ids.get(token, UNK) for token in tokens]

    def require_known(self, sentences: Iterable[Sequence[str]], origin: str) -> None:
        """Check training text; `origin` names its source in messages.

        Raises `TextError` if none of its words is known, since metrics would be those of a single word. Warns with
        `UnknownWordsWarning` above `MOST_UNKNOWN` (a small vocabulary, or splits of different corpora).
        """
        known, words = self._known(sentences)
        if not known:
            raise TextError(
                f"none of the {words:,} words of {origin} is in the vocabulary, which is the train split's; give splits"
                " of one corpus"
            )
        if words - known > MOST_UNKNOWN * words:
            warnings.warn(
                f"{words - known:,} of {words:,} words of {origin} are not in the vocabulary; above {MOST_UNKNOWN:.0%}"
                " a checkpoint's other commands will refuse the text",
                UnknownWordsWarning,
                stacklevel=2,
            )

    def _known(self, sentences: Iterable[Sequence[str]]) -> tuple[int, int]:
        """Number of known words of `sentences`, and of all words."""
        known = [word in self for sentence in sentences for word in sentence]
        return sum(known), len(known)

    def count_unknown(self, sentences: Iterable[Sequence[str]], origin: str) -> int:
        """Number of unknown words of `sentences`; `origin` names their source in errors.

        Raises `TextError` if they exceed the fraction `MOST_UNKNOWN`: the text belongs to another model.
        """
        known, words = self._known(sentences)
        unknown = words - known
        if unknown > MOST_UNKNOWN * words:
            raise TextError(
                f"{unknown:,} of {words:,} words of {origin} are not in the model's vocabulary (allowed:"
                f" {MOST_UNKNOWN:.0%}); give text of the corpus that it was trained on, e.g. with --data-dir"
            )
        return unknown

    def encode_sentence(self, tokens: Sequence[str]) -> list[int]:
        """Ids of `SOS`, the words and `EOS`, as the model reads and predicts them."""
        return [SOS, *self.encode(tokens), EOS]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Words of the ids, special symbols by their names.

        Raises `TextError` for an id outside the vocabulary.
        """
        words: list[str] = []
        for number in ids:
            if not 0 <= number < len(self.words):
                raise TextError(f"id {number} is outside the vocabulary; allowed: 0 to {len(self.words) - 1}")
            words.append(self.words[number])
        return words
