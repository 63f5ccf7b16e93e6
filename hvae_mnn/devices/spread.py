"""Devices that deviate from their nominal parameters, and the effect of pulses of one amplitude on them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.pulse_map import PulseMap, at_full_speed, shifted_speed
from hvae_mnn.errors import DeviceError

Array = NDArray[np.float64]
_WIDEST = 1.0


@dataclass(frozen=True)
class Spread:
    """Size of device deviations. These are assumptions of the simulation: no source gives any for the AIST
    memristor."""

    device_speed: float = 0.05
    """Sigma of ln(speed), device to device."""
    cycle_speed: float = 0.02
    """Sigma of ln(speed), pulse to pulse (cycle to cycle)."""
    threshold: float = 0.02
    """Relative sigma of a device's thresholds, gaussian; one factor for both thresholds of a device."""

    def __post_init__(self) -> None:
        """Raises `DeviceError` for a sigma outside its range."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and 0 <= value <= _WIDEST):
                raise DeviceError(
                    f"the spread {field.name} is {value:g}; allowed: a sigma from 0 (none) to {_WIDEST:g}, e.g. 0.05"
                )

    def sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Devices:
        """Random devices of this shape. They keep their speed and thresholds."""
        speed = np.exp(self.device_speed * rng.standard_normal(shape))
        # A device with a threshold at or below zero would move without a voltage.
        threshold = np.maximum(1 + self.threshold * rng.standard_normal(shape), 0.1)
        return Devices(speed, threshold)

    def cycle(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Random factors on the speed, of this shape, for one pulse."""
        return np.exp(self.cycle_speed * rng.standard_normal(shape))


@dataclass(frozen=True)
class Devices:
    """Deviations of each device; arrays of one shape."""

    speed: Array
    """Speed relative to the nominal device; 0: stuck."""
    threshold: Array
    """Thresholds relative to the nominal ones."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of devices."""
        return self.speed.shape


class Pulses:
    """Pulses of one amplitude and both polarities on an array of devices of any shape.

    A pulse is a signed number of seconds: positive raises the state (SET), negative lowers it (RESET), 0 means no
    pulse.
    """

    def __init__(self, spec: MemristorSpec, amplitude_v: float, devices: Devices) -> None:
        """Tabulate both polarities. Raises `DeviceError` if the amplitude or the device has no usable table."""
        self.spec, self.amplitude_v, self.devices = spec, amplitude_v, devices
        self._speeds = {
            sign: devices.speed * shifted_speed(spec, sign * amplitude_v, devices.threshold) for sign in (1, -1)
        }
        # A voltage below the nominal threshold still moves devices with lower thresholds.
        self._maps = {
            sign: PulseMap(at_full_speed(spec, sign * amplitude_v), sign * amplitude_v)
            for sign, speeds in self._speeds.items()
            if speeds.any()
        }

    @property
    def moved(self) -> NDArray[np.bool_]:
        """Devices that this amplitude moves, in either polarity."""
        return (self._speeds[1] > 0) | (self._speeds[-1] > 0)

    def subset(self, index: NDArray[np.intp]) -> Pulses:
        """The devices at these flat indices (N,), with the same tables."""
        part = object.__new__(Pulses)
        part.spec, part.amplitude_v, part._maps = self.spec, self.amplitude_v, self._maps
        part.devices = Devices(self.devices.speed.ravel()[index], self.devices.threshold.ravel()[index])
        part._speeds = {sign: speeds.ravel()[index] for sign, speeds in self._speeds.items()}
        return part

    def pulse(self, x: Array, seconds: Array, cycle: Array) -> tuple[Array, Array]:
        """States after one pulse each, and joules. `x`, signed `seconds` and the speed factors `cycle` have the
        devices' shape."""
        end, joules = x.copy(), np.zeros_like(x)
        for sign, speeds in self._speeds.items():
            on = seconds * sign > 0
            if on.any():
                end[on], joules[on] = self._one_polarity(sign, x[on], np.abs(seconds[on]), speeds[on] * cycle[on])
        return end, joules

    def _one_polarity(self, sign: int, x: Array, width: Array, speed: Array) -> tuple[Array, Array]:
        power = self.amplitude_v**2
        table = self._maps.get(sign)
        if table is None:
            return x, power * self.spec.conductance(x) * width
        end = table.after(x, width * speed)
        per_speed = np.divide(1.0, speed, out=np.zeros_like(speed), where=speed > 0)
        # A device that does not move, or stops before the end of the pulse, is a resistor for the remaining time.
        still = np.maximum(width - table.width(x, end) * per_speed, 0)
        return end, table.energy(x, end) * per_speed + power * self.spec.conductance(end) * still
