"""Self-contained decks for `ngspice -n -b`: one gate unit (paper Fig. 2b), and a whole recurrent layer (Fig. 2a)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.crossbar.mapping import GateArray
from hvae_mnn.devices.moving import MovingDevices
from hvae_mnn.gates import Cell
from hvae_mnn.netlist.arrays import amplifier_output, bit_line, inverted, sense_labels, sense_source
from hvae_mnn.netlist.device_lines import READ_OPTIONS, control_prologue, device_header

Array = NDArray[np.float64]

KLU = ".options klu"
"""The solver KLU, in ngspice 42 and later; older versions fall back to Sparse 1.3."""
NEWTON = ".options klu reltol=1e-10 abstol=1e-18 vntol=1e-15 itl1=200 itl4=200"
"""For nonlinear cells and clipping outputs: Newton's method converges to rounding error, with up to 200 iterations
instead of ten per time point of a transient, where a shorter time step would not help."""
TIA_LIBRARY = "tia.lib"
"""File of the amplifier's subcircuit, in the device models."""
_DIGITS = "set numdgt=17"
"""ngspice prints a negative number with one digit less, and a double needs 17."""
_EDGE = 1e-10
"""Fall time of a pulse as a fraction of a read: so short that a nonlinear circuit's response to it is negligible, and
long enough for ngspice, which merges time points about 1e-12 of a read apart."""


def options(layout: ArrayLayout) -> str:
    """Options of the solver for arrays of this layout."""
    clipped = np.isfinite(layout.hardware.amplifier.swing_v)
    return NEWTON if layout.hardware.cells.read_law == "sinh" or clipped else KLU


def _legend(layout: ArrayLayout) -> list[str]:
    pair = ", E<line> its partner <line>n with -V" if layout.lines_per_row == 2 else ""
    lines = [f"* V<line> drives a word line with +V{pair}."]
    if layout.hardware.amplifier.kind == "ideal":
        lines.append("* Vs<unit><k> holds bit line k at virtual ground; the current through it is what is read.")
    else:
        lines.append("* Xs<unit><k> is the amplifier of bit line k; -V(out<unit><k>)/R_f is the current that is read.")
    return lines


def driver_lines(word_lines: Sequence[str], value: Sequence[str], pairs: bool) -> Iterator[str]:
    """A source per word line, and with `pairs` its inverting driver; `value` is the text behind each source's nodes."""
    for line, text in zip(word_lines, value, strict=True):
        yield f"V{line} {line} 0 {text}"
        if pairs:
            yield f"E{line} {inverted(line)} 0 {line} 0 -1"


def sense_lines(layout: ArrayLayout, unit: str, labels: Sequence[str] | None = None) -> Iterator[str]:
    """The ammeter or amplifier at the end of every bit line, or of those with the given `sense_labels`."""
    amplifier = layout.hardware.amplifier
    for label in sense_labels(layout) if labels is None else labels:
        if amplifier.kind == "ideal":
            yield f"{sense_source(unit, label)} {bit_line(unit, label)} 0 DC 0"
        else:
            swing = 1e30 if np.isinf(amplifier.swing_v) else amplifier.swing_v
            yield (
                f"Xs{unit}{label} {bit_line(unit, label)} {amplifier_output(unit, label)} tia"
                f" rf={amplifier.feedback_ohm!r} gain={amplifier.gain!r} vos={amplifier.offset_v!r} swing={swing!r}"
            )


def noise_lines(layout: ArrayLayout, unit: str, currents: Array) -> Iterator[str]:
    """Current sources at the ends of bit lines that raise the outputs by `currents` (outputs,), in amperes.

    The bit lines end in ideal ammeters. An output's source is at its first bit line that no other output shares.
    """
    for value, (_, plus, minus) in zip(currents.tolist(), output_terms(layout), strict=True):
        # Tiles share a reference line between all their columns.
        label, sign = (minus[0], -1) if layout.scheme == "reference_column" else (plus[0], 1)
        yield f"In{unit}{label} 0 {bit_line(unit, label)} DC {sign * value!r}"


def sensed(layout: ArrayLayout, unit: str, label: str) -> str:
    """ngspice's name of the quantity measured at a bit line: a current, or an amplifier's output voltage."""
    if layout.hardware.amplifier.kind == "ideal":
        return f"i({sense_source(unit, label)})"
    return f"v({amplifier_output(unit, label)})"


def amperes_per_sensed(layout: ArrayLayout) -> float:
    """Amperes per unit of the quantity measured at a bit line: 1, or -1/R_f of an amplifier."""
    amplifier = layout.hardware.amplifier
    return 1.0 if amplifier.kind == "ideal" else -1 / amplifier.feedback_ohm


