"""Figures of a run, from its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hvae_mnn.cosim.records import PREACTIVATIONS, STEPS
from hvae_mnn.plots.files import new_figure, save_figure

LAYERS = ("encoder1", "encoder2", "decoder")
_FLOOR = 1e-18
"""An error of exactly zero is drawn here, since the axis is logarithmic."""


def _columns(path: Path) -> dict[str, NDArray[Any]]:
    table = pq.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def preactivation_figure(folder: Path) -> Figure:
    """Digital against hardware pre-activations, one panel per layer, a colour per gate unit (a sample of the hidden units)."""
    table = _columns(folder / PREACTIVATIONS)
    figure = new_figure(11.5, 4.2)
    for axes, layer in zip(figure.subplots(1, 3), LAYERS, strict=True):
        rows = table["layer"] == layer
        span = np.abs(table["digital"][rows]).max(initial=1e-12) * 1.05
        axes.plot([-span, span], [-span, span], color="0.75", lw=1, zorder=0)
        for number, unit in enumerate(dict.fromkeys(table["unit"][rows])):
            own = rows & (table["unit"] == unit)
            points = table["digital"][own], table["hardware"][own]
            axes.scatter(*points, s=5, alpha=0.5, lw=0, color=f"C{number}", label=unit, rasterized=True)
        axes.set_title(layer)
        axes.set_xlabel("digital pre-activation")
        axes.set_aspect("equal", adjustable="datalim")
        axes.legend(title="gate unit", markerscale=2.5, frameon=False, fontsize="small")
    figure.axes[0].set_ylabel("hardware pre-activation")
    return figure


def error_figure(folder: Path) -> Figure:
    """Pre-activation error over time steps, per layer: the run's own drift, and what the array alone adds.

    A new sentence, and the change from encoder to decoder, is a thin line.
    """
    table = _columns(folder / STEPS)
    figure = new_figure(11.5, 6.6)
    for axes, layer in zip(figure.subplots(3, 1, sharex=False), LAYERS, strict=True):
        rows = table["layer"] == layer
        sentence, position = table["sentence"][rows], table["position"][rows]
        _, first, step = np.unique(sentence * 1_000_000 + position, return_index=True, return_inverse=True)
        count = len(first)
        for column, label, style in (
            ("max_error", "hardware against digital, each on its own states", "-"),
            ("max_array_error", "array against matrix product, same inputs", "--"),
        ):
            worst = np.zeros(count)
            np.maximum.at(worst, step, table[column][rows])
            axes.plot(np.arange(count), np.maximum(worst, _FLOOR), style, marker=".", ms=3, lw=1, label=label)
        for start in np.flatnonzero(position[first] == 0):
            axes.axvline(start, color="0.85", lw=0.8, zorder=0)
        axes.set_yscale("log")
        axes.set_ylabel(f"{layer}\nmax |error|")
    figure.axes[0].set_title("pre-activation error over time steps (model's units; a line where a sentence begins)")
    figure.axes[-1].set_xlabel("time step")
    figure.axes[0].legend(frameon=False, fontsize="small")
    return figure


def save_simulation_figures(folder: Path) -> list[Path]:
    """Write `preactivations` and `error_over_steps` as PNG and SVG into the run's folder."""
    return [
        *save_figure(preactivation_figure(folder), folder, "preactivations"),
        *save_figure(error_figure(folder), folder, "error_over_steps"),
    ]
