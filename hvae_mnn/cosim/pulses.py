"""Pulse-width coding (paper 3.2): equal amplitudes, and the duration of a pulse carries the value.

All pulses of a read begin together. Between one pulse's end and the next one's, the voltages are constant, so that a
read is a number of phases; the charge of a column is the sum of phase length times current. What is returned is the
charge over the read's length: a mean current.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PulseReads:
    """The phases of B reads, one after the other."""

    volts: Array
    """(P, R): voltages in each phase."""
    lengths: Array
    """(P,): parts of a read."""
    starts: tuple[int, ...]
    """Where each read's phases begin."""

    def mean(self, currents: Array) -> Array:
        """Mean currents (B, n) of the reads, of the currents (P, n) in their phases."""
        weighted = currents * self.lengths[:, np.newaxis]
        return np.add.reduceat(weighted, list(self.starts), axis=0)


def pulse_reads(mean_volts: Array, read_v: float) -> PulseReads:
    """The phases of reads whose mean voltages are `mean_volts` (B, R), with pulses of +-`read_v`.

    The last phase of a read, after its longest pulse, is idle; it counts because amplifiers may have an offset.
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
