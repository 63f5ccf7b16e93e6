"""Deck that programs a wired array of moving memristors cell by cell, and then reads it row by row.

Word line i is driven at its left end, bit line j at its bottom end; with wires, `wire_ohm` lies between a driver and
the nearest cell and between neighbouring cells. Device D<i>_<j> stands between word node w<i>_<j> and bit node b<i>_<j>
(ideal wires: w<i> and b<j>), and its state is on node x<i>_<j>. With 1T1R, the gate line g<j> of a column closes a
switch between word node and device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.half_select import BiasScheme
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import Backend
from hvae_mnn.netlist.device_lines import control_prologue, device_header, device_line

Array = NDArray[np.float64]
OPTIONS = ".options klu reltol=1e-7 vntol=1e-9 trtol=10"
"""As for every moving device, with a finer time step: hundreds of pulses of different widths share it."""
EDGE_S = 1e-8
"""Rise and fall time of every pulse, seconds: small against the widths, so that the flat top dominates."""
GAP_S = 1e-6
"""Time between two pulses, seconds; gates switch in its middle."""
_STEPS_PER_PULSE = 25
"""Smallest number of time steps on the longest pulse."""
_CORNERS_PER_LINE = 6
"""Corners of a waveform on one line of text."""
_GATE = ".model gate sw(ron=1 roff=1e12 vt=0.5 vh=0)"
_Corners = list[tuple[float, float]]


@dataclass(frozen=True)
class WiredArray:
    """An array of moving devices with its wires."""

    spec: MemristorSpec
    backend: Backend
    scheme: BiasScheme
    amplitude_v: float
    """Voltage of a selected cell before drops along the wires, volts."""
    wire_ohm: float
    """Resistance of a wire from cell to cell, ohms; 0: ideal wires."""
    read_s: float
    """Duration of a row's read at the spec's read voltage, seconds."""


@dataclass(frozen=True)
class PulseSchedule:
    """Times of all pulses and reads, seconds."""

    cells: NDArray[np.intp]
    """(E, 2) row and column of each pulsed cell, in the order of time."""
    begin_s: Array
    """(E,) beginning of each pulse's rise."""
    width_s: Array
    """(E,) signed duration of each pulse: positive SET, negative RESET."""
    read_s: Array
    """(R,) beginning of the rise of each row's read."""
    sample_s: Array
    """(R,) sampling time of each row's column currents: near the end of the flat top."""
    stop_s: float


def schedule(array: WiredArray, seconds: Array) -> PulseSchedule:
    """Schedule of the pulses of signed `seconds` (R, C), row by row, and of a read of each of the R rows after them."""
    cells = np.argwhere(seconds)
    width = seconds[seconds != 0]
    begin = GAP_S + np.concatenate([[0.0], np.cumsum(np.abs(width) + EDGE_S + GAP_S)])
    read = begin[-1] + np.arange(seconds.shape[0]) * (array.read_s + EDGE_S + GAP_S)
    stop = float(read[-1] + array.read_s + EDGE_S + GAP_S)
    return PulseSchedule(cells, begin[:-1], width, read, read + 0.9 * array.read_s, stop)


