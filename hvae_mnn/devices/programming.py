"""Target conductances to states by pulses of one amplitude: open loop, or write-verify.

The controller knows the spec, not the deviations of a device: from a read conductance it takes polarity by sign and
width by the spec's own time map. Open loop gives each device one such pulse from the state of a fresh device;
write-verify reads again and repeats until the conductance is within the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.pulse_map import PulseMap
from hvae_mnn.devices.spread import Spread
from hvae_mnn.errors import DeviceError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LARGEST_V = 100.0
"""Volts that a memristor is driven with at most: far beyond what any bears."""
_ROUNDING = 1e-9
_STILL = 1e-9
"""A state that changed by less did not move."""
_PATIENCE = 3
"""Pulses without any motion after which a device counts as stuck."""


@dataclass(frozen=True)
class WriteVerify:
    """How devices are programmed."""

    amplitude_v: float = 0.15
    """Volts of every pulse, in either polarity."""
    tolerance: float = 0.01
    """Allowed error of a conductance, relative to its target."""
    max_pulses: int = 20
    """A device that is not within the tolerance after as many has failed."""
    open_loop: bool = False
    """One pulse per device from the state of a fresh device; nothing is read."""
    read_s: float = 1e-6
    """Seconds of one verifying read at the spec's read voltage: an assumption, no source gives one."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name, allowed, fits in (
            ("amplitude_v", f"a voltage above 0, {LARGEST_V:g} V at most", 0 < self.amplitude_v <= LARGEST_V),
            ("tolerance", "above 0 and below 1, e.g. 0.01 for 1 %", 0 < self.tolerance < 1),
            ("max_pulses", "a whole number from 1 on", isinstance(self.max_pulses, int) and self.max_pulses >= 1),
            ("read_s", "0 s or more", 0 <= self.read_s < math.inf),
        ):
            if not fits:
                raise DeviceError(f"{name} is {getattr(self, name)!r}; allowed: {allowed}")


@dataclass(frozen=True)
class Programmed:
    """What came of programming; arrays have the targets' shape."""

    target: Array
    """Siemens."""
    first: Array
    """Siemens after one round: what open loop gives."""
    state: Array
    """x at the end."""
    conductance: Array
    """Siemens at the end."""
    pulses: NDArray[np.int64]
    time_s: Array
    """Pulses and reads of each device, seconds."""
    energy_j: Array
    """Pulses and reads of each device, joules; what half-selected devices take meanwhile is not in it."""
    within: Mask
    """Conductance within the tolerance at the end."""
    stuck: Mask
    """Its last pulses did not move it any more."""
    within_after: tuple[float, ...]
    """Fraction within the tolerance before the first round, and after each."""
    line_s: float
    """Seconds when all devices of a word line are programmed at once, a polarity after the other, and one word line
    after the other. The last axis is a word line's."""

    @property
    def failed(self) -> Mask:
        """Not within the tolerance."""
        return ~self.within

    @property
    def error(self) -> Array:
        """Relative error of the conductances at the end."""
        return self.conductance / self.target - 1

    @property
    def first_error(self) -> Array:
        """Relative error after one round."""
        return self.first / self.target - 1


@runtime_checkable
class Target(Protocol):
    """Devices that can be pulsed: `hvae_mnn.devices.spread.Pulses`, or an array in which others are half-selected."""

    def pulse(self, x: Array, seconds: Array, cycle: Array) -> tuple[Array, Array]:
        """States after a signed pulse each, and joules in the pulsed devices."""
        ...


class Controller:
    """Knows targets, and the spec's time map at one amplitude; not the deviations of the devices.

    It remembers how far a device was from its target, and on which side, for the rule in `pulses`.
    """

    def __init__(self, spec: MemristorSpec, targets: Array, settings: WriteVerify) -> None:
        """Raises `DeviceError` for targets outside the spec's range, or an amplitude that does not move it."""
        check_targets(spec, targets)
        self.spec, self.targets, self.settings = spec, targets, settings
        volts = settings.amplitude_v
        self._maps = {sign: PulseMap(spec, sign * volts) for sign in (1, -1)}
        if spec.read_v >= volts:
            raise DeviceError(
                f"memristor {spec.name!r}: the amplitude {volts:g} V is not above its read voltage {spec.read_v:g} V;"
                " raise the amplitude"
            )
        # A state takes for ever to reach the very end; half a tolerance from it is near enough.
        near = 1 + settings.tolerance / 2
        self._aim = np.clip(
            spec.state(targets), spec.state(near / spec.r_off_ohm), spec.state(1 / (near * spec.r_on_ohm))
        )
        self._missing, self._part = np.zeros(targets.shape), np.ones(targets.shape)

    def within(self, conductance: Array) -> Mask:
        """Which conductances, siemens, are within the tolerance of their targets."""
        return np.abs(conductance / self.targets - 1) <= self.settings.tolerance

    def pulses(self, conductance: Array, todo: Mask) -> Array:
        """Signed seconds of the pulses that take these conductances to their targets; 0 where nothing is to do.

        A device that a pulse threw to the other side of its target, hardly nearer than before, gets half the width from
        then on: the map is wrong for it (wires take a part of the voltage), and it would go to and fro for ever.
        """
        x = np.clip(self.spec.state(conductance), 0, 1)
        seconds = np.zeros_like(x)
        for sign, table in self._maps.items():
            on = todo & ((self._aim - x) * sign > 0)
            seconds[on] = sign * table.width(x[on], self._aim[on])
        # In x, in which the map is nearly even: a small step beyond a target near x = 1 is a large one of G.
        missing = self._aim - x
        thrown = (missing * self._missing < 0) & (np.abs(missing) > np.abs(self._missing) / 2)
        self._part = np.where(thrown, self._part / 2, self._part)
        self._missing = missing
        return seconds * self._part


