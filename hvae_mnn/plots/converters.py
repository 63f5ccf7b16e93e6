"""Figure of a run's converters: histograms of their inputs relative to full scale, and clipped values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from hvae_mnn.cosim.converters import HISTOGRAM_END, MAX_BITS, MIN_BITS
from hvae_mnn.cosim.records import CONVERTERS, SCHEMAS
from hvae_mnn.errors import RunError, TableError
from hvae_mnn.plots.files import COLORS, literal, new_figure, of_run, save_figure
from hvae_mnn.reading import absolute, is_missing
from hvae_mnn.tables import read_columns

Table = dict[str, NDArray[Any]]
_MOST_PANELS = 6
"""Largest number of panels of one kind in a layer; partial sums have dozens of ADCs."""
_MOST_ROWS = 64
"""Largest number of rows (layers times kinds); a text model has six."""


@of_run
def converters_figure(folder: Path) -> Figure:
    """A row of panels per layer and kind: histograms of converter inputs on a logarithmic scale; values beyond full
    scale are clipped. Raises `RunError` for a run without the table."""
    if is_missing(folder / CONVERTERS):
        raise RunError(f"{folder} has no {CONVERTERS}: the run is not finished, or older; run hvae-mnn simulate again")
    table = read_columns(folder / CONVERTERS, SCHEMAS[CONVERTERS])
    rows = list(dict.fromkeys(zip(table["layer"], table["kind"], strict=True)))
    bits = set(table["bits"].tolist())
    if not 1 <= len(rows) <= _MOST_ROWS or not bits <= {0, *range(MIN_BITS, MAX_BITS + 1)}:
        raise TableError(
            f"{folder / CONVERTERS} has converters of {len(rows)} kinds and of {min(bits, default=0)} to"
            f" {max(bits, default=0)} bits, which no run gives; run hvae-mnn simulate again"
        )
    names = {row: _names(table, *row) for row in rows}
    widest = max(map(len, names.values()))
    figure = new_figure(2.6 * widest + 0.6, 1.9 * len(rows) + 0.9)
    panels = figure.subplots(len(rows), widest, squeeze=False, sharex=True)
    for line, row in zip(panels, rows, strict=True):
        layer, kind = row
        for axes, name in zip(line, names[row], strict=False):
            _histogram(axes, table, layer, kind, name)
        for axes in line[len(names[row]) :]:
            axes.set_axis_off()
        line[0].set_ylabel(f"{literal(layer)}\n{literal(kind.upper())}s, values", fontsize="small")
    for axes in panels[-1]:
        axes.set_xlabel("value / full scale")
    figure.suptitle(
        f"{literal(absolute(folder).name)}: inputs of the converters (LSB in full scales; orange: beyond full scale)",
        fontsize="medium",
    )
    return figure


def _names(table: Table, layer: str, kind: str) -> list[str]:
    """Names of the converters of one kind in a layer; if they are many, those that clipped most."""
    own = (table["layer"] == layer) & (table["kind"] == kind)
    clipped = dict(zip(table["name"][own], table["clipped"][own], strict=True))
    if len(clipped) <= _MOST_PANELS:
        return list(clipped)
    return sorted(clipped, key=lambda name: -clipped[name])[:_MOST_PANELS]


def _histogram(axes: Axes, table: Table, layer: str, kind: str, name: str) -> None:
    own = (table["layer"] == layer) & (table["kind"] == kind) & (table["name"] == name)
    low, high, count = table["low"][own], table["high"][own], table["count"][own]
    middle = (low + high) / 2
    beyond = np.abs(middle) > 1
    colors = np.where(beyond, COLORS[1], COLORS[0])
    axes.bar(middle, count, width=high - low, color=colors.tolist())
    axes.axvspan(1, HISTOGRAM_END, color=COLORS[1], alpha=0.12, lw=0)
    axes.axvspan(-HISTOGRAM_END, -1, color=COLORS[1], alpha=0.12, lw=0)
    # From below 1, so that a single value is visible; whole decades, even if there are few.
    axes.set_yscale("log")
    axes.set_ylim(0.5, 10 ** np.ceil(np.log10(max(int(count.max()), 5) * 1.05)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    bits, samples, clipped = (int(table[key][own][0]) for key in ("bits", "samples", "clipped"))
    # A converter of 0 bits clips nothing.
    verb = "clipped" if bits else "beyond"
    share = clipped / samples if samples else 0.0
    step = f"{bits} bits, LSB {1 / (2 ** (bits - 1) - 1):.2g}" if bits else "no converter"
    axes.set_title(f"{literal(name)}: {step}; {share:.2%} {verb}", fontsize="small")
    axes.set_xlim(-HISTOGRAM_END, HISTOGRAM_END)
    axes.tick_params(labelsize="x-small")


def save_converters_figure(folder: Path) -> list[Path]:
    """Write `converters` as PNG and SVG into the run's folder."""
    return save_figure(converters_figure(folder), folder, "converters")
