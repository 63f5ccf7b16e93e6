"""States over time to double precision: the reference for simulators, maps and tables.

The state equation has corners where the voltage crosses a threshold, and an integrator that steps over a corner errs.
LSODA is therefore restarted at every crossing.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad, solve_ivp

from hvae_mnn.devices.memristor import AistSpec, MemristorSpec
from hvae_mnn.devices.waveforms import Waveform
from hvae_mnn.errors import DeviceError, InputError

Array = NDArray[np.float64]
_RTOL, _ATOL = 1e-10, 1e-12
_STEPS = 20
"""Smallest number of steps between two crossings: a piece begins with a rate of zero, which invites a long step."""

_EVALUATIONS = 100_000
"""Largest number of rate evaluations between two crossings; a well-behaved device takes a few hundred."""

_FAR = 1.0
"""Distance from the middle beyond which a state has diverged."""


def integrate(spec: MemristorSpec, waveform: Waveform, x0: ArrayLike, times_s: ArrayLike) -> Array:
    """States of devices of one kind under one voltage.

    `x0` holds the states at time 0, of any shape S; `times_s` (T,) ascending seconds within the waveform's duration.
    Returns (T, *S). Raises `DeviceError` where the equation cannot be integrated: without guards it has a pole.
    """
    start, times = np.asarray(x0, dtype=np.float64), _times(times_s, waveform.duration_s)
    outside = start[~((start >= 0) & (start <= 1))]
    if outside.size:
        raise DeviceError(f"memristor {spec.name!r}: it starts at x = {outside[0]:g}; allowed: 0 to 1")
    states = np.empty((times.size, start.size))
    x = start.ravel().copy()
    edges = np.concatenate([[0.0], waveform.crossings(spec.switching_levels()), [waveform.duration_s]])
    done = int(np.searchsorted(times, 0.0, side="right"))
    states[:done] = x
    for begin, end in itertools.pairwise(edges.tolist()):
        last = int(np.searchsorted(times, end, side="right"))
        if spec.moves(waveform.volts((begin + end) / 2)):
            piece = _piece(spec, waveform, x, np.concatenate([[begin], times[done:last], [end]]))
            states[done:last], x = piece[:-1], piece[-1]
        else:
            states[done:last] = x
        done = last
    return states.reshape(times.shape + start.shape)


def switching_time(spec: MemristorSpec, volts: ArrayLike, x_from: float = 0.05, x_to: float = 0.95) -> Array:
    """Seconds that constant voltages (any shape, volts) need from one state to the other: the integral of dx / rate.

    A positive voltage moves the state upwards, a negative one downwards. Infinite where the state does not move.
    """
    low, high = sorted((x_from, x_to))
    if not 0 <= low < high <= 1:
        raise DeviceError(f"switching from x = {x_from:g} to {x_to:g}; allowed: two different states within 0 and 1")
    values = np.asarray(volts, dtype=np.float64)
    seconds = [_quadrature(spec, volt, low, high) for volt in values.ravel().tolist()]
    return np.array(seconds).reshape(values.shape)


def _quadrature(spec: MemristorSpec, volt: float, low: float, high: float) -> float:
    if not spec.moves(volt):
        return float("inf")
    inside = [x for x in _corners(spec, volt) if low < x < high]
    # A state that slows down without limit does not arrive: the integral diverges.
    if not all(spec.rate([low, high], volt)):
        return float("inf")
    seconds, _ = quad(lambda x: 1 / abs(float(spec.rate(x, volt))), low, high, points=inside or None, limit=400)
    return float(seconds)


def _corners(spec: MemristorSpec, volt: float) -> list[float]:
    """States at which the rate's formula changes."""
    floor = (1 - spec.window_floor) ** (1 / (2 * spec.window_p))
    corners = [spec.end_stop, 1 - spec.end_stop, (1 - floor) / 2, (1 + floor) / 2]
    if isinstance(spec, AistSpec) and volt > 0:
        corners.append(float(spec.state(spec.i_0 * (1 + spec.pole_guard) / volt)))
    return corners


def _piece(spec: MemristorSpec, waveform: Waveform, x: Array, times: Array) -> Array:
    """States (len(times) - 1, devices) at `times[1:]` of devices with states `x` at `times[0]`."""
    left = _EVALUATIONS

    def refused(why: str) -> DeviceError:
        return DeviceError(
            f"memristor {spec.name!r}: the state equation has no solution between {times[0]:.6g} and {times[-1]:.6g} s"
            f" ({why}); use a preset with guards, e.g. aist, or a smaller voltage"
        )

    def rate(t: float, y: Array) -> Array:
        nonlocal left
        left -= 1
        # A state that diverges makes the steps ever shorter.
        if left < 0:
            raise refused(f"{_EVALUATIONS} evaluations did not pass {t:.9g} s")
        return spec.rate(y, waveform.volts(t))

    with warnings.catch_warnings():
        # LSODA gives its reason for stopping in a warning; `success` only reports that it stopped.
        warnings.simplefilter("ignore")
        try:
            solution = solve_ivp(
                rate,
                (times[0], times[-1]),
                x,
                method="LSODA",
                dense_output=True,
                rtol=_RTOL,
                atol=_ATOL,
                max_step=(times[-1] - times[0]) / _STEPS,
                # Devices do not influence each other: the Jacobian is diagonal.
                lband=0,
                uband=0,
            )
        except ValueError as error:  # the step was too short to advance the time
            raise refused(str(error)) from None
    if not solution.success:
        raise refused(str(solution.message))
    # Checked at every step: between two requested times, a state can diverge and return.
    if not (np.abs(solution.y - 0.5) < _FAR).all():
        raise refused("the state ran away")
    states: Array = solution.sol(times[1:]).T
    return states


def _times(times_s: ArrayLike, duration: float) -> Array:
    times = np.asarray(times_s, dtype=np.float64)
    if times.ndim != 1 or (np.diff(times) < 0).any():
        raise InputError("times of a reference are not ascending; sort them")
    outside = times[(times < 0) | (times > duration * (1 + 1e-9))]
    if outside.size:
        raise InputError(f"time {outside[0]:g} s lies outside the waveform's 0 to {duration:g} s")
    return np.minimum(times, duration)
