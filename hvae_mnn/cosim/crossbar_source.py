"""Pre-activations from crossbar arrays: DAC, word lines, engine, column currents, ADC (paper 3.2, page 693)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hvae_mnn.cosim.converters import Converter
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.errors import ManifestError
from hvae_mnn.netlist.manifest import LayerEntry, Manifest, UnitEntry

Array = NDArray[np.float64]


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
                self.adcs[layer.name, unit.name] = Converter(adc_bits, unit.preactivation_range or np.inf)

    def __call__(self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `PreactivationSource`: role -> (B, n) in, gate unit -> (B, H) out, both in the model's units."""
        entry = self._layers[layer]
        entries = [entry.unit(name) for name in units]
        volts = self._word_lines(entry, entries, inputs)
        currents = self._engine.currents({unit.array: _rows(unit, volts) for unit in entries})
        found = {}
        for unit in entries:
            preactivation = currents[unit.array] * (unit.weight_scale / entry.volts_per_unit)
            found[unit.name] = torch.from_numpy(self.adcs[layer, unit.name](preactivation))
        return found

    def _word_lines(
        self, layer: LayerEntry, units: Sequence[UnitEntry], inputs: Mapping[str, Tensor]
    ) -> dict[str, Array]:
        """Voltages (B, n) by role; every value passes its DAC once, however many arrays share the line."""
        roles = {group.role for unit in units for group in unit.rows}
        batch = next(iter(inputs.values())).shape[0]
        volts = {}
        for role in roles:
            if role == "b":  # a fixed reference voltage, no DAC
                volts[role] = np.full((batch, 1), layer.volts_per_unit)
                continue
            values = inputs["c" if role in ("cp", "ct") else role].numpy()
            volts[role] = self.dacs[layer.name, role](values) * layer.volts_per_unit
        return volts


def _rows(unit: UnitEntry, volts: Mapping[str, Array]) -> Array:
    return np.concatenate([volts[group.role] for group in unit.rows], axis=1)
