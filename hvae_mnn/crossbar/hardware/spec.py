"""Hardware description: one frozen object that netlists and engines share.

Every number without a source is an assumption; the presets name these. SI units throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.devices.memristor import MemristorSpec

Scheme = Literal["fixed_resistor_per_cell", "reference_column", "differential_pair"]
"""Representation of a signed weight by positive conductances.

`fixed_resistor_per_cell`: a memristor on the inverted word line and a fixed resistor on the plain one, on one bit line
(paper eq. 12); `reference_column`: one bit line of fixed resistors per tile, from which every column is subtracted (the
same sum); `differential_pair`: two memristors on two neighbouring bit lines, w ~ G+ - G-.
"""
Scale = Literal["network", "array", "column"]
"""Weights that share one factor between weight and conductance."""
ReadLaw = Literal["ohmic", "sinh"]
"""Current of a memristor during a read: G V, or G sinh(a V) / a."""
RangeKind = Literal["fixed", "calibrated", "max"]
"""Origin of a converter's full scale: given, largest value met in calibration, or largest value that can occur."""
Coding = Literal["amplitude", "pulse_width"]
"""Carrier of an input's value: the voltage, or the duration of a pulse of constant amplitude (paper section 3.2)."""
PartialSums = Literal["before_adc", "after_adc"]
"""Where the partial sums of tiles that share a column are added: as currents, or as numbers behind ADCs."""
Gates = Literal["software", "circuit"]
"""Location of the gates: in software, from the ADC's numbers; or in the circuit, by ideal analog blocks without an ADC
in front of them (the ADC then converts the hidden state)."""
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


@dataclass(frozen=True)
class Cells:
    """Storage of weights."""

    scheme: Scheme = "fixed_resistor_per_cell"
    scale: Scale = "array"
    levels: int = 0
    """Number of programmable conductances, evenly spaced from g_min to g_max, both included; 0: any conductance."""
    read_law: ReadLaw = "ohmic"
    sinh_per_volt: float = 0.0
    """a of the law `sinh`, 1/V."""


@dataclass(frozen=True)
class Amplifier:
    """Amplifier that holds a bit line's voltage and reads its current."""

    kind: Literal["ideal", "transimpedance"] = "ideal"
    """An ideal ammeter at 0 V; or an inverting amplifier with a feedback resistor (`device_models/tia.lib`)."""
    feedback_ohm: float = 0.0
    """R_f in ohms: the output is -R_f I."""
    gain: float = 0.0
    """Open-loop gain A: the bit line ends in R_f / (1 + A)."""
    offset_v: float = 0.0
    """Input offset voltage, the same in every amplifier, volts."""
    swing_v: float = float("inf")
    """Largest magnitude of the output, volts."""

    @property
    def input_ohm(self) -> float:
        """Input resistance in ohms, while the output is within its swing."""
        return 0.0 if self.kind == "ideal" else self.feedback_ohm / (1 + self.gain)


@dataclass(frozen=True)
class ConverterSpec:
    """A DAC or an ADC; 0 bits: none."""

    bits: int
    range: RangeKind = "calibrated"
    full_scale: float | None = None
    """Value of the last code with a fixed range. DAC: a number in the model's units; ADC: amperes."""
    noise_lsb: float = 0.0
    """Standard deviation of gaussian noise, in steps of the converter."""
    inl_lsb: float = 0.0
    """Largest integral nonlinearity, in steps of the converter."""


@dataclass(frozen=True)
class Tiling:
    """Size of the largest array; larger ones are cut into tiles, and the last tiles are shorter."""

    rows: int | None = None
    """Word lines per tile (pairs with `fixed_resistor_per_cell`); None: no cut."""
    columns: int | None = None
    """Weights per row of a tile, without a reference column or the second bit lines of pairs; None: no cut."""
    partial_sums: PartialSums = "before_adc"


@dataclass(frozen=True)
class Hardware:
    """A complete hardware description."""

    name: str
    source: str
    """Origin of the numbers."""
    device: MemristorSpec
    """The memristor, with this hardware's g_min, g_max and read_v."""
    cells: Cells = field(default_factory=Cells)
    wires: Wires = field(default_factory=Wires)
    """Lines and output resistance of drivers. `sense_ohm` is 0 here: the amplifier determines the end of bit lines."""
    wires_source: str = ""
    """Origin of the wires' resistance: given, or the geometry and metal."""
    amplifier: Amplifier = field(default_factory=Amplifier)
    coding: Coding = "amplitude"
    dac: ConverterSpec = field(default_factory=lambda: ConverterSpec(8))
    adc: ConverterSpec = field(default_factory=lambda: ConverterSpec(10))
    tiling: Tiling = field(default_factory=Tiling)
    gates: Gates = "software"
