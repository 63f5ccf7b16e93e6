"""SPICE text of one crossbar array: pure functions from conductances to element lines.

Names: word line `x12` (role and index) carries +V, its inverted partner `x12n` carries -V; the bit line of column 5 of
gate unit `i` is `bli5`. The cell of row 3 and column 5 is `Rmi3_5` (memristor, on the inverted line) and `Rsi3_5`
(fixed resistor). A memristor that may move is `Xmi3_5` (subcircuit) or `Nmi3_5` (OSDI), and the voltage of its node
`si3_5` is its state. Values are written so that they read back as the same float64.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np

from hvae_mnn.crossbar.mapping import GateArray
from hvae_mnn.netlist.device_lines import MovingDevices, line_ending


def inverted(word_line: str) -> str:
    """Name of the word line that carries the opposite voltage."""
    return f"{word_line}n"


def bit_line(unit: str, column: int) -> str:
    """Name of a bit line."""
    return f"bl{unit}{column}"


def sense_source(unit: str, column: int) -> str:
    """Name of the 0 V source that holds a bit line at virtual ground; its current is the column current."""
    return f"Vs{unit}{column}"


def state_node(unit: str, row: int, column: int) -> str:
    """Node whose voltage is the state of a moving memristor."""
    return f"s{unit}{row}_{column}"


def array_lines(array: GateArray, moving: MovingDevices | None = None) -> Iterator[str]:
    """The array's elements, one chunk of text per word line: 2 C element lines each (paper Fig. 2b, eq. 12).

    Memristors are resistors, or with `moving` devices that begin in the state of their conductance.
    """
    unit = array.unit
    columns = range(array.conductance.shape[1])
    fixed_ohm = repr(1 / array.fixed_siemens)
    # Only the row's number, its word line and its values differ from row to row, so the rest is laid out once.
    if moving is None:
        values = 1 / array.conductance
        memristors = "\n".join(f"Rm{unit}{{row}}_{k} {{line}} {bit_line(unit, k)} %r" for k in columns)
    else:
        values = np.clip(moving.spec.state(array.conductance), 0, 1)  # at an end, rounding may step over it
        letter, ending = line_ending(moving.spec, moving.backend)
        memristors = "\n".join(
            f"{letter}m{unit}{{row}}_{k} {{line}} {bit_line(unit, k)} s{unit}{{row}}_{k} {ending} x0=%r"
            for k in columns
        )
    resistors = "\n".join(f"Rs{unit}{{row}}_{k} {{line}} {bit_line(unit, k)} {fixed_ohm}" for k in columns)
    for row, line in enumerate(array.word_lines):
        yield memristors.format(row=row, line=inverted(line)) % tuple(values[row].tolist())
        yield "\n"
        yield resistors.format(row=row, line=line)
        yield "\n"


_INITIAL_STATE = re.compile(r" x0=\S+$", re.MULTILINE)


def with_states(elements: str, states: Iterable[float]) -> str:
    """The text of `array_lines` with other initial states, one per memristor, row by row."""
    found = iter(states)
    return _INITIAL_STATE.sub(lambda _: f" x0={float(next(found))!r}", elements)


def header(array: GateArray) -> str:
    """Comment lines that say what the array is."""
    rows, columns = array.conductance.shape
    groups = ", ".join(f"{group.role} {group.size}" for group in array.rows)
    return (
        f"* hvae-mnn crossbar array {array.name}: {rows} word-line pairs ({groups}) x {columns} bit lines\n"
        f"* I_k = sum_j (1/R_s - G_jk) V_j (paper eq. 12); w = s (1/R_s - G), s = {array.weight_scale!r} per siemens,"
        f" 1/R_s = {array.fixed_siemens!r} S\n"
    )
