"""Pre-activations from crossbar arrays: DAC, word lines, engine, column currents, ADC (paper 3.2, page 693)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hvae_mnn.cosim.converters import Converter
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.errors import InputError, ManifestError
from hvae_mnn.netlist.manifest import LayerEntry, Manifest, UnitEntry

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Disturb:
    """What reading did to the memristors of one array."""

    above_threshold: int
    """How many of them the last read drove beyond a threshold."""
    max_drift: float
    """Largest |x - x0| after the last read; x0 is the state when the run began."""
    mean_drift: float
    """Mean of |x - x0|."""
    moved: int
    """How many have moved at all."""


class CrossbarSource:
    """The hardware answer to `vae.stepwise.PreactivationSource`."""

    def __init__(self, manifest: Manifest, engine: Engine, dac_bits: int, adc_bits: int) -> None:
        """Converters of `dac_bits` and `adc_bits` (0: none) with the ranges that the manifest was calibrated to."""
        self._layers = {layer.name: layer for layer in manifest.layers}
        self._engine = engine
        self.dacs: dict[tuple[str, str], Converter] = {}
        """By layer and role."""
        self.adcs: dict[tuple[str, str], Converter] = {}
        """By layer and gate unit."""
        for layer in manifest.layers:
            for role, full_scale in layer.input_range.items():
                self.dacs[layer.name, role] = Converter(dac_bits, full_scale)
            for unit in layer.units:
                if unit.preactivation_range is None and adc_bits:
                    raise ManifestError(
                        f"{manifest.folder}: array {unit.array} has no calibrated range for an ADC of {adc_bits} bits;"
                        " build with calibration, or switch the ADC off (0 bits)"
                    )
                full_scale = np.inf if unit.preactivation_range is None else unit.preactivation_range
                self.adcs[layer.name, unit.name] = Converter(adc_bits, full_scale)
        self.largest_volts = 0.0
        """Largest magnitude on any word line so far."""
        self._device, self._moving = manifest.device, manifest.moving
        self.disturb: dict[tuple[str, str], Disturb] = {}
        """By layer and gate unit, after its last read; empty where memristors cannot move."""
        self.most_above_threshold = 0
        """Largest number of memristors beyond a threshold in one read of a layer so far."""
        self._converted: dict[tuple[str, str], tuple[Tensor, Array]] = {}

    def __call__(self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `PreactivationSource`: role -> (B, n) in, gate unit -> (B, H) out, both in the model's units."""
        if list(units) != ["o"]:  # an output gate asked for alone belongs to the step before it (peepholes)
            self._converted.clear()
        entry = self._layers[layer]
        entries = [entry.unit(name) for name in units]
        volts = self._word_lines(entry, entries, inputs)
        currents = self._engine.currents({unit.array: _rows(unit, volts) for unit in entries})
        self._watch(entry, entries, volts)
        found = {}
        for unit in entries:
            preactivation = currents[unit.array] * (unit.weight_scale / entry.volts_per_unit)
            found[unit.name] = torch.from_numpy(self.adcs[layer, unit.name](preactivation))
        return found

    def _watch(self, layer: LayerEntry, units: Sequence[UnitEntry], volts: Mapping[str, Array]) -> None:
        """Count the memristors beyond a threshold, and take in how far they have moved."""
        beyond = {role: int(self._device.moves(-values).sum()) for role, values in volts.items()}
        count = {unit.name: sum(beyond[group.role] for group in unit.rows) * unit.columns for unit in units}
        self.most_above_threshold = max(self.most_above_threshold, sum(count.values()))
        for unit in units:
            drift = self._engine.drift(unit.array)
            if drift is not None:
                self.disturb[layer.name, unit.name] = Disturb(
                    count[unit.name], float(drift[0]), float(drift[1]), int(drift[2])
                )

    def _word_lines(
        self, layer: LayerEntry, units: Sequence[UnitEntry], inputs: Mapping[str, Tensor]
    ) -> dict[str, Array]:
        """Voltages (B, n) by role."""
        roles = {group.role for unit in units for group in unit.rows}
        batch = next(iter(inputs.values())).shape[0]
        volts = {}
        for role in sorted(roles):
            if role == "b":  # a fixed reference voltage, no DAC
                volts[role] = np.full((batch, 1), layer.volts_per_unit)
            else:
                volts[role] = self._convert(layer, role, inputs["c" if role in ("cp", "ct") else role])
            self.largest_volts = max(self.largest_volts, float(np.abs(volts[role]).max()))
        threshold = self._device.threshold_v
        accepted = self._device.read_v >= threshold  # the build was told so
        if self.largest_volts >= threshold and not accepted:
            raise InputError(
                f"layer {layer.name}: a word line would carry {self.largest_volts:.4g} V, at or above the device's"
                f" threshold of {threshold:g} V, and reading would move the states; switch the DACs on"
                " (--dac-bits), or build with --calibration max"
            )
        return volts

    def _convert(self, layer: LayerEntry, role: str, values: Tensor) -> Array:
        """A value passes its DAC once, however many arrays and calls of one step it serves."""
        known = self._converted.get((layer.name, role))
        if known is None or known[0] is not values:
            volts = self.dacs[layer.name, role](values.numpy()) * layer.volts_per_unit
            known = self._converted[layer.name, role] = (values, volts)
        return known[1]


def _rows(unit: UnitEntry, volts: Mapping[str, Array]) -> Array:
    return np.concatenate([volts[group.role] for group in unit.rows], axis=1)
