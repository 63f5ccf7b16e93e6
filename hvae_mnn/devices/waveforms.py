"""Voltages that drive a memristor over time: sine, triangle, pulse trains, and the times when they cross a level."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hvae_mnn.errors import InputError

Array = NDArray[np.float64]


@runtime_checkable
class Waveform(Protocol):
    """A voltage from time 0 to `duration_s`."""

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        ...

    def volts(self, times_s: ArrayLike) -> Array:
        """Volts at times in seconds, of any shape."""
        ...

    def crossings(self, levels: Iterable[float]) -> Array:
        """Sorted times in seconds, strictly within the duration, at which the voltage crosses one of `levels` or has a
        corner."""
        ...


@dataclass(frozen=True)
class Sine:
    """amplitude * sin(2 pi frequency t)."""

    amplitude_v: float
    """Volts; a negative amplitude begins with the negative half period."""
    frequency_hz: float
    """Hertz."""
    cycles: float
    """Number of periods."""

    def __post_init__(self) -> None:
        """Raises `InputError` for an amplitude, frequency or number of periods outside its range."""
        _above_zero("frequency", self.frequency_hz, "Hz")
        _above_zero("number of cycles", self.cycles, "")
        if not math.isfinite(self.amplitude_v) or self.amplitude_v == 0:
            raise InputError(f"amplitude is {self.amplitude_v:g} V; allowed: a finite number other than 0")

    @property
    def duration_s(self) -> float:
        """See `Waveform.duration_s`."""
        return self.cycles / self.frequency_hz

    def volts(self, times_s: ArrayLike) -> Array:
        """See `Waveform.volts`."""
        return np.asarray(
            self.amplitude_v * np.sin(2 * np.pi * self.frequency_hz * np.asarray(times_s, dtype=np.float64))
        )

    def crossings(self, levels: Iterable[float]) -> Array:
        """See `Waveform.crossings`; a sine has no corners."""
        reached = np.array([level for level in levels if abs(level) <= abs(self.amplitude_v)], dtype=np.float64)
        rising = np.arcsin(reached / self.amplitude_v) / (2 * np.pi)
        within = np.concatenate([rising % 1, (0.5 - rising) % 1])
        periods = np.arange(math.ceil(self.cycles))[:, np.newaxis]
        return _inside((periods + within).ravel() / self.frequency_hz, self.duration_s)


@dataclass(frozen=True)
class PiecewiseLinear:
    """Straight lines from corner to corner."""

    times_s: tuple[float, ...]
    """Seconds, ascending from 0."""
    corner_volts: tuple[float, ...]
    """Volts at these times."""

    def __post_init__(self) -> None:
        """Raises `InputError` for corners that do not form a function of time."""
        if len(self.times_s) != len(self.corner_volts) or len(self.times_s) < 2:
            raise InputError(
                f"a piecewise linear voltage has {len(self.times_s)} times and {len(self.corner_volts)} voltages;"
                " allowed: two corners or more, each with both"
            )
        if not np.isfinite([*self.times_s, *self.corner_volts]).all():
            raise InputError("a piecewise linear voltage has a corner that is not finite")
        steps = np.diff(self.times_s)
        if self.times_s[0] != 0 or (steps <= 0).any():
            first = ", ".join(f"{time:g}" for time in self.times_s[:4])
            raise InputError(
                f"times of a piecewise linear voltage begin {first} s; allowed: 0 first, then each later than the one"
                " before"
            )

    @property
    def duration_s(self) -> float:
        """See `Waveform.duration_s`."""
        return self.times_s[-1]

    def volts(self, times_s: ArrayLike) -> Array:
        """See `Waveform.volts`; after the last corner, the voltage stays constant."""
        return np.asarray(np.interp(np.asarray(times_s, dtype=np.float64), self.times_s, self.corner_volts))

    def crossings(self, levels: Iterable[float]) -> Array:
        """See `Waveform.crossings`."""
        times, volts = np.array(self.times_s), np.array(self.corner_volts)
        crossings = [times]
        for level in levels:
            before, after = volts[:-1] - level, volts[1:] - level
            cut = before * after < 0
            part = before[cut] / (before[cut] - after[cut])
            crossings.append(times[:-1][cut] + part * np.diff(times)[cut])
        return _inside(np.concatenate(crossings), self.duration_s)


@dataclass(frozen=True)
class PulseTrain:
    """Rectangular pulses of equal width with a pause before, between and after them."""

    amplitudes_v: tuple[float, ...]
    """Volts, one per pulse, in time order."""
    width_s: float
    """Seconds at full amplitude."""
    gap_s: float
    """Seconds of each pause."""
    edge_s: float = 1e-9
    """Rise and fall time, seconds."""
    read_v: float = 0.0
    """Volts in the pauses. The first pause begins at 0 V, where the state is set."""

    def __post_init__(self) -> None:
        """Raises `InputError` for a train without pulses, or times outside their range."""
        if not self.amplitudes_v:
            raise InputError("a pulse train has no pulses; allowed: one or more")
        for name in ("width", "gap", "edge"):
            _above_zero(f"a pulse's {name}", getattr(self, f"{name}_s"), "s")

    @property
    def period_s(self) -> float:
        """Seconds between the starts of two pulses."""
        return self.gap_s + self.width_s + 2 * self.edge_s

    @property
    def read_times_s(self) -> Array:
        """Middle of each pause in seconds, shape (pulses + 1,): before the first pulse and after each pulse."""
        before = np.arange(len(self.amplitudes_v) + 1, dtype=np.float64) * self.period_s
        return np.asarray(before + self.gap_s / 2, dtype=np.float64)

    def waveform(self) -> PiecewiseLinear:
        """The voltage over time, which ends at 0 V."""
        times, volts = [0.0], [0.0]
        if self.read_v:
            times.append(min(self.edge_s, self.gap_s / 4))
            volts.append(self.read_v)
        for number, amplitude in enumerate(self.amplitudes_v):
            begin = number * self.period_s + self.gap_s
            full = begin + self.edge_s
            times += [begin, full, full + self.width_s, full + self.width_s + self.edge_s]
            volts += [self.read_v, amplitude, amplitude, self.read_v]
        times.append(len(self.amplitudes_v) * self.period_s + self.gap_s)
        volts.append(self.read_v)
        return PiecewiseLinear(tuple(times), tuple(volts))


def triangle(amplitude_v: float, frequency_hz: float, cycles: int) -> PiecewiseLinear:
    """Up to `amplitude_v` volts, down to its negative and back to 0, `cycles` times at `frequency_hz` hertz."""
    _above_zero("frequency", frequency_hz, "Hz")
    _above_zero("number of cycles", cycles, "")
    quarters = [0.0] + [period + part for period in range(cycles) for part in (0.25, 0.75)] + [float(cycles)]
    volts = [0.0, *[amplitude_v, -amplitude_v] * cycles, 0.0]
    return PiecewiseLinear(tuple(quarter / frequency_hz for quarter in quarters), tuple(volts))


def pulses(
    amplitude_v: float,
    count: int,
    width_s: float,
    gap_s: float,
    depression_v: float | None = None,
    edge_s: float = 1e-9,
    read_v: float = 0.0,
) -> PulseTrain:
    """`count` pulses of `amplitude_v` volts (potentiation), then as many of `depression_v` (default: its negative)."""
    depression = -amplitude_v if depression_v is None else depression_v
    return PulseTrain((amplitude_v,) * count + (depression,) * count, width_s, gap_s, edge_s, read_v)


def _inside(times: Array, duration: float) -> Array:
    """Sorted times without duplicates; times that differ only by rounding are one."""
    nearest = 1e-14 * duration
    times = np.sort(times[(times > nearest) & (times < duration - nearest)])
    return times[np.diff(times, prepend=0.0) > nearest]


def _above_zero(what: str, value: float, unit: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{what} is {value:g} {unit}".rstrip() + "; allowed: a finite number above 0")
