"""Figures of a verification: differences of exact engine and ngspice, and potentials of a tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hvae_mnn.plots.files import COLORS, literal, new_figure, of_run, save_figure
from hvae_mnn.studies.verify import COLUMNS, POTENTIALS, SCHEMAS, TILES
from hvae_mnn.tables import read_columns

_FLOOR = 1e-18
"""Value at which a difference of exactly zero is drawn, since the axis is logarithmic."""


def _columns(folder: Path, name: str) -> dict[str, NDArray[Any]]:
    return read_columns(folder / name, SCHEMAS[name], unlimited=("nodal_ngspice", "exact_nodal", "inverted"))


@of_run
def deviation_figure(folder: Path, tolerance: float) -> Figure:
    """Largest difference by tile (exact against ngspice, nodal against ngspice), and by column of every tile."""
    tiles, columns = _columns(folder, TILES), _columns(folder, COLUMNS)
    names = [literal(f"{array} {tile}") for array, tile in zip(tiles["array"], tiles["tile"], strict=True)]
    figure = new_figure(11, 3.2 + 0.12 * min(len(names), 40))
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    y = np.arange(len(names))
    for column, label, color, marker in (
        ("exact_ngspice", "exact engine against ngspice", COLORS[0], "o"),
        ("nodal_ngspice", "nodal analysis against ngspice", COLORS[1], "x"),
    ):
        left.plot(np.maximum(tiles[column], _FLOOR), y, marker, ms=4, color=color, label=label)
    left.axvline(tolerance, color="0.4", ls="--", lw=1, label=f"tolerance {tolerance:g}")
    left.set_xscale("log")
    left.set_xlabel("largest difference / full scale of the tile")
    left.set_ylim(-1, len(names))
    _name_tiles(left, names)
    left.legend(
        frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, 1.0 + 0.9 / figure.get_figheight())
    )
    widest = int(columns["column"].max()) + 1
    if widest > len(columns["column"]):
        raise ValueError(f"column {widest - 1} of {len(columns['column'])}")
    map_ = np.full((len(names), widest), np.nan)
    row = {name: number for number, name in enumerate(names)}
    for array, tile, column, value in zip(
        *(columns[key] for key in ("array", "tile", "column", "deviation")), strict=True
    ):
        map_[row[literal(f"{array} {tile}")], int(column)] = np.log10(max(value, _FLOOR))
    image = right.imshow(map_, aspect="auto", origin="lower", interpolation="nearest", cmap="viridis")
    right.set_xlabel("column of the tile")
    _name_tiles(right, [str(number) for number in y])
    right.set_ylabel("tile, in the order of the left panel")
    figure.colorbar(image, ax=right, label="log10 of exact - ngspice, / full scale")
    return figure


def _name_tiles(axes: Axes, names: list[str]) -> None:
    """Label the vertical axis with as many names as fit."""
    step = max(1, len(names) // 40)
    axes.set_yticks(range(0, len(names), step), names[::step], fontsize=7)


@of_run
def potentials_figure(folder: Path, title: str) -> Figure:
    """ngspice's potentials at the crosspoints of one tile: voltage drop along word lines, and potential of bit
    lines."""
    table = _columns(folder, POTENTIALS)
    shape = int(table["row"].max()) + 1, int(table["column"].max()) + 1
    lines = [name for name in ("word", "inverted") if np.isfinite(table[name]).all()]
    figure = new_figure(5.2 * (len(lines) + 1), 4.6)
    panels = np.atleast_1d(figure.subplots(1, len(lines) + 1))
    for axes, name in zip(panels, lines, strict=False):
        driven = table["driven"] * (1 if name == "word" else -1)
        lost = np.divide(driven - table[name], driven, out=np.zeros_like(driven), where=driven != 0) * 100
        spread = float(np.nanpercentile(np.abs(lost), 99)) or 1.0
        what = "word lines" if name == "word" else "inverted word lines"
        _map(axes, lost.reshape(shape), f"{what}: lost on the way", "% of the driver's voltage", "magma_r", (0, spread))
    bit = table["bit"].reshape(shape) * 1e3
    reach = float(np.abs(bit).max()) or 1.0
    _map(panels[-1], bit, "bit lines: potential", "mV", "PuOr", (-reach, reach))
    figure.suptitle(title, fontsize="medium")
    return figure


def _map(
    axes: Axes, values: NDArray[np.float64], title: str, unit: str, colors: str, limits: tuple[float, float]
) -> None:
    image: Any = axes.imshow(
        values, cmap=colors, vmin=limits[0], vmax=limits[1], interpolation="nearest", aspect="auto"
    )
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("bit line (drivers at the left)")
    axes.set_ylabel("row (sense ends at the bottom)")
    axes.figure.colorbar(image, ax=axes, label=unit)


def save_verify_figures(folder: Path, tolerance: float, title: str) -> list[Path]:
    """Write `deviation` and `potentials` into the folder, as PNG and SVG."""
    return [
        *save_figure(deviation_figure(folder, tolerance), folder, "deviation"),
        *save_figure(potentials_figure(folder, title), folder, "potentials"),
    ]
