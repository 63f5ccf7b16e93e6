"""Figures of programming, from its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hvae_mnn.files import read_sealed
from hvae_mnn.plots.files import COLORS, literal, new_figure, of_run, save_figure
from hvae_mnn.reading import is_missing
from hvae_mnn.studies.programming.records import DEVICES, ROUNDS, SCHEMAS, SUMMARY, WIRED
from hvae_mnn.tables import read_columns

_DARK, _BLUE, _ORANGE, _GREY = "#222222", *COLORS[:2], "0.75"
_SMALLEST = 1e-6
"""Smaller relative errors are drawn at this value, since the axis is logarithmic."""
_POINTS = 20_000
"""Largest number of devices drawn individually; of more devices, an even selection."""
_LABELLED = 6
"""Largest number of arrays with a labelled line of their own."""


def _summary(folder: Path) -> dict[str, Any]:
    return read_sealed(folder / SUMMARY, "summary")


def _columns(folder: Path, name: str, *columns: str) -> dict[str, NDArray[Any]]:
    return read_columns(folder / name, SCHEMAS[name], *columns)


def _what(summary: dict[str, Any]) -> str:
    settings = summary["settings"]
    how = "open loop" if settings["open_loop"] else "write-verify"
    return literal(f"{summary['device']}, {how} at {settings['amplitude_v']:g} V, {summary['scheme']}")


def _percent(summary: dict[str, Any]) -> str:
    return f"{summary['settings']['tolerance'] * 100:.3g} %"


@of_run
def pulses_figure(folder: Path) -> Figure:
    """Fraction of the devices within the tolerance against the number of pulses per device."""
    summary, table = _summary(folder), _columns(folder, ROUNDS)
    figure = new_figure(7, 4.6)
    axes = figure.subplots()
    arrays = summary["arrays"]
    rounds = max(int(table["round"].max()), 1)
    shares = np.zeros(rounds + 1)
    for number, (name, array) in enumerate(arrays.items()):
        own = (table["array"] == name) & ~table["wired"]
        # An array that finished earlier keeps its last value.
        within = np.append(table["within"][own], np.full(rounds + 1 - own.sum(), table["within"][own][-1]))
        shares += within * array["devices"] / summary["network"]["devices"]
        if len(arrays) > 1:
            style: dict[str, Any] = {"color": f"C{number}", "label": literal(name)}
            style = style if len(arrays) <= _LABELLED else {"color": _GREY}
            axes.plot(within * 100, lw=1, **style)
    name = "all arrays" if len(arrays) > 1 else next(iter(arrays))
    label = f"time map: {literal(name)}, {summary['network']['devices']:,} devices"
    axes.plot(shares * 100, "o-", color=_DARK, lw=2, ms=5, label=label, clip_on=False)
    if table["wired"].any():
        wired = summary["wired"]
        text = f"ngspice: {wired['rows']} x {wired['columns']}, wires of {wired['wire_ohm']:g} Ω per cell"
        axes.plot(table["within"][table["wired"]] * 100, "s--", color=_ORANGE, lw=1.5, ms=5, label=text, clip_on=False)
    axes.set_xlim(0, rounds)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(-2, 103)
    axes.set_xlabel("pulses per device, at most")
    axes.set_ylabel(f"devices within ±{_percent(summary)} of their target, %")
    axes.set_title(f"Pulses to tolerance: {_what(summary)}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    return figure


@of_run
def error_figure(folder: Path) -> Figure:
    """Histograms of the relative error of conductance: after one pulse, and at the end."""
    summary = _summary(folder)
    tolerance = summary["settings"]["tolerance"]
    panels: list[tuple[str, NDArray[Any], NDArray[Any]]] = []
    table = _columns(folder, DEVICES, "target_s", "first_s", "conductance_s")
    panels.append(
        (f"time map, {len(table['target_s']):,} devices with assumed spread", *_errors(table, "conductance_s"))
    )
    if not is_missing(folder / WIRED):
        wired = _columns(folder, WIRED, "target_s", "first_s", "read_s")
        text = f"ngspice, {len(wired['target_s'])} devices without spread, with wires, as read"
        panels.append((text, *_errors(wired, "read_s")))
    figure = new_figure(6.2 * len(panels) + 0.8, 4.4)
    largest = max(float(errors.max()) for _, *both in panels for errors in both)
    bins = np.geomspace(_SMALLEST, max(largest, 10 * tolerance) * 1.05, 70)
    for axes, (title, first, final) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        axes.hist(first, bins, color=_ORANGE, alpha=0.55, label="before: after one pulse")
        axes.hist(final, bins, histtype="step", color=_BLUE, lw=1.8, label="after: at the end")
        axes.axvline(tolerance, color=_DARK, ls="--", lw=1.2, label=f"tolerance {_percent(summary)}")
        axes.set_xscale("log")
        axes.set_xlabel("relative error |G / target − 1|")
        axes.set_ylabel("devices")
        axes.set_title(title, fontsize="medium")
        axes.legend(loc="upper left", fontsize="small")
    figure.suptitle(f"Error of conductance before and after: {_what(summary)}")
    return figure


def _errors(table: dict[str, NDArray[Any]], final: str) -> tuple[NDArray[Any], NDArray[Any]]:
    first, last = (np.abs(table[name] / table["target_s"] - 1) for name in ("first_s", final))
    return np.maximum(first, _SMALLEST), np.maximum(last, _SMALLEST)


@of_run
def target_figure(folder: Path) -> Figure:
    """Achieved against target conductance; devices outside the tolerance are highlighted."""
    summary = _summary(folder)
    table = _columns(folder, DEVICES, "target_s", "conductance_s", "within")
    figure = new_figure(7, 5.8)
    axes = figure.subplots()
    target, final = table["target_s"] * 1e6, table["conductance_s"] * 1e6
    ends = [target.min(), target.max()]
    axes.plot(ends, ends, color=_GREY, lw=1, zorder=0)
    for within, color, marker, label in ((True, _BLUE, "o", "within"), (False, _ORANGE, "x", "not within")):
        chosen = np.flatnonzero(table["within"] == within)
        shown = chosen[:: max(1, -(-len(chosen) // _POINTS))]
        text = f"{label} tolerance: {len(chosen):,} devices"
        axes.scatter(target[shown], final[shown], s=14, marker=marker, lw=0.8, color=color, label=text, rasterized=True)
    if not is_missing(folder / WIRED):
        wired = _columns(folder, WIRED, "target_s", "read_s")
        text = f"ngspice, wired, as read: {len(wired['read_s'])} devices"
        style: dict[str, Any] = {"marker": "s", "facecolors": "none", "edgecolors": _DARK, "lw": 0.7}
        axes.scatter(wired["target_s"] * 1e6, wired["read_s"] * 1e6, s=22, label=text, **style)
    axes.set_xlabel("target conductance, µS")
    axes.set_ylabel("conductance at the end, µS")
    axes.set_title(f"Target and achieved: {_what(summary)}", fontsize="medium")
    figure.legend(loc="outside lower center", fontsize="small", ncols=3, handletextpad=0.2, columnspacing=1)
    return figure


@of_run
def disturbed_figure(folder: Path) -> Figure:
    """Heat map of the array with the most disturbed cells: total motion of each cell by pulses on other cells."""
    summary = _summary(folder)
    name = max(summary["arrays"], key=lambda array: summary["arrays"][array]["disturbed"])
    array = summary["arrays"][name]
    table = _columns(folder, DEVICES, "array", "row", "column", "disturbed_dx")
    own = table["array"] == name
    if array["rows"] * array["columns"] != own.sum():
        raise ValueError(f"{array['rows']} x {array['columns']} devices of {name}, {own.sum()} in the table")
    moved = np.zeros((array["rows"], array["columns"]))
    moved[table["row"][own], table["column"][own]] = table["disturbed_dx"][own]
    figure = new_figure(6.4, 5.4)
    axes = figure.subplots()
    text = (
        f"half-selected cells see {array['half_selected_v'] * 1e3:.3g} mV"
        if array["half_selected_v"]
        else "none half-selected"
    )
    axes.set_title(
        f"Disturbed cells of {literal(name)}: {array['disturbed']:,} of {array['devices']:,}\n{_what(summary)}; {text}",
        fontsize="medium",
    )
    _heat_map(figure, axes, moved)
    axes.set_xlabel("bit line (column)")
    axes.set_ylabel("word line (row)")
    return figure


def _heat_map(figure: Figure, axes: Axes, moved: NDArray[Any]) -> None:
    style: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest", "origin": "upper"}
    axes.imshow(np.zeros_like(moved), cmap="Greys", vmin=0, vmax=10, **style)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    if not moved.any():
        axes.text(0.5, 0.5, "no cell was disturbed", ha="center", va="center", transform=axes.transAxes, size="large")
        return
    largest = float(moved.max())
    norm = LogNorm(max(float(moved[moved > 0].min()), largest * 1e-4) * 0.99, largest * 1.01)
    image = axes.imshow(np.ma.masked_equal(moved, 0), cmap="viridis", norm=norm, **style)
    figure.colorbar(image, ax=axes, label="sum of |Δx| by others' pulses (white: none)")


def save_programming_figures(folder: Path) -> list[Path]:
    """Write `pulses_to_tolerance`, `error_before_after`, `target_achieved` and `disturbed_cells` as PNG and SVG."""
    return [
        *save_figure(pulses_figure(folder), folder, "pulses_to_tolerance"),
        *save_figure(error_figure(folder), folder, "error_before_after"),
        *save_figure(target_figure(folder), folder, "target_achieved"),
        *save_figure(disturbed_figure(folder), folder, "disturbed_cells"),
    ]
