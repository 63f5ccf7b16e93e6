"""Gaussian noise whose numbers depend on seed, sentence, place and step alone: not on the batch, nor on workers."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class NoiseStreams:
    """Standard normal numbers for named places in the hardware, one stream per sentence and step."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sentences: Sequence[int] = (0,)
        self._steps: Counter[tuple[str, ...]] = Counter()

    def begin(self, sentences: Sequence[int]) -> None:
        """Start with new sentences, by number."""
        self._sentences = tuple(sentences)
        self._steps.clear()

    def normal(self, place: tuple[str, ...], shape: tuple[int, ...]) -> Array:
        """Numbers of `shape` (B, n) for the first B sentences; the next call for the same place is its next step."""
        step = self._steps[place]
        self._steps[place] += 1
        # A number of the place that does not depend on which other places there are.
        where = zlib.crc32("/".join(place).encode())
        rows = []
        for sentence in self._sentences[: shape[0]]:
            source = np.random.SeedSequence([self._seed, sentence, where, step])
            rows.append(np.random.default_rng(source).standard_normal(shape[1]))
        return np.stack(rows)
