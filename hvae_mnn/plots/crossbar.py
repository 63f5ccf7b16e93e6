"""Figure of one tile: conductances, line potentials, and the effect of wires on the columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hvae_mnn.plots.files import COLORS, new_figure, save_figure
from hvae_mnn.studies.inspection import TileInspection

Array = NDArray[np.float64]
Extend = Literal["neither", "min", "max", "both"]
"""Ends of the colour scale that some values exceed."""
_ROUNDING = 1e-12


def crossbar_figure(inspection: TileInspection) -> Figure:
    """The array with its tiles, the tile's conductances, the voltage drop along its word lines, the potential of its
    bit lines, and its column currents with and without wires."""
    lines = inspection.layout.lines_per_row
    figure = new_figure(13.5, 11.0)
    parts: Any = figure.subfigures(3, 1, height_ratios=[4, 4, 3])
    top, middle, bottom = parts
    panels = top.subplots(1, 1 + lines)
    _overview(panels[0], inspection)
    limits = (float(inspection.cells.min()) * 1e6, float(inspection.cells.max()) * 1e6)
    for number, (axes, cells) in enumerate(zip(panels[1:], inspection.cells, strict=True)):
        title = "conductances" if lines == 1 else ("fixed resistors on +V", "memristors on −V")[number]
        _map(axes, cells * 1e6, f"tile {inspection.tile.name}: {title}", "µS", "viridis", limits)
        if inspection.layout.scheme == "reference_column":
            end = cells.shape[1] - 0.5
            axes.axvline(end - 1, color="w", lw=1)
            axes.annotate("reference ▾", (end, -0.5), ha="right", va="bottom", size="small", annotation_clip=False)
    panels = middle.subplots(1, 1 + lines)
    lost = [_lost(inspection, number) for number in range(lines)]
    limits, extend = _limits(lost)
    for number, (axes, part) in enumerate(zip(panels, lost, strict=False)):
        which = "word lines" if lines == 1 else ("word lines +V", "word lines −V")[number]
        _map(axes, part, f"{which}: lost on the way", "% of the driver's voltage", "magma_r", limits, extend)
    bits = inspection.bits * 1e3
    reach = float(np.abs(bits).max()) or 1.0
    _map(panels[-1], bits, "bit lines: potential", "mV", "PuOr", (-reach, reach))
    currents, error = bottom.subplots(1, 2)
    _columns(currents, inspection)
    _errors(error, inspection)
    figure.suptitle(_title(inspection), fontsize="medium")
    return figure


def _title(inspection: TileInspection) -> str:
    hardware = inspection.layout.hardware
    wires, sense = hardware.wires, hardware.amplifier.input_ohm
    text = f"{inspection.array}, tile {inspection.tile.name} on hardware {hardware.name} ({inspection.layout.scheme})"
    if hardware.cells.read_law != "ohmic":
        text += f", read law {hardware.cells.read_law} taken as its slope at 0 V"
    if not (wires.word_ohm or wires.bit_ohm or wires.driver_ohm or hardware.amplifier.kind != "ideal"):
        return f"{text}: lines without resistance, nothing is lost"
    text += f": segments of word lines {wires.word_ohm:.3g} Ω, of bit lines {wires.bit_ohm:.3g} Ω"
    return f"{text}, drivers {wires.driver_ohm:.3g} Ω, sense ends {sense:.3g} Ω"


def _lost(inspection: TileInspection, line: int) -> Array:
    """Voltage drop (M, N) at a crosspoint, in percent of the driver's voltage; NaN for a row that is not driven."""
    driven = (inspection.volts if line == 0 else -inspection.volts)[:, np.newaxis]
    missing = driven - inspection.words[line]
    part: Array = np.divide(missing, driven, out=np.full_like(missing, np.nan), where=driven != 0) * 100
    return part


