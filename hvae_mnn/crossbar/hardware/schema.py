"""The keys of a hardware file: types, ranges, units and defaults, as pydantic models and as a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hvae_mnn.crossbar.hardware.presets import PresetName
from hvae_mnn.crossbar.hardware.spec import Coding, Gates, PartialSums, RangeKind, ReadLaw, Scale, Scheme
from hvae_mnn.devices.presets import PRESET_NAMES

AmplifierKind = Literal["ideal", "transimpedance"]


def _not_one(value: int) -> int:
    if value == 1:
        raise ValueError("1 is not allowed")
    return value


def _device_name(value: str) -> str:
    if value not in PRESET_NAMES:
        raise ValueError("unknown device")
    return value


_Ohm = Annotated[float, Field(ge=0, le=1e9)]
_Metre = Annotated[float, Field(ge=1e-10, le=1e-2)]
_Siemens = Annotated[float, Field(gt=0)]
_Size = Annotated[int, Field(ge=1, le=1_000_000)]


_NOT_ONE = {"not": {"const": 1}}


def _key(default: Any, what: str, unit: str | None = None, more: Mapping[str, Any] | None = None) -> Any:
    extra = {**({} if unit is None else {"unit": unit}), **(more or {})}
    return Field(default, description=what, json_schema_extra=extra or None)


class Section(BaseModel):
    """A table of a hardware file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DeviceSection(Section):
    """The memristor. Give at most one of preset, file and spec; default: preset = "aist"."""

    preset: Annotated[str, AfterValidator(_device_name)] | None = _key(
        None, "Name of a memristor preset.", more={"enum": list(PRESET_NAMES)}
    )
    file: Annotated[str, Field(min_length=1)] | None = _key(
        None, "TOML file with a memristor's parameters; its path is relative to this file."
    )
    spec: dict[str, Any] | None = _key(None, "All parameters of a memristor, and its law.")
    read_voltage: Annotated[float, Field(gt=0)] | None = _key(
        None,
        "Largest magnitude on a word line; with pulses, the magnitude of every pulse. Default: the device's.",
        "V",
    )


class ArraySection(Section):
    """Mapping of weights to conductances."""

    scheme: Scheme = _key(
        "fixed_resistor_per_cell",
        "How a signed weight becomes positive conductances: a memristor and a fixed resistor per cell (eq. 12); one"
        " column of fixed resistors per tile, subtracted from every other; or two memristors.",
    )
    scale: Scale = _key("array", "Weights that share one factor s between weight and conductance.")
    g_min_siemens: _Siemens | None = _key(
        None, "Smallest conductance of a weight's memristor. Default: the device's.", "S"
    )
    g_max_siemens: _Siemens | None = _key(
        None, "Largest conductance of a weight's memristor. Default: the device's.", "S"
    )
    levels: Annotated[int, Field(ge=0, le=4096), AfterValidator(_not_one)] = _key(
        0,
        "Number of programmable conductances, evenly spaced from g_min to g_max, both included; 0: any conductance.",
        more=_NOT_ONE,
    )
    read_law: ReadLaw = _key("ohmic", "Current of a memristor at V: G V, or G sinh(a V) / a.")
    sinh_per_volt: Annotated[float, Field(ge=0, le=1e3)] = _key(
        0.0, "a of the law sinh; above 0 with this law, 0 otherwise.", "1/V"
    )


class MetalSection(Section):
    """Geometry of the lines: R = resistivity * pitch / (width * thickness), for word lines and bit lines."""

    metal: Annotated[str, Field(min_length=1, max_length=40)] = _key(..., "Name of the metal, e.g. Cu.")
    resistivity_ohm_m: Annotated[float, Field(ge=1e-9, le=1e-3)] = _key(
        ..., "Resistivity of the line, which is far above the bulk value in thin lines.", "ohm m"
    )
    width_m: _Metre = _key(..., "Width of a line; below both pitches.", "m")
    thickness_m: _Metre = _key(..., "Thickness of a line.", "m")
    word_pitch_m: _Metre = _key(..., "Distance of neighbouring word lines: the length of a bit line's segment.", "m")
    bit_pitch_m: _Metre = _key(..., "Distance of neighbouring bit lines: the length of a word line's segment.", "m")
    source: str = _key("", "Origin of these numbers.")

    @property
    def segments_ohm(self) -> tuple[float, float]:
        """Ohms of a word-line segment, which spans the bit-line pitch, and of a bit-line segment."""
        per_metre = self.resistivity_ohm_m / (self.width_m * self.thickness_m)
        return per_metre * self.bit_pitch_m, per_metre * self.word_pitch_m


class WiresSection(Section):
    """Resistance of the lines: word_ohm and bit_ohm, or [wires.metal]."""

    word_ohm: _Ohm | None = _key(
        None, "Resistance of a word-line segment, from driver to cell or from cell to cell. Default: 0, ideal.", "ohm"
    )
    bit_ohm: _Ohm | None = _key(
        None, "Resistance of a bit-line segment, from cell to cell or from cell to amplifier. Default: 0, ideal.", "ohm"
    )
    source: str = _key("", "Origin of word_ohm and bit_ohm.")
    metal: MetalSection | None = _key(None, "Geometry in place of word_ohm and bit_ohm.")


class DriversSection(Section):
    """Word-line drivers."""

    output_ohm: _Ohm = _key(0.0, "Output resistance of a word line's driver; 0: ideal.", "ohm")