def check_targets(spec: MemristorSpec, targets: Array) -> None:
    """Raise `DeviceError` for a conductance that is no number, or outside the spec's range."""
    low, high = spec.g_min * (1 - _ROUNDING), spec.g_max * (1 + _ROUNDING)
    outside = ~((targets >= low) & (targets <= high))
    if targets.size == 0:
        raise DeviceError("there is no target conductance; give at least one, in siemens")
    if outside.any():
        where = tuple(int(part) for part in np.argwhere(outside)[0])
        raise DeviceError(
            f"{int(outside.sum())} of {targets.size} targets lie outside the range of memristor {spec.name!r}; the"
            f" first, at {where}, is {targets[where]:g} S; allowed: {spec.g_min:g} to {spec.g_max:g} S: scale the"
            f" targets, or widen g_min and g_max in a device TOML (its resistances allow {1 / spec.r_off_ohm:g} to"
            f" {1 / spec.r_on_ohm:g} S)"
        )


def program_devices(
    spec: MemristorSpec,
    targets: Array,
    devices: Target,
    settings: WriteVerify,
    spread: Spread,
    rng: np.random.Generator,
    x0: Array | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Programmed:
    """Program `devices` to `targets` (siemens, any shape) from states `x0` (default: fresh devices).

    `rng` gives the spread from pulse to pulse. `progress(round, rounds)` follows. Raises `DeviceError`.
    """
    control = Controller(spec, targets, settings)
    x = np.full(targets.shape, spec.x_init) if x0 is None else np.array(x0, dtype=np.float64)
    count, still = np.zeros(targets.shape, dtype=np.int64), np.zeros(targets.shape, dtype=np.int64)
    time_s, energy_j = np.zeros(targets.shape), np.zeros(targets.shape)
    todo, line_s, first = np.ones(targets.shape, dtype=bool), 0.0, None
    within_after = []
    rounds = 1 if settings.open_loop else settings.max_pulses
    read_s = 0.0 if settings.open_loop else settings.read_s
    for number in range(rounds + 1):
        read = spec.conductance(x)
        time_s += read_s * todo
        energy_j += read_s * todo * spec.read_v**2 * read
        line_s += read_s * _lines(todo)
        within = control.within(read)
        within_after.append(float(within.mean()))
        if number == 1:
            first = read
        todo = (still < _PATIENCE) & (~within if not settings.open_loop else (number == 0))
        if number == rounds or not todo.any():
            break
        seconds = control.pulses(spec.conductance(np.full_like(x, spec.x_init)) if settings.open_loop else read, todo)
        after, joules = devices.pulse(x, seconds, spread.cycle(targets.shape, rng))
        still = np.where(np.abs(after - x) < _STILL, still + (seconds != 0), 0)
        x = after
        count += seconds != 0
        time_s += np.abs(seconds)
        energy_j += joules
        line_s += _line_seconds(seconds)
        if progress is not None:
            progress(number + 1, rounds)
    stuck = (still > 0) & ~within
    first = read if first is None else first
    result = (targets, first, x, read, count, time_s, energy_j, within, stuck, tuple(within_after), line_s)
    return Programmed(*result)


def _lines(todo: Mask) -> int:
    """Word lines with something to read."""
    return int(np.atleast_2d(todo).any(axis=-1).sum())


def _line_seconds(seconds: Array) -> float:
    """The longest SET and the longest RESET of each word line."""
    rows = np.atleast_2d(seconds)
    return float(rows.max(axis=-1, initial=0).sum() - rows.min(axis=-1, initial=0).sum())
