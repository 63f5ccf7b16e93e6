"""What the circuit is made of: one frozen description that netlists and engines share.

Every number that no source gives is an assumption, and the presets say so. SI units throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.devices.memristor import MemristorSpec

Scheme = Literal["fixed_resistor_per_cell", "reference_column", "differential_pair"]
"""How a signed weight becomes positive conductances.

`fixed_resistor_per_cell`: a memristor on the inverted word line and a fixed resistor on the plain one, on one bit line
(paper eq. 12); `reference_column`: one bit line of fixed resistors per tile, from which every column is subtracted (the
same sum); `differential_pair`: two memristors on two neighbouring bit lines, w ~ G+ - G-.
"""
Scale = Literal["network", "array", "column"]
"""Which weights share the factor between weight and conductance."""
ReadLaw = Literal["ohmic", "sinh"]
"""Current of a memristor that is read: G V, or G sinh(a V) / a."""
RangeKind = Literal["fixed", "calibrated", "max"]
"""Full scale of a converter: given, met in calibration, or the largest that can occur."""
Coding = Literal["amplitude", "pulse_width"]
"""What carries an input's value: the read voltage, or for how long a pulse of equal amplitude lasts (paper 3.2)."""
PartialSums = Literal["before_adc", "after_adc"]
"""Where the column currents of tiles that share a column are added: as currents, or as numbers."""
Gates = Literal["software", "circuit"]
"""Where gates are computed: from the ADC's numbers; or by ideal analog blocks, with no ADC in front of them (it then
converts the hidden state)."""
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


@dataclass(frozen=True)
class Cells:
    """How weights are stored."""

    scheme: Scheme = "fixed_resistor_per_cell"
    scale: Scale = "array"
    levels: int = 0
    """Conductances a memristor can be set to, evenly spaced from g_min to g_max, both included; 0: any."""
    read_law: ReadLaw = "ohmic"
    sinh_per_volt: float = 0.0
    """a of the law `sinh`, 1/V."""


@dataclass(frozen=True)
class Amplifier:
    """What holds a bit line and reads its current."""

    kind: Literal["ideal", "transimpedance"] = "ideal"
    """An ideal ammeter at 0 V; or an inverting amplifier with a feedback resistor (`device_models/tia.lib`)."""
    feedback_ohm: float = 0.0
    """R_f: the output is -R_f I."""
    gain: float = 0.0
    """Open-loop gain A: the bit line sees R_f / (1 + A)."""
    offset_v: float = 0.0
    """Input offset voltage, the same in every amplifier."""
    swing_v: float = float("inf")
    """The output stays within +- this."""

    @property
    def input_ohm(self) -> float:
        """What the bit line ends in, while the output is within its swing."""
        return 0.0 if self.kind == "ideal" else self.feedback_ohm / (1 + self.gain)


@dataclass(frozen=True)
class ConverterSpec:
    """A DAC or an ADC; 0 bits: none."""

    bits: int
    range: RangeKind = "calibrated"
    full_scale: float | None = None
    """With a fixed range. DAC: the number (in the model's units) that the code's end stands for; ADC: amperes."""
    noise_lsb: float = 0.0
    """Standard deviation of gaussian noise in steps of the converter."""
    inl_lsb: float = 0.0
    """Largest integral nonlinearity in steps of the converter."""


@dataclass(frozen=True)
class Tiling:
    """The largest array that is built; what is larger is cut, the last tiles are shorter."""

    rows: int | None = None
    """Word lines (in pairs with `fixed_resistor_per_cell`); None: as many as there are."""
    columns: int | None = None
    """Weights per row; a reference column, or the second bit line of a pair, comes on top. None: as many as there
    are."""
    partial_sums: PartialSums = "before_adc"


@dataclass(frozen=True)
class Hardware:
    """All of it."""

    name: str
    source: str
    """Where the numbers come from."""
    device: MemristorSpec
    """Its g_min, g_max and read_v are those of this hardware."""
    cells: Cells = field(default_factory=Cells)
    wires: Wires = field(default_factory=Wires)
    """Lines and the drivers' output resistance; `sense_ohm` is 0 here: the amplifier says what bit lines end in."""
    wires_source: str = ""
    """Where the wires' resistance comes from: given, or geometry of which metal."""
    amplifier: Amplifier = field(default_factory=Amplifier)
    coding: Coding = "amplitude"
    dac: ConverterSpec = field(default_factory=lambda: ConverterSpec(8))
    adc: ConverterSpec = field(default_factory=lambda: ConverterSpec(10))
    tiling: Tiling = field(default_factory=Tiling)
    gates: Gates = "software"
