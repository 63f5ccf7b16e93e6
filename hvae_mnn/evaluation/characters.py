"""What bits per character divide by: the characters of a text, whatever a model's tokens are.

A symbol is a character of the sentence as the tokenizer puts it together (a space is one, a literal `<unk>` is five) or
the end of a sentence. For the tokenizer `char` these are the predicted tokens themselves, so bits per character are
ln PPL / ln 2. For words they spread a sentence's nats over its characters, so models of words and of characters of the
same text stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hvae_mnn.text.corpus import Sentence
from hvae_mnn.text.tokenizers import find_tokenizer, join_tokens

UNKNOWN_MARK = "<unk>"
"""What Penn Treebank has in place of a rare word."""


@dataclass(frozen=True)
class CharacterCounts:
    """Characters of N sentences."""

    symbols: tuple[int, ...]
    """Characters of each sentence, and one for its end."""
    spaces: int
    """Spaces of all sentences, which are among the symbols."""
    unknown_marks: int
    """Literal `<unk>` of all sentences; five symbols each."""

    def to_dict(self) -> dict[str, Any]:
        """Sums over the sentences. A figure per character with each `<unk>` as one symbol is the reported one times
        `symbols / symbols_if_unk_is_one`."""
        symbols = sum(self.symbols)
        return {
            "symbols": symbols,
            "spaces": self.spaces,
            "ends": len(self.symbols),
            "unknown_marks": self.unknown_marks,
            "symbols_if_unk_is_one": symbols - (len(UNKNOWN_MARK) - 1) * self.unknown_marks,
        }


def count_characters(tokenizer: str, sentences: Sequence[Sentence]) -> CharacterCounts:
    """Characters of tokenized sentences. Raises `TextError` for an unknown tokenizer."""
    texts = [join_tokens(tokenizer, sentence) for sentence in sentences]
    return CharacterCounts(
        symbols=tuple(len(text) + 1 for text in texts),
        spaces=sum(text.count(" ") for text in texts),
        unknown_marks=sum(text.count(UNKNOWN_MARK) for text in texts),
    )


def are_predicted(tokenizer: str, unknown: int) -> bool:
    """Whether a model of these tokens predicts the characters, when `unknown` tokens are not in its vocabulary.

    An unknown character is a symbol like any other; an unknown word is one symbol whose characters nothing predicts.
    """
    return not unknown or find_tokenizer(tokenizer).unit == "character"


def bits_per_character(nats: float, symbols: int) -> float:
    """Bits per symbol of a text with `nats` in all."""
    return nats / symbols / math.log(2)
