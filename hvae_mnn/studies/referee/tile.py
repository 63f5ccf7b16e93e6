"""Currents of one tile computed three times: by the exact engine, by ngspice from the netlist on disk, and by sparse
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
    """A tile with K reads for a check."""

    array: str
    unit: str
    layout: ArrayLayout
    number: int
    """Number of the tile in its array."""
    word_lines: tuple[str, ...]
    """Names of the array's word lines."""
    elements: str
    """The tile's part of the array's file."""
    memristors: Array
    """Conductances (R, D) of the array, siemens."""
    volts: Array
    """Voltages (K, R) of the array's word lines."""
    exact: Array
    """Currents (K, columns of the tile) of the exact engine for signed weights, amperes."""


@dataclass(frozen=True)
class TileVerdict:
    """Differences between the three results for one tile."""

    array: str
    tile: str
    rows: int
    bit_lines: int
    reads: int
    full_scale: float
    """Largest current for signed weights from ngspice, amperes."""
    exact_ngspice: float
    """Largest difference, relative to full scale."""
    nodal_ngspice: float | None
    """Largest difference, relative to full scale; None for nonlinear cells or saturated amplifiers, which nodal
    analysis does not solve."""
    exact_nodal: float | None
    """As `nodal_ngspice`."""
    columns: Array
    """Largest difference of exact engine and ngspice by column (columns,), relative to full scale."""
    seconds_ngspice: float
    """Time of ngspice, seconds."""


def judge(case: TileCase) -> TileVerdict:
    """Compute the tile's currents and compare them. Raises `SimulatorError` or `EnvironmentProblem` of ngspice."""
    layout = case.layout
    tile = layout.tiles[case.number]
    start = time.perf_counter()
    potentials = ngspice_potentials(case)
    seconds = time.perf_counter() - start
    names = tile_vectors(layout, tile, case.unit)
    sensed = np.array([[read[name] for name in names] for read in potentials])
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
    """Potentials of all nodes and currents of all sources by ngspice's names, for each of the K reads.

    Raises as `judge`.
    """
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
    """Currents (K, columns) for signed weights by nodal analysis, amperes. None for nonlinear cells or saturated
    amplifiers; `sensed` (K, columns read) are the values of ngspice that tell saturation."""
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