class SenseSection(Section):
    """Bit-line amplifiers; the numbers belong to kind = "transimpedance" only."""

    kind: AmplifierKind = _key(
        "ideal", "An ideal ammeter, or an inverting amplifier with a feedback resistor R_f: its output is -R_f I."
    )
    feedback_ohm: Annotated[float, Field(ge=0, le=1e12)] = _key(0.0, "R_f; above 0 with transimpedance.", "ohm")
    gain: Annotated[float, Field(ge=0, le=1e12)] = _key(
        0.0, "Open-loop gain A; above 0 with transimpedance. The bit line ends in R_f / (1 + A)."
    )
    offset_v: Annotated[float, Field(ge=-1, le=1)] = _key(
        0.0, "Input offset voltage, the same in every amplifier.", "V"
    )
    swing_v: Annotated[float, Field(gt=0, allow_inf_nan=True)] | None = _key(
        None, "Largest magnitude of the output. Default: no limit (also inf).", "V"
    )


class InputSection(Section):
    """Coding of inputs."""

    coding: Coding = _key(
        "amplitude", "Carrier of an input's value: the voltage on a word line, or the duration of the read voltage."
    )


_Bits = Annotated[int, Field(ge=0, le=24), AfterValidator(_not_one)]


class DacSection(Section):
    """DACs in front of word lines. With L = 2^(bits-1) - 1, codes are -L ... L, and a step is full_scale / L."""

    bits: _Bits = _key(8, "Width; 0: no converter, values pass unchanged.", "bits", _NOT_ONE)
    range: RangeKind = _key(
        "calibrated",
        "Origin of full scale: full_scale in this file; largest value met in calibration; or largest that can occur.",
    )
    full_scale: Annotated[float, Field(gt=0, le=1e30)] | None = _key(
        None,
        'Value of the last code; only with range = "fixed". DAC: a number in the model\'s units; ADC: a current in A.',
    )
    noise_lsb: Annotated[float, Field(ge=0, le=1e6)] = _key(
        0.0, "Standard deviation of gaussian noise on a DAC's output or an ADC's input; 0: none.", "steps"
    )
    inl_lsb: Annotated[float, Field(ge=0, le=1e6)] = _key(
        0.0,
        "Largest integral nonlinearity: inl_lsb * step * sin(pi x / full_scale). Below L / pi, so that the"
        " characteristic rises everywhere; 0: none.",
        "steps",
    )


class AdcSection(DacSection):
    """ADCs behind the amplifiers. With L = 2^(bits-1) - 1, codes are -L ... L, and a step is full_scale / L."""

    bits: _Bits = _key(10, "Width; 0: no converter, values pass unchanged.", "bits", _NOT_ONE)


class TilesSection(Section):
    """Size of the largest array; larger ones are cut into tiles, and the last tiles are shorter."""

    rows: Literal["all"] | _Size = _key(
        "all", "Inputs per tile: word lines, or pairs of word lines with fixed_resistor_per_cell; all: no cut."
    )
    columns: Literal["all"] | _Size = _key(
        "all", "Weights per row of a tile, without reference columns and second bit lines."
    )
    partial_sums: PartialSums = _key(
        "before_adc",
        "Where partial sums of tiles that share a column are added: as currents, or as numbers with one ADC per tile.",
    )


class GatesSection(Section):
    """Location of the gates."""

    where: Gates = _key(
        "software", "From the ADC's numbers; or by ideal analog blocks on the currents, with the ADC behind them."
    )


class HardwareFile(Section):
    """Hardware description for hvae-mnn: the keys of a TOML file (docs/hardware.md), in SI units."""

    base: PresetName | None = _key(None, "Preset that provides the values that this file leaves out.")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = _key(
        None, "Name in decks, tables and plots: letters, digits, '.', '_', '-'. Default: the file's."
    )
    source: str | None = _key(None, "Origin of the numbers. Default: the file's name and its base.")
    device: DeviceSection = Field(default_factory=DeviceSection)
    array: ArraySection = Field(default_factory=ArraySection)
    wires: WiresSection = Field(default_factory=WiresSection)
    drivers: DriversSection = Field(default_factory=DriversSection)
    sense: SenseSection = Field(default_factory=SenseSection)
    input: InputSection = Field(default_factory=InputSection)
    dac: DacSection = Field(default_factory=DacSection)
    adc: AdcSection = Field(default_factory=AdcSection)
    tiles: TilesSection = Field(default_factory=TilesSection)
    gates: GatesSection = Field(default_factory=GatesSection)


def hardware_schema() -> dict[str, Any]:
    """JSON schema of a hardware file, with a description, a unit, a range and a default for every key.

    `docs/hardware.md` has the rules that a schema cannot express (keys that exclude or need each other).
    """
    schema: dict[str, Any] = _plain(HardwareFile.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "hvae-mnn hardware", **schema}


def _plain(node: Any) -> Any:
    """The node without additions that differ between pydantic releases: titles made of keys, null for absent keys,
    one-element enums beside a const, `additionalProperties` where everything is allowed."""
    if isinstance(node, list):
        return [_plain(part) for part in node]
    if not isinstance(node, dict):
        return node
    node = {key: _plain(part) for key, part in node.items() if key != "title" or not isinstance(part, str)}
    if "const" in node:
        node.pop("enum", None)
    if node.get("additionalProperties") is True:
        node.pop("additionalProperties")
    if "anyOf" in node:
        kinds = [part for part in node.pop("anyOf") if part != {"type": "null"}]
        node = {**kinds[0], **node} if len(kinds) == 1 else {"anyOf": kinds, **node}
        if node.get("default", "") is None:
            node.pop("default")
    return node
