"""How far the states of an array have moved since a run began."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIELDS = ("max_drift", "mean_drift", "moved")
"""Largest |x - x0|, mean of |x - x0|, and the number of devices that moved by more than `MOVED`."""
MOVED = 1e-9
"""Change of a state that is no rounding of the simulator's."""


def drift_of(states: Array, initial: Array) -> Array:
    """The `FIELDS` as an array (3,), from states (R, C) now and at the beginning."""
    apart = np.abs(states - initial)
    return np.array([apart.max(), apart.mean(), np.count_nonzero(apart > MOVED)], dtype=np.float64)
