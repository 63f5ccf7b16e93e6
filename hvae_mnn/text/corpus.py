"""A corpus: sentences as token lists, in a train, a valid and a test split."""

from __future__ import annotations

from dataclasses import dataclass, field

from hvae_mnn.errors import TextError
from hvae_mnn.names import unknown_name

Sentence = list[str]

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Corpus:
    """Sentences in three splits, as token lists without special symbols; a split that was not requested may be
    empty."""

    name: str
    """Name of the corpus in reports, e.g. the folder's name."""
    train: list[Sentence] = field(repr=False)
    """Sentences for the vocabulary and for training; empty if the corpus has no such split (Yahoo here)."""
    valid: list[Sentence] = field(repr=False)
    """Sentences that select the best epoch."""
    test: list[Sentence] = field(repr=False)
    """Sentences for reports only."""
    tokenizer: str = "plain"
    """Name of the tokenizer, a key of `tokenizers.TOKENIZERS`."""

    def split(self, name: str) -> list[Sentence]:
        """The sentences of `train`, `valid` or `test`.

        Raises `TextError` for another name.
        """
        if name not in SPLITS:
            raise TextError(unknown_name("split", name, SPLITS))
        sentences: list[Sentence] = getattr(self, name)
        return sentences
