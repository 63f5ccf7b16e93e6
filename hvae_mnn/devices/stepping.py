"""Integration of the state equation at constant voltage, for whole arrays at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.memristor import MemristorSpec

Array = NDArray[np.float64]

_STEP_IN_X = 0.002
"""Largest change of any state in one step: a fifth of the narrowest feature of the window, its end stop."""


def advance(spec: MemristorSpec, x: Array, volts: Array, seconds: float) -> Array:
    """States of devices, initially at `x`, after `seconds` at constant `volts`; `x` and `volts` broadcast.

    Fourth-order Runge-Kutta. Devices that these voltages do not move keep their state to the last bit.
    """
    x, volts = (values.copy() for values in np.broadcast_arrays(x, volts))
    moving = spec.moves(volts)
    state, drive = x[moving], volts[moving]
    left = seconds
    while left > 0 and state.size:
        first = spec.rate(state, drive)
        fastest = float(np.abs(first).max())
        step = left if fastest == 0 else min(left, _STEP_IN_X / fastest)
        second = spec.rate(state + step / 2 * first, drive)
        third = spec.rate(state + step / 2 * second, drive)
        fourth = spec.rate(state + step * third, drive)
        state = state + step / 6 * (first + 2 * second + 2 * third + fourth)
        left -= step
    x[moving] = state
    return x
