"""Figures of a run, from its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hvae_mnn.cosim.records import DRIFT, PREACTIVATIONS, SCHEMAS, STEPS, TOKENS
from hvae_mnn.devices.moving import MOVED
from hvae_mnn.plots.files import literal, new_figure, of_run, save_figure
from hvae_mnn.reading import is_missing
from hvae_mnn.tables import read_columns

_FLOOR = 1e-18
"""Value at which an error of exactly zero is drawn, since the axis is logarithmic."""


@of_run
def preactivation_figure(folder: Path) -> Figure:
    """Hardware against digital pre-activations, and their difference below: a panel per layer, a colour per gate unit.

    The panels show the hidden units that the run sampled.
    """
    table = read_columns(folder / PREACTIVATIONS, SCHEMAS[PREACTIVATIONS])
    figure = new_figure(11.5, 6.8)
    layers = _layers(table)
    panels = figure.subplots(2, len(layers), height_ratios=[3, 2], sharex="col", squeeze=False)
    for column, layer in enumerate(layers):
        both, difference = panels[0][column], panels[1][column]
        rows = table["layer"] == layer
        span = np.abs(table["digital"][rows]).max(initial=1e-12) * 1.05
        both.plot([-span, span], [-span, span], color="0.75", lw=1, zorder=0)
        difference.axhline(0, color="0.75", lw=1, zorder=0)
        for number, unit in enumerate(dict.fromkeys(table["unit"][rows])):
            own = rows & (table["unit"] == unit)
            digital, hardware = table["digital"][own], table["hardware"][own]
            style = {"s": 5, "alpha": 0.5, "lw": 0, "color": f"C{number}", "label": literal(unit), "rasterized": True}
            both.scatter(digital, hardware, **style)
            difference.scatter(digital, hardware - digital, **style)
        both.set_title(layer)
        difference.set_xlabel("digital pre-activation")
        both.legend(title="gate unit", markerscale=2.5, frameon=False, fontsize="small")
    panels[0][0].set_ylabel("hardware pre-activation")
    panels[1][0].set_ylabel("hardware - digital")
    return figure


@of_run
def error_figure(folder: Path) -> Figure:
    """Pre-activation error over time steps, per layer: accumulated error of the run, and error of the array alone.

    Thin lines mark a new sentence, and the change from encoder to decoder.
    """
    table = read_columns(folder / STEPS, SCHEMAS[STEPS])
    figure = new_figure(11.5, 6.6)
    layers = _layers(table)
    panels = figure.subplots(len(layers), 1, sharex=False, squeeze=False)
    for axes, layer in zip(panels[:, 0], layers, strict=True):
        rows = table["layer"] == layer
        position = table["position"][rows]
        first = _by_step(table, layer, "max_error", np.maximum)[0]
        count = len(first)
        for column, label, style in (
            ("max_error", "hardware against digital, each on its own states", "-"),
            ("max_array_error", "one read (DAC, array, ADC) against a product of the same inputs", "--"),
        ):
            worst = _by_step(table, layer, column, np.maximum)[1]
            axes.plot(np.arange(count), np.maximum(worst, _FLOOR), style, marker=".", ms=3, lw=1, label=label)
        for start in np.flatnonzero(position[first] == 0):
            axes.axvline(start, color="0.85", lw=0.8, zorder=0)
        axes.set_yscale("log")
        axes.set_ylabel(f"{layer}\nmax |error|")
    figure.axes[0].set_title("pre-activation error over time steps (model's units; a line where a sentence begins)")
    figure.axes[-1].set_xlabel("time step")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    return figure


@of_run
def disturb_figure(folder: Path) -> Figure:
    """Read disturb over time steps: number of memristors driven beyond a threshold, drift of states, and the effect on
    pre-activations and tokens."""
    table, steps, tokens = (read_columns(folder / name, SCHEMAS[name]) for name in (DRIFT, STEPS, TOKENS))
    figure = new_figure(11.5, 9.0)
    driven, drift, error, agreement = figure.subplots(4, 1, height_ratios=[2, 3, 3, 2])
    layers = _layers(steps)
    for number, layer in enumerate(layers):
        color = f"C{number}"
        style: dict[str, Any] = {"color": color, "lw": 1.2, "marker": ".", "ms": 3}
        driven.plot(_by_step(table, layer, "above_threshold", np.add)[1], **style, label=layer)
        for column, line in (("max_drift", "-"), ("mean_drift", "--")):
            drift.plot(np.maximum(_by_step(table, layer, column, np.maximum)[1], _FLOOR), line, **style)
        worst = _by_step(steps, layer, "max_array_error", np.maximum)[1]
        scale = _by_step(steps, layer, "full_scale", np.maximum)[1].max(initial=_FLOOR)
        error.plot(np.maximum(worst / scale, _FLOOR), **style)
    drift.axhline(MOVED, color="0.6", lw=1, ls=":")
    drift.annotate(
        "above: counted as moved",
        (0.995, MOVED),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        size="small",
    )
    agree = tokens["agree"].astype(float)
    decoder = f"C{len(layers) - 1}"  # the last layer, which gives the tokens
    agreement.plot(np.cumsum(agree) / np.arange(1, len(agree) + 1), color=decoder, marker=".", ms=3)
    agreement.set_ylim(-0.05, 1.05)
    for axes, label in (
        (driven, "memristors driven\nbeyond a threshold"),
        (drift, "drift |x - x0| of states\nlargest, mean (dashed)"),
        (error, "largest error of a read\n/ full scale"),
        (agreement, "tokens as digital,\nshare so far"),
    ):
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    drift.set_yscale("log")
    error.set_yscale("log")
    driven.set_title("read disturb over the time steps of each layer")
    agreement.set_xlabel("time step of the layer (tokens: of the decoder)")
    handles, labels = driven.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _layers(table: dict[str, NDArray[Any]]) -> list[str]:
    """The recurrent layers of a run, in the order in which they run first."""
    names, first = np.unique(table["layer"], return_index=True)
    return [str(name) for name in names[np.argsort(first)]]


def _by_step(
    table: dict[str, NDArray[Any]], layer: str, column: str, together: np.ufunc
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """For one layer: the first row of every time step, and the column combined over its gate units."""
    rows = table["layer"] == layer
    key = table["sentence"][rows] * 1_000_000 + table["position"][rows]
    _, first, step = np.unique(key, return_index=True, return_inverse=True)
    combined = np.zeros(len(first))
    together.at(combined, step, table[column][rows])
    return first, combined


def save_simulation_figures(folder: Path) -> list[Path]:
    """Write `preactivations`, `error_over_steps` and, for memristors that may move, `read_disturb` into the run's
    folder, as PNG and SVG."""
    paths = [
        *save_figure(preactivation_figure(folder), folder, "preactivations"),
        *save_figure(error_figure(folder), folder, "error_over_steps"),
    ]
    if not is_missing(folder / DRIFT):
        paths += save_figure(disturb_figure(folder), folder, "read_disturb")
    return paths
