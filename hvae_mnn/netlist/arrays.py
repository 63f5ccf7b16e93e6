"""SPICE text of one crossbar array: pure functions from conductances to element lines.

Names: word line `x12` (role and index) carries +V, its inverted partner `x12n` carries -V. In gate unit `i`, the cell
of row 3 and hidden unit 5 is `Rmi3_5` (memristor) or `Rsi3_5` (fixed resistor); in a pair it is `Rmi3_5p` and
`Rmi3_5m`, and the reference column's cell is `Rsi3_ref0`, with the number of its column block. A moving memristor is
`Xmi3_5` (subcircuit) or `Nmi3_5` (OSDI), and the voltage of its node `si3_5` is its state; a memristor with a nonlinear
read law is `Bmi3_5`.

Bit line 5 ends in the sense node `bli5`; with several row blocks, in `bli5_0`, `bli5_1`, and so on. Wires: `wi3_5`
(`vi3_5` on the inverted line) is the word-line node at the cell, behind the segment `Rwi3_5` (`Rvi3_5`); `bi3_5` is the
bit-line node at the cell, before the segment `Rbi3_5`. A line without resistance is one node. Every value reads back as
the same float64.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout, Tile
from hvae_mnn.crossbar.mapping import GateArray
from hvae_mnn.devices.moving import MovingDevices
from hvae_mnn.netlist.device_lines import line_ending

Array = NDArray[np.float64]

EQUATIONS = {
    "fixed_resistor_per_cell": "I_k = sum_j (1/R_s - G_jk) V_j (paper eq. 12); w = s (1/R_s - G)",
    "reference_column": "I_k = I_ref - sum_j G_jk V_j = sum_j (1/R_s - G_jk) V_j (paper eq. 12); w = s (1/R_s - G)",
    "differential_pair": "I_k = sum_j (G_jkp - G_jkm) V_j; w = s (G_p - G_m)",
}
"""Equation of each scheme without wires, for comments."""


def inverted(word_line: str) -> str:
    """Name of the word line with the opposite voltage."""
    return f"{word_line}n"


def sense_labels(layout: ArrayLayout) -> list[str]:
    """Labels of the bit lines' sense ends, tile by tile: the part of their names behind the unit's name."""
    return [f"{label}{_suffix(layout, tile)}" for tile in layout.tiles for label in tile.bit_lines]


def _suffix(layout: ArrayLayout, tile: Tile) -> str:
    return f"_{tile.row_block}" if len(layout.row_blocks) > 1 else ""


def bit_line(unit: str, label: str | int) -> str:
    """Name of a bit line's sense end."""
    return f"bl{unit}{label}"


def sense_source(unit: str, label: str | int) -> str:
    """Name of the 0 V source that holds a bit line at virtual ground; its current is the column current."""
    return f"Vs{unit}{label}"


def amplifier_output(unit: str, label: str | int) -> str:
    """Node with the output voltage of a bit line's transimpedance amplifier."""
    return f"out{unit}{label}"


def state_node(unit: str, row: int, label: str | int) -> str:
    """Node whose voltage is the state of a moving memristor."""
    return f"s{unit}{row}_{label}"


def state_nodes(layout: ArrayLayout, unit: str) -> list[str]:
    """Names of the state nodes of all memristors (R, D), row by row."""
    labels = [""] * layout.memristors
    for tile in layout.tiles:
        for column, label in zip(tile.memristors, tile.bit_lines, strict=False):  # none in a reference column
            labels[column] = label
    return [state_node(unit, row, label) for row in range(layout.rows) for label in labels]


def array_lines(array: GateArray, moving: MovingDevices | None = None) -> Iterator[str]:
    """Element lines of the array (paper Fig. 2b), tile by tile and row by row, in chunks that end with a line break.

    Memristors are resistors; with `moving`, they are devices whose initial state follows from their conductance. Open
    cells (0 S) are omitted.
    """
    for tile in array.layout.tiles:
        yield tile_comment(array, tile)
        yield from tile_lines(array, tile, moving)


