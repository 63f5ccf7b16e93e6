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
    """Read noise of an array, as `crossbar.nonidealities.read_noise.ArrayNoise`."""

    draws: int
    """Number of standard normal numbers per read, of each kind."""
    is_thermal: bool
    """Whether the noise has a part that is independent in every read."""
    octaves: int
    """Number of octaves of the part with a spectrum near 1/f; 0: no such part."""

    def currents(self, volts: Array, thermal: Array | None, flicker: Array | None) -> Array:
        """Noise currents (B, outputs) in amperes, for `volts` (B, R) and standard normal numbers (B, draws)."""
        ...


Observer = Callable[[str, Array, Array, Array | None], None]
"""Called for every read of an array: name, volts (B, R), currents (B, outputs) with noise, and the noise alone."""


@dataclass(frozen=True)
class Disturb:
    """Effect of reads on the memristors of one array; x0 is a state at the beginning of the run."""

    above_threshold: int
    """Number of memristors that the last read drove beyond a threshold."""
    max_drift: float
    """Largest |x - x0| after the last read."""
    mean_drift: float
    """Mean |x - x0| after the last read."""
    moved: int
    """Number of memristors that have moved."""


def _with_bits(spec: ConverterSpec, bits: int | None) -> ConverterSpec:
    """The converter with another number of bits; with 0 bits, also without imperfections."""
    if bits is None or bits == spec.bits:
        return spec
    return replace(spec, bits=bits) if bits else replace(spec, bits=0, noise_lsb=0.0, inl_lsb=0.0)


