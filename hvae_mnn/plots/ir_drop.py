"""Figures of wire errors: error over tile size and wire resistance, and a comparison of the three schemes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.spec import SCHEMES
from hvae_mnn.files import read_sealed
from hvae_mnn.plots.files import COLORS, literal, new_figure, of_run, save_figure
from hvae_mnn.studies.ir_drop.run import AGREEMENT, EXACT, NGSPICE, SCHEMA, SUMMARY, TABLE
from hvae_mnn.studies.ir_drop.settings import SCHEME_OHM
from hvae_mnn.tables import read_columns

Table = dict[str, NDArray[Any]]

ERRORS = {"rms_error": "rms error\n/ rms of ideal currents", "max_error": "largest error\n/ largest ideal current"}
_FORMULAS = (
    "rms: $\\sqrt{\\Sigma\\,(I-I_0)^2\\,/\\,\\Sigma\\,I_0^2}$;"
    "  largest: $\\max|I-I_0|\\,/\\,\\max|I_0|$;"
    "  $I$, $I_0$: signed column currents with and without wires, over the columns and reads of a tile"
)
_NAMES = {
    "fixed_resistor_per_cell": "fixed resistor per cell (paper eq. 12)",
    "reference_column": "reference column",
    "differential_pair": "differential pair",
}
_FLOOR = 1e-17
"""Value at which a deviation of exactly zero is drawn, since the axis is logarithmic."""
_PERCENT = ((1e-4, "0.01 %"), (1e-3, "0.1 %"), (1e-2, "1 %"), (1e-1, "10 %"), (1.0, "100 %"))


def _what(folder: Path) -> str:
    summary = read_sealed(folder / SUMMARY, "summary")
    device, settings = summary["device"], summary["settings"]
    return (
        f"{literal(device['name'])}, {device['g_min_s'] * 1e6:g} to {device['g_max_s'] * 1e6:g} µS, normal weights cut"
        f" at 3 σ, {settings['reads']} random reads of {settings['tiles']} random tiles"
    )


def _curve(
    axes: Axes, table: Table, rows: NDArray[Any], across: str, column: str, label: str, color: Any, marker: str = "o"
) -> None:
    """Mean over the tiles, and a band from the smallest to the largest value."""
    x = np.unique(table[across][rows])
    gathered = [table[column][rows & (table[across] == value)] for value in x]
    means = np.array([values.mean() for values in gathered])
    shown = means > 0  # ideal wires have no position on a logarithmic axis
    if not shown.any():
        return
    low, high = (np.array([end(values) for values in gathered])[shown] for end in (np.min, np.max))
    axes.fill_between(x[shown], low, high, color=color, alpha=0.22, lw=0)
    axes.plot(x[shown], means[shown], marker=marker, ms=3, lw=1.4, color=color, label=label)


def _number_axis(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis with a tick at every value."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(values)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{value:g}" for value in values])


def _percent_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    low, high = max(low, 1e-8), max(high, 1e-7)
    axes.set_ylim(low, high)
    inside = [(value, text) for value, text in _PERCENT if low <= value <= high]
    if len(inside) > 1:
        axes.yaxis.set_major_locator(FixedLocator([value for value, _ in inside]))
        axes.set_yticklabels([text for _, text in inside])
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)


def _shades(count: int) -> list[Any]:
    """Colours for an ordered quantity."""
    return [colormaps["viridis"](part) for part in np.linspace(0.0, 0.88, max(count, 1))]


@of_run
def error_figure(folder: Path) -> Figure:
    """Error against tile size with a curve per resistance, and against resistance with a curve per size. Points on the
    curves are ngspice's answers; the lower panels show their deviation from the exact solution of the same tile."""
    table = read_columns(folder / TABLE, SCHEMA, unlimited=("deviation",))
    summary = read_sealed(folder / SUMMARY, "summary")
    scheme = summary["settings"]["scheme"]
    own = table["scheme"] == scheme
    sizes, ohms = summary["settings"]["sizes"], summary["settings"]["ohms"]
    drawn_ohms, drawn_sizes = sorted(ohm for ohm in ohms if ohm > 0), sorted(sizes)
    own &= np.isin(table["ohm"], ohms)
    spice = own & (table["source"] == NGSPICE)
    figure = new_figure(12.0, 9.4 if spice.any() else 7.6)
    panels = figure.subplots(2 + bool(spice.any()), 2, sharex="col", height_ratios=[3, 3, 1.5][: 2 + bool(spice.any())])

    def column(
        number: int, across: str, by: str, values: Sequence[float], ticks: Sequence[float], name: Callable[[float], str]
    ) -> None:
        title = "segment" if by == "ohm" else "tile"
        for (kind, label), axes in zip(ERRORS.items(), panels[:2, number], strict=True):
            for value, color in zip(values, _shades(len(values)), strict=True):
                rows = own & (table[by] == value) & (table["source"] == EXACT)
                _curve(axes, table, rows, across, kind, name(value), color)
                points = spice & (table[by] == value) & (table[kind] > 0)
                axes.plot(table[across][points], table[kind][points], "s", ms=6, mfc="none", mec=color, mew=1.2)
            axes.set_ylabel(label)
            _number_axis(axes, ticks)
            _percent_axis(axes)
        handles, labels = panels[0, number].get_legend_handles_labels()
        if spice.any():
            (square,) = panels[0, number].plot([], [], "s", ms=6, mfc="none", mec="0.3", mew=1.2)
            handles, labels = [square, *handles[::-1]], ["ngspice, tile 0", *labels[::-1]]
        else:
            handles, labels = handles[::-1], labels[::-1]
        panels[0, number].legend(
            handles, labels, title=title, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize="small"
        )
        if spice.any():
            for value, color in zip(values, _shades(len(values)), strict=True):
                points = spice & (table[by] == value)
                deviation = np.maximum(table["deviation"][points].astype(float), _FLOOR)
                panels[2, number].plot(table[across][points], deviation, "s", ms=5, mfc="none", mec=color, mew=1.2)
            _deviation_axis(panels[2, number])

    column(0, "size", "ohm", drawn_ohms, drawn_sizes, lambda ohm: f"{ohm:g} Ω")
    column(1, "ohm", "size", drawn_sizes, drawn_ohms, lambda size: f"{size:g} × {size:g}")
    panels[-1, 0].set_xlabel("rows and columns of the tile")
    panels[-1, 1].set_xlabel("resistance of a wire segment, Ω")
    panels[0, 0].set_title("error against tile size")
    panels[0, 1].set_title("error against wire resistance")
    figure.suptitle(f"Errors of wire resistance: {_NAMES[scheme]}; {_what(folder)}", fontsize="medium")
    figure.supxlabel(
        f"{_FORMULAS}\nlines: mean over tiles; bands: least to largest tile", fontsize="small", linespacing=1.6
    )
    return figure


