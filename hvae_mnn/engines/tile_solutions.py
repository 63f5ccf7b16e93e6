"""Solutions of tiles, and reads of arrays that are not a single matrix.

With linear cells and amplifiers that never saturate, a read is one product. Amplifiers with a limited swing need the
currents of every tile first, and a nonlinear read law needs the potentials within the tile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout, Tile
from hvae_mnn.crossbar.nonlinear import NonlinearTile
from hvae_mnn.crossbar.sensing import read_out, sensed_transfer
from hvae_mnn.crossbar.transfer import threads, tile_network

Array = NDArray[np.float64]


def solve_tiles(layout: ArrayLayout, cells: Array) -> dict[str, Array]:
    """Solutions of tiles of one shape with `cells` (B, W, M, N) in siemens.

    Without amplifiers, or with amplifiers that never saturate: `matrix` (B, M, columns) in siemens and `offset` (B,
    columns) in amperes, for signed weights. With a limited swing: `transfer` (B, M, N) and `admittance` (B, N, N) of
    the bit lines, in siemens.
    """
    hardware = layout.hardware
    amplifier, tensor = hardware.amplifier, torch.from_numpy(cells)
    with threads(1):  # as on a worker: results must not depend on where they were computed
        transfer, admittance = (part.numpy() for part in tile_network(tensor, hardware.wires))
    driven = layout.drive(transfer)
    if amplifier.kind == "ideal":
        matrix = layout.signed(driven)
        return {"matrix": matrix, "offset": np.zeros((len(matrix), matrix.shape[-1]))}
    if np.isfinite(amplifier.swing_v):
        return {"transfer": driven, "admittance": admittance}
    read, offset = sensed_transfer(driven, admittance, amplifier)
    return {"matrix": layout.signed(read), "offset": layout.signed(offset)}


class SaturatingArray:
    """An array behind amplifiers with a limited swing."""

    def __init__(self, layout: ArrayLayout, parts: Mapping[str, Array]) -> None:
        """`parts`: `transfer_<tile>` and `admittance_<tile>` of every tile, from `solve_tiles`."""
        self._layout = layout
        self._tiles = [
            (tile, parts[f"transfer_{number}"], parts[f"admittance_{number}"])
            for number, tile in enumerate(layout.tiles)
        ]

    def currents(self, volts: Float64[Array, "B R"]) -> Float64[Array, "B _"]:
        """Currents (B, outputs) for volts (B, R)."""
        sensed = [self.tile_currents(number, volts) for number in range(len(self._tiles))]
        return self._layout.read_out(np.concatenate(sensed, axis=1))

    def tile_currents(self, number: int, volts: Float64[Array, "B M"]) -> Float64[Array, "B N"]:
        """Currents (B, N) at the amplifiers of one tile, for `volts` (B, R) of the array."""
        tile, transfer, admittance = self._tiles[number]
        amplifier = self._layout.hardware.amplifier
        return read_out(volts[:, tile.rows.start : tile.rows.stop], transfer, admittance, amplifier)


class NonlinearArray:
    """An array of memristors with a nonlinear read law."""

    def __init__(self, layout: ArrayLayout, memristors: Array) -> None:
        """`memristors` (R, D): conductances at 0 V, in siemens."""
        self._layout = layout
        hardware = layout.hardware
        self._tiles = []
        for tile in layout.tiles:
            cells = layout.cells(tile, memristors)
            laws = np.where(layout.is_memristor(tile), hardware.cells.sinh_per_volt, 0.0)
            wires = replace(hardware.wires, sense_ohm=hardware.amplifier.input_ohm)
            self._tiles.append((tile, NonlinearTile(cells, wires, laws)))

    def currents(self, volts: Float64[Array, "B R"]) -> Float64[Array, "B _"]:
        """Currents (B, outputs) for volts (B, R)."""
        sensed = [self.tile_currents(number, volts) for number in range(len(self._tiles))]
        return self._layout.read_out(np.concatenate(sensed, axis=1))

    def tile_currents(self, number: int, volts: Float64[Array, "B M"]) -> Float64[Array, "B N"]:
        """Currents (B, N) of one tile's bit lines, for `volts` (B, R) of the array."""
        amplifier = self._layout.hardware.amplifier
        tile, network = self._tiles[number]
        lines = self._lines(tile, volts)
        if amplifier.kind == "ideal":
            return network.currents(lines)
        # All bit lines end at the same potential, behind R_f / (1 + A), and only potential differences matter.
        gain = amplifier.gain / (1 + amplifier.gain)
        currents = network.currents(lines - amplifier.offset_v * gain)
        return currents * gain - amplifier.offset_v * gain / amplifier.feedback_ohm

    def _lines(self, tile: Tile, volts: Array) -> Array:
        own = volts[:, tile.rows.start : tile.rows.stop]
        return np.stack([own, -own][: self._layout.lines_per_row], axis=1)
