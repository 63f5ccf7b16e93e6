"""Batches of encoded sentences: which sentences go together, and the padded tensors they become.

Axis letters: B batch, T padded length with start and end symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hvae_mnn.errors import TextError
from hvae_mnn.text.vocabulary import PAD

EncodedSentence = Sequence[int]


@dataclass(frozen=True)
class Batch:
    """Sentences padded at the end with `PAD`."""

    tokens: Tensor
    """Word ids of shape (B, T), int64: `SOS`, the words, `EOS`, pads."""
    lengths: Tensor
    """Ids per sentence without pads, shape (B,), int64: words + 2."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(self.tokens.to(device), self.lengths.to(device))


def collate(sentences: Sequence[EncodedSentence]) -> Batch:
    """Pad encoded sentences (each with `SOS` and `EOS`) to one tensor.

    Raises `TextError` for an empty list.
    """
    if not sentences:
        raise TextError("a batch needs at least one sentence, found none")
    lengths = [len(sentence) for sentence in sentences]
    longest = max(lengths)
    rows = [[*sentence, *([PAD] * (longest - len(sentence)))] for sentence in sentences]
    return Batch(torch.tensor(rows, dtype=torch.int64), torch.tensor(lengths, dtype=torch.int64))


def sorted_order(sentences: Sequence[EncodedSentence], batch_size: int) -> list[list[int]]:
    """Indices of the sentences in each batch, in TWR-VAE's order: slices of a list sorted by length, short first."""
    _check(sentences, batch_size)
    indices = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    return [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]


def shuffled_order(
    sentences: Sequence[EncodedSentence], batch_size: int, generator: torch.Generator
) -> list[list[int]]:
    """Indices of the sentences in each batch: similar lengths, random neighbours, batches in random order.

    Sorting by length keeps pads few. Sentences of equal length and the batches are in random order, unlike TWR-VAE's
    fixed order from short to long.
    """
    _check(sentences, batch_size)
    indices = torch.randperm(len(sentences), generator=generator).tolist()
    indices.sort(key=lambda index: len(sentences[index]))
    slices = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    return [slices[index] for index in torch.randperm(len(slices), generator=generator).tolist()]


def _check(sentences: Sequence[EncodedSentence], batch_size: int) -> None:
    if batch_size < 1:
        raise TextError(f"batch_size is {batch_size}; allowed: 1 or more")
    if not sentences:
        raise TextError("no sentences to make batches of; give a corpus with words")
