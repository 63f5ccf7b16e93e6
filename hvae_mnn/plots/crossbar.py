"""The figure of one tile: conductances, what lines carry, and what wires do to the columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from hvae_mnn.cosim.inspection import TileInspection
from hvae_mnn.plots.files import COLORS, new_figure, save_figure

Array = NDArray[np.float64]


def crossbar_figure(found: TileInspection) -> Figure:
    """The whole array with its tiles, the tile's conductances, the voltage lost along its word lines, the potential of
    its bit lines, and its columns' currents with and without wires."""
    lines = found.layout.lines_per_row
    figure = new_figure(13.5, 8.4)
    halves: Any = figure.subfigures(2, 1)
    panels = halves[0].subplots(1, 1 + lines)
    _overview(panels[0], found)
    for number, cells in enumerate(found.cells):
        title = "conductances" if lines == 1 else ("fixed resistors on +V", "memristors on -V")[number]
        limits = (float(found.cells.min()) * 1e6, float(found.cells.max()) * 1e6)
        _map(panels[1 + number], cells * 1e6, f"tile {found.tile.name}: {title}", "µS", "viridis", limits)
        if found.layout.scheme == "reference_column":
            place = cells.shape[1] - 1
            panels[1 + number].annotate("reference ▸", (place, -0.5), ha="right", va="bottom", size="small")
    panels = halves[1].subplots(1, 2 + lines)
    lost = [_lost(found, number) for number in range(lines)]
    largest = max(float(np.abs(one).max()) for one in lost) or 1.0
    for number, one in enumerate(lost):
        which = "word lines" if lines == 1 else ("word lines +V", "word lines -V")[number]
        _map(panels[number], one, f"{which}: lost on the way", "% of the driver's voltage", "magma_r", (0, largest))
    bits = found.bits * 1e3
    reach = float(np.abs(bits).max()) or 1.0
    _map(panels[lines], bits, "bit lines: potential", "mV", "PuOr", (-reach, reach))
    _columns(panels[-1], found)
    figure.suptitle(_title(found), fontsize="medium")
    return figure


def _title(found: TileInspection) -> str:
    wires = found.layout.hardware.wires
    ideal = not (wires.word_ohm or wires.bit_ohm or wires.driver_ohm or found.layout.hardware.amplifier.input_ohm)
    text = f"{found.array}, tile {found.tile.name} on hardware {found.layout.hardware.name} ({found.layout.scheme})"
    if ideal:
        return f"{text}: lines without resistance, nothing is lost"
    return f"{text}: word lines {wires.word_ohm:g} Ω, bit lines {wires.bit_ohm:g} Ω, drivers {wires.driver_ohm:g} Ω"


def _lost(found: TileInspection, line: int) -> Array:
    """(M, N): part of the driver's voltage that is missing at a crossing, in percent; 0 where a row is not driven."""
    driven = (found.volts if line == 0 else -found.volts)[:, np.newaxis]
    missing = np.broadcast_to(driven, found.words[line].shape) - found.words[line]
    part: Array = np.divide(missing, driven, out=np.zeros_like(missing), where=driven != 0) * 100
    return part


def _overview(axes: Axes, found: TileInspection) -> None:
    layout = found.layout
    values = layout.without_wires(found.memristors) * 1e6
    reach = float(np.abs(values).max()) or 1.0
    _map(axes, values, f"the array: {layout.rows} x {layout.columns} weights", "µS, signed", "RdBu_r", (-reach, reach))
    for block in layout.row_blocks[1:]:
        axes.axhline(block.start - 0.5, color="k", lw=0.4)
    for block in layout.column_blocks[1:]:
        axes.axvline(block.start - 0.5, color="k", lw=0.4)
    rows, columns = found.tile.rows, found.tile.columns
    corner = (columns.start - 0.5, rows.start - 0.5)
    axes.add_patch(Rectangle(corner, len(columns), len(rows), fill=False, edgecolor=COLORS[2], lw=2.5))
    axes.set_xlabel("hidden unit")
    axes.set_ylabel("row (x, z, h, b, memory)")


def _map(axes: Axes, values: Array, title: str, unit: str, colors: str, limits: tuple[float, float]) -> None:
    low, high = limits
    image: Any = axes.imshow(
        values, cmap=colors, vmin=low, vmax=high, interpolation="nearest", aspect="auto", rasterized=True
    )
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("bit line")
    axes.set_ylabel("row of the tile")
    axes.figure.colorbar(image, ax=axes, label=unit)


def _columns(axes: Axes, found: TileInspection) -> None:
    hidden = np.arange(found.tile.columns.start, found.tile.columns.stop)
    axes.axhline(0, color="0.8", lw=1)
    axes.plot(hidden, found.ideal * 1e6, "o", ms=3, mfc="none", color=COLORS[0], label="without wires")
    axes.plot(hidden, found.wired * 1e6, ".", ms=4, color=COLORS[1], label="with wires")
    axes.vlines(hidden, found.ideal * 1e6, found.wired * 1e6, color=COLORS[1], lw=0.8)
    worst = float(np.abs(found.error).max())
    axes.set_title(f"columns: off by up to {worst:.3g} of the largest", fontsize="medium")
    axes.set_xlabel("hidden unit")
    axes.set_ylabel("signed column current, µA")
    axes.legend(frameon=False, fontsize="small")


def save_crossbar_figure(found: TileInspection, folder: Path) -> list[Path]:
    """Write `crossbar` as PNG and SVG into the folder."""
    return save_figure(crossbar_figure(found), folder, "crossbar")
