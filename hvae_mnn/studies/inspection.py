"""Potentials and currents in one tile of a build during one read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.layout import ArrayLayout, Tile
from hvae_mnn.crossbar.network import CrossbarUnit
from hvae_mnn.crossbar.nodal import nodal_potentials
from hvae_mnn.errors import InputError
from hvae_mnn.names import quoted, unknown_name
from hvae_mnn.netlist.conductances import read_conductances
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.tables import write_table

Array = NDArray[np.float64]
CROSSINGS, COLUMN_ERRORS = "crossings.parquet", "column_errors.parquet"


@dataclass(frozen=True)
class TileInspection:
    """A tile of M rows and N bit lines with W word lines per row, read once by nodal analysis."""

    array: str
    layout: ArrayLayout
    tile: Tile
    memristors: Array
    """Conductances (R, D) of the whole array, siemens."""
    cells: Array
    """Conductances (W, M, N) of the tile's cells, siemens."""
    volts: Array
    """Driver voltages (M,) of the rows."""
    words: Array
    """Potentials (W, M, N) of the word lines at the crossings, volts."""
    bits: Array
    """Potentials (M, N) of the bit lines at the crossings, volts."""
    wired: Array
    """Currents (columns,) for signed weights with wires, amperes."""
    ideal: Array
    """Currents (columns,) for signed weights without wires, amperes."""

    @property
    def error(self) -> Array:
        """Error (columns,) of the wired currents, relative to the largest ideal current."""
        return (self.wired - self.ideal) / (float(np.abs(self.ideal).max()) or 1.0)


def inspect_tile(
    manifest: Manifest, array: str | None = None, tile: str = "0,0", seed: int | None = None
) -> TileInspection:
    """Read one tile (`<row block>,<column block>`) of an array (default: the first), with the build's test vector, or
    with random voltages of `seed`.

    Cells are assumed to be ohmic, and amplifiers not to clip. Raises `InputError` for a seed below 0 and for an unknown
    array or tile.
    """
    if seed is not None and seed < 0:
        raise InputError(f"--seed is {seed}; allowed: 0 or more")
    unit = _unit(manifest, array)
    layout = manifest.layout(unit)
    chosen = next((one for one in layout.tiles if one.name == tile.replace(" ", "")), None)
    if chosen is None:
        last = layout.tiles[-1].name
        raise InputError(
            f"array {unit.array} has no tile {quoted(tile)}; allowed: 0,0 to {last} (row block, column block)"
        )
    stored = read_conductances(manifest)[unit.array]
    memristors, volts = stored.conductance, stored.test_volts
    if seed is not None:
        read_v = manifest.device.read_v
        volts = np.random.default_rng(seed).uniform(-read_v, read_v, layout.rows)
    own = volts[chosen.rows.start : chosen.rows.stop]
    lines = np.stack([own, -own][: layout.lines_per_row])[np.newaxis]  # (1, W, M)
    cells = layout.cells(chosen, memristors)
    words, bits, currents = _potentials(cells, manifest.hardware, lines)
    ideal = layout.signed((own @ layout.drive(cells))[np.newaxis])[0]
    return TileInspection(
        array=unit.array,
        layout=layout,
        tile=chosen,
        memristors=memristors,
        cells=cells,
        volts=own,
        words=words[0],
        bits=bits[0],
        wired=layout.signed(currents)[0],
        ideal=ideal,
    )


def _potentials(cells: Array, hardware: Hardware, lines: Array) -> tuple[Array, Array, Array]:
    """Potentials of word lines (1, W, M, N) and bit lines (1, M, N) in volts, and read currents (1, N) in amperes, for
    driver voltages `lines` (1, W, M)."""
    amplifier = hardware.amplifier
    wires = replace(hardware.wires, sense_ohm=amplifier.input_ohm)
    if amplifier.kind == "ideal":
        return nodal_potentials(cells, wires, lines)
    # All bit lines end at the same potential behind R_f / (1 + A), and only potential differences matter.
    gain = amplifier.gain / (1 + amplifier.gain)
    end = amplifier.offset_v * gain
    words, bits, currents = nodal_potentials(cells, wires, lines - end)
    return words + end, bits + end, currents * gain - end / amplifier.feedback_ohm


def _unit(manifest: Manifest, array: str | None) -> CrossbarUnit:
    units = {unit.array: unit for _, unit in manifest.units()}
    if array is None:
        return next(iter(units.values()))
    if array not in units:
        raise InputError(f"{manifest.folder}: {unknown_name('array', array, units)}")
    return units[array]


def write_inspection(inspection: TileInspection, folder: Path) -> None:
    """Write the figure's numbers as tables: a row per crossing, and a row per column. Raises `StorageError`."""
    lines, rows, columns = inspection.cells.shape
    line, row, column = (index.ravel() for index in np.indices((lines, rows, columns)))
    crossings = {
        "word_line": line,
        "row": row + inspection.tile.rows.start,
        "bit_line": np.array(inspection.tile.bit_lines)[column],
        "siemens": inspection.cells.ravel(),
        "driver_v": np.array([1.0, -1.0])[line] * inspection.volts[row],
        "word_v": inspection.words.ravel(),
        "bit_v": np.broadcast_to(inspection.bits, inspection.cells.shape).ravel(),
    }
    hidden = np.arange(inspection.tile.columns.start, inspection.tile.columns.stop)
    errors = {
        "hidden": hidden,
        "ideal_a": inspection.ideal,
        "wired_a": inspection.wired,
        "error_of_largest": inspection.error,
    }
    for name, table in ((CROSSINGS, crossings), (COLUMN_ERRORS, errors)):
        write_table(folder / name, pa.table(table))