def _limits(lost: list[Array]) -> tuple[tuple[float, float], Extend]:
    """Ends of the colour scale. A row with a very small voltage can have any ratio, and must not hide the others."""
    values = np.concatenate([part[np.isfinite(part)] for part in lost])
    if not values.any():  # no row is driven, or no voltage is lost
        return (0.0, 1.0), "neither"
    low, high = float(min(np.percentile(values, 2), 0.0)), float(max(np.percentile(values, 98), 0.0))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    below, above = bool(values.min() < low), bool(values.max() > high)
    return (low, high), "both" if below and above else "min" if below else "max" if above else "neither"


def _overview(axes: Axes, inspection: TileInspection) -> None:
    layout = inspection.layout
    values = layout.without_wires(inspection.memristors) * 1e6
    reach = float(np.abs(values).max()) or 1.0
    _map(axes, values, f"the array: {layout.rows} x {layout.columns} weights", "µS, signed", "RdBu_r", (-reach, reach))
    for block in layout.row_blocks[1:]:
        axes.axhline(block.start - 0.5, color="k", lw=0.4)
    for block in layout.column_blocks[1:]:
        axes.axvline(block.start - 0.5, color="k", lw=0.4)
    rows, columns = inspection.tile.rows, inspection.tile.columns
    corner = (columns.start - 0.5, rows.start - 0.5)
    axes.add_patch(Rectangle(corner, len(columns), len(rows), fill=False, edgecolor=COLORS[2], lw=2.5))
    axes.set_xlabel("hidden unit")
    axes.set_ylabel("row (x, z, h, b, memory)")


def _map(
    axes: Axes,
    values: Array,
    title: str,
    unit: str,
    colors: str,
    limits: tuple[float, float],
    extend: Extend = "neither",
) -> None:
    axes.set_facecolor("0.8")
    low, high = limits
    image: Any = axes.imshow(
        values, cmap=colors, vmin=low, vmax=high, interpolation="nearest", aspect="auto", rasterized=True
    )
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("bit line")
    axes.set_ylabel("row of the tile")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.figure.colorbar(image, ax=axes, label=unit, extend=extend)


def _columns(axes: Axes, inspection: TileInspection) -> None:
    hidden = np.arange(inspection.tile.columns.start, inspection.tile.columns.stop)
    axes.axhline(0, color="0.8", lw=1, zorder=0)
    axes.vlines(hidden, inspection.ideal * 1e6, inspection.wired * 1e6, color=COLORS[1], lw=0.8)
    axes.plot(hidden, inspection.ideal * 1e6, "o", ms=4, mfc="none", color=COLORS[0], label="without wires")
    axes.plot(hidden, inspection.wired * 1e6, ".", ms=4, color=COLORS[1], label="with wires")
    axes.set_title("columns", fontsize="medium", loc="left")
    axes.set_ylabel("signed current, µA")
    _hidden_axis(axes)
    axes.legend(frameon=False, fontsize="small", loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0)


def _errors(axes: Axes, inspection: TileInspection) -> None:
    hidden = np.arange(inspection.tile.columns.start, inspection.tile.columns.stop)
    axes.axhline(0, color="0.8", lw=1, zorder=0)
    axes.bar(hidden, inspection.error * 100, width=0.8, color=COLORS[1])
    scale = float(np.abs(inspection.ideal).max())
    worst = float(np.abs(inspection.error).max())
    title = f"column error: up to {worst:.2%} of full scale, {scale * 1e6:.3g} µA"
    if worst < _ROUNDING:
        title = "column error: none"
        axes.set_ylim(-1, 1)
    axes.set_title(title, fontsize="medium", loc="left")
    axes.set_ylabel("(with − without wires)\n/ largest without, %")
    _hidden_axis(axes)


def _hidden_axis(axes: Axes) -> None:
    axes.set_xlabel("hidden unit")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def save_crossbar_figure(inspection: TileInspection, folder: Path) -> list[Path]:
    """Write `crossbar` as PNG and SVG into the folder."""
    return save_figure(crossbar_figure(inspection), folder, "crossbar")
