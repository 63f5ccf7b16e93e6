"""Error from wire resistance: column currents of square tiles with wires against ideal ones, over size and resistance.

A tile of n x n weights is mapped to a device's conductances, and read with random voltages at virtual grounds. Weights
are normal, cut at three standard deviations, which map to the ends of the conductance range. Voltages are uniform
within the device's read voltage. With signed column currents I with wires and I0 without, over the reads k and the
columns j of one tile:

    rms error = sqrt(sum_kj (I_kj - I0_kj)^2 / sum_kj I0_kj^2),   max error = max_kj |I_kj - I0_kj| / max_kj |I0_kj|.

All segments of word and bit lines have the same resistance; drivers and sense ends have none. All resistances and
schemes share the same weights and voltages.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from hvae_mnn.bars import Progress
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import SCHEMES, Cells, Hardware, Scheme, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.mapping import GateArray, RowGroup, to_conductance
from hvae_mnn.crossbar.transfer import tile_transfer
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.presets import find_device
from hvae_mnn.errors import InputError
from hvae_mnn.files import write_sealed
from hvae_mnn.netlist.arrays import array_lines, header
from hvae_mnn.netlist.decks import sensed
from hvae_mnn.netlist.tile_deck import tile_deck, tile_labels
from hvae_mnn.results import Result
from hvae_mnn.spice.batch import deck_folder, read_point, run_text
from hvae_mnn.studies.ir_drop.settings import SCHEME_OHM, SPICE_ALL, IrDropSettings
from hvae_mnn.tables import write_rows

Array = NDArray[np.float64]

TABLE, SUMMARY = "ir_drop.parquet", "ir_drop.json"
EXACT, NGSPICE = "exact", "ngspice"
AGREEMENT = 1e-9
"""Tolerance between ngspice and the exact solution, relative to full scale."""
_CUT = 3.0
"""Standard deviations at which weights are cut."""
_CELLS_AT_ONCE = 2**16
SCHEMA = pa.schema(
    [
        ("scheme", pa.string()),
        ("size", pa.int32()),  # rows and columns of weights
        ("ohm", pa.float64()),  # a segment of a line
        ("source", pa.string()),  # exact | ngspice
        ("tile", pa.int32()),  # number of the random tile
        ("rms_error", pa.float64()),
        ("max_error", pa.float64()),
        ("full_scale_a", pa.float64()),  # largest current without wires
        ("deviation", pa.float64()),  # ngspice: largest difference from exact / full scale
    ]
)


@dataclass(frozen=True)
class ErrorNorms:
    """RMS and largest error of currents with wires, as the module defines them."""

    rms: float
    max: float
    full_scale: float
    """Largest ideal current, amperes."""

    @classmethod
    def of(cls, wired: Array, ideal: Array) -> ErrorNorms:
        """Errors of the currents `wired` (K, C) against `ideal` (K, C), amperes. Raises `InputError` if all ideal
        currents are 0."""
        scale, total = float(np.abs(ideal).max()), float((ideal**2).sum())
        if not total:
            raise InputError("every current without wires is 0, so errors have no scale; choose another --seed")
        difference = wired - ideal
        return cls(float(np.sqrt((difference**2).sum() / total)), float(np.abs(difference).max()) / scale, scale)


@dataclass(frozen=True)
class RandomTile:
    """Weights and reads of a random tile, without wires and scheme."""

    weights: Array
    """Weights (n, n) in standard deviations, within +- 3."""
    volts: Array
    """Voltages (K, n) of the rows."""

    @classmethod
    def draw(cls, settings: IrDropSettings, size: int, number: int, read_v: float) -> RandomTile:
        """Tile `number` of a size; it does not depend on the other settings of the sweep."""
        generator = np.random.default_rng([settings.seed, size, number])
        weights = np.clip(generator.standard_normal((size, size)), -_CUT, _CUT)
        return cls(weights, generator.uniform(-read_v, read_v, (settings.reads, size)))

    def array(self, hardware: Hardware) -> GateArray:
        """The tile mapped to hardware."""
        conductance, scale = to_conductance(self.weights, hardware.device, hardware.cells, _CUT)
        return GateArray("tile", "t", (RowGroup("x", len(self.weights)),), conductance, hardware, scale)


def tile_hardware(device: MemristorSpec, scheme: Scheme, ohm: float) -> Hardware:
    """Hardware of untiled arrays with a scheme, segments of `ohm`, and ideal drivers and sense ends."""
    return replace(
        read_hardware("paper"),
        device=device,
        cells=Cells(scheme=scheme),
        wires=Wires(word_ohm=ohm, bit_ohm=ohm),
        tiling=Tiling(),
    )


def exact_currents(arrays: Sequence[GateArray], volts: Array) -> Array:
    """Signed column currents (S, K, C) of S arrays of one shape and hardware, for `volts` (S, K, R), amperes."""
    layout = arrays[0].layout
    (tile,) = layout.tiles
    cells = torch.from_numpy(np.stack([layout.cells(tile, array.conductance) for array in arrays]))
    matrix = layout.signed(layout.drive(tile_transfer(cells, layout.hardware.wires).numpy()))
    currents: Array = volts @ matrix
    return currents


def ideal_currents(array: GateArray, volts: Array) -> Array:
    """Signed column currents (K, C) without wires, for `volts` (K, R), amperes."""
    currents: Array = volts @ array.layout.without_wires(array.conductance)
    return currents


def ngspice_currents(array: GateArray, volts: Array) -> Array:
    """Signed column currents (K, C) by ngspice from the array's netlist, for `volts` (K, R), amperes.

    Raises `SimulatorError` or `EnvironmentProblem` of ngspice.
    """
    layout = array.layout
    (tile,) = layout.tiles
    names = [f"read{number}" for number in range(len(volts))]
    elements = header(array) + "".join(array_lines(array))
    text = tile_deck(elements, array.name, array.unit, array.word_lines, layout, tile, volts, names)
    vectors = [sensed(layout, array.unit, label).lower() for label in tile_labels(layout, tile)]
    text = text.replace(".raw all", f".raw {' '.join(vectors)}")
    with deck_folder("ir-drop") as folder:
        reads = [read_point(path) for path in run_text(text, folder, "tile", names)]
    return layout.signed(np.array([[read[vector] for vector in vectors] for read in reads]))


@dataclass(frozen=True, repr=False)
class IrDropResult(Result):
    """A finished study. Table: `ir_drop`, a row per tile, scheme, resistance and source."""

    folder: Path
    """Folder of table, summary and figures."""
    settings: IrDropSettings
    rows: tuple[dict[str, Any], ...]
    """Rows of the table, with values by column."""
    summary: dict[str, Any]
    """Content of `ir_drop.json`."""

    def facts(self) -> Mapping[str, object]:
        """Device, scheme, largest mean error, and largest difference of ngspice and the exact solution."""
        return {
            "folder": self.folder,
            "device": self.summary["device"]["name"],
            "scheme": self.settings.scheme,
            "largest_rms_error": max(means(self.rows, self.settings.scheme).values()),
            "ngspice_deviation": self.summary["ngspice_largest_deviation"],
        }


def ir_drop(settings: IrDropSettings, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Rows of the table: first the sweep, then the comparison of schemes, then ngspice.

    Raises `DeviceError` for an unknown device, `EnvironmentProblem` without ngspice, `SimulatorError` if it fails.
    """
    device = find_device(settings.device)
    points = [(settings.scheme, size, ohm) for size in settings.sizes for ohm in settings.ohms]
    points += [
        (scheme, size, SCHEME_OHM)
        for scheme in SCHEMES
        for size in settings.sizes
        if (scheme, size, SCHEME_OHM) not in points
    ]
    one = SCHEME_OHM if SCHEME_OHM in settings.ohms else settings.ohms[0]
    checked = [(size, ohm) for size in settings.compared for ohm in settings.ohms if size <= SPICE_ALL or ohm == one]
    total, done = len(points) * settings.tiles + len(checked), 0
    rows: list[dict[str, Any]] = []

    def tick(what: str, count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(what, done, total)

    exact: dict[tuple[int, float], Array] = {}
    for scheme, size, ohm in points:
        hardware = tile_hardware(device, scheme, ohm)
        for numbers in _blocks(settings.tiles, size):
            tiles = [RandomTile.draw(settings, size, number, device.read_v) for number in numbers]
            arrays = [tile.array(hardware) for tile in tiles]
            currents = exact_currents(arrays, np.stack([tile.volts for tile in tiles]))
            for number, tile, array, wired in zip(numbers, tiles, arrays, currents, strict=True):
                error = ErrorNorms.of(wired, ideal_currents(array, tile.volts))
                rows.append(_row(scheme, size, ohm, EXACT, number, error))
                if number == 0 and scheme == settings.scheme:
                    exact[size, ohm] = wired
            tick("solving tiles", len(numbers))
    for size, ohm in checked:
        tile = RandomTile.draw(settings, size, 0, device.read_v)
        array = tile.array(tile_hardware(device, settings.scheme, ohm))
        spice = ngspice_currents(array, tile.volts)
        error = ErrorNorms.of(spice, ideal_currents(array, tile.volts))
        deviation = float(np.abs(spice - exact[size, ohm]).max()) / error.full_scale
        rows.append(_row(settings.scheme, size, ohm, NGSPICE, 0, error) | {"deviation": deviation})
        tick(f"ngspice, {size} x {size}", 1)
    return rows


def _blocks(count: int, size: int) -> Iterator[range]:
    """Numbers of the tiles that are solved together."""
    step = max(1, _CELLS_AT_ONCE // size**2)
    for start in range(0, count, step):
        yield range(start, min(start + step, count))


def _row(scheme: Scheme, size: int, ohm: float, source: str, tile: int, error: ErrorNorms) -> dict[str, Any]:
    return {
        "scheme": scheme,
        "size": size,
        "ohm": ohm,
        "source": source,
        "tile": tile,
        "rms_error": error.rms,
        "max_error": error.max,
        "full_scale_a": error.full_scale,
        "deviation": None,
    }


def means(rows: Sequence[dict[str, Any]], scheme: str, column: str = "rms_error") -> dict[tuple[int, float], float]:
    """Mean of a column over the exactly solved tiles of a scheme, by (size, ohm)."""
    gathered: dict[tuple[int, float], list[float]] = {}
    for row in rows:
        if row["scheme"] == scheme and row["source"] == EXACT:
            gathered.setdefault((row["size"], row["ohm"]), []).append(row[column])
    return {point: float(np.mean(values)) for point, values in gathered.items()}


def largest_deviation(rows: Sequence[dict[str, Any]]) -> float | None:
    """Largest difference of ngspice and the exact solution, relative to full scale; None without ngspice."""
    return max((row["deviation"] for row in rows if row["deviation"] is not None), default=None)


def write_study(
    folder: Path, settings: IrDropSettings, rows: Sequence[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    """Write table and summary into `folder`; returns the summary. Raises `StorageError`."""
    device = find_device(settings.device)
    write_rows(folder / TABLE, rows, SCHEMA)
    errors = {
        scheme: [
            {"size": size, "ohm": ohm, "rms_error": rms, "max_error": largest}
            for ((size, ohm), rms), largest in zip(
                means(rows, scheme).items(), means(rows, scheme, "max_error").values(), strict=True
            )
        ]
        for scheme in SCHEMES
    }
    summary = {
        "settings": asdict(settings) | {"spice_sizes": settings.compared},
        "device": {"name": device.name, "g_min_s": device.g_min, "g_max_s": device.g_max, "read_v": device.read_v},
        "rms_error": "sqrt(sum (I - I0)^2 / sum I0^2) over reads and columns",
        "max_error": "max |I - I0| / max |I0| over reads and columns",
        "errors_mean_over_tiles": errors,
        "ngspice_points": sum(row["source"] == NGSPICE for row in rows),
        "ngspice_largest_deviation": largest_deviation(rows),
        "seconds": round(seconds, 1),
    }
    write_sealed(folder / SUMMARY, summary)
    return summary


def run_study(settings: IrDropSettings, folder: Path, progress: Progress | None = None) -> IrDropResult:
    """`ir_drop`, with table and summary written into `folder`. `progress` is called with what is being solved, tiles
    done, and tiles in all."""
    start = time.perf_counter()
    rows = ir_drop(settings, progress)
    summary = write_study(folder, settings, rows, time.perf_counter() - start)
    return IrDropResult(folder, settings, tuple(rows), summary)
