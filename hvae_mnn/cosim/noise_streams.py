"""Gaussian noise that depends only on seed, sentence, stream and step, and not on the batch or the workers."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class NoiseStreams:
    """Standard normal numbers in named streams, one stream per source of noise in the hardware."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sentences: Sequence[int] = (0,)
        self._steps: Counter[tuple[str, ...]] = Counter()
        self._parts: dict[tuple[str, ...], dict[int, Array]] = {}

    def begin(self, sentences: Sequence[int]) -> None:
        """Start with new sentences, given by their numbers."""
        self._sentences = tuple(sentences)
        self._steps.clear()
        self._parts.clear()

    def normal(self, stream: tuple[str, ...], shape: tuple[int, ...]) -> Array:
        """Numbers of `shape` (B, n) for the first B sentences; each call for a stream is its next step."""
        step = self._steps[stream]
        self._steps[stream] += 1
        return self._drawn(stream, shape, step)

    def pink(self, stream: tuple[str, ...], shape: tuple[int, ...], octaves: int) -> Array:
        """As `normal`, with correlated steps: noise with a spectrum near 1/f and variance 1.

        It is the sum of `octaves` independent parts of equal variance; part m is drawn every 2^m steps (Voss's method,
        Gardner 1978).
        """
        step = self._steps[stream]
        self._steps[stream] += 1
        parts = self._parts.setdefault(stream, {})
        for octave in range(octaves):
            if step % 2**octave == 0:
                # For all sentences, also those that have ended: a later call may have more rows than this one.
                whole = (len(self._sentences), shape[1])
                parts[octave] = self._drawn((*stream, f"octave {octave}"), whole, step >> octave)
        total = np.zeros(shape)
        for part in parts.values():
            total += part[: shape[0]]
        return np.asarray(total / np.sqrt(octaves))

    def _drawn(self, stream: tuple[str, ...], shape: tuple[int, ...], step: int) -> Array:
        # A number for the stream that does not depend on which other streams exist.
        number = zlib.crc32("/".join(stream).encode())
        rows = []
        for sentence in self._sentences[: shape[0]]:
            source = np.random.SeedSequence([self._seed, sentence, number, step])
            rows.append(np.random.default_rng(source).standard_normal(shape[1]))
        return np.stack(rows)
