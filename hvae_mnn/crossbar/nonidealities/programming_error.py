"""Programming errors: an error on every target conductance G_0, drawn again in every programming.

- `lognormal`: G = G_0 exp(sigma n), n standard normal. The median is G_0; the error is relative.
- `gaussian`: G = G_0 + sigma (g_max - g_min) n, not below 0. The error does not depend on the target.
- `pulses`: the result of write-verify with pulses of one amplitude, `hvae_mnn.devices.programming`.

sigma without unit. Sources: log-normal statistics are commonly observed in filamentary resistive memories (Karpov and
Niraula, "Log-normal statistics in filamentary RRAM devices and related systems"); the gaussian law is that of
CrossSim's `NormalIndependentDevice` and of aihwkit's `StateIndependentNoiseModel`. For the AIST memristor no source
gives a law or a size, so both are assumptions. A programmed cell may be above g_max.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.crossbar.nonidealities.spec import Programming
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.programming import WriteVerify, program_devices
from hvae_mnn.devices.spread import Pulses, Spread

Array = NDArray[np.float64]


def with_programming_error(
    targets: Float64[Array, "*shape"], spec: Programming, device: MemristorSpec, rng: np.random.Generator
) -> Float64[Array, "*shape"]:
    """Programmed conductances for `targets`; both in siemens, of any shape.

    Raises `DeviceError` for pulses that the device cannot be programmed with.
    """
    if spec.error == "lognormal":
        return np.asarray(targets * np.exp(spec.sigma * rng.standard_normal(targets.shape)))
    if spec.error == "gaussian":
        step = spec.sigma * (device.g_max - device.g_min)
        return np.maximum(targets + step * rng.standard_normal(targets.shape), 0.0)
    if spec.error == "pulses":
        return _pulsed(targets, spec, device, rng)
    return targets


def _pulsed(targets: Array, spec: Programming, device: MemristorSpec, rng: np.random.Generator) -> Array:
    spread = Spread(spec.device_speed, spec.cycle_speed, spec.threshold)
    settings = WriteVerify(spec.amplitude_v, spec.tolerance, spec.max_pulses, spec.open_loop)
    pulses = Pulses(device, spec.amplitude_v, spread.sample(targets.shape, rng))
    return program_devices(device, targets, pulses, settings, spread, rng).conductance