def tile_comment(array: GateArray, tile: Tile) -> str:
    """Comment line before the elements of a tile."""
    lines = array.word_lines
    rows, columns = tile.rows, tile.columns
    return (
        f"* tile {tile.name} of {array.name}: rows {rows.start} to {rows.stop - 1} ({lines[rows.start]} to"
        f" {lines[rows.stop - 1]}), columns {columns.start} to {columns.stop - 1}, {len(tile.bit_lines)} bit lines\n"
    )


def tile_lines(array: GateArray, tile: Tile, moving: MovingDevices | None = None) -> Iterator[str]:
    """Element lines of one tile, one chunk of text per row."""
    text = _TileText(array.unit, array.layout, tile)
    fixed, wires = text.fixed(), text.word_line_segments()
    # Rows differ only in number, word line and values; the rest of the text is made once.
    memristors = text.memristors(moving)
    own = array.conductance[:, tile.memristors.start : tile.memristors.stop]
    bit_lines = text.bit_line_segments(last=False)
    for row in tile.rows:
        line = array.word_lines[row]
        if row == tile.rows[-1]:
            bit_lines = text.bit_line_segments(last=True)
        cells = memristors.format(row=row, line=line) % tuple(_values(array, own[row], moving).tolist())
        if not own[row].all():
            closed = (cell for cell, siemens in zip(cells.splitlines(), own[row], strict=True) if siemens)
            cells = "\n".join(closed)
        rest = "\n".join(part for part in (fixed, wires, bit_lines) if part)
        yield "\n".join(part for part in (cells, rest.format(row=row, line=line, next=row + 1)) if part) + "\n"


def _values(array: GateArray, siemens: Array, moving: MovingDevices | None) -> Array:
    """Values in the memristors' lines: ohms, initial states, or factors of the nonlinear law."""
    if moving is not None:
        return np.clip(moving.spec.state(siemens), 0, 1)  # rounding may exceed either end
    if array.hardware.cells.read_law == "sinh":
        return siemens / array.hardware.cells.sinh_per_volt
    with np.errstate(divide="ignore"):
        return 1 / siemens


@dataclass(frozen=True)
class _TileText:
    """Text of one row of a tile, with the fields `{row}`, `{next}` and `{line}`, and `%r` for every value."""

    unit: str
    layout: ArrayLayout
    tile: Tile

    def word_nodes(self, inverse: bool) -> list[str]:
        wires, letter = self.layout.hardware.wires, "v" if inverse else "w"
        if wires.word_ohm:
            return [f"{letter}{self.unit}{{row}}_{label}" for label in self.tile.bit_lines]
        one = f"{letter}{self.unit}{{row}}_{self.tile.column_block}"
        if not wires.driver_ohm:
            one = inverted("{line}") if inverse else "{line}"
        return [one] * len(self.tile.bit_lines)

    def bit_node(self, label: str) -> str:
        if self.layout.hardware.wires.bit_ohm:
            return f"b{self.unit}{{row}}_{label}"
        return bit_line(self.unit, f"{label}{_suffix(self.layout, self.tile)}")

    def _cells(self, inverse: bool) -> Iterator[tuple[str, str, str]]:
        """Label, word-line node and bit-line node of the cells on the word line, or on its inverted partner."""
        for label, node in zip(self.tile.bit_lines, self.word_nodes(inverse), strict=True):
            yield label, node, self.bit_node(label)

    def memristors(self, moving: MovingDevices | None) -> str:
        cells = list(self._cells(self.layout.memristor_sign < 0))[: len(self.tile.memristors)]
        if moving is not None:
            letter, ending = line_ending(moving.spec, moving.backend)
            state = state_node(self.unit, 0, "").replace("0_", "{row}_")
            return "\n".join(
                f"{letter}m{self.unit}{{row}}_{label} {word} {bit} {state}{label} {ending} x0=%r"
                for label, word, bit in cells
            )
        if self.layout.hardware.cells.read_law == "sinh":
            factor = self.layout.hardware.cells.sinh_per_volt
            return "\n".join(
                f"Bm{self.unit}{{row}}_{label} {word} {bit} I=%r*sinh({factor!r}*V({word},{bit}))"
                for label, word, bit in cells
            )
        return "\n".join(f"Rm{self.unit}{{row}}_{label} {word} {bit} %r" for label, word, bit in cells)

    def fixed(self) -> str:
        scheme = self.layout.hardware.cells.scheme
        if scheme == "differential_pair":
            return ""
        cells = list(self._cells(inverse=False))
        if scheme == "reference_column":
            cells = cells[-1:]
        ohm = repr(1 / self.layout.hardware.device.g_mid)
        return "\n".join(f"Rs{self.unit}{{row}}_{label} {word} {bit} {ohm}" for label, word, bit in cells)

    def word_line_segments(self) -> str:
        wires = self.layout.hardware.wires
        if not wires.word_ohm + wires.driver_ohm:
            return ""
        segments = []
        for inverse in (False, True)[: self.layout.lines_per_row]:
            letter = "Rv" if inverse else "Rw"
            before, ohm = inverted("{line}") if inverse else "{line}", wires.word_ohm + wires.driver_ohm
            labels = self.tile.bit_lines if wires.word_ohm else (str(self.tile.column_block),)
            for label, node in zip(labels, self.word_nodes(inverse), strict=False):
                segments.append(f"{letter}{self.unit}{{row}}_{label} {before} {node} {ohm!r}")
                before, ohm = node, wires.word_ohm
        return "\n".join(segments)

    def bit_line_segments(self, last: bool) -> str:
        ohm = self.layout.hardware.wires.bit_ohm
        if not ohm:
            return ""
        suffix = _suffix(self.layout, self.tile)
        segments = []
        for label in self.tile.bit_lines:
            after = bit_line(self.unit, f"{label}{suffix}") if last else f"b{self.unit}{{next}}_{label}"
            segments.append(f"Rb{self.unit}{{row}}_{label} b{self.unit}{{row}}_{label} {after} {ohm!r}")
        return "\n".join(segments)


