"""Deck of one memristor on a voltage source: its current and state over time."""

from __future__ import annotations

from collections.abc import Iterator

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import Backend
from hvae_mnn.devices.waveforms import PiecewiseLinear, Sine
from hvae_mnn.netlist.device_lines import TRANSIENT_OPTIONS, control_prologue, device_header, device_line

SOURCE, ELECTRODE, STATE = "Vdrive", "te", "x"
"""The source, the node that it drives, and the node of the state."""
TIME, VOLTS, X, CURRENT = "time", f"v({ELECTRODE})", f"v({STATE})", f"i({SOURCE.lower()})"
"""Vectors of the raw file. The device's current is the negative of this current, which is the source's."""
_CORNERS_PER_LINE = 4


def iv_deck(
    name: str,
    spec: MemristorSpec,
    backend: Backend,
    waveform: Sine | PiecewiseLinear,
    x0: float,
    max_step_s: float,
) -> str:
    """Deck that drives a device with the initial state `x0` by `waveform` and writes `name.raw`.

    `max_step_s` is the longest time step in seconds. The deck has no `uic`: the operating point holds the state at x0.
    """
    lines = [
        f"hvae-mnn memristor {spec.name}, {backend}: current and state under a {_kind(waveform)} voltage",
        "* Vdrive is positive at te: SET. v(x) is the state x in volts, -i(Vdrive) the device's current in amperes.",
        TRANSIENT_OPTIONS,
        *device_header(spec, backend),
        *_source(waveform),
        device_line("memristor", ELECTRODE, "0", STATE, spec, backend, x0),
        f".save {VOLTS} {X} {CURRENT}",
        f".tran {max_step_s!r} {waveform.duration_s!r} 0 {max_step_s!r}",
        ".control",
        *control_prologue(backend),
        "run",
        f"write {name}.raw {VOLTS} {X} {CURRENT}",
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"


def _kind(waveform: Sine | PiecewiseLinear) -> str:
    return "sine" if isinstance(waveform, Sine) else "piecewise linear"


def _source(waveform: Sine | PiecewiseLinear) -> Iterator[str]:
    if isinstance(waveform, Sine):
        yield f"{SOURCE} {ELECTRODE} 0 SIN(0 {waveform.amplitude_v!r} {waveform.frequency_hz!r})"
        return
    corners = [f"{time!r} {volts!r}" for time, volts in zip(waveform.times_s, waveform.corner_volts, strict=True)]
    yield f"{SOURCE} {ELECTRODE} 0 PWL("
    for first in range(0, len(corners), _CORNERS_PER_LINE):
        yield "+ " + " ".join(corners[first : first + _CORNERS_PER_LINE])
    yield "+ )"
