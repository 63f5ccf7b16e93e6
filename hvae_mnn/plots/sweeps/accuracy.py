"""Accuracy against non-idealities: a sweep's metrics along an axis, with bands over seeds and baselines."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from hvae_mnn.plots.files import COLORS, new_figure, save_figure
from hvae_mnn.plots.sweeps.axis import DECADE, AxisPositions, plain_number
from hvae_mnn.plots.sweeps.heat_map import heat_map_figure
from hvae_mnn.plots.sweeps.names import axis_name, metric_name, value_text
from hvae_mnn.plots.sweeps.panels import STYLES, Level, baseline_text, caption, fits, levels, models, panel_rows, title
from hvae_mnn.sweeps.bands import BandKind
from hvae_mnn.sweeps.curve_files import write_curves
from hvae_mnn.sweeps.curves import Curve, GridCurves, Value, band

Array = NDArray[np.float64]
DPI = 200
MOST_CURVES = 8
"""Largest number of curves per panel if numbers distinguish them; for more, only a heat map is drawn."""
_MARKERS = "osD^vPX*"
_LINES = ("-", "--", "-.", (0, (1, 1.2)))
_GREY = "0.35"
_TOGETHER = 0.06
"""Fraction of a panel's height within which baselines of several models share one label."""


def accuracy_figure(
    curves: GridCurves, metrics: Sequence[str], *, kind: BandKind = "expanded", seed: int = 0
) -> Figure:
    """One panel per metric: means over seeds along the axis with their bands, and baselines as labelled lines.

    If numbers and other settings distinguish curves, every combination of the other settings has a row of panels.
    """
    rows, told = panel_rows(curves)
    name = axis_name(curves, curves.axis)
    positions = AxisPositions(curves.values_of(curves.axis), name)
    titles = [", ".join(value_text(curves, path, value) for path, value in row.items()) for row in rows]
    figure = new_figure(0.7 + 5.0 * len(metrics), 1.7 + 2.8 * len(rows))
    panels = figure.subplots(len(rows), len(metrics), squeeze=False, sharex=True, sharey="col")
    styles = _styles(curves, told)
    for number, row in enumerate(rows):
        own = [curve for curve in curves.curves if fits(curve, row)]
        for axes, metric in zip(panels[number], metrics, strict=True):
            for curve in own:
                _draw(
                    axes,
                    curves,
                    curve,
                    metric,
                    positions,
                    styles[_key(curve, told)],
                    _label(curves, curve, told),
                    kind,
                    seed,
                )
            beside = [curve for curve in curves.baselines if fits(curve, row)]
            for curve in beside:
                if curve.points[0].x is not None:
                    _draw_baseline_curve(axes, curves, curve, metric, positions)
            axes.set_ylabel(metric_name(metric, curves.relative).with_unit)
            axes.grid(alpha=0.25, lw=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            if titles[number]:
                axes.set_title(titles[number], fontsize="medium")
            axes.margins(x=0.04)
    for column, metric in enumerate(metrics):
        for number, row in enumerate(rows):
            _scale(panels[number][column], curves, metric, row)
        for number, row in enumerate(rows):
            _lines(panels[number][column], curves, metric, row, several=len(models(curves)) > 1)
        positions.shape(panels[-1][column])
        panels[-1][column].set_xlabel(name.label)
    _legend(figure, panels[0][0], title(curves, metrics))
    _words(figure, curves, metrics, kind)
    return figure


def _key(curve: Curve, told: tuple[str, ...]) -> tuple[Value, ...]:
    return tuple(curve.group[path] for path in told)


def _label(curves: GridCurves, curve: Curve, told: tuple[str, ...]) -> str:
    return ", ".join(value_text(curves, path, curve.group[path]) for path in told)


def _styles(curves: GridCurves, told: tuple[str, ...]) -> dict[tuple[Value, ...], dict[str, Any]]:
    """Colour, marker and line style of every curve: ordered colours for numbers, distinct colours for words."""
    keys = list(dict.fromkeys(_key(curve, told) for curve in curves.curves))
    shades = [colormaps["viridis"](part) for part in np.linspace(0.0, 0.85, len(keys))]
    ordered = bool(curves.numeric_by)
    return {
        key: {
            "color": shades[index] if ordered else COLORS[index % len(COLORS)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "ls": "-" if ordered else _LINES[index % len(_LINES)],
        }
        for index, key in enumerate(keys)
    }


def _draw(
    axes: Axes,
    curves: GridCurves,
    curve: Curve,
    metric: str,
    positions: AxisPositions,
    style: dict[str, Any],
    label: str,
    kind: BandKind,
    seed: int,
) -> None:
    """The means as a line with a band; values beside the axis have a bar."""
    own = band(curve, metric, seed, kind)
    if not own.points:
        return
    factor = metric_name(metric, curves.relative).factor
    x = np.array([positions.of(point.x) for point in own.points])
    order = np.argsort(x, kind="stable")
    apart = np.array([positions.apart(point.x) or positions.words for point in own.points])[order]
    x, mean, low, high = x[order], *(factor * values[order] for values in (own.mean, own.low, own.high))
    on = ~apart
    if (on & np.isfinite(low)).any():
        axes.fill_between(x[on], low[on], high[on], color=style["color"], alpha=0.2, lw=0)
    if (apart & np.isfinite(low)).any():
        reach = np.abs(np.array([mean - low, high - mean])[:, apart])
        axes.errorbar(
            x[apart], mean[apart], reach, fmt="none", ecolor=style["color"], elinewidth=1.2, capsize=3, alpha=0.8
        )
    marks = {**style, "ms": 4.5, "lw": 1.5, "mec": "white", "mew": 0.5}
    if on.any():
        axes.plot(x[on], mean[on], **marks, label=label)
    if apart.any():
        axes.plot(x[apart], mean[apart], **{**marks, "ls": "none"}, label=label if not on.any() else f"_{label}")


def _draw_baseline_curve(axes: Axes, curves: GridCurves, curve: Curve, metric: str, positions: AxisPositions) -> None:
    """A baseline with values along the axis."""
    points = [point for point in curve.points if len(point.finite(metric))]
    if points:
        factor = metric_name(metric, curves.relative).factor
        where = sorted((positions.of(point.x), float(point.finite(metric).mean())) for point in points)
        x, y = np.array(where).T
        text = baseline_text(curve, len(models(curves)) > 1)
        axes.plot(x, factor * y, color=_GREY, ls=STYLES[curve.kind], lw=1.2, zorder=1.5, label=text)


def _scale(axes: Axes, curves: GridCurves, metric: str, row: Mapping[str, Value]) -> None:
    """Use a logarithmic axis for a perplexity that spans more than a decade; include the baselines."""
    heights = [height for height, _, _ in levels(curves, metric, row, several=False)]
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
    every = np.concatenate([np.array(heights), *drawn]) if heights or drawn else np.array([])
    every = every[np.isfinite(every)]
    lower = metric_name(metric, curves.relative).better == "lower"
    if len(every) and lower and every.min() > 0 and every.max() / every.min() > DECADE:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(
            LogLocator(10, subs=(1.0, 2.0, 5.0) if every.max() / every.min() < 300 else (1.0,))
        )
        axes.yaxis.set_major_formatter(plain_number)
    axes.update_datalim([(axes.dataLim.x0, height) for height in heights], updatex=False)
    axes.autoscale_view()


def _lines(axes: Axes, curves: GridCurves, metric: str, row: Mapping[str, Value], *, several: bool) -> None:
    """Draw baselines across the panel, with labels at its right edge that do not overlap."""
    baselines = sorted(levels(curves, metric, row, several), key=lambda level: level[0])
    if not baselines:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    log = axes.get_yscale() == "log"

    def part(height: float) -> float:
        if log:
            return float(np.log(height / low) / np.log(high / low))
        return (height - low) / (high - low)

    for height, _, line in baselines:
        axes.axhline(height, color=_GREY, ls=line, lw=1.1, zorder=1.4)
    baselines = _told_together(baselines, part) if several else baselines
    texts = [textwrap.fill(text, 22) for _, text, _ in baselines]
    panel = 2.6  # inches
    height_of = np.array([0.17 * (1 + text.count("\n")) / panel for text in texts])
    room = (height_of[1:] + height_of[:-1]) / 2
    at = np.array([part(height) for height, _, _ in baselines])
    for _ in range(100):
        near = np.flatnonzero(np.diff(at) < room - 1e-9)
        if not len(near):
            break
        for index in near:
            middle = (at[index] + at[index + 1]) / 2
            at[index], at[index + 1] = middle - room[index] / 2, middle + room[index] / 2
    for (height, _, _), text, label_y in zip(baselines, texts, at, strict=True):
        axes.annotate(
            text,
            (1.0, part(height)),
            (1.03, float(label_y)),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            ha="left",
            size="small",
            color=_GREY,
            arrowprops={"arrowstyle": "-", "color": _GREY, "lw": 0.6, "shrinkA": 0, "shrinkB": 0},
            annotation_clip=False,
        )


def _told_together(baselines: list[Level], part: Callable[[float], float]) -> list[Level]:
    """Merge the labels of baselines of several models that cannot be distinguished in the panel."""
    digital = [level for level in baselines if level[1].startswith("digital")]
    if len(digital) < 3 or part(digital[-1][0]) - part(digital[0][0]) > _TOGETHER:
        return baselines
    text = "digital, all models" + (
        ", with and without converters" if any(" bits" in level[1] for level in digital) else ""
    )
    middle = digital[len(digital) // 2]
    rest = [level for level in baselines if level not in digital]
    return sorted([*rest, (middle[0], text, middle[2])], key=lambda level: level[0])


def _legend(figure: Figure, axes: Axes, heading: str) -> None:
    """Draw the legend of the curves below the figure's heading."""
    handles, labels = axes.get_legend_handles_labels()
    entries = {label: handle for handle, label in zip(handles, labels, strict=True) if label}
    if not entries:
        figure.suptitle(heading, fontsize="large")
        return
    widest = 0.75 + 0.085 * max(map(len, entries))  # inches
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside upper center",
        ncols=int(np.clip(figure.get_figwidth() / widest, 1, min(len(entries), 4))),
        frameon=False,
        handlelength=3.2,
        title=heading,
        title_fontsize="large",
    )


def _words(figure: Figure, curves: GridCurves, metrics: Sequence[str], kind: BandKind) -> None:
    """Draw the caption below the figure."""
    figure.supxlabel(
        textwrap.fill(caption(curves, metrics, kind), int(11 * figure.get_figwidth())), fontsize="small", color="0.25"
    )


def file_name(curves: GridCurves, metrics: Sequence[str], chosen: bool) -> str:
    """File name of the figure. Chosen or relative metrics get a name of their own."""
    parts = ["accuracy", curves.name, *(metrics if chosen else ()), *(["relative"] if curves.relative else [])]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(parts))


def save_accuracy_figures(
    curves: GridCurves, metrics: Sequence[str], folder: Path, *, chosen: bool = False, kind: BandKind = "expanded"
) -> list[Path]:
    """Write a grid's figures (PNG, SVG) and the numbers behind them (Parquet, JSON) into `folder`.

    Curves are drawn if they can be distinguished, and a heat map if two axes have numbers. Returns the paths.
    """
    name = file_name(curves, metrics, chosen)
    paths = write_curves(curves, metrics, folder, name, caption(curves, metrics, kind), kind=kind)
    second = curves.numeric_by[:1]
    count = len(curves.values_of(second[0])) if second else 1
    if count <= MOST_CURVES:
        paths += save_figure(accuracy_figure(curves, metrics, kind=kind), folder, name, dpi=DPI)
    if second and len(curves.values_of(curves.axis)) > 1 and curves.numeric:
        paths += save_figure(heat_map_figure(curves, metrics), folder, f"{name}-map", dpi=DPI)
    return paths