_INITIAL_STATE = re.compile(r" x0=\S+$", re.MULTILINE)


def with_states(elements: str, states: Iterable[float]) -> str:
    """The text of `array_lines` with other initial `states`, one per memristor in the order of
    `ArrayLayout.tile_order`."""
    remaining = iter(states)
    return _INITIAL_STATE.sub(lambda _: f" x0={float(next(remaining))!r}", elements)


@dataclass(frozen=True)
class CellNodes:
    """Names of the nodes at one crossing of a tile."""

    label: str
    """Label of the bit line."""
    words: tuple[str, ...]
    """Node on each of the row's word lines."""
    bit: str
    """Node on the bit line."""


def cell_nodes(layout: ArrayLayout, tile: Tile, unit: str, row: int, word_line: str) -> list[CellNodes]:
    """Nodes of a row's crossings, bit line by bit line, for the row with the number `row` and the name `word_line`."""
    text = _TileText(unit, layout, tile)
    lines = [text.word_nodes(inverse) for inverse in (False, True)[: layout.lines_per_row]]
    crossings = []
    for column, label in enumerate(tile.bit_lines):
        words = tuple(line[column].format(row=row, line=word_line) for line in lines)
        crossings.append(CellNodes(label, words, text.bit_node(label).format(row=row)))
    return crossings


def header(array: GateArray) -> str:
    """Comment lines that describe the array."""
    layout, hardware = array.layout, array.hardware
    groups = ", ".join(f"{group.role} {group.size}" for group in array.rows)
    pairs = "word-line pairs" if layout.lines_per_row == 2 else "word lines"
    scale = array.weight_scale if isinstance(array.weight_scale, float) else None
    fixed = "" if hardware.cells.scheme == "differential_pair" else f", 1/R_s = {array.fixed_siemens!r} S"
    wires = hardware.wires
    return (
        f"* hvae-mnn crossbar array {array.name}: {layout.rows} {pairs} ({groups}) x {layout.columns} hidden units\n"
        f"* {EQUATIONS[hardware.cells.scheme]},"
        f" s = {'one per column' if scale is None else f'{scale!r} per siemens'}{fixed}\n"
        f"* segment of a word line {wires.word_ohm!r} Ohm, of a bit line {wires.bit_ohm!r} Ohm, driver"
        f" {wires.driver_ohm!r} Ohm (in the first segment)\n"
    )
