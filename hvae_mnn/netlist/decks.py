"""Decks that run alone with `ngspice -b`: one gate unit (paper Fig. 2b), and a whole recurrent layer (Fig. 2a)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.mapping import GateArray
from hvae_mnn.gates import Cell
from hvae_mnn.netlist.arrays import bit_line, inverted, sense_source
from hvae_mnn.netlist.device_lines import READ_OPTIONS, MovingDevices, control_prologue, device_header

Array = NDArray[np.float64]

KLU = ".options klu"
"""ngspice 42 and later solve with KLU when asked; older ones fall back to Sparse 1.3."""


_LEGEND = (
    "* V<line> drives a word line with +V, E<line> its partner <line>n with -V; Vs<unit><k> holds bit line k",
    "* at virtual ground; the current through it is the column current I_k in amperes.",
)


def driver_lines(word_lines: Sequence[str], value: Sequence[str]) -> Iterator[str]:
    """A source and an inverting driver per word line; `value` is what stands behind the source's nodes."""
    for line, what in zip(word_lines, value, strict=True):
        yield f"V{line} {line} 0 {what}"
        yield f"E{line} {inverted(line)} 0 {line} 0 -1"


def sense_lines(unit: str, columns: int) -> Iterator[str]:
    """A virtual ground per bit line."""
    for k in range(columns):
        yield f"{sense_source(unit, k)} {bit_line(unit, k)} 0 DC 0"


def _devices(moving: MovingDevices | None) -> list[str]:
    return [] if moving is None else device_header(moving.spec, moving.backend)


def _control(printed: Sequence[str], moving: MovingDevices | None) -> Iterator[str]:
    yield ".control"
    yield from control_prologue("behavioural" if moving is None else moving.backend)
    yield "set numdgt=16"
    yield "op"
    for name in printed:
        yield f"print {name}"
    yield ".endc"
    yield ".end"


def unit_deck(
    array: str,
    unit: str,
    word_lines: Sequence[str],
    columns: int,
    include: str,
    volts: Array,
    moving: MovingDevices | None = None,
) -> str:
    """A deck that drives the array in the file `include` with `volts` (R,) and prints its column currents in amperes.

    It is an operating point, in which devices that may move hold their state.
    """
    lines = [
        f"hvae-mnn gate unit {array}: column currents of one read (paper Fig. 2b)",
        *_LEGEND,
        KLU,
        *_devices(moving),
        f".include {include}",
        *driver_lines(word_lines, [f"DC {v!r}" for v in volts.tolist()]),
        *sense_lines(unit, columns),
        *_control([f"i({sense_source(unit, k)})" for k in range(columns)], moving),
    ]
    return "\n".join(lines) + "\n"


def moving_unit_deck(
    unit: str, word_lines: Sequence[str], columns: int, include: str, moving: MovingDevices, volts: Array
) -> str:
    """A deck that reads the array in the file `include` once, for as long as a read lasts, with `volts` (R,): a
    transient, in which its memristors move."""
    step = moving.read_s / 20
    lines = [
        f"hvae-mnn gate unit {unit}: one read of moving memristors",
        READ_OPTIONS,
        *_devices(moving),
        f".include {include}",
        *driver_lines(word_lines, [f"PWL(0 0 {step / 1000!r} {v!r})" for v in volts.tolist()]),
        *sense_lines(unit, columns),
        f".tran {step!r} {moving.read_s!r} 0 {step!r}",
        ".control",
        *control_prologue(moving.backend),
        "run",
        *(f"print i({sense_source(unit, k)})[length(i({sense_source(unit, k)}))-1]" for k in range(columns)),
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"


def layer_deck(
    arrays: Sequence[GateArray],
    cell: Cell,
    includes: Sequence[str],
    volts: Mapping[str, float],
    volts_per_unit: float,
    memory: Array | None,
    moving: MovingDevices | None = None,
) -> str:
    """A deck of a whole layer: its arrays on shared word lines, and its gates, memory and hidden state as behavioural
    sources.

    `volts` holds the voltage of every driven word line; `memory` (H,) is c_{t-1} of an LSTM. The deck prints the column
    currents, then the new state: V(memory*) and V(hidden*), in the model's units. The peephole lines of the output
    gate are driven by c_t inside the same operating point (eq. 11).
    """
    hidden = arrays[0].conductance.shape[1]
    lines = [
        f"hvae-mnn {cell} layer {arrays[0].layer}: gate units on shared word lines, gates and state (paper Fig. 2a)",
        *_LEGEND,
        "* Hp<unit><k> makes it the pre-activation in the model's units; B sources make the new state of those.",
        KLU,
        *_devices(moving),
    ]
    lines += [f".include {include}" for include in includes]
    lines += driver_lines(list(volts), [f"DC {v!r}" for v in volts.values()])
    for array in arrays:
        lines += sense_lines(array.unit, hidden)
        # Transresistance of the sense amplifier: amperes to the model's units.
        gain = array.weight_scale / volts_per_unit
        lines += [f"Hp{array.unit}{k} p{array.unit}{k} 0 {sense_source(array.unit, k)} {gain!r}" for k in range(hidden)]
    lines += _CELL_LINES[cell](hidden, volts, volts_per_unit, memory)
    printed = [f"i({sense_source(array.unit, k)})" for array in arrays for k in range(hidden)]
    states = ("memory", "hidden") if cell == "lstm" else ("hidden",)
    printed += [f"v({state}{k})" for state in states for k in range(hidden)]
    return "\n".join([*lines, *_control(printed, moving)]) + "\n"


def _sigmoid(node: str) -> str:
    return f"1/(1+exp(-V({node})))"


def _lstm_lines(hidden: int, volts: Mapping[str, float], volts_per_unit: float, memory: Array | None) -> Iterator[str]:
    assert memory is not None
    for k, value in enumerate(memory.tolist()):
        yield f"Vprevious{k} previous{k} 0 DC {value!r}"
        yield f"Bmemory{k} memory{k} 0 V={_sigmoid(f'pf{k}')}*V(previous{k})+{_sigmoid(f'pi{k}')}*tanh(V(pg{k}))"
        yield f"Bhidden{k} hidden{k} 0 V={_sigmoid(f'po{k}')}*tanh(V(memory{k}))"
    if "cp0" in volts:
        for k in range(hidden):
            yield f"Ect{k} ct{k} 0 memory{k} 0 {volts_per_unit!r}"
            yield f"Ect{k}n {inverted(f'ct{k}')} 0 memory{k} 0 {-volts_per_unit!r}"


def _gru_lines(hidden: int, volts: Mapping[str, float], volts_per_unit: float, memory: Array | None) -> Iterator[str]:
    for k in range(hidden):
        update, reset = _sigmoid(f"pz{k}"), _sigmoid(f"pr{k}")
        yield f"Bcandidate{k} candidate{k} 0 V=tanh(V(pnx{k})+{reset}*V(pnh{k}))"
        yield f"Bhidden{k} hidden{k} 0 V=(1-{update})*V(candidate{k})+{update}*V(h{k})*{1 / volts_per_unit!r}"


def _rnn_lines(hidden: int, volts: Mapping[str, float], volts_per_unit: float, memory: Array | None) -> Iterator[str]:
    for k in range(hidden):
        yield f"Bhidden{k} hidden{k} 0 V=tanh(V(ph{k}))"


_CELL_LINES = {"lstm": _lstm_lines, "gru": _gru_lines, "rnn": _rnn_lines}