class CrossbarSource:
    """The hardware's `models.stepwise.PreactivationSource`: crossbars between DACs and ADCs."""

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
        """`engine` reads the arrays of `network`.

        Converters are those of the network's hardware, with `dac_bits` and `adc_bits` if given (0: none); with
        `keep_histograms` they count their values. `read_noise` is given by array; `seed` is for all noise. `observer`
        is called for every read. Raises `InputError` for impossible converters, `ManifestError` for an ADC without a
        range.
        """
        self._layers = {layer.name: layer for layer in network.layers}
        self._engine, self._network, self._hardware = engine, network, network.hardware
        self.dacs: dict[tuple[str, str], Converter] = {}
        """DACs by layer and role."""
        self.adcs: dict[tuple[str, str], Converter] = {}
        """ADCs by layer and gate unit (`<unit>_<row block>` for those of partial sums); with gates in the circuit, by
        layer and `h`."""
        self._unit_adcs: dict[tuple[str, str], list[Converter]] = {}
        self._noise = NoiseStreams(seed)
        self._read_noise, self._observer = read_noise or {}, observer
        dac, adc = _with_bits(self._hardware.dac, dac_bits), _with_bits(self._hardware.adc, adc_bits)
        for layer in network.layers:
            for role, full_scale in layer.input_range.items():
                self.dacs[layer.name, role] = Converter.from_spec(
                    dac, full_scale, "dac", keep_histogram=keep_histograms
                )
            self._add_adcs(layer, adc, keep_histograms)
        self.largest_volts = 0.0
        """Largest magnitude on any word line so far, volts."""
        self._device, self._moving = network.device, network.moving
        self.disturb: dict[tuple[str, str], Disturb] = {}
        """Disturbance by layer and gate unit, after its last read; empty for fixed states."""
        self.most_above_threshold = 0
        """Largest number of memristors beyond a threshold in one read of a layer so far."""
        self._converted: dict[tuple[str, str], tuple[Tensor, Array]] = {}
        linear = self._hardware.cells.read_law == "ohmic" and np.isinf(self._hardware.amplifier.swing_v)
        # In a linear circuit, a pulse and its mean voltage give the same charge; ngspice simulates the pulse as proof.
        self._pulses = self._hardware.coding == "pulse_width" and (engine.name == "ngspice" or not linear)

    def _add_adcs(self, layer: CrossbarLayer, spec: ConverterSpec, keep_histograms: bool) -> None:
        if self._hardware.gates == "circuit":
            # No ADC before the gates; the hidden state is within -1 ... 1.
            self.adcs[layer.name, "h"] = Converter.from_spec(spec, 1.0, "adc", keep_histogram=keep_histograms)
        for unit in layer.units:
            scales = self._full_scales(layer, unit, spec)
            if self._hardware.gates == "circuit":
                adcs = [Converter(0, scale, keep_histogram=keep_histograms) for scale in scales]
            else:
                adcs = [Converter.from_spec(spec, scale, "adc", keep_histogram=keep_histograms) for scale in scales]
            self._unit_adcs[layer.name, unit.name] = adcs
            if self._hardware.gates == "software":
                names = [unit.name] if len(adcs) == 1 else [f"{unit.name}_{number}" for number in range(len(adcs))]
                self.adcs |= {(layer.name, name): adc for name, adc in zip(names, adcs, strict=True)}

    def _full_scales(self, layer: CrossbarLayer, unit: CrossbarUnit, spec: ConverterSpec) -> list[float | Array]:
        """Full scale of each of the unit's ADCs, in the model's units."""
        sums = self._network.layout(unit).sums
        if spec.range == "fixed" and spec.full_scale is not None:
            return [spec.full_scale * unit.scale / layer.volts_per_unit] * sums
        if unit.adc_range is not None:
            return list(unit.adc_range)
        if spec.bits and self._hardware.gates == "software":
            raise ManifestError(
                f"array {unit.array} has no calibrated range for an ADC of {spec.bits} bits;"
                " build with calibration, or use no ADC (0 bits)"
            )
        return [np.inf] * sums

    def begin(self, sentences: Sequence[int]) -> None:
        """Begin a batch of sentences, given by their numbers in the order of the rows: their noise streams start."""
        self._noise.begin(sentences)
        self._converted.clear()

    def __call__(
        self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor], *, new_step: bool = True
    ) -> dict[str, Tensor]:
        """See `PreactivationSource`: inputs (B, n) by role, pre-activations (B, H) by gate unit, in the model's units.

        Raises `InputError` for a word-line voltage that would move the states of a build that does not allow it.
        """
        if new_step:
            self._converted.clear()
        entry = self._layers[layer]
        entries = [entry.unit(name) for name in units]
        volts = self._word_lines(entry, entries, inputs)
        currents = self._currents(layer, entries, volts)
        self._record_disturb(entry, entries, volts)
        preactivations = {}
        for unit in entries:
            sums = currents[unit.array] * (unit.scale / entry.volts_per_unit)  # (B, sums, C)
            preactivations[unit.name] = torch.from_numpy(self._convert_sums(layer, unit, sums))
        return preactivations

    def hidden(self, layer: str, values: Tensor) -> Tensor:
        """The hidden state (B, H) as software reads it: through an ADC, if the gates are in the circuit."""
        converter = self.adcs.get((layer, "h")) if self._hardware.gates == "circuit" else None
        if converter is None:
            return values
        return torch.from_numpy(converter(values.numpy(), self._drawn(converter, (layer, "adc", "h"), values.shape)))

    def _currents(self, layer: str, units: Sequence[CrossbarUnit], volts: Mapping[str, Array]) -> dict[str, Array]:
        """Currents (B, sums, C) by array."""
        rows: dict[tuple[str, ...], Array] = {}  # arrays with the same roles share their word-line voltages

        def driven(unit: CrossbarUnit) -> Array:
            roles = tuple(group.role for group in unit.rows)
            if roles not in rows:
                rows[roles] = np.concatenate([volts[role] for role in roles], axis=1)
            return rows[roles]

        by_array = {unit.array: driven(unit) for unit in units}
        if not self._pulses:
            currents = self._engine.currents(by_array)
        else:
            pulses = {name: pulse_reads(value, self._device.read_v) for name, value in by_array.items()}
            phases = self._engine.currents({name: reads.volts for name, reads in pulses.items()})
            currents = {name: pulses[name].mean(value) for name, value in phases.items()}
        self._add_noise(layer, by_array, currents)
        return {unit.array: currents[unit.array].reshape(len(by_array[unit.array]), -1, unit.columns) for unit in units}

    def _add_noise(self, layer: str, volts: Mapping[str, Array], currents: dict[str, Array]) -> None:
        """Add read noise to the currents (B, outputs) of arrays that are read at the same time."""
        noises = {name: self._read_noise[name] for name in volts if name in self._read_noise}
        batch = len(next(iter(volts.values())))
        # One stream for all arrays, because beginning a stream takes longer than drawing from it.
        stream, width = (layer, "read", *noises), sum(noise.draws for noise in noises.values())
        thermal = flicker = None
        if any(noise.is_thermal for noise in noises.values()):
            thermal = self._noise.normal((*stream, "thermal"), (batch, width))
        octaves = max((noise.octaves for noise in noises.values()), default=0)
        if octaves:
            flicker = self._noise.pink((*stream, "flicker"), (batch, width), octaves)
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
            self._observe(name, volts[name], currents[name], added)
        for name in volts.keys() - noises.keys():
            self._observe(name, volts[name], currents[name], None)

    def _observe(self, name: str, volts: Array, currents: Array, noise: Array | None) -> None:
        if self._observer is not None:
            self._observer(name, volts, currents, noise)

    def _convert_sums(self, layer: str, unit: CrossbarUnit, values: Array) -> Array:
        """Pre-activations (B, C): partial sums (B, sums, C), each through its ADC, added."""
        total: Array | float = 0.0
        for number, converter in enumerate(self._unit_adcs[layer, unit.name]):
            part = values[:, number]
            total = total + converter(part, self._drawn(converter, (layer, "adc", unit.name, str(number)), part.shape))
        return np.asarray(total)

    def _drawn(self, converter: Converter, stream: tuple[str, ...], shape: tuple[int, ...]) -> Array | None:
        return self._noise.normal(stream, shape) if converter.noise_lsb else None

    def _record_disturb(self, layer: CrossbarLayer, units: Sequence[CrossbarUnit], volts: Mapping[str, Array]) -> None:
        """Count the memristors beyond a threshold, and record the drift of their states."""
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
        """Voltages (B, n) of the word lines by role; with pulses, their mean voltages."""
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
            # Beyond a DAC's full scale there is only its noise, and no pulse is longer than the read.
            if self.largest_volts > read_v * (1 + 1e-9) and not any(dac.bits for dac in self.dacs.values()):
                raise InputError(
                    f"layer {layer.name}: an input is {self.largest_volts / read_v:.4g} times the longest pulse; switch"
                    " the DACs on (--dac-bits), or build with --calibration max"
                )
            self.largest_volts = read_v
        accepted = read_v >= threshold  # with --allow-disturb, at the build
        if self.largest_volts >= threshold and not accepted:
            raise InputError(
                f"layer {layer.name}: a word line would carry {self.largest_volts:.4g} V, at or above the device's"
                f" threshold of {threshold:g} V, and reading would move the states; switch the DACs on"
                " (--dac-bits), or build with --calibration max"
            )

    def _convert(self, layer: CrossbarLayer, role: str, values: Tensor) -> Array:
        """Voltages (B, n) for an input: it passes its DAC once, even if several arrays and calls of a step use it."""
        known = self._converted.get((layer.name, role))
        if known is None or known[0] is not values:
            converter = self.dacs[layer.name, role]
            numbers = values.numpy()
            noise = self._drawn(converter, (layer.name, "dac", role), numbers.shape)
            volts = converter(numbers, noise) * layer.volts_per_unit
            known = self._converted[layer.name, role] = (values, volts)
        return known[1]
