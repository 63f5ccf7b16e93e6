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
        self._parts: dict[tuple[str, ...], dict[int, Array]] = {}

    def begin(self, sentences: Sequence[int]) -> None:
        """Start with new sentences, by number."""
        self._sentences = tuple(sentences)
        self._steps.clear()
        self._parts.clear()

    def normal(self, place: tuple[str, ...], shape: tuple[int, ...]) -> Array:
        """Numbers of `shape` (B, n) for the first B sentences; the next call for the same place is its next step."""
        step = self._steps[place]
        self._steps[place] += 1
        return self._drawn(place, shape, step)

    def pink(self, place: tuple[str, ...], shape: tuple[int, ...], octaves: int) -> Array:
        """As `normal`, but each number is correlated with those of the steps before: noise with a spectrum near 1/f.

        It is the sum of `octaves` independent parts of equal variance, of which number m is drawn anew every 2^m steps
        (Voss's method, Gardner 1978); the variance is 1 in all.
        """
        step = self._steps[place]
        self._steps[place] += 1
        parts = self._parts.setdefault(place, {})
        for octave in range(octaves):
            if step % 2**octave == 0:
                # For all sentences: those that are done by now may run once more, from their start.
                whole = (len(self._sentences), shape[1])
                parts[octave] = self._drawn((*place, f"octave {octave}"), whole, step >> octave)
        total = np.zeros(shape)
        for part in parts.values():
            total += part[: shape[0]]
        return np.asarray(total / np.sqrt(octaves))

    def _drawn(self, place: tuple[str, ...], shape: tuple[int, ...], step: int) -> Array:
        # A number of the place that does not depend on which other places there are.
        where = zlib.crc32("/".join(place).encode())
        rows = []
        for sentence in self._sentences[: shape[0]]:
            source = np.random.SeedSequence([self._seed, sentence, where, step])
            rows.append(np.random.default_rng(source).standard_normal(shape[1]))
        return np.stack(rows)
