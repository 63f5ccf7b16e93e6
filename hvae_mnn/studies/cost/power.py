"""Power and settling of reads of tiles, each computed twice: in closed form, and by ngspice from the tile's netlist."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.crossbar.power import ReadPower, read_power, tile_power
from hvae_mnn.crossbar.settling import Settling, settling
from hvae_mnn.crossbar.transfer import threads
from hvae_mnn.netlist.arrays import amplifier_output, inverted
from hvae_mnn.netlist.decks import TIA_LIBRARY, amperes_per_sensed
from hvae_mnn.netlist.device_lines import model_file
from hvae_mnn.netlist.settling_deck import CURVE, FINAL, settling_deck
from hvae_mnn.netlist.tile_deck import tile_labels, tile_vectors
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.spice.batch import deck_folder, read_point, read_raw, run_text
from hvae_mnn.studies.referee.tile import TileCase, ngspice_potentials

Array = NDArray[np.float64]
_TILES_PER_TASK = 16
_CELLS_PER_TASK = 2**20
_SIGNS = (1, -1)
TRANSIENT_LIMIT_S = 3600.0
"""Time limit of one tile's transient, seconds: 64 x 64 takes ten seconds, 256 x 256 half an hour."""


@dataclass(frozen=True)
class _TileGroup:
    """B tiles of one array with the same M rows and the same N bit lines."""

    layout: ArrayLayout
    numbers: tuple[int, ...]
    """Numbers (B,) of the tiles in their array."""
    cells: Array
    """Conductances of shape (B, W, M, N), siemens."""
    volts: Array
    """Voltages of shape (S, M) in S reads."""


def ended(layout: ArrayLayout) -> Wires:
    """The layout's wires, with the input resistance of the amplifiers at the ends of the bit lines."""
    return replace(layout.hardware.wires, sense_ohm=layout.hardware.amplifier.input_ohm)


def array_power(
    conductances: Mapping[str, Array],
    layouts: Mapping[str, ArrayLayout],
    volts: Mapping[str, Array],
    cluster: Cluster | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, ReadPower]:
    """Power of S reads by array in closed form, in watts; every field has shape (tiles, S).

    `conductances` (R, D) are in siemens, `volts` (S, R) on the word lines. Cells must be ohmic, and amplifiers must not
    clip. `progress(done, of)` counts groups of tiles.
    """
    groups, names = [], []
    for name, layout in layouts.items():
        for group in _tile_groups(layout, conductances[name], volts[name]):
            groups.append(group)
            names.append(name)
    answers = (cluster or Cluster.here()).map(_power, groups, progress=progress)
    powers: dict[str, ReadPower] = {}
    for name, layout in layouts.items():
        drivers, amplifiers = (np.zeros((len(layout.tiles), len(volts[name]))) for _ in range(2))
        largest = 0.0
        for group_name, group, answer in zip(names, groups, answers, strict=True):
            if group_name == name:
                drivers[list(group.numbers)], amplifiers[list(group.numbers)] = answer.drivers, answer.amplifiers
                largest = max(largest, answer.largest_output_v)
        powers[name] = ReadPower(drivers, amplifiers, largest)
    return powers


def _tile_groups(layout: ArrayLayout, memristors: Array, volts: Array) -> Sequence[_TileGroup]:
    by_shape: dict[tuple[int, int], list[int]] = {}
    for number, tile in enumerate(layout.tiles):
        by_shape.setdefault((tile.row_block, len(tile.bit_lines)), []).append(number)
    groups = []
    for (_, columns), numbers in by_shape.items():
        rows = layout.tiles[numbers[0]].rows
        count = max(1, min(_TILES_PER_TASK, _CELLS_PER_TASK // (len(rows) * columns)))
        for start in range(0, len(numbers), count):
            part = numbers[start : start + count]
            cells = np.stack([layout.cells(layout.tiles[number], memristors) for number in part])
            groups.append(_TileGroup(layout, tuple(part), cells, volts[:, rows.start : rows.stop]))
    return groups


def _power(group: _TileGroup) -> ReadPower:
    layout = group.layout
    with threads(1):
        form = tile_power(torch.from_numpy(group.cells), ended(layout), _SIGNS[: layout.lines_per_row])
    return read_power(form, group.volts, layout.hardware.amplifier)


def ngspice_power(case: TileCase) -> ReadPower:
    """Power of K reads of one tile from the currents of ngspice's sources, in watts; fields have shape (1, K).

    Raises `SimulatorError` if ngspice fails.
    """
    layout = case.layout
    tile = layout.tiles[case.number]
    lines = [case.word_lines[row] for row in tile.rows]
    labels = tile_labels(layout, tile) if layout.hardware.amplifier.kind != "ideal" else []
    drivers, amplifiers, largest = [], [], 0.0
    for read in ngspice_potentials(case):
        # The current of a source flows into its plus terminal.
        watts = [-read[f"v({line})"] * read[f"i(v{line})"] for line in lines]
        if layout.lines_per_row == 2:
            watts += [-read[f"v({inverted(line)})"] * read[f"i(e{line})"] for line in lines]
        drivers.append(sum(watts))
        outputs = [read[f"v({amplifier_output(case.unit, label)})"] for label in labels]
        currents = [read[f"i(b.xs{case.unit}{label}.boutput)"] for label in labels]
        amplifiers.append(-sum(output * current for output, current in zip(outputs, currents, strict=True)))
        largest = max(largest, *map(abs, outputs)) if outputs else 0.0
    return ReadPower(np.array([drivers], dtype=np.float64), np.array([amplifiers], dtype=np.float64), largest)


def tile_settling(case: TileCase, volts: Array, farads: float, tolerance: float) -> Settling | None:
    """Settling of a tile's bit lines after a step of its rows from 0 V to `volts` (M,), by implicit integration.

    `farads` is the capacitance of one segment of a line, `tolerance` a current in amperes. Returns None if a source
    holds every node. See `crossbar.settling.settling`.
    """
    layout = case.layout
    tile = layout.tiles[case.number]
    lines = np.stack([sign * volts for sign in _SIGNS[: layout.lines_per_row]])
    amplifier = layout.hardware.amplifier
    gain = 1.0 if amplifier.kind == "ideal" else amplifier.gain / (1 + amplifier.gain)
    sensed = settling(layout.cells(tile, case.memristors), ended(layout), lines, farads, tolerance / gain)
    return None if sensed is None else replace(sensed, left=sensed.left * gain)


def ngspice_settling(case: TileCase, volts: Array, farads: float, expected_s: float) -> Settling:
    """Settling as of `tile_settling`, by a transient of ngspice over twice `expected_s` from the tile's netlist.

    Raises `SimulatorError` if ngspice fails.
    """
    layout = case.layout
    tile = layout.tiles[case.number]
    text = settling_deck(case.elements, case.array, case.unit, case.word_lines, layout, tile, volts, farads, expected_s)
    with deck_folder("cost") as folder:
        if layout.hardware.amplifier.kind != "ideal":
            shutil.copyfile(model_file(TIA_LIBRARY), folder / TIA_LIBRARY)
        final, curve = run_text(text, folder, "settling", [FINAL, CURVE], TRANSIENT_LIMIT_S)
        last, vectors = read_point(final), read_raw(curve)
    factor = amperes_per_sensed(layout)
    left = [(vectors[name] - last[name]) * factor for name in tile_vectors(layout, tile, case.unit)]
    return Settling(vectors["time"], np.stack(left, axis=1))
