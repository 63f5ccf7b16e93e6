"""Sparse, direct nodal analysis of a wired tile: slow, general, the reference for faster solvers.

Word lines 0..W-1 of row i are lines of their own with a driver each; word line k of row i meets bit line j in the
conductance `conductance[k, i, j]`. Nodes joined by an ideal connection are one node, so every limit (no wire
resistance on either kind of line, ideal drivers, virtual grounds) is exact.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

from hvae_mnn.crossbar.hardware.wires import Wires

Array = NDArray[np.float64]
Nodes = NDArray[np.int64]


def nodal_transfer(conductance: Float64[Array, "W M N"], wires: Wires) -> Float64[Array, "W M N"]:
    """T (W, M, N) in siemens: current into the sense node of bit line j for 1 V on word line k of row i.

    `conductance` (W, M, N) in siemens, each 0 (an open cell) or above.
    """
    return _Adjoint(conductance, wires).transfer()


def nodal_network(
    conductance: Float64[Array, "W M N"], wires: Wires
) -> tuple[Float64[Array, "W M N"], Float64[Array, "N N"]]:
    """T (W, M, N) as in `nodal_transfer`, and Y (N, N), both in siemens: currents into the sense ends are
    `V @ T - Y @ v` when these are at v (N,) volts behind `sense_ohm`."""
    adjoint = _Adjoint(conductance, wires)
    return adjoint.transfer(), adjoint.admittance()


class _Adjoint:
    """Potentials with 1 V at the end of one bit line at a time. The network is reciprocal, so sensing and driving can
    be exchanged."""

    def __init__(self, conductance: Array, wires: Wires) -> None:
        self._network = Network(conductance.shape, wires)
        unknown, matrix, self._driven = self._network.equations(conductance)
        self._sensed, self._direct, self._ends = self._network.sensing(conductance)
        self._potentials = factorise(matrix).solve(self._sensed) if unknown else self._sensed

    def transfer(self) -> Array:
        transfer = self._direct + self._potentials.T @ self._driven  # (N, W * M)
        lines, rows, columns = self._network.word.shape
        return np.asarray(transfer.reshape(columns, lines, rows).transpose(1, 2, 0))

    def admittance(self) -> Array:
        return np.asarray(np.diag(self._ends) - self._sensed.T @ self._potentials)


def factorise(matrix: sparse.csc_matrix) -> SuperLU:
    """LU factors of a symmetric, diagonally dominant matrix."""
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})


def nodal_potentials(conductance: Array, wires: Wires, volts: Array) -> tuple[Array, Array, Array]:
    """Potentials at every crossing for B reads, and the currents into the sense nodes.

    `conductance` (W, M, N) in siemens, `volts` (B, W, M) at the drivers. Returns word lines (B, W, M, N) and bit lines
    (B, M, N) in volts, currents (B, N) in amperes.
    """
    network = Network(conductance.shape, wires)
    unknown, matrix, driven = network.equations(conductance)
    driving = volts.reshape(len(volts), -1)  # (B, W * M)
    potentials = np.zeros((len(volts), 0))
    if unknown:
        potentials = factorise(matrix).solve(np.ascontiguousarray(driven @ driving.T)).T
    return network.at_crossings(conductance, potentials, driving)


class Network:
    """The numbered nodes of a tile and their connections.

    Node numbers are 0 and above where the potential is unknown; sources and the ground are below 0.
    """

    def __init__(self, shape: tuple[int, ...], wires: Wires) -> None:
        """`shape`: (W, M, N)."""
        self.lines, self.rows, self.columns = shape
        self.wires = wires
        count = 0
        # Source of word line (k, i): -(2 + k * rows + i). Ground: -1.
        sources = -(2 + np.arange(self.lines * self.rows)).reshape(self.lines, self.rows)
        self.word = np.empty(shape, dtype=np.int64)
        if wires.word_ohm:
            self.word[:] = np.arange(count, count + self.word.size).reshape(shape)
            count += self.word.size
        elif wires.driver_ohm:
            self.word[:] = np.arange(count, count + sources.size).reshape(*sources.shape, 1)
            count += sources.size
        else:
            self.word[:] = sources[:, :, np.newaxis]
        self.bit = np.empty((self.rows, self.columns), dtype=np.int64)
        if wires.bit_ohm:
            self.bit[:] = np.arange(count, count + self.bit.size).reshape(self.bit.shape)
            count += self.bit.size
        elif wires.sense_ohm:
            self.bit[:] = np.arange(count, count + self.columns)
            count += self.columns
        else:
            self.bit[:] = -1
        self.sources, self.count = sources, count

    def _branches(self, conductance: Array) -> list[tuple[Nodes, Nodes, Array]]:
        """(from, to, siemens) of every resistor."""
        wires = self.wires
        branches = [(self.word.ravel(), np.broadcast_to(self.bit, self.word.shape).ravel(), conductance.ravel())]

        def series(first: Nodes, second: Nodes, ohm: float) -> None:
            branches.append((first.ravel(), second.ravel(), np.full(first.size, 1 / ohm)))

        if wires.word_ohm:
            series(self.word[:, :, :-1], self.word[:, :, 1:], wires.word_ohm)
        if wires.word_ohm + wires.driver_ohm:
            series(self.sources, self.word[:, :, 0], wires.word_ohm + wires.driver_ohm)
        if wires.bit_ohm:
            series(self.bit[:-1], self.bit[1:], wires.bit_ohm)
        if wires.bit_ohm + wires.sense_ohm:
            series(self.bit[-1], np.full(self.columns, -1), wires.bit_ohm + wires.sense_ohm)
        return branches

    def equations(self, conductance: Array) -> tuple[int, sparse.csc_matrix, sparse.csc_matrix]:
        """Number of unknown potentials, their matrix, and the currents that 1 V of each source drives into them."""
        rows, columns, values = [], [], []
        source_rows, source_columns, source_values = [], [], []
        for first, second, siemens in self._branches(conductance):
            for here, there in ((first, second), (second, first)):
                unknown = here >= 0
                rows.append(here[unknown])
                columns.append(here[unknown])
                values.append(siemens[unknown])
                both = unknown & (there >= 0)
                rows.append(here[both])
                columns.append(there[both])
                values.append(-siemens[both])
                driven = unknown & (there <= -2)
                source_rows.append(here[driven])
                source_columns.append(-2 - there[driven])
                source_values.append(siemens[driven])
        shape = (self.count, self.count)
        matrix = sparse.csc_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape)
        drive = sparse.csc_matrix(
            (np.concatenate(source_values), (np.concatenate(source_rows), np.concatenate(source_columns))),
            (self.count, self.sources.size),
        )
        return self.count, matrix, drive

    def at_crossings(self, conductance: Array, potentials: Array, driving: Array) -> tuple[Array, Array, Array]:
        """Potentials of word lines (B, W, M, N) and bit lines (B, M, N) in volts, and currents (B, N) into the sense
        nodes in amperes, from the unknown potentials (B, unknown) and the sources (B, W * M) in volts."""
        # Unknown potentials, then sources -2, -3, ... backwards, then the ground -1: negative numbers index from the
        # end.
        everything = np.concatenate([potentials, driving[:, ::-1], np.zeros((len(potentials), 1))], axis=1)
        words, bits = everything[:, self.word], everything[:, self.bit]
        if (self.bit[-1] >= 0).all():
            return words, bits, bits[:, -1] / (self.wires.bit_ohm + self.wires.sense_ohm)
        return words, bits, (conductance * (words - bits[:, np.newaxis])).sum((1, 2))

    def sensing(self, conductance: Array) -> tuple[Array, Array, Array]:
        """Coefficients in siemens of the current into each sense node: (unknown, N) for the potentials and (N, W * M)
        for the sources; and of the current out of it, (N,), for its own potential."""
        potentials = np.zeros((self.count, self.columns))
        sources = np.zeros((self.columns, self.sources.size))
        ends = self.bit[-1]
        if (ends >= 0).all():
            end = 1 / (self.wires.bit_ohm + self.wires.sense_ohm)
            potentials[ends, np.arange(self.columns)] = end
            return potentials, sources, np.full(self.columns, end)
        # The cells lie between a word line and the virtual ground.
        column = np.broadcast_to(np.arange(self.columns), self.word.shape)
        unknown = self.word >= 0
        np.add.at(potentials, (self.word[unknown], column[unknown]), conductance[unknown])
        np.add.at(sources, (column[~unknown], -2 - self.word[~unknown]), conductance[~unknown])
        return potentials, sources, conductance.sum((0, 1))