def output_terms(layout: ArrayLayout) -> list[tuple[str, list[str], list[str]]]:
    """Outputs of the array: name (`<k>`, or `<k>_<row block>`), labels of added, and of subtracted bit lines."""
    by_name: dict[str, tuple[list[str], list[str]]] = {}
    labels = iter(sense_labels(layout))
    for tile in layout.tiles:
        own = dict(zip(tile.bit_lines, labels, strict=False))
        for k in tile.columns:
            name = f"{k}_{tile.row_block}" if layout.sums > 1 else str(k)
            plus, minus = by_name.setdefault(name, ([], []))
            if layout.scheme == "fixed_resistor_per_cell":
                plus.append(own[str(k)])
            elif layout.scheme == "reference_column":
                plus.append(own[tile.bit_lines[-1]])
                minus.append(own[str(k)])
            else:
                plus.append(own[f"{k}p"])
                minus.append(own[f"{k}m"])
    return [(name, *terms) for name, terms in by_name.items()]


def _sum(layout: ArrayLayout, unit: str, plus: Sequence[str], minus: Sequence[str]) -> str:
    """ngspice's expression for an output, in amperes."""
    text = "+".join(sensed(layout, unit, label) for label in plus)
    text += "".join(f"-{sensed(layout, unit, label)}" for label in minus)
    factor = amperes_per_sensed(layout)
    return text if factor == 1 else f"{factor!r}*({text})"


def model_lines(layout: ArrayLayout, moving: MovingDevices | None) -> list[str]:
    """Models of devices and amplifiers, before a deck's elements."""
    lines = [] if moving is None else device_header(moving.spec, moving.backend)
    return lines + ([] if layout.hardware.amplifier.kind == "ideal" else [f".include {TIA_LIBRARY}"])


def _control(commands: Sequence[str], moving: MovingDevices | None) -> Iterator[str]:
    yield ".control"
    yield from control_prologue("behavioural" if moving is None else moving.backend)
    yield _DIGITS
    yield from commands
    yield ".endc"
    yield ".end"


def _outputs(layout: ArrayLayout, unit: str) -> list[str]:
    """Commands that print the array's outputs."""
    commands = []
    for name, plus, minus in output_terms(layout):
        if len(plus) == 1 and not minus and layout.hardware.amplifier.kind == "ideal":
            commands.append(f"print {sensed(layout, unit, plus[0])}")
        else:
            commands += [f"let i{unit}{name}={_sum(layout, unit, plus, minus)}", f"print i{unit}{name}"]
    return commands


def unit_deck(
    array: str,
    unit: str,
    word_lines: Sequence[str],
    layout: ArrayLayout,
    include: str,
    volts: Array,
    moving: MovingDevices | None = None,
    noise: Array | None = None,
) -> str:
    """Deck that drives the array in the file `include` with `volts` (R,) and prints its column currents in amperes.

    The analysis is an operating point, in which moving devices hold their states. `noise` (outputs,) in amperes is read
    noise, added by current sources, see `noise_lines`.
    """
    noisy = [] if noise is None else ["* In<unit><k> is the read noise of column k.", *noise_lines(layout, unit, noise)]
    lines = [
        f"hvae-mnn gate unit {array}: column currents of one read (paper Fig. 2b)",
        *_legend(layout),
        options(layout),
        *model_lines(layout, moving),
        f".include {include}",
        *driver_lines(word_lines, [f"DC {v!r}" for v in volts.tolist()], layout.lines_per_row == 2),
        *sense_lines(layout, unit),
        *noisy,
        *_control(["op", *_outputs(layout, unit)], moving),
    ]
    return "\n".join(lines) + "\n"


def pulse_deck(
    array: str,
    unit: str,
    word_lines: Sequence[str],
    layout: ArrayLayout,
    include: str,
    volts: Array,
    read_v: float,
    read_s: float,
) -> str:
    """Deck of one read with pulse-width coding: pulses of +-`read_v` that last |`volts`| / `read_v` of the read.

    It prints every output's charge in coulombs over the read's `read_s` seconds. For a linear circuit that is `read_s`
    times the current at constant `volts` (R,) (paper 3.2).
    """
    # A measurement (`meas ... integ`) gives seven digits, a vector all of them.
    commands = ["run"]
    for name, plus, minus in output_terms(layout):
        commands += [
            f"let charge=integ({_sum(layout, unit, plus, minus)})",
            f"let q{unit}{name}=charge[length(charge)-1]",
            f"print q{unit}{name}",
        ]
    lines = [
        f"hvae-mnn gate unit {array}: column charges of one read with pulses (paper 3.2, Fig. 2b)",
        *_legend(layout),
        "* A pulse's length carries the value; q<unit><k> is the integral of the current over the read, in coulombs.",
        options(layout),
        *model_lines(layout, None),
        f".include {include}",
        *driver_lines(word_lines, [_pulse(v, read_v, read_s) for v in volts.tolist()], layout.lines_per_row == 2),
        *sense_lines(layout, unit),
        f".tran {read_s / 20!r} {read_s!r} 0 {read_s / 20!r}",
        *_control(commands, None),
    ]
    return "\n".join(lines) + "\n"


