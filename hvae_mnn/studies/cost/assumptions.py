"""Assumptions about the cost of a token besides the circuit: every number with its unit and source."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.network import CrossbarNetwork
from hvae_mnn.errors import InputError

_METAL = re.compile(r"word lines every ([0-9.e+-]+) nm, bit lines every ([0-9.e+-]+) nm")
"""Wording of a geometry of lines in `crossbar.hardware.file`."""
DEFAULT_PITCH_M = 80e-9
FARADS_PER_METRE = 2e-10
_PELZERS = (
    "a 10-bit SAR ADC in 65 nm, 20 MS/s: 6.1 fJ per conversion step, 60 x 36 um (Pelzers, van der Struijk, Harpe, IEEE"
    " TCAS-I 70(1):29-39, 2023)"
)
_HOROWITZ = "Horowitz, ISSCC 2014, 1.1 (45 nm, 0.9 V)"
_RANGES = {
    "read_time": (1e-15, 1e3),
    "adc_fom": (1e-24, 1.0),
    "dac_fom": (1e-24, 1.0),
    "adc_area": (1e-18, 1.0),
    "cell_pitch": (1e-10, 1e-2),
    "line_capacitance": (1e-24, 1e-3),
    "mac_energy": (1e-24, 1.0),
}
"""Smallest and largest value by field, SI units. A number outside was probably given in another unit."""


@dataclass(frozen=True)
class Given:
    """Values that replace assumptions; None keeps the assumption. Raises `InputError` for a value out of range."""

    read_time: float | None = None
    """Duration of a read, during which word lines are driven, s."""
    adc_fom: float | None = None
    """Walden figure of merit of ADCs, J per conversion step."""
    dac_fom: float | None = None
    """Walden figure of merit of DACs, J per conversion step."""
    adc_area: float | None = None
    """Area of an ADC, m^2."""
    cell_pitch: float | None = None
    """Distance of neighbouring lines, m."""
    line_capacitance: float | None = None
    """Capacitance of one segment of a line to ground, F."""
    mac_energy: float | None = None
    """Energy of a multiply-accumulate, with its weight from memory, on the digital processor of the comparison, J."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for field in fields(self):
            value, (least, most) = getattr(self, field.name), _RANGES[field.name]
            if value is not None and not least <= value <= most:
                raise InputError(f"--{field.name.replace('_', '-')} is {value:g}; allowed: {least:g} to {most:g}")


@dataclass(frozen=True)
class Assumption:
    """A number that the cost depends on, with its unit and source."""

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Baseline:
    """Energy of a multiply-accumulate on a digital processor."""

    name: str
    mac_j: float
    """Energy of multiplication, addition and the read of the weight, J."""
    source: str


BASELINES = (
    Baseline(
        "8-bit, weights in 8 KB SRAMs",
        0.2e-12 + 0.1e-12 + 10e-12 / 8,
        f"{_HOROWITZ}: 8-bit multiply 0.2 pJ, 32-bit add 0.1 pJ, 8 bytes from 8 KB of SRAM 10 pJ",
    ),
    Baseline(
        "8-bit, weights in 1 MB SRAMs",
        0.2e-12 + 0.1e-12 + 100e-12 / 8,
        f"{_HOROWITZ}: 8-bit multiply 0.2 pJ, 32-bit add 0.1 pJ, 8 bytes from 1 MB of SRAM 100 pJ",
    ),
    Baseline(
        "32-bit float, weights in DRAM",
        3.7e-12 + 0.9e-12 + 1.3e-9 / 2,
        f"{_HOROWITZ}: multiply 3.7 pJ, add 0.9 pJ, 8 bytes from DRAM 1.3 nJ (its lower end)",
    ),
)
"""Digital processors, the most efficient first. A weight is read once per token: with one sentence at a time, no other
token shares the read."""
COMPARED = BASELINES[1]
"""Reference of ratios: the paper's network has 2.2 MB of 8-bit weights."""


def assumptions(network: CrossbarNetwork, given: Given) -> dict[str, Assumption]:
    """Assumptions for a build by name, a field of `Given`; given values replace the default ones."""
    pitch, pitch_source = _pitch(network.hardware)
    if given.cell_pitch is not None:
        pitch = given.cell_pitch
    defaults = (
        Assumption("read_time", network.read_s, "s", "of the build; word lines are driven so long"),
        Assumption(
            "adc_fom", 6.1e-15, "J/step", f"{_PELZERS}; a conversion takes this times 2^bits, with nominal bits"
        ),
        Assumption(
            "dac_fom",
            6.1e-15,
            "J/step",
            "assumption: as the ADC, since a SAR ADC holds a DAC of its width",
        ),
        Assumption("adc_area", 60e-6 * 36e-6, "m^2", _PELZERS),
        Assumption("cell_pitch", pitch, "m", pitch_source),
        Assumption(
            "line_capacitance",
            FARADS_PER_METRE * pitch,
            "F",
            "assumption: 0.2 fF/um (Weste and Harris, CMOS VLSI Design, 4th edition, on wires) times the pitch; devices"
            " add none",
        ),
        Assumption("mac_energy", COMPARED.mac_j, "J", COMPARED.source),
    )
    by_name = {}
    for one in defaults:
        value = getattr(given, one.name)
        by_name[one.name] = one if value is None else Assumption(one.name, value, one.unit, "given")
    return by_name


def _pitch(hardware: Hardware) -> tuple[float, str]:
    """Distance of neighbouring lines in metres, and its source."""
    known = _METAL.search(hardware.wires_source)
    if known:
        word, bit = (float(part) * 1e-9 for part in known.groups())
        # A cell's area is the product of both pitches.
        return math.sqrt(word * bit), "of the hardware's wires.metal"
    return DEFAULT_PITCH_M, "assumption: 2 F with F = 40 nm (4 F^2 a cell), where a copper line has about 1 ohm a pitch"
