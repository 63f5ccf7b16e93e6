"""Random numbers of a run: every batch and every epoch has a seed of its own, so that a resumed run needs no others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from hvae_mnn.text.batches import EncodedSentence, shuffled_order, sorted_order


def spawn_seed(seed: int, *branch: int) -> int:
    """A 63-bit seed for one branch of a run's seed tree, independent of the seeds of all other branches."""
    return int(np.random.SeedSequence(seed, spawn_key=branch).generate_state(1, np.uint64)[0] >> np.uint64(1))


class EpochOrder:
    """Which sentences each batch of an epoch has; only the epoch in work is kept."""

    def __init__(
        self, sentences: Sequence[EncodedSentence], batch_size: int, seed: int, branch: int, shuffle: bool = True
    ) -> None:
        """`branch` of the seed tree for the orders of epochs; without `shuffle` every epoch goes from short to long."""
        self._sentences, self._batch_size, self._shuffle = sentences, batch_size, shuffle
        self._seed, self._branch = seed, branch
        self._epoch, self._order = -1, [[0]]
        self.batches = math.ceil(len(sentences) / batch_size)
        """Batches per epoch."""

    def batch(self, epoch: int, number: int) -> list[EncodedSentence]:
        """The sentences of batch `number` in `epoch`, both from 0."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._drawn(epoch)
        return [self._sentences[index] for index in self._order[number]]

    def _drawn(self, epoch: int) -> list[list[int]]:
        if not self._shuffle:
            return sorted_order(self._sentences, self._batch_size)
        generator = torch.Generator().manual_seed(spawn_seed(self._seed, self._branch, epoch))
        return shuffled_order(self._sentences, self._batch_size, generator)
