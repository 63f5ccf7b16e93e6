"""Devices whose end resistances deviate from the nominal ones, at the intended state.

A device is set to the state x at which the nominal device has the target conductance. Its own conductance is then
G = 1 / (x R_on' + (1 - x) R_off'), R' = R exp(s_device n + s_cycle m), n and m standard normal: n belongs to the
device, m to its latest programming. Equation: the model's R(x) (paper eq. 8). The sigmas are assumptions: no source
gives any for the AIST memristor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.nonidealities.spec import DeviceSpread
from hvae_mnn.devices.memristor import MemristorSpec

Array = NDArray[np.float64]


def with_device_spread(
    conductances: Array,
    spec: DeviceSpread,
    device: MemristorSpec,
    chip: np.random.Generator,
    cycle: np.random.Generator,
) -> Array:
    """Conductances of deviating devices in the states that represent `conductances`; both in siemens, of any shape.

    `chip` draws the part that stays with a device, `cycle` the part that changes with every programming.
    """
    if spec == DeviceSpread():
        return conductances
    # Programming errors may leave conductances beyond 1/R_on or 1/R_off, where no state exists.
    x = np.clip(device.state(np.clip(conductances, 1 / device.r_off_ohm, 1 / device.r_on_ohm)), 0, 1)
    shape = conductances.shape
    ends = []
    for resistance, own, latest in (
        (device.r_on_ohm, spec.device_on, spec.cycle_on),
        (device.r_off_ohm, spec.device_off, spec.cycle_off),
    ):
        exponent = own * chip.standard_normal(shape) + latest * cycle.standard_normal(shape)
        ends.append(resistance * np.exp(exponent))
    return np.asarray(1 / (x * ends[0] + (1 - x) * ends[1]))
