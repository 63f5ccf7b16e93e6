"""Pulse-width coding (paper 3.2): pulses of equal amplitude, whose durations carry the values.

All pulses of a read begin together. Between the ends of two pulses the voltages are constant, so a read consists of
phases, and the charge of a column is the sum of current times duration over the phases. Charge divided by the read's
duration is a mean current.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PulseReads:
    """The phases of B consecutive reads."""

    volts: Array
    """(P, R) volts in each phase."""
    lengths: Array
    """(P,) duration of each phase as a fraction of a read."""
    starts: tuple[int, ...]
    """Index of each read's first phase."""

    def mean(self, currents: Array) -> Array:
        """Mean currents (B, n) of the reads, from the `currents` (P, n) in their phases, amperes."""
        weighted = currents * self.lengths[:, np.newaxis]
        return np.add.reduceat(weighted, list(self.starts), axis=0)


def pulse_reads(mean_volts: Array, read_v: float) -> PulseReads:
    """The phases of reads with the mean voltages `mean_volts` (B, R) and pulses of +-`read_v`.

    A read's last phase, after its longest pulse, is idle; it counts because amplifiers may have an offset.
    """
    volts: list[Array] = []
    lengths: list[float] = []
    starts: list[int] = []
    for read in mean_volts:
        duration = np.minimum(np.abs(read) / read_v, 1.0)
        ends = np.unique(np.append(duration, 1.0))
        ends = ends[ends > 0]
        starts.append(len(lengths))
        for before, end in zip(np.concatenate([[0.0], ends[:-1]]), ends, strict=True):
            lengths.append(end - before)
            volts.append(np.where(duration >= end, np.sign(read) * read_v, 0.0))
    return PulseReads(np.array(volts), np.array(lengths), tuple(starts))