def programming_deck(array: WiredArray, x0: Array, seconds: Array, name: str) -> str:
    """Deck for the initial states `x0` (R, C) and signed pulse `seconds` (R, C), which are 0 for cells without a pulse.

    It writes time, states v(x<i>_<j>) and bit-line currents i(vb<j>) from the first read on to `name.raw`.
    """
    times = schedule(array, seconds)
    rows, columns = seconds.shape
    longest = float(np.abs(times.width_s).max(initial=array.read_s))
    lines = [
        f"hvae-mnn programming: {rows} x {columns} {array.spec.name} devices, {len(times.cells)} pulses of"
        f" {array.amplitude_v:g} V, scheme {array.scheme}, wires of {array.wire_ohm:g} ohm per cell, then a read of"
        " every row",
        "* Vw<i> drives word line i, Vb<j> bit line j; the current through Vb<j> is the column current.",
        OPTIONS,
        *device_header(array.spec, array.backend),
        *_sources(array, times, rows, columns),
        *_cells(array, x0),
        f".tran {longest / _STEPS_PER_PULSE!r} {times.stop_s!r} {float(times.read_s[0])!r}"
        f" {longest / _STEPS_PER_PULSE!r}",
        *(f".save v(x{i}_{j})" for i in range(rows) for j in range(columns)),
        *(f".save i(vb{j})" for j in range(columns)),
        ".control",
        *control_prologue(array.backend),
        "run",
        f"write {name}.raw",
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"


def _cells(array: WiredArray, x0: Array) -> Iterator[str]:
    rows, columns = x0.shape
    wired, gated = array.wire_ohm > 0, array.scheme == "1T1R"
    if gated:
        yield _GATE
    for i in range(rows):
        for j in range(columns):
            word, bit = (f"w{i}_{j}", f"b{i}_{j}") if wired else (f"w{i}", f"b{j}")
            if wired:
                left, below = f"w{i}_{j - 1}" if j else f"w{i}", f"b{i + 1}_{j}" if i < rows - 1 else f"b{j}"
                yield f"Rw{i}_{j} {left} {word} {array.wire_ohm!r}"
                yield f"Rb{i}_{j} {bit} {below} {array.wire_ohm!r}"
            if gated:
                yield f"S{i}_{j} {word} t{i}_{j} g{j} 0 gate"
                word = f"t{i}_{j}"
            yield device_line(
                f"D{i}_{j}", word, bit, f"x{i}_{j}", array.spec, array.backend, float(np.clip(x0[i, j], 0, 1))
            )


def _sources(array: WiredArray, times: PulseSchedule, rows: int, columns: int) -> Iterator[str]:
    chosen, others = _levels(array.scheme)
    volts = np.sign(times.width_s) * array.amplitude_v
    ends = times.begin_s + np.abs(times.width_s)
    for line, count, axis in (("w", rows, 0), ("b", columns, 1)):
        for k in range(count):
            level = np.where(times.cells[:, axis] == k, chosen[axis], others[axis]) * volts
            pulses = list(zip(times.begin_s.tolist(), ends.tolist(), level.tolist(), strict=True))
            if line == "w":
                pulses.append((float(times.read_s[k]), float(times.read_s[k]) + array.read_s, array.spec.read_v))
            yield from _source(f"V{line}{k} {line}{k} 0", _corners(pulses, EDGE_S))
    if array.scheme == "1T1R":
        half = GAP_S / 2
        for k in range(columns):
            own = times.cells[:, 1] == k
            # Gates open and close while every line is at 0 V.
            gates = [
                (begin - half, end + half - EDGE_S, 1.0)
                for begin, end in zip(times.begin_s[own].tolist(), ends[own].tolist(), strict=True)
            ]
            gates.append((float(times.read_s[0]) - half, times.stop_s - half, 1.0))
            yield from _source(f"Vg{k} g{k} 0", _corners(gates, EDGE_S))


def _levels(scheme: BiasScheme) -> tuple[tuple[float, float], tuple[float, float]]:
    """Voltages (word, bit) of the selected lines, and of the others, as fractions of the amplitude."""
    if scheme == "V/2":
        return (1 / 2, -1 / 2), (0.0, 0.0)
    if scheme == "V/3":
        return (1.0, 0.0), (1 / 3, 2 / 3)
    return (1.0, 0.0), (0.0, 0.0)


def _corners(pulses: list[tuple[float, float, float]], edge_s: float) -> _Corners:
    """Corners of trapezoids (begin, end, level): they rise from `begin`, fall from `end`, and last end - begin."""
    corners: _Corners = [(0.0, 0.0)]
    for begin, end, level in pulses:
        if level:
            corners += [(begin, 0.0), (begin + edge_s, level), (end, level), (end + edge_s, 0.0)]
    return corners


def _source(head: str, corners: _Corners) -> Iterator[str]:
    if len(corners) == 1:
        yield f"{head} DC 0"
        return
    yield f"{head} PWL("
    for start in range(0, len(corners), _CORNERS_PER_LINE):
        part = corners[start : start + _CORNERS_PER_LINE]
        yield "+ " + " ".join(f"{time!r} {volts!r}" for time, volts in part)
    yield "+ )"
