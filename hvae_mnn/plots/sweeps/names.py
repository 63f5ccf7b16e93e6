"""Names of a sweep's settings and metrics in figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hvae_mnn.plots.files import literal
from hvae_mnn.sweeps.curves import GridCurves


@dataclass(frozen=True)
class AxisName:
    """Name of a setting."""

    label: str
    """Axis label with unit."""
    short: str
    """Text before the value in a legend."""
    unit: str = ""
    """Unit behind the value in a legend."""
    whole: bool = False
    """Whether all values are whole numbers."""
    zero: str | None = None
    """Meaning of 0, if it is not a small value but the absence of a limit."""


@dataclass(frozen=True)
class MetricName:
    """Name of a metric."""

    label: str
    unit: str = ""
    """Unit; `%`: fractions are drawn as per cent."""
    better: Literal["higher", "lower", "none"] = "none"

    @property
    def factor(self) -> float:
        """Factor from the table's numbers to those drawn."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def with_unit(self) -> str:
        """Label with unit, for an axis."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


AXES = {
    "model": AxisName("model", "model"),
    "sweep": AxisName("sweep", "sweep"),
    "hardware": AxisName("hardware", "hardware"),
    "hardware.device.preset": AxisName("memristor", "memristor"),
    "hardware.device.read_voltage": AxisName("read voltage (V)", "read voltage", " V"),
    "hardware.array.scheme": AxisName("scheme of signed weights", "scheme"),
    "hardware.array.scale": AxisName("weights that share a scale", "scale of"),
    "hardware.array.levels": AxisName("conductance levels", "levels", whole=True, zero="any"),
    "hardware.wires.word_ohm": AxisName("word-line resistance per segment (Ω)", "word line", " Ω"),
    "hardware.wires.bit_ohm": AxisName("bit-line resistance per segment (Ω)", "bit line", " Ω"),
    "hardware.drivers.output_ohm": AxisName("output resistance of drivers (Ω)", "drivers", " Ω"),
    "hardware.sense.feedback_ohm": AxisName("feedback resistance of amplifiers (Ω)", "feedback", " Ω"),
    "hardware.sense.gain": AxisName("open-loop gain of amplifiers", "gain"),
    "hardware.sense.offset_v": AxisName("input offset of amplifiers (V)", "offset", " V"),
    "hardware.sense.swing_v": AxisName("output swing of amplifiers (V)", "swing", " V"),
    "hardware.adc.bits": AxisName("ADC resolution (bits)", "ADC", " bits", whole=True, zero="none"),
    "hardware.dac.bits": AxisName("DAC resolution (bits)", "DAC", " bits", whole=True, zero="none"),
    "hardware.adc.noise_lsb": AxisName("ADC noise, standard deviation (LSB)", "ADC noise", " LSB"),
    "hardware.dac.noise_lsb": AxisName("DAC noise, standard deviation (LSB)", "DAC noise", " LSB"),
    "hardware.adc.inl_lsb": AxisName("ADC integral nonlinearity (LSB)", "ADC INL", " LSB"),
    "hardware.dac.inl_lsb": AxisName("DAC integral nonlinearity (LSB)", "DAC INL", " LSB"),
    "hardware.tiles.rows": AxisName("rows of a tile", "tile rows", whole=True),
    "hardware.tiles.columns": AxisName("columns of a tile", "tile columns", whole=True),
    "noise.programming.error": AxisName("kind of programming error", "error"),
    "noise.programming.sigma": AxisName("programming spread σ", "σ ="),
    "noise.programming.amplitude_v": AxisName("amplitude of programming pulses (V)", "pulses of", " V"),
    "noise.programming.tolerance": AxisName("tolerance of write-verify, relative", "tolerance"),
    "noise.programming.max_pulses": AxisName("programming pulses per device, at most", "pulses", whole=True),
    "noise.programming.device_speed": AxisName("spread σ of ln speed, device to device", "σ ="),
    "noise.programming.cycle_speed": AxisName("spread σ of ln speed, pulse to pulse", "σ ="),
    "noise.programming.threshold": AxisName("spread σ of thresholds, relative", "σ ="),
    "noise.spread.device_on": AxisName(
        "spread σ of ln R$_{\\mathrm{on}}$, device to device", "σ of ln R$_{\\mathrm{on}}$"
    ),
    "noise.spread.device_off": AxisName(
        "spread σ of ln R$_{\\mathrm{off}}$, device to device", "σ of ln R$_{\\mathrm{off}}$"
    ),
    "noise.spread.cycle_on": AxisName(
        "spread σ of ln R$_{\\mathrm{on}}$, cycle to cycle", "σ of ln R$_{\\mathrm{on}}$"
    ),
    "noise.spread.cycle_off": AxisName(
        "spread σ of ln R$_{\\mathrm{off}}$, cycle to cycle", "σ of ln R$_{\\mathrm{off}}$"
    ),
    "noise.stuck.on": AxisName("cells stuck at G$_{\\mathrm{on}}$ (fraction)", "stuck on"),
    "noise.stuck.off": AxisName("cells stuck at G$_{\\mathrm{off}}$ (fraction)", "stuck off"),
    "noise.drift.seconds": AxisName("time since programming (s)", "after", " s"),
    "noise.drift.exponent": AxisName("drift exponent ν", "ν ="),
    "noise.drift.exponent_sigma": AxisName("spread of the drift exponent, σ", "σ of ν"),
    "noise.read_noise.thermal": AxisName("thermal read noise", "thermal noise"),
    "noise.read_noise.bandwidth_hz": AxisName("read-out bandwidth (Hz)", "bandwidth", " Hz"),
    "noise.read_noise.flicker": AxisName("1/f read noise K, power density K/f relative to G²", "K ="),
    "noise.read_noise.low_hz": AxisName("lowest frequency of 1/f noise (Hz)", "from", " Hz"),
    "noise.temperature.kelvin": AxisName("temperature (K)", "temperature", " K"),
}
TOGETHER = {
    frozenset({"hardware.wires.word_ohm", "hardware.wires.bit_ohm"}): AxisName(
        "word- and bit-line resistance per segment (Ω)", "wires", " Ω"
    ),
    frozenset({"hardware.tiles.rows", "hardware.tiles.columns"}): AxisName(
        "rows and columns of a tile", "tiles of", whole=True
    ),
    frozenset({"noise.stuck.on", "noise.stuck.off"}): AxisName(
        "cells stuck at G$_{\\mathrm{on}}$, and as many at G$_{\\mathrm{off}}$ (fraction)", "stuck"
    ),
    frozenset({"noise.spread.device_on", "noise.spread.device_off"}): AxisName(
        "spread σ of ln R$_{\\mathrm{on}}$ and ln R$_{\\mathrm{off}}$, device to device", "σ ="
    ),
    frozenset({"noise.spread.cycle_on", "noise.spread.cycle_off"}): AxisName(
        "spread σ of ln R$_{\\mathrm{on}}$ and ln R$_{\\mathrm{off}}$, cycle to cycle", "σ ="
    ),
    frozenset({"hardware.adc.bits", "hardware.dac.bits"}): AxisName(
        "ADC and DAC resolution (bits)", "ADC and DAC", " bits", whole=True, zero="none"
    ),
}
"""Names of settings that change together with equal values."""
_SPREADS = {
    "lognormal": AxisName("programming spread σ of ln G", "σ ="),
    "gaussian": AxisName("programming error σ (parts of G$_{\\mathrm{max}}$ − G$_{\\mathrm{min}}$)", "σ ="),
}
METRICS = {
    "top1": MetricName("next-word top-1 accuracy", "%", "higher"),
    "top5": MetricName("next-word top-5 accuracy", "%", "higher"),
    "ppl": MetricName("perplexity (ELBO)", "", "lower"),
    "reconstruction": MetricName("reconstructed words", "%", "higher"),
    "bleu": MetricName("BLEU-4 of reconstructions", "%", "higher"),
    "agreement": MetricName("next words as the digital model's", "%", "higher"),
    "agreement_free": MetricName("reconstructions as the digital model's", "%", "higher"),
    "mean_error": MetricName("rms error of the latent's mean", "", "lower"),
    "log_variance_error": MetricName("rms error of the latent's log-variance", "", "lower"),
    "kl": MetricName("KL from N(0, I)", "nats per sentence"),
    "kl_shift": MetricName("KL − KL of the digital model", "nats per sentence"),
}
VALUES = {
    "fixed_resistor_per_cell": "fixed resistor per cell",
    "reference_column": "reference column",
    "differential_pair": "differential pair",
}
BASELINES = {"digital": "digital", "digital_bits": "digital + converters", "unigram": "unigram"}


def axis_name(curves: GridCurves, path: str) -> AxisName:
    """Name of the grid's axis or of another of its paths; a path without a name is its own name."""
    if path == "noise.programming.sigma" and curves.error in _SPREADS:
        return _SPREADS[curves.error]
    equal = frozenset((path, *curves.equal(path)))
    if equal in TOGETHER:
        return TOGETHER[equal]
    return AXES.get(path, AxisName(literal(path), literal(path)))


def metric_name(metric: str, relative: bool = False) -> MetricName:
    """Name of a metric, or of its ratio to the digital model's."""
    name = METRICS.get(metric, MetricName(literal(metric)))
    return MetricName(f"{name.label}\nrelative to the digital model", "%", name.better) if relative else name


def value_text(curves: GridCurves, path: str, value: object) -> str:
    """Text of a setting's value in a legend."""
    name = axis_name(curves, path)
    if isinstance(value, str):
        text = VALUES.get(value, literal(value))
        return text if path in ("model", "sweep", "hardware", "hardware.array.scheme") else f"{name.short} {text}"
    if value == 0 and name.zero is not None:
        return f"{name.short}: {name.zero}"
    return f"{name.short} {value:g}{name.unit}"
