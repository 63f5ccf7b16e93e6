"""Programming of target conductances with pulses of one amplitude: open loop, or write-verify.

The controller knows the nominal parameters, not the deviations of a device. From a read conductance it computes the
polarity, and the width by the nominal time map. Open loop gives each device one pulse, computed from the state of a
fresh device. Write-verify reads and pulses repeatedly until the conductance is within the tolerance.
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
"""Largest voltage that may drive a memristor, far beyond what any device survives."""
_ROUNDING = 1e-9
_STILL = 1e-9
"""Smallest change of a state that counts as motion."""
_PATIENCE = 3
"""Pulses without any motion after which a device counts as stuck."""


@dataclass(frozen=True)
class WriteVerify:
    """Parameters of programming."""

    amplitude_v: float = 0.15
    """Volts of every pulse, in either polarity."""
    tolerance: float = 0.01
    """Largest accepted error of a conductance, relative to its target."""
    max_pulses: int = 20
    """Largest number of pulses per device; a device outside the tolerance after them has failed."""
    open_loop: bool = False
    """One pulse per device from the state of a fresh device; nothing is read."""
    read_s: float = 1e-6
    """Seconds of one verifying read at the device's read voltage. An assumption: no source gives one."""

    def __post_init__(self) -> None:
        """Raises `DeviceError` for parameters outside their range."""
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
    """Result of programming; arrays have the shape of the targets."""

    target: Array
    """Target conductances, siemens."""
    first: Array
    """Conductances after one round, siemens: the result of open loop."""
    state: Array
    """Final states x."""
    conductance: Array
    """Final conductances, siemens."""
    pulses: NDArray[np.int64]
    time_s: Array
    """Time of each device's pulses and reads, seconds."""
    energy_j: Array
    """Energy of each device's pulses and reads, joules, without the energy in half-selected devices."""
    within: Mask
    """Whether the final conductance is within the tolerance."""
    stuck: Mask
    """Whether the last pulses did not move the device."""
    within_after: tuple[float, ...]
    """Fraction of devices within the tolerance before the first round and after each round."""
    line_s: float
    """Seconds if all devices of a word line are programmed together, one polarity after the other, and one word line
    after the other. The last axis runs along a word line."""

    @property
    def failed(self) -> Mask:
        """Devices outside the tolerance."""
        return ~self.within

    @property
    def error(self) -> Array:
        """Relative error of the final conductances."""
        return self.conductance / self.target - 1

    @property
    def first_error(self) -> Array:
        """Relative error of the conductances after one round."""
        return self.first / self.target - 1


@runtime_checkable
class Target(Protocol):
    """Devices to be pulsed: `hvae_mnn.devices.spread.Pulses`, or an array with half-selected cells."""

    def pulse(self, x: Array, seconds: Array, cycle: Array) -> tuple[Array, Array]:
        """States after one signed pulse (seconds) each, and joules in the pulsed devices."""
        ...


class Controller:
    """Computes pulses from targets and the nominal time map at one amplitude, without knowing a device's deviations.

    It keeps each device's last distance from its target, with its sign, for the rule in `pulses`.
    """

    def __init__(self, spec: MemristorSpec, targets: Array, settings: WriteVerify) -> None:
        """Raises `DeviceError` for targets outside the device's range, or an amplitude that does not move its state."""
        check_targets(spec, targets)
        self.spec, self.targets, self.settings = spec, targets, settings
        volts = settings.amplitude_v
        self._maps = {sign: PulseMap(spec, sign * volts) for sign in (1, -1)}
        if spec.read_v >= volts:
            raise DeviceError(
                f"memristor {spec.name!r}: the amplitude {volts:g} V is not above its read voltage {spec.read_v:g} V;"
                " raise the amplitude"
            )
        # A state never quite reaches an end; half a tolerance away from it is close enough.
        near = 1 + settings.tolerance / 2
        self._aim = np.clip(
            spec.state(targets), spec.state(near / spec.r_off_ohm), spec.state(1 / (near * spec.r_on_ohm))
        )
        self._missing, self._part = np.zeros(targets.shape), np.ones(targets.shape)

    def within(self, conductance: Array) -> Mask:
        """Whether each conductance (siemens) is within the tolerance of its target."""
        return np.abs(conductance / self.targets - 1) <= self.settings.tolerance

    def pulses(self, conductance: Array, todo: Mask) -> Array:
        """Signed seconds of the pulses that take these conductances (siemens) to their targets; 0 for no pulse.

        If a pulse takes a device to the other side of its target without coming much closer, all its later pulses have
        half the width. The map is wrong for such a device (wires take a part of the voltage), so it would oscillate.
        """
        x = np.clip(self.spec.state(conductance), 0, 1)
        seconds = np.zeros_like(x)
        for sign, table in self._maps.items():
            on = todo & ((self._aim - x) * sign > 0)
            seconds[on] = sign * table.width(x[on], self._aim[on])
        # Distances are in x, where the map is nearly even: near x = 1, a small step in x is a large step in G.
        missing = self._aim - x
        thrown = (missing * self._missing < 0) & (np.abs(missing) > np.abs(self._missing) / 2)
        self._part = np.where(thrown, self._part / 2, self._part)
        self._missing = missing
        return seconds * self._part


def check_targets(spec: MemristorSpec, targets: Array) -> None:
    """Raise `DeviceError` for a conductance (siemens) that is not a number, or lies outside the device's range."""
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
    """Program `devices` to `targets` (siemens, any shape), starting from states `x0` (default: fresh devices).

    `rng` draws the spread from pulse to pulse. `progress(round, rounds)` is called after each round. Raises
    `DeviceError` as `Controller`.
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
    """Number of word lines with a device to read."""
    return int(np.atleast_2d(todo).any(axis=-1).sum())


def _line_seconds(seconds: Array) -> float:
    """Seconds of the longest SET and the longest RESET of each word line, summed."""
    rows = np.atleast_2d(seconds)
    return float(rows.max(axis=-1, initial=0).sum() - rows.min(axis=-1, initial=0).sum())
