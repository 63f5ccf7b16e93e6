"""State after one pulse of constant voltage, and pulse width for a target state, from a table instead of a solver.

At a constant voltage the state equation separates: dt = dx / rate(x). T(x) is the time that a state needs to move from
its starting end to x. One table of T covers every pulse: x1 = T^-1(T(x0) + width), and width = T(x1) - T(x0). A device
with kinetics k times as fast uses the same table with k times the width.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicHermiteSpline

from hvae_mnn.devices.memristor import AistSpec, MemristorSpec
from hvae_mnn.errors import DeviceError

Array = NDArray[np.float64]
_NEAREST = 1e-9
"""Distance from an end at which a state that slows down without limit counts as arrived."""
_EVEN, _PER_END = 800, 600
"""Grid points: evenly spaced, and geometrically towards each end."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(6)
_ROUNDING = 1e-12


class PulseMap:
    """Pulses of one amplitude and polarity on devices of one kind.

    Methods take arrays that broadcast: states x within [0, 1] and seconds. Energies are in joules.
    """

    def __init__(self, spec: MemristorSpec, volts: float) -> None:
        """Tabulate `spec` at `volts`. Raises `DeviceError` if this voltage does not move its state."""
        if not np.isfinite(volts) or not spec.moves(volts):
            raise DeviceError(f"memristor {spec.name!r}: {volts:g} V does not move it; {_what_moves(spec)}")
        self.spec, self.volts = spec, float(volts)
        self._up = volts > 0
        grid, self._sticks = _grid(spec, self.volts)
        inverse_rate = 1 / self._rate(grid)
        power = self.volts**2 * spec.conductance(self._state(grid))
        inside = (grid[:-1] + grid[1:])[:, np.newaxis] / 2 + np.diff(grid)[:, np.newaxis] / 2 * _NODES
        pace = 1 / self._rate(inside)
        half = np.diff(grid) / 2
        seconds = _running_sum(half * (pace @ _WEIGHTS))
        joules = _running_sum(half * ((pace * self.volts**2 * spec.conductance(self._state(inside))) @ _WEIGHTS))
        self._first, self._last, self._longest = float(grid[0]), float(grid[-1]), float(seconds[-1])
        self._seconds = CubicHermiteSpline(grid, seconds, inverse_rate)
        self._progress = CubicHermiteSpline(seconds, grid, 1 / inverse_rate)
        self._joules = CubicHermiteSpline(grid, joules, power * inverse_rate)

    @property
    def furthest(self) -> float:
        """The state nearest to the final end that a pulse can reach."""
        return self._last if self._up else 1 - self._last

    def after(self, x0: ArrayLike, width_s: ArrayLike) -> Array:
        """States after pulses of `width_s` seconds from states `x0`."""
        start, width = self._begin(x0), _seconds(width_s)
        end = self._progress(np.minimum(self._time(start) + width, self._longest))
        # A state beyond the table's last point, or where the rate is zero, does not move.
        end = np.where(self._sticks & (start < self._first), start, np.maximum(end, start))
        state: Array = self._state(end)
        return state

    def width(self, x0: ArrayLike, x1: ArrayLike) -> Array:
        """Seconds of the pulses from `x0` to `x1`. Raises `DeviceError` for an `x1` that no such pulse reaches."""
        start, end = np.broadcast_arrays(self._begin(x0), self._begin(x1))
        self._refuse(end < start - _ROUNDING, start, end, "lies behind it; use the opposite polarity")
        stuck = self._sticks & (start < self._first) & (end > start)
        self._refuse(stuck, start, end, "cannot be left, the rate there is zero; use a device with a window floor")
        beyond = (end > self._last + _ROUNDING) & (end > start + _ROUNDING)
        self._refuse(beyond, start, end, f"is never reached; the furthest state is {self.furthest:.9g}")
        return np.maximum(self._time(end) - self._time(start), 0.0)

    def energy(self, x0: ArrayLike, x1: ArrayLike) -> Array:
        """Energy of pulses from `x0` to `x1`, joules: the integral of V^2 / R dt. A device k times as fast takes 1/k of
        it.

        A pulse that lasts longer than the motion takes V^2 G per further second.
        """
        start, end = np.broadcast_arrays(self._begin(x0), self._begin(x1))
        self._refuse(end < start - _ROUNDING, start, end, "lies behind it; use the opposite polarity")
        joules: Array = np.maximum(self._joules(self._within(end)) - self._joules(self._within(start)), 0.0)
        return joules

    def _rate(self, progress: Array) -> Array:
        return np.abs(self.spec.rate(self._state(progress), self.volts))

    def _state(self, progress: Array) -> Array:
        """Progress runs from 0 to 1 in the direction of motion."""
        return progress if self._up else 1 - progress

    def _begin(self, x: ArrayLike) -> Array:
        x = np.asarray(x, dtype=np.float64)
        outside = ~((x >= -_ROUNDING) & (x <= 1 + _ROUNDING))
        if outside.any():
            raise DeviceError(
                f"memristor {self.spec.name!r}: {int(outside.sum())} of {x.size} states lie outside 0 to 1, the first"
                f" is {x[outside].flat[0]:g}; allowed: 0 to 1"
            )
        return self._state(np.clip(x, 0, 1))

    def _within(self, progress: Array) -> Array:
        return np.clip(progress, self._first, self._last)

    def _time(self, progress: Array) -> Array:
        seconds: Array = self._seconds(self._within(progress))
        return seconds

    def _refuse(self, bad: NDArray[np.bool_], start: Array, end: Array, why: str) -> None:
        if bad.any():
            x0, x1 = self._state(start[bad]).flat[0], self._state(end[bad]).flat[0]
            raise DeviceError(
                f"memristor {self.spec.name!r} at {self.volts:g} V: {int(bad.sum())} of {bad.size} pulses are"
                f" impossible; from x = {x0:.6g}, x = {x1:.6g} {why}"
            )


