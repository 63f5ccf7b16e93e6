"""Memristors whose states may move during a read: simulation back ends, and measures of drift."""

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
"""Smallest change of a state that counts as motion; smaller changes are rounding in the simulator."""


@dataclass(frozen=True)
class MovingDevices:
    """Simulation of an array's memristors whose states may move."""

    spec: MemristorSpec
    backend: Backend
    read_s: float
    """Duration of a read, seconds."""


def drift_of(states: Float64[Array, "R C"], initial: Float64[Array, "R C"]) -> Float64[Array, " 3"]:
    """The values of `FIELDS` as an array (3,), from current and initial states (R, C)."""
    apart = np.abs(states - initial)
    return np.array([apart.max(), apart.mean(), np.count_nonzero(apart > MOVED)], dtype=np.float64)