def _deviation_axis(axes: Axes) -> None:
    """Logarithmic axis of ngspice's deviations, with the largest that is allowed."""
    axes.axhline(AGREEMENT, color="0.4", lw=1, ls="--")
    axes.annotate("allowed", (0.995, AGREEMENT), xycoords=("axes fraction", "data"), ha="right", va="top", size="small")
    axes.set_yscale("log")
    axes.set_ylim(_FLOOR / 2, AGREEMENT * 10)
    axes.set_ylabel("|ngspice − exact|\n/ largest ideal current")
    axes.grid(alpha=0.3)


@of_run
def scheme_figure(folder: Path) -> Figure:
    """The schemes' errors against tile size, on the same weights, voltages and wires."""
    table = read_columns(folder / TABLE, SCHEMA, unlimited=("deviation",))
    figure = new_figure(11.0, 5.0)
    panels = figure.subplots(1, 2)
    for axes, (kind, label) in zip(panels, ERRORS.items(), strict=True):
        for number, scheme in enumerate(SCHEMES):
            rows = (table["scheme"] == scheme) & (table["source"] == EXACT) & (table["ohm"] == SCHEME_OHM)
            _curve(axes, table, rows, "size", kind, _NAMES[scheme], COLORS[number], "os^"[number])
        _number_axis(axes, np.unique(table["size"]).tolist())
        _percent_axis(axes)
        axes.set_xlabel("rows and columns of the tile")
        axes.set_ylabel(label)
    panels[0].legend(loc="upper left", frameon=False, fontsize="small")
    figure.suptitle(f"Three schemes with segments of {SCHEME_OHM:g} Ω; {_what(folder)}", fontsize="medium")
    figure.supxlabel(
        f"{_FORMULAS}\nlines: mean over tiles; bands: least to largest tile", fontsize="small", linespacing=1.6
    )
    return figure


def save_ir_drop_figures(folder: Path) -> list[Path]:
    """Write `ir_drop` and `ir_drop_schemes` as PNG and SVG into the table's folder."""
    return [
        *save_figure(error_figure(folder), folder, "ir_drop"),
        *save_figure(scheme_figure(folder), folder, "ir_drop_schemes"),
    ]