def _pulse(mean_v: float, read_v: float, read_s: float) -> str:
    """A pulse of +-`read_v` from the beginning of a read, with the mean `mean_v` over the read.

    All pulses begin together, and the read ends with the longest possible one: before and after that, an amplifier's
    offset would be integrated as well.
    """
    level, part = math.copysign(read_v, mean_v), abs(mean_v) / read_v
    if part < _EDGE:
        return "DC 0"
    if part > 1 - _EDGE:
        return f"DC {level!r}"
    # The fall's middle is the pulse's end, so that the area is level times length.
    begin, end = (part - _EDGE / 2) * read_s, (part + _EDGE / 2) * read_s
    return f"PWL(0 {level!r} {begin!r} {level!r} {end!r} 0)"


def moving_unit_deck(
    unit: str, word_lines: Sequence[str], layout: ArrayLayout, include: str, moving: MovingDevices, volts: Array
) -> str:
    """Deck of one read with `volts` (R,) of the array in the file `include`: a transient of `moving.read_s` seconds, in
    which its memristors move."""
    step = moving.read_s / 20
    pulses = [f"PWL(0 0 {step / 1000!r} {v!r})" for v in volts.tolist()]
    last = []
    for label in sense_labels(layout):
        name = sensed(layout, unit, label)
        last.append(f"print {name}[length({name})-1]")
    lines = [
        f"hvae-mnn gate unit {unit}: one read of moving memristors",
        READ_OPTIONS,
        *model_lines(layout, moving),
        f".include {include}",
        *driver_lines(word_lines, pulses, layout.lines_per_row == 2),
        *sense_lines(layout, unit),
        f".tran {step!r} {moving.read_s!r} 0 {step!r}",
        *_control(["run", *last], moving),
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
    """Deck of a whole layer: arrays on shared word lines; gates, memory and hidden state as behavioural sources.

    `volts` holds the voltage of every driven word line; `memory` (H,) is c_{t-1} of an LSTM. The deck prints the column
    currents in amperes, then the new state, V(memory*) and V(hidden*), in the model's units. The peephole lines of the
    output gate are driven by c_t within the same operating point (eq. 11).
    """
    layout = arrays[0].layout
    pairs, pulses = layout.lines_per_row == 2, layout.hardware.coding == "pulse_width"
    lines = [
        f"hvae-mnn {cell} layer {arrays[0].layer}: gate units on shared word lines, gates and state (paper Fig. 2a)",
        *_legend(layout),
        *(["* Inputs are mean voltages here; in the unit decks pulses carry them."] if pulses else []),
        "* Bp<unit><k> makes it the pre-activation in the model's units; B sources make the new state of those.",
        options(layout),
        *model_lines(layout, moving),
    ]
    lines += [f".include {include}" for include in includes]
    lines += driver_lines(list(volts), [f"DC {v!r}" for v in volts.values()], pairs)
    for array in arrays:
        lines += sense_lines(array.layout, array.unit)
        lines += _preactivation_lines(array, volts_per_unit)
    lines += _CELL_LINES[cell](layout.columns, volts, volts_per_unit, memory)
    if pairs and "cp0" in volts:
        lines += [f"E{inverted(f'ct{k}')} {inverted(f'ct{k}')} 0 ct{k} 0 -1" for k in range(layout.columns)]
    printed = [command for array in arrays for command in _outputs(array.layout, array.unit)]
    states = ("memory", "hidden") if cell == "lstm" else ("hidden",)
    printed += [f"print v({state}{k})" for state in states for k in range(layout.columns)]
    return "\n".join([*lines, *_control(["op", *printed], moving)]) + "\n"


def _preactivation_lines(array: GateArray, volts_per_unit: float) -> Iterator[str]:
    """Sources of the pre-activations: column currents, summed over row blocks and signed, in the model's units."""
    layout, unit = array.layout, array.unit
    sums: dict[str, tuple[list[str], list[str]]] = {}
    for name, plus, minus in output_terms(layout):
        terms = sums.setdefault(name.partition("_")[0], ([], []))
        terms[0].extend(plus)
        terms[1].extend(minus)
    gain = np.broadcast_to(np.asarray(array.weight_scale) / volts_per_unit, (layout.columns,)).tolist()
    for (name, (plus, minus)), factor in zip(sums.items(), gain, strict=True):
        yield f"Bp{unit}{name} p{unit}{name} 0 V={factor!r}*({_sum(layout, unit, plus, minus)})"


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


def _gru_lines(hidden: int, volts: Mapping[str, float], volts_per_unit: float, memory: Array | None) -> Iterator[str]:
    for k in range(hidden):
        update, reset = _sigmoid(f"pz{k}"), _sigmoid(f"pr{k}")
        yield f"Bcandidate{k} candidate{k} 0 V=tanh(V(pnx{k})+{reset}*V(pnh{k}))"
        yield f"Bhidden{k} hidden{k} 0 V=(1-{update})*V(candidate{k})+{update}*V(h{k})*{1 / volts_per_unit!r}"


def _rnn_lines(hidden: int, volts: Mapping[str, float], volts_per_unit: float, memory: Array | None) -> Iterator[str]:
    for k in range(hidden):
        yield f"Bhidden{k} hidden{k} 0 V=tanh(V(ph{k}))"


_CELL_LINES = {"lstm": _lstm_lines, "gru": _gru_lines, "rnn": _rnn_lines}
