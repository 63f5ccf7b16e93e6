"""Cells with a nonlinear read law in wired tiles, solved by Newton's method with one factor for all reads (chord).

During a read, a memristor carries I = G sinh(a U) / a at the voltage U across it, and G U if a = 0. With the linear
network's matrix A, sources D V and the currents E(x) that cells carry beyond G U, the potentials solve
A x = D V - E(x). Newton's method with A in place of the true Jacobian is x <- A^-1 (D V - E(x)): A is factored once,
and every iteration solves for all reads together. If cells are driven so far (a U above about 1) that this does not
converge, the true Jacobian is used, read by read.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy import sparse

from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.nodal import Network, factorise
from hvae_mnn.errors import RunError

Array = NDArray[np.float64]
_TOLERANCE = 1e-14
"""Change of the potentials at which iterations end, relative to the largest voltage."""
_ROUNDING = 1e-12
"""A smaller change that no longer shrinks is rounding."""
_CHORDS, _NEWTONS = 60, 60
_LARGEST_EXPONENT = 300.0


class NonlinearTile:
    """A tile whose cells have a nonlinear read law."""

    def __init__(self, conductance: Array, wires: Wires, sinh_per_volt: float | Array) -> None:
        """`conductance` (W, M, N): at 0 V, in siemens; `sinh_per_volt`: a in 1/V, for all or (W, M, N); 0 is ohmic."""
        self._conductance = conductance
        self._law = np.broadcast_to(np.asarray(sinh_per_volt, dtype=np.float64), conductance.shape)
        self._network = Network(conductance.shape, wires)
        self._unknown, matrix, self._drive = self._network.equations(conductance)
        self._matrix = matrix
        if self._unknown:
            self._factor = factorise(matrix)
            self._incidence = self._cells_at_nodes()

    def _cells_at_nodes(self) -> sparse.csr_matrix:
        """Incidence matrix (unknown, cells): 1 where a cell's current leaves a node, -1 where it enters."""
        words = self._network.word.ravel()
        bits = np.broadcast_to(self._network.bit, self._network.word.shape).ravel()
        cells = np.arange(words.size)
        rows = np.concatenate([words[words >= 0], bits[bits >= 0]])
        columns = np.concatenate([cells[words >= 0], cells[bits >= 0]])
        values = np.concatenate([np.ones((words >= 0).sum()), -np.ones((bits >= 0).sum())])
        return sparse.csr_matrix((values, (rows, columns)), (self._unknown, words.size))

    def currents(self, volts: Float64[Array, "B W M"]) -> Float64[Array, "B N"]:
        """Currents (B, N) in amperes into the sense nodes, for volts (B, W, M) at the drivers.

        Raises `RunError` when a read does not converge.
        """
        driving = volts.reshape(len(volts), -1)
        if not self._unknown:
            return self._into_sense(np.zeros((len(volts), 0)), driving)
        sources = self._drive @ driving.T  # (unknown, B)
        potentials = self._factor.solve(np.ascontiguousarray(sources)).T
        scale = max(float(np.abs(driving).max(initial=0.0)), 1e-300)
        pending = np.arange(len(volts))
        before = np.full(len(volts), np.inf)
        for _ in range(_CHORDS):
            extra = self._beyond(potentials[pending], driving[pending])
            now = self._factor.solve(np.ascontiguousarray(sources[:, pending] - self._incidence @ extra.T)).T
            change = np.abs(now - potentials[pending]).max(axis=1)
            good = np.isfinite(change) & (change < scale)
            potentials[pending[good]] = now[good]
            settled = _settled(change, before[pending], scale)
            before[pending] = change
            pending = pending[~settled]
            if not len(pending) or not good.any():
                break
        for read in pending:
            potentials[read] = self._newton(potentials[read], driving[read], sources[:, read], scale)
        return self._into_sense(potentials, driving)

    def _across(self, potentials: Array, driving: Array) -> Array:
        """Voltages (B, W, M, N) across the cells."""
        words, bits, _ = self._network.at_crossings(self._conductance, potentials, driving)
        return words - bits[:, np.newaxis]

    def _carried(self, across: Array) -> Array:
        exponent = np.clip(self._law * across, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
        with np.errstate(divide="ignore", invalid="ignore"):
            bent = np.sinh(exponent) / self._law
        return self._conductance * np.where(self._law == 0, across, bent)

    def _beyond(self, potentials: Array, driving: Array) -> Array:
        """Currents (B, cells) of the cells in excess of G U, amperes."""
        across = self._across(potentials, driving)
        return (self._carried(across) - self._conductance * across).reshape(len(potentials), -1)

    def _newton(self, potentials: Array, driving: Array, sources: Array, scale: float) -> Array:
        before = np.inf
        for _ in range(_NEWTONS):
            across = self._across(potentials[np.newaxis], driving[np.newaxis])
            exponent = np.clip(self._law * across, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
            slope = (self._conductance * (np.cosh(exponent) - 1)).ravel()
            jacobian = self._matrix + self._incidence @ sparse.diags(slope) @ self._incidence.T
            extra = (self._carried(across) - self._conductance * across).ravel()
            residual = self._matrix @ potentials - sources + self._incidence @ extra
            step = factorise(jacobian.tocsc()).solve(residual)
            potentials = potentials - step
            change = np.abs(step).max()
            if _settled(change, before, scale):
                return potentials
            before = change
        raise RunError(
            f"a read of a tile with nonlinear cells did not converge in {_NEWTONS} steps; largest a U is"
            f" {float(np.abs(exponent).max()):.3g}: lower array.sinh_per_volt or the read voltage"
        )

    def _into_sense(self, potentials: Array, driving: Array) -> Array:
        _, _, ends = self._network.at_crossings(self._conductance, potentials, driving)
        if (self._network.bit[-1] >= 0).all():
            return ends
        return np.asarray(self._carried(self._across(potentials, driving)).sum((1, 2)))


def _settled(change: Array | float, before: Array | float, scale: float) -> NDArray[np.bool_]:
    return np.asarray((change <= _TOLERANCE * scale) | ((change <= _ROUNDING * scale) & (change >= before)))
