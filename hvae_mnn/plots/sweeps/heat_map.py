"""Heat map over two settings: a metric's mean over seeds, with its numbers in the cells."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from hvae_mnn.plots.files import new_figure
from hvae_mnn.plots.sweeps.axis import AxisPositions, plain_number
from hvae_mnn.plots.sweeps.names import axis_name, metric_name, value_text
from hvae_mnn.plots.sweeps.panels import caption, levels, panel_rows, title
from hvae_mnn.sweeps.curves import GridCurves, Value, band

_COLORS = "cividis"
_MIDDLE = 0.45
"""Relative luminance above which black text is more readable than white."""


def heat_map_figure(curves: GridCurves, metrics: Sequence[str]) -> Figure:
    """One map per metric over the axis and the first other numeric setting, with a row of maps for every combination of
    the remaining settings. Brighter is better; cells without a run are empty."""
    rows, (second,) = panel_rows(curves)
    across, up = (AxisPositions(curves.values_of(path), axis_name(curves, path)) for path in (curves.axis, second))
    columns, lines = len(across.values), len(up.values)
    figure = new_figure(
        (1.9 + max(0.62 * columns, 2.6)) * len(metrics), 1.0 + (0.9 + max(0.42 * lines, 1.8)) * len(rows)
    )
    panels = figure.subplots(len(rows), len(metrics), squeeze=False)
    for column, metric in enumerate(metrics):
        maps = [_means(curves, metric, row, second) for row in rows]
        for number, (row, values) in enumerate(zip(rows, maps, strict=True)):
            axes = panels[number][column]
            _map(axes, curves, metric, row, values, np.array(maps))
            axes.set_xticks(range(columns), [across.text(value) for value in across.in_order])
            axes.set_yticks(range(lines), [up.text(value) for value in up.in_order])
            axes.set_xlabel(axis_name(curves, curves.axis).label)
            axes.set_ylabel(textwrap.fill(axis_name(curves, second).label, 26))
            words = [
                ", ".join(value_text(curves, path, value) for path, value in row.items()),
                _beside(curves, metric, row, maps),
            ]
            axes.set_title("\n".join(line for line in words if line), fontsize="small", color="0.25")
    figure.suptitle(title(curves, metrics), fontsize="large")
    told = textwrap.fill(caption(curves, metrics, None), int(11 * figure.get_figwidth()))
    figure.supxlabel(told, fontsize="small", color="0.25")
    return figure


def _means(curves: GridCurves, metric: str, row: Mapping[str, Value], second: str) -> NDArray[np.float64]:
    """Means over seeds, shape (second, axis); NaN without a run."""
    paths = (curves.axis, second)
    across, up = (AxisPositions(curves.values_of(path), axis_name(curves, path)).in_order for path in paths)
    means = np.full((len(up), len(across)), np.nan)
    for curve in curves.curves:
        if all(curve.group[path] == value for path, value in row.items()):
            own = band(curve, metric)
            for point, mean in zip(own.points, own.mean, strict=True):
                assert point.x is not None
                means[up.index(curve.group[second]), across.index(point.x)] = mean
    return means * metric_name(metric, curves.relative).factor


def _map(
    axes: Axes,
    curves: GridCurves,
    metric: str,
    row: Mapping[str, Value],
    values: NDArray[np.float64],
    every: NDArray[np.float64],
) -> None:
    name = metric_name(metric, curves.relative)
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    log = name.better == "lower" and low > 0 and high / low > 10
    norm = LogNorm(low, high) if log else Normalize(low, high if high > low else low + 1e-9)
    colors = _COLORS + ("_r" if name.better == "lower" else "")
    axes.set_facecolor("0.93")
    image = axes.imshow(values, cmap=colors, norm=norm, origin="lower", aspect="auto", interpolation="nearest")
    image.set_rasterized(True)
    axes.set_xticks(np.arange(-0.5, values.shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, values.shape[0]), minor=True)
    axes.grid(which="minor", color="white", lw=1.2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    for (up, across), value in np.ndenumerate(values):
        shown = np.isfinite(value)
        red, green, blue = image.cmap(norm(value))[:3] if shown else (0.93,) * 3
        dark = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2 < _MIDDLE**2.2
        text = _cell(value, high) if shown else "–"
        axes.text(across, up, text, ha="center", va="center", size="small", color="white" if dark else "black")
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02)
    if log:
        bar.ax.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
        bar.ax.yaxis.set_major_formatter(plain_number)
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.outline.set_visible(False)
    bar.set_label(name.with_unit, fontsize="small")


def _beside(curves: GridCurves, metric: str, row: Mapping[str, Value], maps: Sequence[NDArray[np.float64]]) -> str:
    """Text of a map's baselines, with the decimals of its numbers."""
    high = float(np.nanmax(maps))
    return "; ".join(f"{text} {_cell(height, high)}" for height, text, _ in levels(curves, metric, row, several=False))


def _cell(value: float, largest: float) -> str:
    """Text of a map's number; all numbers have the same decimals."""
    if largest >= 1e6:
        return f"{value:.1e}"
    return f"{value:.0f}" if largest >= 1000 else f"{value:.1f}" if largest >= 10 else f"{value:.3f}"
