"""One tile, answered three times: by the exact engine, by ngspice from the netlist as it lies on disk, and by sparse
nodal analysis."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.crossbar.nodal import nodal_potentials
from hvae_mnn.netlist.decks import TIA_LIBRARY, amperes_per_sensed
from hvae_mnn.netlist.device_lines import model_file
from hvae_mnn.netlist.tile_deck import tile_deck, tile_vectors
from hvae_mnn.spice.batch import deck_folder, read_point, run_text

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TileCase:
    """A tile and the reads that it is to be checked with."""

    array: str
    unit: str
    layout: ArrayLayout
    number: int
    """Of the tile in its array."""
    word_lines: tuple[str, ...]
    """Of the array."""
    elements: str
    """The tile's part of the array's file."""
    memristors: Array
    """(R, D) siemens, of the array."""
    volts: Array
    """(K, R): word-line voltages of the array in K reads."""
    exact: Array
    """(K, columns of the tile): the exact engine's currents for signed weights."""


@dataclass(frozen=True)
class TileVerdict:
    """How far the three answers for one tile are apart."""

    array: str
    tile: str
    rows: int
    bit_lines: int
    reads: int
    full_scale: float
    """Largest current for signed weights that ngspice gave, amperes."""
    exact_ngspice: float
    """Largest difference, parts of full scale."""
    nodal_ngspice: float | None
    """None where nodal analysis has no answer: nonlinear cells, or saturated amplifiers."""
    exact_nodal: float | None
    columns: Array
    """(columns,): largest difference of exact and ngspice by column, parts of full scale."""
    seconds_ngspice: float


def judge(case: TileCase) -> TileVerdict:
    """Answer for the tile and compare. Raises `SimulatorError` or `EnvironmentProblem` when ngspice cannot."""
    layout = case.layout
    tile = layout.tiles[case.number]
    start = time.perf_counter()
    found = ngspice_potentials(case)
    seconds = time.perf_counter() - start
    names = tile_vectors(layout, tile, case.unit)
    sensed = np.array([[read[name] for name in names] for read in found])
    spice = layout.signed(sensed * amperes_per_sensed(layout))
    nodal = nodal_currents(case, sensed)
    scale = float(np.abs(spice).max()) or 1.0

    def apart(first: Array, second: Array) -> float:
        return float(np.abs(first - second).max()) / scale

    return TileVerdict(
        array=case.array,
        tile=tile.name,
        rows=len(tile.rows),
        bit_lines=len(tile.bit_lines),
        reads=len(case.volts),
        full_scale=scale,
        exact_ngspice=apart(case.exact, spice),
        nodal_ngspice=None if nodal is None else apart(nodal, spice),
        exact_nodal=None if nodal is None else apart(case.exact, nodal),
        columns=np.abs(case.exact - spice).max(axis=0) / scale,
        seconds_ngspice=seconds,
    )


def ngspice_potentials(case: TileCase) -> list[dict[str, float]]:
    """Every node's potential and every source's current, by ngspice's names, for each of the reads."""
    layout = case.layout
    tile = layout.tiles[case.number]
    names = [f"read{number}" for number in range(len(case.volts))]
    volts = case.volts[:, tile.rows.start : tile.rows.stop]
    text = tile_deck(case.elements, case.array, case.unit, case.word_lines, layout, tile, volts, names)
    with deck_folder("verify") as folder:
        if layout.hardware.amplifier.kind != "ideal":
            shutil.copyfile(model_file(TIA_LIBRARY), folder / TIA_LIBRARY)
        return [read_point(path) for path in run_text(text, folder, "tile", names)]


def nodal_currents(case: TileCase, sensed: Array) -> Array | None:
    """Currents (K, columns) for signed weights by nodal analysis, or None where it has no answer."""
    layout = case.layout
    hardware, tile = layout.hardware, layout.tiles[case.number]
    amplifier = hardware.amplifier
    if hardware.cells.read_law != "ohmic":
        return None
    if amplifier.kind != "ideal" and (np.abs(sensed) >= amplifier.swing_v * (1 - 1e-9)).any():
        return None
    own = case.volts[:, tile.rows.start : tile.rows.stop]
    lines = np.stack([own, -own][: layout.lines_per_row], axis=1)  # (K, W, M)
    cells = layout.cells(tile, case.memristors)
    wires = replace(hardware.wires, sense_ohm=amplifier.input_ohm)
    if amplifier.kind == "ideal":
        return layout.signed(nodal_potentials(cells, wires, lines)[2])
    gain = amplifier.gain / (1 + amplifier.gain)
    currents = nodal_potentials(cells, wires, lines - amplifier.offset_v * gain)[2]
    return layout.signed(currents * gain - amplifier.offset_v * gain / amplifier.feedback_ohm)