def shifted_speed(spec: MemristorSpec, volts: float, threshold: ArrayLike) -> Array:
    """`spec.speed(volts)` of devices whose thresholds are `threshold` (any shape) times the nominal ones.

    The speed depends on the distance of the voltage from the threshold. A device without threshold does not deviate.
    """
    factor = np.asarray(threshold, dtype=np.float64)
    if not isinstance(spec, AistSpec):
        return np.broadcast_to(spec.speed(volts), factor.shape).copy()
    own = spec.v_set if volts > 0 else spec.v_reset
    # The voltage is never shifted past 0 V into the other polarity.
    beyond = volts - (factor - 1) * own
    return spec.speed(np.maximum(beyond, 0.0) if volts > 0 else np.minimum(beyond, 0.0))


def at_full_speed(spec: MemristorSpec, volts: float) -> MemristorSpec:
    """The same device with thresholds so low that `volts` moves it with `speed` 1. Deviating devices use its table,
    with widths scaled by `shifted_speed`. Raises `DeviceError` for a device without pole guard."""
    if not isinstance(spec, AistSpec) or spec.speed(volts) == 1:
        return spec
    lowest = abs(volts) / 2
    return replace(
        spec, v_set=min(spec.v_set, lowest), v_reset=max(spec.v_reset, -lowest), ramp_v=min(spec.ramp_v, lowest)
    )


def _what_moves(spec: MemristorSpec) -> str:
    if isinstance(spec, AistSpec):
        return f"choose an amplitude above {spec.v_set:g} V to SET, below {spec.v_reset:g} V to RESET"
    return "choose any finite amplitude but 0 V"


def _seconds(width_s: ArrayLike) -> Array:
    width = np.asarray(width_s, dtype=np.float64)
    bad = ~(width >= 0)
    if bad.any():
        raise DeviceError(f"a pulse of {width[bad].flat[0]:g} s is impossible; allowed: 0 s or more")
    return width


def _grid(spec: MemristorSpec, volts: float) -> tuple[Array, bool]:
    """Progress at the grid points, including the kinks of the rate; and whether a state at the starting end stays
    there."""
    even = np.linspace(0, 1, _EVEN)
    towards = np.geomspace(_NEAREST, 0.1, _PER_END)
    points = np.concatenate([even, towards, 1 - towards, _kinks(spec, volts)])
    begin, end = (0.0, 1.0) if volts > 0 else (1.0, 0.0)
    sticks, slows = (float(spec.rate(state, volts)) == 0 for state in (begin, end))
    first, last = _NEAREST if sticks else 0.0, 1 - _NEAREST if slows else 1.0
    points = np.unique(points[(points > first) & (points < last)])
    # Points closer than this are one: the splines divide by their distance.
    apart = np.concatenate([[True], np.diff(points) > _NEAREST / 100])
    return np.concatenate([[first], points[apart], [last]]), sticks


def _kinks(spec: MemristorSpec, volts: float) -> Array:
    """Progress where the rate's formula changes: end stops, the window's floor, the pole guard."""
    floor = (1 - spec.window_floor) ** (1 / (2 * spec.window_p))
    states = [spec.end_stop, 1 - spec.end_stop, (1 - floor) / 2, (1 + floor) / 2]
    if isinstance(spec, AistSpec) and volts > 0:
        states.append(float(spec.state(spec.i_0 * (1 + spec.pole_guard) / volts)))
    x = np.array(states)
    return x if volts > 0 else 1 - x


def _running_sum(parts: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(parts)])
