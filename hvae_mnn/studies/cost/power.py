"""What reads of tiles cost and how they settle, each asked twice: in closed form, and of ngspice with the tile's own
netlist."""

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
"""Longest time for one tile's transient: 64 x 64 takes ten seconds, 256 x 256 half an hour."""


@dataclass(frozen=True)
class _Job:
    """Tiles of one array that have the same rows and one shape."""

    layout: ArrayLayout
    numbers: tuple[int, ...]
    """Of the tiles in their array."""
    cells: Array
    """(B, W, M, N) siemens."""
    volts: Array
    """(S, M)."""


def ended(layout: ArrayLayout) -> Wires:
    """The layout's wires, with what the amplifiers end the bit lines in."""
    return replace(layout.hardware.wires, sense_ohm=layout.hardware.amplifier.input_ohm)


def array_power(
    conductances: Mapping[str, Array],
    layouts: Mapping[str, ArrayLayout],
    volts: Mapping[str, Array],
    cluster: Cluster | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, ReadPower]:
    """Power of reads by array, every field (tiles, S), in closed form, for volts (S, R) on memristors (R, D) siemens.

    Cells are ohmic, and amplifiers do not clip. `progress(done, of)` counts groups of tiles.
    """
    jobs, names = [], []
    for name, layout in layouts.items():
        for job in _jobs(layout, conductances[name], volts[name]):
            jobs.append(job)
            names.append(name)
    answers = (cluster or Cluster.here()).map(_power, jobs, progress=progress)
    found: dict[str, ReadPower] = {}
    for name, layout in layouts.items():
        drivers, amplifiers = (np.zeros((len(layout.tiles), len(volts[name]))) for _ in range(2))
        largest = 0.0
        for job_name, job, answer in zip(names, jobs, answers, strict=True):
            if job_name == name:
                drivers[list(job.numbers)], amplifiers[list(job.numbers)] = answer.drivers, answer.amplifiers
                largest = max(largest, answer.largest_output_v)
        found[name] = ReadPower(drivers, amplifiers, largest)
    return found


def _jobs(layout: ArrayLayout, memristors: Array, volts: Array) -> Sequence[_Job]:
    groups: dict[tuple[int, int], list[int]] = {}
    for number, tile in enumerate(layout.tiles):
        groups.setdefault((tile.row_block, len(tile.bit_lines)), []).append(number)
    found = []
    for (_, columns), numbers in groups.items():
        rows = layout.tiles[numbers[0]].rows
        count = max(1, min(_TILES_PER_TASK, _CELLS_PER_TASK // (len(rows) * columns)))
        for start in range(0, len(numbers), count):
            part = numbers[start : start + count]
            cells = np.stack([layout.cells(layout.tiles[number], memristors) for number in part])
            found.append(_Job(layout, tuple(part), cells, volts[:, rows.start : rows.stop]))
    return found


def _power(job: _Job) -> ReadPower:
    layout = job.layout
    with threads(1):
        form = tile_power(torch.from_numpy(job.cells), ended(layout), _SIGNS[: layout.lines_per_row])
    return read_power(form, job.volts, layout.hardware.amplifier)


def ngspice_power(case: TileCase) -> ReadPower:
    """The same for one tile, both fields (1, K), of the currents of ngspice's sources in the tile's own deck."""
    layout = case.layout
    tile = layout.tiles[case.number]
    lines = [case.word_lines[row] for row in tile.rows]
    labels = tile_labels(layout, tile) if layout.hardware.amplifier.kind != "ideal" else []
    drivers, amplifiers, largest = [], [], 0.0
    for read in ngspice_potentials(case):
        # A source's current flows into its plus end.
        watts = [-read[f"v({line})"] * read[f"i(v{line})"] for line in lines]
        if layout.lines_per_row == 2:
            watts += [-read[f"v({inverted(line)})"] * read[f"i(e{line})"] for line in lines]
        drivers.append(sum(watts))
        outputs = [read[f"v({amplifier_output(case.unit, label)})"] for label in labels]
        currents = [read[f"i(b.xs{case.unit}{label}.boutput)"] for label in labels]
        amplifiers.append(-sum(u * i for u, i in zip(outputs, currents, strict=True)))
        largest = max(largest, *map(abs, outputs)) if outputs else 0.0
    return ReadPower(np.array([drivers], dtype=np.float64), np.array([amplifiers], dtype=np.float64), largest)


def tile_settling(case: TileCase, volts: Array, farads: float, tolerance: float) -> Settling | None:
    """What the bit lines of a tile show after a step of its rows from 0 V to `volts` (M,), by implicit integration;
    None without a node that no source holds. See `crossbar.settling.settling`."""
    layout = case.layout
    tile = layout.tiles[case.number]
    lines = np.stack([sign * volts for sign in _SIGNS[: layout.lines_per_row]])
    amplifier = layout.hardware.amplifier
    gain = 1.0 if amplifier.kind == "ideal" else amplifier.gain / (1 + amplifier.gain)
    found = settling(layout.cells(tile, case.memristors), ended(layout), lines, farads, tolerance / gain)
    return None if found is None else replace(found, left=found.left * gain)


def ngspice_settling(case: TileCase, volts: Array, farads: float, expected_s: float) -> Settling:
    """The same by a transient of ngspice over twice the `expected_s` seconds, from the tile's own netlist."""
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
