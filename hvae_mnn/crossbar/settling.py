"""Settling of a wired tile's currents after a step of its word lines, with a capacitance on every segment.

A segment of a line has its capacitance to ground at its cell, so every cell's node on a word line and on a bit line
carries one. A line without resistance is one node with all of its capacitances. With C dv/dt + G v = b, and d the
remaining distance from the final potentials, C dd/dt = -G d. It is integrated by TR-BDF2 (Bank et al. 1985): second
order and L-stable, which matters because the time constants of a line's segments and of the whole line are far apart,
and with a fixed step one sparse LU serves both stages. The step doubles as the answer slows down.

sqrt(d^T C d) can only fall, and a bit line's current is a weighted sum of potentials. This bounds the remaining change
of the current and ends the integration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import SuperLU

from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.nodal import Network, factorise
from hvae_mnn.errors import RunError

Array = NDArray[np.float64]
_PARTS = 1000
"""The first steps are the slowest time constant divided by this number."""
_STEPS = 32
"""Steps before each doubling; a step is then about 1/48 of the elapsed time."""
_ROUNDS = 40
_POWER_ROUNDS = 30
_GAMMA = 2 - np.sqrt(2.0)


@dataclass(frozen=True)
class Settling:
    """Currents of N bit lines on their way to their final values."""

    times: Array
    """Times (T,) after the step, seconds."""
    left: Array
    """Distance (T, N) of the bit lines' currents from their final values, amperes."""

    def seconds(self, tolerance: float) -> float:
        """Seconds until every current stays within `tolerance` amperes of its final value."""
        return settled_after(self.times, self.left, tolerance)


def settling(
    conductance: Float64[Array, "W M N"], wires: Wires, volts: Float64[Array, "W M"], farads: float, tolerance: float
) -> Settling | None:
    """Currents of a tile (W, M, N) siemens after its drivers step from 0 V to `volts` (W, M) at time 0, until none can
    be `tolerance` amperes from its final value again; None if every node has a source.

    `farads`: capacitance of a segment, above 0. Raises `RunError` if the currents do not settle.
    """
    network = Network(conductance.shape, wires)
    unknown, matrix, driven = network.equations(conductance)
    if not unknown:
        return None
    capacitance = farads * _segments(network)
    sensed = network.sensing(conductance)[0]  # (unknown, N)
    left = -factorise(matrix).solve(driven @ volts.ravel())
    reach = np.sqrt((sensed**2 / capacitance[:, np.newaxis]).sum(0).max())
    capacitor = sparse.diags(capacitance, format="csc")
    step = _slowest(matrix, capacitance) / _PARTS
    times, currents = [0.0], [left @ sensed]
    for _ in range(_ROUNDS):
        factor = factorise((capacitor + _GAMMA / 2 * step * matrix).tocsc())
        for _ in range(_STEPS):
            left = _advance(factor, matrix, capacitance, left, step)
            times.append(times[-1] + step)
            currents.append(left @ sensed)
        if reach * np.sqrt((capacitance * left**2).sum()) < tolerance:
            return Settling(np.array(times), np.array(currents))
        step *= 2
    raise RunError(
        f"the currents of a tile have not settled to {tolerance:g} A after {times[-1]:.3g} s; check the wires'"
        " resistance and --line-capacitance"
    )


def _segments(network: Network) -> Array:
    """Number of segments whose capacitance each unknown node carries."""
    nodes = np.concatenate([network.word.ravel(), network.bit.ravel()])
    return np.bincount(nodes[nodes >= 0], minlength=network.count).astype(np.float64)


def _slowest(matrix: sparse.csc_matrix, capacitance: Array) -> float:
    """The largest time constant, by power iteration of G^-1 C."""
    factor = factorise(matrix)
    vector = np.ones(len(capacitance))
    time_constant = 0.0
    for _ in range(_POWER_ROUNDS):
        vector = factor.solve(capacitance * vector)
        time_constant = float(np.linalg.norm(vector))
        vector /= time_constant
    return time_constant


def _advance(factor: SuperLU, matrix: sparse.csc_matrix, capacitance: Array, left: Array, step: float) -> Array:
    """One step: trapezoidal rule for its first part, then second-order backward differences."""
    middle = factor.solve(capacitance * left - _GAMMA / 2 * step * (matrix @ left))
    weight = _GAMMA * (2 - _GAMMA)
    return np.asarray(factor.solve(capacitance * (middle - (1 - _GAMMA) ** 2 * left) / weight))


def settled_after(times: Float64[Array, " T"], left: Float64[Array, "T N"], tolerance: float) -> float:
    """Time after which all of `left` (T, N) stays within `tolerance`; 0 if none ever exceeds it. Between two `times`
    (T,), `left` is assumed to fall exponentially."""
    furthest = np.abs(left).max(axis=1)
    beyond = np.flatnonzero(furthest > tolerance)
    if not len(beyond):
        return 0.0
    last = int(beyond[-1])
    if last + 1 == len(times):
        raise RunError(f"the currents are still {furthest[-1]:.3g} A from their ends after {times[-1]:.3g} s")
    high, low = furthest[last], max(furthest[last + 1], 1e-300)
    part = np.log(high / tolerance) / np.log(high / low)
    return float(times[last] + part * (times[last + 1] - times[last]))
