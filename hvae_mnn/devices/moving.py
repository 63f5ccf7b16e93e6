"""Memristors whose states may move during a read: what computes them, and how far they have moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.devices.memristor import MemristorSpec

Array = NDArray[np.float64]

Backend = Literal["behavioural", "osdi"]
"""`behavioural`: B sources, on any ngspice; `osdi`: compiled, on an ngspice that loads OSDI 0.3."""
BACKENDS: tuple[Backend, ...] = get_args(Backend)
DeviceBackend = Literal["static", "behavioural", "osdi"]
"""`static`: a resistor of the device's conductance, which never moves."""
DEVICE_BACKENDS: tuple[DeviceBackend, ...] = get_args(DeviceBackend)

FIELDS = ("max_drift", "mean_drift", "moved")
"""Largest |x - x0|, mean of |x - x0|, and the number of devices that moved by more than `MOVED`."""
MOVED = 1e-9
"""Change of a state that is no rounding of the simulator's."""


@dataclass(frozen=True)
class MovingDevices:
    """How an array's memristors are simulated when their states may move."""

    spec: MemristorSpec
    backend: Backend
    read_s: float
    """How long a read drives the word lines, seconds."""


def drift_of(states: Float64[Array, "R C"], initial: Float64[Array, "R C"]) -> Float64[Array, " 3"]:
    """The `FIELDS` as an array (3,), from states (R, C) now and at the beginning."""
    apart = np.abs(states - initial)
    return np.array([apart.max(), apart.mean(), np.count_nonzero(apart > MOVED)], dtype=np.float64)
