"""Figures of the cost of a token: energy per layer beside that of digital processors, and settling of a tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hvae_mnn.files import read_sealed
from hvae_mnn.plots.files import COLORS, literal, new_figure, of_run, save_figure
from hvae_mnn.reading import is_missing
from hvae_mnn.studies.cost.result import CURVE_SCHEMA, CURVES, SUMMARY
from hvae_mnn.tables import read_columns

PARTS = (("array_j", "read of the arrays"), ("dac_j", "DACs"), ("adc_j", "ADCs"))
_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"), (1e-18, "a"))


def scaled(largest: float) -> tuple[float, str]:
    """Factor and letter of the SI prefix that makes numbers up to `largest` readable."""
    for factor, letter in _PREFIXES:
        if largest >= factor:
            return factor, letter
    return _PREFIXES[-1]


def quantity(value: float, unit: str) -> str:
    """A value with three digits and an SI prefix: `33.9 nJ`."""
    factor, letter = scaled(abs(value) * (1 + 1e-9))
    digits = f"{value / factor:.3g}" if abs(value) < 999.5 * factor else f"{value / factor:.0f}"
    return f"{digits} {letter}{unit}"


def multiple(value: float) -> str:
    """A value with three digits and without exponent: `34,900`."""
    return f"{value:.3g}" if value < 999.5 else f"{float(f'{value:.3g}'):,.0f}"


@of_run
def cost_figure(folder: Path) -> Figure:
    """Stacked energy of a step per layer and of a token, and the token's energy beside digital processors."""
    summary = read_sealed(folder / SUMMARY, "summary")
    figure = new_figure(11.0, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    read_s = next(one for one in summary["assumptions"] if one["name"] == "read_time")["value"]
    _layers(left, [*summary["layers"], summary["token"]], f" ({quantity(read_s, 's')})")
    _processors(right, summary)
    hardware = literal(f"{summary['netlist']} on {summary['hardware']} ({summary['scheme'].replace('_', ' ')})")
    figure.suptitle(f"Energy of a token: {hardware}, mean over {summary['steps']} time steps", fontsize="medium")
    return figure


def _layers(axes: Axes, layers: list[dict[str, Any]], read: str) -> None:
    factor, letter = scaled(max(layer["circuit_j"] for layer in layers))
    bottom = np.zeros(len(layers))
    x = np.arange(len(layers))
    for (key, label), color, hatch in zip(PARTS, COLORS, ("", "//", ".."), strict=False):
        height = np.array([layer[key] for layer in layers]) / factor
        named = label + read * (key == "array_j")
        axes.bar(x, height, 0.62, bottom, label=named, color=color, hatch=hatch, edgecolor="white", lw=0.8)
        bottom += height
    for at, top, layer in zip(x, bottom, layers, strict=True):
        axes.annotate(
            quantity(layer["circuit_j"], "J"), (float(at), float(top)), (0, 3), textcoords="offset points", ha="center"
        )
    names = [literal(layer["layer"]) for layer in layers[:-1]]
    axes.set_xticks(x, [*names, "token\n(all layers)"])
    axes.set_ylabel(f"energy of a time step ({letter}J)")
    axes.set_ylim(0, float(bottom.max()) * 1.1)
    axes.legend(frameon=False, loc="upper left", reverse=True)
    axes.spines[["top", "right"]].set_visible(False)


def _processors(axes: Axes, summary: dict[str, Any]) -> None:
    names = ["this circuit", *(literal(one["name"]).replace(", ", ",\n") for one in summary["baselines"])]
    joules = np.array([summary["token"]["circuit_j"], *(one["token_j"] for one in summary["baselines"])])
    y = np.arange(len(names))
    axes.barh(y, joules, 0.6, color=[COLORS[0], *["0.65"] * (len(names) - 1)])
    axes.set_xscale("log")
    axes.set_xlim(float(joules.min()) / 5, float(joules.max()) * 3e3)
    for at, value in zip(y, joules, strict=True):
        times = f"  ({multiple(float(value / joules[0]))} ×)" if at else ""
        axes.annotate(
            f"{quantity(float(value), 'J')}{times}",
            (float(value), float(at)),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(y, names)
    axes.invert_yaxis()
    axes.set_xlabel("energy of a token (J)")
    axes.spines[["top", "right"]].set_visible(False)


@of_run
def settling_figure(folder: Path) -> Figure:
    """Distance of the slowest tile's bit-line currents from their final values after a step, by both methods."""
    summary = read_sealed(folder / SUMMARY, "summary")
    check = summary["ngspice"]["settling"]
    table = read_columns(folder / CURVES, CURVE_SCHEMA)
    factor, letter = scaled(check["implicit_s"])
    end = 1.6 * check["implicit_s"]
    figure = new_figure(7.0, 4.4)
    axes = figure.subplots()
    styles: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("implicit", "implicit integration", {"color": COLORS[0], "lw": 1.6}),
        ("ngspice", "ngspice", {"color": COLORS[1], "ls": "none", "marker": "o", "ms": 4, "mfc": "none"}),
    )
    for source, label, style in styles:
        own = (table["source"] == source) & (table["seconds"] <= end) & (table["furthest_a"] > 0)
        thin = max(1, int(own.sum()) // 40) if source == "ngspice" else 1
        axes.plot(table["seconds"][own][::thin] / factor, table["furthest_a"][own][::thin], label=label, **style)
    axes.axhline(check["tolerance_a"], color="0.4", ls="--", lw=1)
    axes.axvline(check["implicit_s"] / factor, color="0.4", ls=":", lw=1)
    axes.annotate(
        f"allowed: {quantity(check['tolerance_a'], 'A')}",
        (0.01, check["tolerance_a"]),
        xycoords=("axes fraction", "data"),
        va="bottom",
        size="small",
    )
    axes.annotate(
        f"settled: {quantity(check['implicit_s'], 's')}",
        (check["implicit_s"] / factor, 0.97),
        (4, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
        size="small",
    )
    axes.set_yscale("log")
    axes.set_xlim(0, end / factor)
    axes.set_xlabel(f"time after the step of the word lines ({letter}s)")
    axes.set_ylabel("largest |I - I final| of a bit line (A)")
    capacitance = next(one for one in summary["assumptions"] if one["name"] == "line_capacitance")["value"]
    axes.set_title(
        f"{literal(check['array'])}, tile {literal(check['tile'])}: settling with {quantity(capacitance, 'F')} per"
        " line segment",
        fontsize="medium",
    )
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return figure


def save_cost_figures(folder: Path) -> list[Path]:
    """Write `cost` and, if lines have resistance, `settling` into the folder, as PNG and SVG."""
    paths = save_figure(cost_figure(folder), folder, "cost")
    if not is_missing(folder / CURVES):
        paths += save_figure(settling_figure(folder), folder, "settling")
    return paths
