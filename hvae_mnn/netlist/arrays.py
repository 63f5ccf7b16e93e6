"""SPICE text of one crossbar array: pure functions from conductances to element lines.

Names: word line `x12` (role and index) carries +V, its inverted partner `x12n` carries -V. In gate unit `i`, the cell
of row 3 and hidden unit 5 is `Rmi3_5` (memristor) or `Rsi3_5` (fixed resistor); in a pair it is `Rmi3_5p` and
`Rmi3_5m`, and the reference column's cell is `Rsi3_ref0`, with the number of its block of columns. A memristor that may
move is `Xmi3_5` (subcircuit) or `Nmi3_5` (OSDI), and the voltage of its node `si3_5` is its state; one with a nonlinear
read law is `Bmi3_5`.

Bit line 5 ends in the sense node `bli5`, or `bli5_0` where row blocks make several of it. Wires: `wi3_5` (`vi3_5` on
the inverted line) is the word line's node at the cell, reached through the segment `Rwi3_5` (`Rvi3_5`); `bi3_5` is the
bit line's node, left through `Rbi3_5`. A line without resistance is one node. Values are written so that they read
back as the same float64.
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
"""By scheme, for comments; wires are in none of them."""


def inverted(word_line: str) -> str:
    """Name of the word line that carries the opposite voltage."""
    return f"{word_line}n"


def sense_labels(layout: ArrayLayout) -> list[str]:
    """What follows the unit's name in the names of the bit lines' sense ends, tile by tile."""
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
    """The nodes of all states (R, D), row by row."""
    labels = [""] * layout.memristors
    for tile in layout.tiles:
        for place, label in zip(tile.memristors, tile.bit_lines, strict=False):  # a reference column has none
            labels[place] = label
    return [state_node(unit, row, label) for row in range(layout.rows) for label in labels]


def array_lines(array: GateArray, moving: MovingDevices | None = None) -> Iterator[str]:
    """The array's elements, tile by tile and row by row, each chunk ending with a line break (paper Fig. 2b).

    Memristors are resistors, or with `moving` devices that begin in the state of their conductance. Open cells (0 S)
    are left out.
    """
    for tile in array.layout.tiles:
        yield tile_comment(array, tile)
        yield from tile_lines(array, tile, moving)


def tile_comment(array: GateArray, tile: Tile) -> str:
    """The line in front of a tile's elements."""
    lines = array.word_lines
    rows, columns = tile.rows, tile.columns
    return (
        f"* tile {tile.name} of {array.name}: rows {rows.start} to {rows.stop - 1} ({lines[rows.start]} to"
        f" {lines[rows.stop - 1]}), columns {columns.start} to {columns.stop - 1}, {len(tile.bit_lines)} bit lines\n"
    )


def tile_lines(array: GateArray, tile: Tile, moving: MovingDevices | None = None) -> Iterator[str]:
    """The elements of one tile, one chunk of text per row."""
    text = _TileText(array.unit, array.layout, tile)
    fixed, wires = text.fixed(), text.word_line_segments()
    # Only the row's number, its word line and its values differ from row to row, so the rest is laid out once.
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
    """What stands in the memristors' lines: ohms, states, or a factor of the nonlinear law."""
    if moving is not None:
        return np.clip(moving.spec.state(siemens), 0, 1)  # at an end, rounding may step over it
    if array.hardware.cells.read_law == "sinh":
        return siemens / array.hardware.cells.sinh_per_volt
    with np.errstate(divide="ignore"):
        return 1 / siemens


@dataclass(frozen=True)
class _TileText:
    """Lines of one row of a tile, with `{row}`, `{next}` and `{line}` to be filled in, and `%r` for every value."""

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
        """Label, word-line node and bit-line node of the cells on the plain, or the inverted word line."""
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
        found = []
        for inverse in (False, True)[: self.layout.lines_per_row]:
            letter = "Rv" if inverse else "Rw"
            before, ohm = inverted("{line}") if inverse else "{line}", wires.word_ohm + wires.driver_ohm
            labels = self.tile.bit_lines if wires.word_ohm else (str(self.tile.column_block),)
            for label, node in zip(labels, self.word_nodes(inverse), strict=False):
                found.append(f"{letter}{self.unit}{{row}}_{label} {before} {node} {ohm!r}")
                before, ohm = node, wires.word_ohm
        return "\n".join(found)

    def bit_line_segments(self, last: bool) -> str:
        ohm = self.layout.hardware.wires.bit_ohm
        if not ohm:
            return ""
        suffix = _suffix(self.layout, self.tile)
        found = []
        for label in self.tile.bit_lines:
            after = bit_line(self.unit, f"{label}{suffix}") if last else f"b{self.unit}{{next}}_{label}"
            found.append(f"Rb{self.unit}{{row}}_{label} b{self.unit}{{row}}_{label} {after} {ohm!r}")
        return "\n".join(found)


_INITIAL_STATE = re.compile(r" x0=\S+$", re.MULTILINE)


def with_states(elements: str, states: Iterable[float]) -> str:
    """The text of `array_lines` with other initial states, one per memristor, tile by tile
    (`ArrayLayout.tile_order`)."""
    found = iter(states)
    return _INITIAL_STATE.sub(lambda _: f" x0={float(next(found))!r}", elements)


@dataclass(frozen=True)
class CellNodes:
    """Names of the nodes at one crossing of a tile."""

    label: str
    """Of the bit line."""
    words: tuple[str, ...]
    """On each of the row's word lines."""
    bit: str
    """On the bit line."""


def cell_nodes(layout: ArrayLayout, tile: Tile, unit: str, row: int, word_line: str) -> list[CellNodes]:
    """The nodes of a row's crossings, bit line by bit line; `word_line` is the row's name, `row` its number in the
    array."""
    text = _TileText(unit, layout, tile)
    lines = [text.word_nodes(inverse) for inverse in (False, True)[: layout.lines_per_row]]
    found = []
    for place, label in enumerate(tile.bit_lines):
        words = tuple(line[place].format(row=row, line=word_line) for line in lines)
        found.append(CellNodes(label, words, text.bit_node(label).format(row=row)))
    return found


def header(array: GateArray) -> str:
    """Comment lines that say what the array is."""
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
