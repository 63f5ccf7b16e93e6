"""Tiles of a gate array: their cells, their signs, and the way from bit-line currents to signed currents.

A tile of M rows has W word lines per row and N bit lines. Word line 0 of a row carries +V; with
`fixed_resistor_per_cell` word line 1 carries -V. The scheme determines which cells are memristors, which are
fixed resistors, and which bit lines are subtracted from which.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.spec import Hardware, Scheme
from hvae_mnn.errors import HardwareError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tile:
    """One tile of an array."""

    row_block: int
    column_block: int
    rows: range
    """Rows of the array, each an input."""
    columns: range
    """Columns of the array, each a hidden unit."""
    bit_lines: tuple[str, ...]
    """Labels of the N bit lines: the hidden unit's number, followed by `p` or `m` in a pair; `ref<column block>`."""
    memristors: range
    """Columns of the array's memristors (R, D) that the tile contains."""

    @property
    def name(self) -> str:
        """Row block and column block, as in comments and tables."""
        return f"{self.row_block},{self.column_block}"


@dataclass(frozen=True)
class ArrayLayout:
    """An array of R x C weights on its hardware."""

    rows: int
    """Number R of inputs."""
    columns: int
    """Number C of hidden units."""
    hardware: Hardware

    @property
    def scheme(self) -> Scheme:
        """Representation of signed weights."""
        return self.hardware.cells.scheme

    @property
    def lines_per_row(self) -> int:
        """Number W of word lines per row."""
        return 2 if self.scheme == "fixed_resistor_per_cell" else 1

    @property
    def memristors(self) -> int:
        """Number D of memristors per row."""
        return self.columns * (2 if self.scheme == "differential_pair" else 1)

    @property
    def memristor_sign(self) -> int:
        """Sign of the voltage across a memristor while its row carries +V."""
        return -1 if self.scheme == "fixed_resistor_per_cell" else 1

    @cached_property
    def row_blocks(self) -> tuple[range, ...]:
        """Rows of the array by tile, from the top."""
        return _cut(self.rows, self.hardware.tiling.rows)

    @cached_property
    def column_blocks(self) -> tuple[range, ...]:
        """Columns of the array by tile, from the left."""
        return _cut(self.columns, self.hardware.tiling.columns)

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, row block by row block."""
        return tuple(
            self._tile(p, q, rows, columns)
            for p, rows in enumerate(self.row_blocks)
            for q, columns in enumerate(self.column_blocks)
        )

    def _tile(self, p: int, q: int, rows: range, columns: range) -> Tile:
        if self.scheme == "differential_pair":
            labels = [f"{k}{sign}" for k in columns for sign in "pm"]
            return Tile(p, q, rows, columns, tuple(labels), range(2 * columns.start, 2 * columns.stop))
        labels = [str(k) for k in columns]
        if self.scheme == "reference_column":
            labels.append(f"ref{q}")
        return Tile(p, q, rows, columns, tuple(labels), columns)

    @property
    def sums(self) -> int:
        """Numbers per column that leave the array: one, or one per row block if each row block has its own ADC."""
        if self.hardware.tiling.partial_sums != "after_adc":
            return 1
        return -(-self.rows // (self.hardware.tiling.rows or self.rows))  # counted, not built: a manifest may claim any

    @property
    def outputs(self) -> int:
        """Number of currents that a read of the array gives: `sums` times C."""
        return self.sums * self.columns

    @cached_property
    def sensed(self) -> int:
        """Number of bit lines of all tiles."""
        return sum(len(tile.bit_lines) for tile in self.tiles)

    @cached_property
    def tile_order(self) -> Int64[NDArray[np.int64], " {self.rows*self.memristors}"]:
        """Indices into the flat memristors (R, D), tile by tile, in the order of the netlists."""
        indices = np.arange(self.rows * self.memristors).reshape(self.rows, -1)
        return np.concatenate(
            [
                indices[tile.rows.start : tile.rows.stop, tile.memristors.start : tile.memristors.stop].ravel()
                for tile in self.tiles
            ]
        )

    def cells(
        self, tile: Tile, memristors: Float64[Array, "{self.rows} {self.memristors}"]
    ) -> Float64[Array, "{self.lines_per_row} M N"]:
        """Conductances (W, M, N) of a tile, from the array's `memristors` (R, D), both in siemens."""
        own = memristors[tile.rows.start : tile.rows.stop, tile.memristors.start : tile.memristors.stop]
        fixed = self.hardware.device.g_mid
        if self.scheme == "fixed_resistor_per_cell":
            return np.stack([np.full_like(own, fixed), own])
        if self.scheme == "reference_column":
            return np.concatenate([own, np.full((len(own), 1), fixed)], axis=1)[np.newaxis]
        return own[np.newaxis].copy()

    def is_memristor(self, tile: Tile) -> Bool[NDArray[np.bool_], "{self.lines_per_row} M N"]:
        """Whether each of the tile's cells (W, M, N) is a memristor."""
        is_memristor = np.ones((self.lines_per_row, len(tile.rows), len(tile.bit_lines)), dtype=bool)
        if self.scheme == "fixed_resistor_per_cell":
            is_memristor[0] = False
        elif self.scheme == "reference_column":
            is_memristor[:, :, -1] = False
        return is_memristor

    def drive(self, transfer: Float64[Array, "*batch {self.lines_per_row} M N"]) -> Float64[Array, "*batch M N"]:
        """Effect of V on a row (..., M, N), from the effect of V on each of the row's word lines (..., W, M, N)."""
        effect: Array = transfer[..., 0, :, :]
        return effect - transfer[..., 1, :, :] if self.lines_per_row == 2 else effect

    def signed(self, currents: Float64[Array, "*batch N"]) -> Float64[Array, "*batch C"]:
        """Currents (..., C of the tile) for signed weights, from a tile's bit-line currents (..., N)."""
        if self.scheme == "reference_column":
            return currents[..., -1:] - currents[..., :-1]
        if self.scheme == "differential_pair":
            return currents[..., 0::2] - currents[..., 1::2]
        return currents

    def read_out(self, sensed: Float64[Array, "B {self.sensed}"]) -> Float64[Array, "B {self.outputs}"]:
        """Currents (B, outputs) for signed weights, from the bit-line currents (B, sensed) of all tiles in order."""
        currents = np.zeros((len(sensed), self.sums, self.columns))
        offset = 0
        for tile in self.tiles:
            count = len(tile.bit_lines)
            own = self.signed(sensed[:, offset : offset + count])
            currents[:, tile.row_block if self.sums > 1 else 0, tile.columns.start : tile.columns.stop] += own
            offset += count
        return currents.reshape(len(sensed), self.outputs)

    def without_wires(
        self, memristors: Float64[Array, "{self.rows} {self.memristors}"]
    ) -> Float64[Array, "{self.rows} {self.columns}"]:
        """Signed conductances (R, C) that represent the weights, from the `memristors` (R, D), both in siemens."""
        if self.scheme == "differential_pair":
            return memristors[:, 0::2] - memristors[:, 1::2]
        return self.hardware.device.g_mid - memristors


def check_tiling(shapes: dict[str, tuple[int, int]], hardware: Hardware) -> None:
    """Raise `HardwareError` when no array (name -> R, C) fills a tile."""
    for number, (what, size) in enumerate((("rows", hardware.tiling.rows), ("columns", hardware.tiling.columns))):
        largest = max(shapes, key=lambda name: shapes[name][number])
        if size is not None and size > shapes[largest][number]:
            raise HardwareError(
                f"hardware {hardware.name}: tiles.{what} is {size}, but the largest array, {largest}, has"
                f' {shapes[largest][number]}; allowed: 1 to {shapes[largest][number]}, or "all"'
            )


def _cut(length: int, size: int | None) -> tuple[range, ...]:
    step = size or length
    return tuple(range(start, min(start + step, length)) for start in range(0, length, step))
