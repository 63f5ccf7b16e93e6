"""Pre-activations from crossbar arrays: DAC, word lines, engine, column currents, ADC (paper 3.2, page 693)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hvae_mnn.cosim.converters import Converter
from hvae_mnn.cosim.noise_streams import NoiseStreams
from hvae_mnn.cosim.pulses import pulse_reads
from hvae_mnn.crossbar.hardware.spec import ConverterSpec
from hvae_mnn.crossbar.network import CrossbarLayer, CrossbarNetwork, CrossbarUnit
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.errors import InputError, ManifestError

Array = NDArray[np.float64]


@runtime_checkable
class NoiseSource(Protocol):
    """What is added to the currents of an array: `crossbar.nonidealities.read_noise.ArrayNoise`."""

    draws: int
    """Standard normal numbers per read, of each kind."""
    is_thermal: bool
    """Whether it has a part that is new in every read."""
    octaves: int
    """Of the part with a spectrum near 1/f; 0: none."""

    def currents(self, volts: Array, thermal: Array | None, flicker: Array | None) -> Array:
        """Amperes (B, outputs) for volts (B, R) and standard normal numbers (B, draws)."""
        ...


Observer = Callable[[str, Array, Array, Array | None], None]
"""Called for every array that is read: its name, volts (B, R), currents (B, outputs) with their noise, and the noise
alone."""


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


def _with_bits(spec: ConverterSpec, bits: int | None) -> ConverterSpec:
    """The converter with another number of bits; without any, it has no imperfections either."""
    if bits is None or bits == spec.bits:
        return spec
    return replace(spec, bits=bits) if bits else replace(spec, bits=0, noise_lsb=0.0, inl_lsb=0.0)


class CrossbarSource:
    """The hardware answer to `vae.stepwise.PreactivationSource`."""

    def __init__(
        self,
        network: CrossbarNetwork,
        engine: Engine,
        dac_bits: int | None = None,
        adc_bits: int | None = None,
        *,
        seed: int = 0,
        keep_histograms: bool = False,
        read_noise: Mapping[str, NoiseSource] | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Converters as the network's hardware has them, or of `dac_bits` and `adc_bits` (0: none); `read_noise` by
        array; `seed` of all noise."""
        self._layers = {layer.name: layer for layer in network.layers}
        self._engine, self._network, self._hardware = engine, network, network.hardware
        self.dacs: dict[tuple[str, str], Converter] = {}
        """By layer and role."""
        self.adcs: dict[tuple[str, str], Converter] = {}
        """By layer and gate unit, with the number of the row block where partial sums are converted; with gates in the
        circuit, by layer and `h`."""
        self._unit_adcs: dict[tuple[str, str], list[Converter]] = {}
        self._noise = NoiseStreams(seed)
        self._read_noise, self._observer = read_noise or {}, observer
        dac, adc = _with_bits(self._hardware.dac, dac_bits), _with_bits(self._hardware.adc, adc_bits)
        for layer in network.layers:
            for role, full_scale in layer.input_range.items():
                self.dacs[layer.name, role] = Converter.from_spec(
                    dac, full_scale, "dac", keep_histogram=keep_histograms
                )
            self._place_adcs(layer, adc, keep_histograms)
        self.largest_volts = 0.0
        """Largest magnitude on any word line so far."""
        self._device, self._moving = network.device, network.moving
        self.disturb: dict[tuple[str, str], Disturb] = {}
        """By layer and gate unit, after its last read; empty where memristors cannot move."""
        self.most_above_threshold = 0
        """Largest number of memristors beyond a threshold in one read of a layer so far."""
        self._converted: dict[tuple[str, str], tuple[Tensor, Array]] = {}
        linear = self._hardware.cells.read_law == "ohmic" and np.isinf(self._hardware.amplifier.swing_v)
        # A linear circuit integrates a pulse to what the mean voltage gives; ngspice is to show it.
        self._pulses = self._hardware.coding == "pulse_width" and (engine.name == "ngspice" or not linear)

    def _place_adcs(self, layer: CrossbarLayer, spec: ConverterSpec, keep_histograms: bool) -> None:
        if self._hardware.gates == "circuit":
            # No ADC in front of the gates; the hidden state is within -1 ... 1.
            self.adcs[layer.name, "h"] = Converter.from_spec(spec, 1.0, "adc", keep_histogram=keep_histograms)
        for unit in layer.units:
            scales = self._full_scales(layer, unit, spec)
            if self._hardware.gates == "circuit":
                found = [Converter(0, scale, keep_histogram=keep_histograms) for scale in scales]
            else:
                found = [Converter.from_spec(spec, scale, "adc", keep_histogram=keep_histograms) for scale in scales]
            self._unit_adcs[layer.name, unit.name] = found
            if self._hardware.gates == "software":
                names = [unit.name] if len(found) == 1 else [f"{unit.name}_{number}" for number in range(len(found))]
                self.adcs |= {(layer.name, name): adc for name, adc in zip(names, found, strict=True)}

    def _full_scales(self, layer: CrossbarLayer, unit: CrossbarUnit, spec: ConverterSpec) -> list[float | Array]:
        """Of the unit's ADCs, in the model's units."""
        sums = self._network.layout(unit).sums
        if spec.range == "fixed" and spec.full_scale is not None:
            return [spec.full_scale * unit.scale / layer.volts_per_unit] * sums
        if unit.adc_range is not None:
            return list(unit.adc_range)
        if spec.bits and self._hardware.gates == "software":
            raise ManifestError(
                f"array {unit.array} has no calibrated range for an ADC of {spec.bits} bits;"
                " build with calibration, or switch the ADC off (0 bits)"
            )
        return [np.inf] * sums

    def begin(self, sentences: Sequence[int]) -> None:
        """New sentences, by number, the first of them in the first row of what follows: noise begins its streams."""
        self._noise.begin(sentences)
        self._converted.clear()

    def __call__(self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `PreactivationSource`: role -> (B, n) in, gate unit -> (B, H) out, both in the model's units."""
        if list(units) != ["o"]:  # an output gate asked for alone belongs to the step before it (peepholes)
            self._converted.clear()
        entry = self._layers[layer]
        entries = [entry.unit(name) for name in units]
        volts = self._word_lines(entry, entries, inputs)
        currents = self._currents(layer, entries, volts)
        self._watch(entry, entries, volts)
        found = {}
        for unit in entries:
            preactivation = currents[unit.array] * (unit.scale / entry.volts_per_unit)  # (B, sums, C)
            found[unit.name] = torch.from_numpy(self._convert_sums(layer, unit, preactivation))
        return found

    def hidden(self, layer: str, values: Tensor) -> Tensor:
        """The hidden state (B, H) as software reads it: gates in the circuit have an ADC behind them."""
        converter = self.adcs.get((layer, "h")) if self._hardware.gates == "circuit" else None
        if converter is None:
            return values
        return torch.from_numpy(converter(values.numpy(), self._drawn(converter, (layer, "adc", "h"), values.shape)))

    def _currents(self, layer: str, units: Sequence[CrossbarUnit], volts: Mapping[str, Array]) -> dict[str, Array]:
        """Currents (B, sums, C) by array."""
        rows: dict[tuple[str, ...], Array] = {}  # arrays with the same roles share their word-line voltages

        def together(unit: CrossbarUnit) -> Array:
            roles = tuple(group.role for group in unit.rows)
            if roles not in rows:
                rows[roles] = np.concatenate([volts[role] for role in roles], axis=1)
            return rows[roles]

        asked = {unit.array: together(unit) for unit in units}
        if not self._pulses:
            found = self._engine.currents(asked)
        else:
            pulses = {name: pulse_reads(value, self._device.read_v) for name, value in asked.items()}
            answers = self._engine.currents({name: reads.volts for name, reads in pulses.items()})
            found = {name: pulses[name].mean(answer) for name, answer in answers.items()}
        self._add_noise(layer, asked, found)
        return {unit.array: found[unit.array].reshape(len(asked[unit.array]), -1, unit.columns) for unit in units}

    def _add_noise(self, layer: str, volts: Mapping[str, Array], currents: dict[str, Array]) -> None:
        """Add read noise to the currents (B, outputs) of arrays that are read together."""
        noises = {name: self._read_noise[name] for name in volts if name in self._read_noise}
        batch = len(next(iter(volts.values())))
        # One stream for all: to begin a stream takes longer than to draw from it.
        place, width = (layer, "read", *noises), sum(noise.draws for noise in noises.values())
        thermal = flicker = None
        if any(noise.is_thermal for noise in noises.values()):
            thermal = self._noise.normal((*place, "thermal"), (batch, width))
        octaves = max((noise.octaves for noise in noises.values()), default=0)
        if octaves:
            flicker = self._noise.pink((*place, "flicker"), (batch, width), octaves)
        start = 0
        for name, noise in noises.items():
            part = slice(start, start + noise.draws)
            start += noise.draws
            added = noise.currents(
                volts[name],
                None if thermal is None else thermal[:, part],
                None if flicker is None else flicker[:, part],
            )
            currents[name] = currents[name] + added
            self._tell(name, volts[name], currents[name], added)
        for name in volts.keys() - noises.keys():
            self._tell(name, volts[name], currents[name], None)

    def _tell(self, name: str, volts: Array, currents: Array, noise: Array | None) -> None:
        if self._observer is not None:
            self._observer(name, volts, currents, noise)

    def _convert_sums(self, layer: str, unit: CrossbarUnit, values: Array) -> Array:
        """Pre-activations (B, C): each of the partial sums (B, sums, C) through its ADC."""
        total: Array | float = 0.0
        for number, converter in enumerate(self._unit_adcs[layer, unit.name]):
            part = values[:, number]
            total = total + converter(part, self._drawn(converter, (layer, "adc", unit.name, str(number)), part.shape))
        return np.asarray(total)

    def _drawn(self, converter: Converter, stream: tuple[str, ...], shape: tuple[int, ...]) -> Array | None:
        return self._noise.normal(stream, shape) if converter.noise_lsb else None

    def _watch(self, layer: CrossbarLayer, units: Sequence[CrossbarUnit], volts: Mapping[str, Array]) -> None:
        """Count the memristors beyond a threshold, and take in how far they have moved."""
        if self._moving is None and self._device.read_v < self._device.threshold_v:
            return
        layouts = {unit.name: self._network.layout(unit) for unit in units}
        sign = next(iter(layouts.values())).memristor_sign
        if self._hardware.coding == "pulse_width":
            volts = {role: np.sign(values) * self._device.read_v for role, values in volts.items()}
        beyond = {role: int(self._device.moves(sign * values).sum()) for role, values in volts.items()}
        count = {
            unit.name: sum(beyond[group.role] for group in unit.rows) * layouts[unit.name].memristors for unit in units
        }
        self.most_above_threshold = max(self.most_above_threshold, sum(count.values()))
        for unit in units:
            drift = self._engine.drift(unit.array)
            if drift is not None:
                self.disturb[layer.name, unit.name] = Disturb(
                    count[unit.name], float(drift[0]), float(drift[1]), int(drift[2])
                )

    def _word_lines(
        self, layer: CrossbarLayer, units: Sequence[CrossbarUnit], inputs: Mapping[str, Tensor]
    ) -> dict[str, Array]:
        """Voltages (B, n) by role; with pulses, what they are in the mean."""
        roles = {group.role for unit in units for group in unit.rows}
        batch = next(iter(inputs.values())).shape[0]
        volts = {}
        for role in sorted(roles):
            if role == "b":  # a fixed reference voltage, no DAC
                volts[role] = np.full((batch, 1), layer.volts_per_unit)
            else:
                volts[role] = self._convert(layer, role, inputs["c" if role in ("cp", "ct") else role])
            self.largest_volts = max(self.largest_volts, float(np.abs(volts[role]).max()))
        self._check_volts(layer)
        return volts

    def _check_volts(self, layer: CrossbarLayer) -> None:
        read_v, threshold = self._device.read_v, self._device.threshold_v
        if self._hardware.coding == "pulse_width":
            # With a DAC, what lies beyond is its noise: no pulse is longer than the read.
            if self.largest_volts > read_v * (1 + 1e-9) and not any(dac.bits for dac in self.dacs.values()):
                raise InputError(
                    f"layer {layer.name}: an input is {self.largest_volts / read_v:.4g} times the longest pulse; switch"
                    " the DACs on (--dac-bits), or build with --calibration max"
                )
            self.largest_volts = read_v
        accepted = read_v >= threshold  # the build was told so
        if self.largest_volts >= threshold and not accepted:
            raise InputError(
                f"layer {layer.name}: a word line would carry {self.largest_volts:.4g} V, at or above the device's"
                f" threshold of {threshold:g} V, and reading would move the states; switch the DACs on"
                " (--dac-bits), or build with --calibration max"
            )

    def _convert(self, layer: CrossbarLayer, role: str, values: Tensor) -> Array:
        """A value passes its DAC once, however many arrays and calls of one step it serves."""
        known = self._converted.get((layer.name, role))
        if known is None or known[0] is not values:
            converter = self.dacs[layer.name, role]
            numbers = values.numpy()
            noise = self._drawn(converter, (layer.name, "dac", role), numbers.shape)
            volts = converter(numbers, noise) * layer.volts_per_unit
            known = self._converted[layer.name, role] = (values, volts)
        return known[1]
