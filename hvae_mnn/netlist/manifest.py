"""What a netlist folder holds: `manifest.json`, read back with every value and every hash checked."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.file import hardware_from_dict, hardware_to_dict
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.crossbar.mapping import RowGroup
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import DEVICE_BACKENDS, DeviceBackend, MovingDevices
from hvae_mnn.errors import HvaeMnnError, InputError, ManifestError
from hvae_mnn.files import HASHED_BYTES, SEAL, read_json, seal, sealed, sha256
from hvae_mnn.gates import GATE_UNITS, GateUnit
from hvae_mnn.netlist.arrays import EQUATIONS
from hvae_mnn.netlist.contents import check_contents
from hvae_mnn.netlist.replacement import recover
from hvae_mnn.reading import is_missing, open_regular, shown

FORMAT = "hvae-mnn-netlist/3"
MANIFEST = "manifest.json"
CONDUCTANCES = "conductances.safetensors"
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of layers and files: what ngspice, shells and file systems all take as it is."""
_ROUNDING = 1 + 1e-9
_MOST = 10**12
"""Of rows, columns and weights: more than any machine holds, less than an array's size overflows at."""


@dataclass(frozen=True)
class UnitEntry:
    """One gate unit: an array and its decks."""

    name: str
    """Gate unit within its layer: `i`, `f`, ..."""
    array: str
    """Name of the array, `<layer>_<unit>`; also the prefix of its tensors in the safetensors file."""
    rows: tuple[RowGroup, ...]
    """What the word lines carry, in order."""
    columns: int
    """Columns of weights, the hidden size."""
    weight_scale: float | tuple[float, ...]
    """s of w = s (1/R_s - G) or s (G+ - G-), weight per siemens: one number, or one per column."""
    adc_range: tuple[float, ...] | None
    """Full scale of the ADCs in the model's units: one, or one per row block whose partial sums are converted. None:
    not calibrated, or fixed by the hardware."""
    include: str
    """File with the array's elements."""
    deck: str
    """File that drives the array alone with its test vector."""

    @property
    def scale(self) -> float | NDArray[np.float64]:
        """The weight scale, to multiply currents (..., C) with."""
        return self.weight_scale if isinstance(self.weight_scale, float) else np.array(self.weight_scale)

    @property
    def row_count(self) -> int:
        """Number of word lines."""
        return sum(group.size for group in self.rows)

    @property
    def word_lines(self) -> list[str]:
        """Names of the word lines."""
        return [f"{group.role}{index}" for group in self.rows for index in range(group.size)]


@dataclass(frozen=True)
class LayerEntry:
    """One recurrent layer."""

    name: str
    cell: str
    """`lstm`, `gru` or `rnn`."""
    input_size: int
    hidden_size: int
    peepholes: bool
    volts_per_unit: float
    """Word-line voltage that stands for the number 1."""
    input_range: dict[str, float]
    """By role (`x`, `z`, `h`, `cp`, `ct`): the largest magnitude met in calibration, in the model's units: full scale
    of the DAC."""
    weights: int
    """Number of weights, sum of rows times columns."""
    paper_weights: int
    """The paper's count for the cell's gates: gates (in + M + 1) M; 4 gates for the LSTM (page 693)."""
    deck: str
    """File that wires the whole layer."""
    units: tuple[UnitEntry, ...]

    def unit(self, name: str) -> UnitEntry:
        """The gate unit called `name`."""
        return next(unit for unit in self.units if unit.name == name)


@dataclass(frozen=True)
class Manifest:
    """A netlist folder."""

    folder: Path
    name: str
    source: dict[str, Any]
    """Where the weights came from."""
    hardware: Hardware
    """What the weights are mapped to, with its wires, amplifiers, converters and tiles."""
    device_backend: DeviceBackend
    """Whether its state may move, and what computes that."""
    read_s: float
    """How long a read takes, seconds; of no effect on `static` devices."""
    layers: tuple[LayerEntry, ...]
    files: dict[str, str]
    """SHA-256 of every file but the manifest."""

    @property
    def device(self) -> MemristorSpec:
        """The memristor; its `g_mid` is the fixed resistors' conductance 1/R_s."""
        return self.hardware.device

    @property
    def fixed_siemens(self) -> float:
        """1/R_s."""
        return self.device.g_mid

    def layout(self, unit: UnitEntry) -> ArrayLayout:
        """How the unit's array is cut into tiles."""
        return ArrayLayout(unit.row_count, unit.columns, self.hardware)

    @property
    def memristors(self) -> int:
        """How many there are in all: one per weight, or two."""
        layouts = (self.layout(unit) for _, unit in self.units())
        return sum(layout.rows * layout.memristors for layout in layouts)

    @property
    def moving(self) -> MovingDevices | None:
        """How the memristors move; None where they do not."""
        if self.device_backend == "static":
            return None
        return MovingDevices(self.device, self.device_backend, self.read_s)

    @property
    def path(self) -> Path:
        """The manifest's own file."""
        return self.folder / MANIFEST

    def layer(self, name: str) -> LayerEntry:
        """The layer called `name`; raises `ManifestError` if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ManifestError(f"{self.path}: no layer {name!r}; found {', '.join(layer.name for layer in self.layers)}")

    def units(self) -> list[tuple[LayerEntry, UnitEntry]]:
        """Every gate unit of every layer."""
        return [(layer, unit) for layer in self.layers for unit in layer.units]

    def to_dict(self) -> dict[str, Any]:
        """What `manifest.json` holds."""
        body = {
            "format": FORMAT,
            "name": self.name,
            "source": self.source,
            "mapping": f"{EQUATIONS[self.hardware.cells.scheme]}; s is weight_scale; V = volts_per_unit u",
            "hardware": hardware_to_dict(self.hardware),
            "device_backend": self.device_backend,
            "read_s": self.read_s,
            "fixed_siemens": self.device.g_mid,
            "conductances": CONDUCTANCES,
            "layers": [asdict(layer) for layer in self.layers],
            "files": self.files,
        }
        return sealed(body)


def read_manifest(folder: Path, verify: bool = True) -> Manifest:
    """Read the manifest of `folder`; with `verify`, check every file's hash, and that decks and models hold what builds
    write and nothing else.

    Raises `ManifestError`, naming the file, what was found and what to do.
    """
    folder = Path(folder)
    if folder.name == MANIFEST:
        folder = folder.parent
    path = folder / MANIFEST
    if is_missing(folder):
        recover(folder.parent, folder.name)
    if is_missing(path):
        raise ManifestError(
            f"{shown(folder)} is no netlist folder: it has no {MANIFEST}; make one with hvae-mnn build-netlist"
        )
    try:
        stored = read_json(path, "manifest")
    except InputError as error:
        raise ManifestError(f"{error}; build the netlists again") from None
    if stored.get("format") != FORMAT:
        found = shown(repr(stored.get("format")))
        raise ManifestError(f"{path}: format is {found}, allowed is {FORMAT!r}; build the netlists again")
    try:
        if stored.get(SEAL) != seal(stored):
            raise ValueError("its fingerprint does not match: a value was changed")
        manifest = Manifest(
            folder=folder,
            name=_folder_name(stored["name"]),
            source=dict(stored["source"]),
            hardware=hardware_from_dict(stored["hardware"], "hardware"),
            device_backend=_backend(stored["device_backend"]),
            read_s=_positive(stored["read_s"]),
            layers=tuple(_layer(layer) for layer in stored["layers"]),
            files={_plain(name): _text(value) for name, value in stored["files"].items()},
        )
        _check_together(manifest, stored)
    except (KeyError, TypeError, ValueError, AttributeError, HvaeMnnError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else shown(" ".join(str(error).split()))
        raise ManifestError(f"{path}: {reason}; build the netlists again") from None
    if verify:
        _verify(manifest)
    return manifest


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} should be text")
    return value


def _folder_name(value: Any) -> str:
    """A name that results are called by: it must not lead to another folder."""
    if "/" in _text(value) or "\0" in value or value in (".", "..") or len(value.encode(errors="replace")) > 255:
        raise ValueError(f"name {shown(repr(value))}; allowed is the name of one folder")
    return str(value)


def _backend(value: Any) -> DeviceBackend:
    for name in DEVICE_BACKENDS:
        if value == name:
            return name
    raise ValueError(f"device_backend is {value!r}, allowed are {', '.join(DEVICE_BACKENDS)}")


def _plain(value: Any) -> str:
    if not PLAIN_NAME.fullmatch(_text(value)):
        raise ValueError(f"name {value!r}; allowed are plain names inside the folder")
    return str(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
        raise ValueError(f"{value!r} should be a whole number from 1 to {_MOST:,}")
    return value


def _positive(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{value!r} should be a number above 0")
    return float(value)


def _layer(stored: Mapping[str, Any]) -> LayerEntry:
    cell = stored["cell"]
    if cell not in GATE_UNITS:
        raise ValueError(f"cell {cell!r}, allowed are {', '.join(GATE_UNITS)}")
    ranges = stored["input_range"]
    if not isinstance(stored["peepholes"], bool) or not isinstance(ranges, dict):
        raise ValueError("peepholes should be true or false, and input_range a number per role")
    layer = LayerEntry(
        name=_plain(stored["name"]),
        cell=cell,
        input_size=_count(stored["input_size"]),
        hidden_size=_count(stored["hidden_size"]),
        peepholes=stored["peepholes"],
        volts_per_unit=_positive(stored["volts_per_unit"]),
        input_range={role: _positive(value) for role, value in ranges.items()},
        weights=_count(stored["weights"]),
        paper_weights=_count(stored["paper_weights"]),
        deck=_plain(stored["deck"]),
        units=tuple(_unit(unit) for unit in stored["units"]),
    )
    expected = [unit.name for unit in GATE_UNITS[layer.cell]]  # type: ignore[index]
    if [unit.name for unit in layer.units] != expected:
        raise ValueError(f"layer {layer.name}: gate units {[unit.name for unit in layer.units]}, expected {expected}")
    for unit, gate in zip(layer.units, GATE_UNITS[layer.cell], strict=True):  # type: ignore[index]
        _check_unit(layer, unit, gate)
    weights = sum(unit.row_count * unit.columns for unit in layer.units)
    if layer.weights != weights:
        raise ValueError(f"layer {layer.name}: {layer.weights} weights, its arrays have {weights}")
    roles = {group.role for unit in layer.units for group in unit.rows} - {"b"}
    if set(layer.input_range) != roles:
        raise ValueError(f"layer {layer.name}: input_range for {sorted(layer.input_range)}, expected {sorted(roles)}")
    return layer


def _unit(stored: Mapping[str, Any]) -> UnitEntry:
    limits, scale = stored["adc_range"], stored["weight_scale"]
    return UnitEntry(
        name=_text(stored["name"]),
        array=_plain(stored["array"]),
        rows=tuple(RowGroup(_text(row["role"]), _count(row["size"])) for row in stored["rows"]),
        columns=_count(stored["columns"]),
        weight_scale=tuple(_positive(value) for value in scale) if isinstance(scale, list) else _positive(scale),
        adc_range=None if limits is None else tuple(_positive(limit) for limit in limits),
        include=_plain(stored["include"]),
        deck=_plain(stored["deck"]),
    )


def _check_unit(layer: LayerEntry, unit: UnitEntry, gate: GateUnit) -> None:
    """Names and shape that follow from the layer."""
    array = f"{layer.name}_{unit.name}"
    if (unit.array, unit.include, unit.deck) != (array, f"{array}.inc", f"{array}.cir"):
        raise ValueError(f"array {unit.array!r} with {unit.include!r} and {unit.deck!r}, expected those of {array!r}")
    if unit.columns != layer.hidden_size:
        raise ValueError(f"{array}: {unit.columns} columns, expected the hidden size {layer.hidden_size}")
    rows = [(group.role, group.size) for group in unit.rows]
    latent = dict(rows).get("z", 0)
    expected = []
    if gate.sees_x:
        expected = [pair for pair in (("x", layer.input_size - latent), ("z", latent)) if pair[1]]
    if gate.sees_h:
        expected.append(("h", layer.hidden_size))
    expected.append(("b", 1))
    if layer.peepholes and unit.name != "g":
        expected.append(("ct" if unit.name == "o" else "cp", layer.hidden_size))
    if rows != expected:
        raise ValueError(f"{array}: rows with roles {rows}, expected {expected}")


def _check_together(manifest: Manifest, stored: Mapping[str, Any]) -> None:
    """What must agree between the parts."""
    if stored["fixed_siemens"] != manifest.device.g_mid:
        raise ValueError(f"fixed_siemens is {stored['fixed_siemens']}, the device's middle is {manifest.device.g_mid}")
    for layer in manifest.layers:
        volts = layer.volts_per_unit * max(1.0, *layer.input_range.values())
        if volts > manifest.device.read_v * _ROUNDING:
            raise ValueError(f"layer {layer.name}: reads up to {volts} V, allowed are {manifest.device.read_v} V")
    for _, unit in manifest.units():
        layout = manifest.layout(unit)
        if unit.adc_range is not None and len(unit.adc_range) != layout.sums:
            raise ValueError(f"{unit.array}: {len(unit.adc_range)} ADC ranges, expected {layout.sums}")
        if not isinstance(unit.weight_scale, float) and len(unit.weight_scale) != unit.columns:
            raise ValueError(f"{unit.array}: {len(unit.weight_scale)} weight scales, expected 1 or {unit.columns}")
    arrays = [unit.array for _, unit in manifest.units()]
    if len(set(arrays)) != len(arrays) or not arrays:
        raise ValueError(f"{len(arrays)} arrays with {len(set(arrays))} names")
    named = {CONDUCTANCES, *(layer.deck for layer in manifest.layers)}
    named |= {file for _, unit in manifest.units() for file in (unit.include, unit.deck)}
    for file in sorted(named - set(manifest.files)):
        raise ValueError(f"no hash for {file}")


def _check_size(manifest: Manifest) -> None:
    """Raise `ManifestError` where the conductances cannot be those of arrays as large as the manifest says."""
    path, claimed = manifest.folder / CONDUCTANCES, 8 * manifest.memristors
    try:
        handle, size = open_regular(path, HASHED_BYTES, "file of conductances")
        os.close(handle)
    except InputError as error:
        raise ManifestError(f"{error}; the manifest lists it: build the netlists again") from None
    if size < claimed:
        raise ManifestError(
            f"{path} has {size:,} bytes; the manifest's {manifest.memristors:,} memristors take {claimed:,}: build the"
            " netlists again"
        )


def _verify(manifest: Manifest) -> None:
    _check_size(manifest)
    for name, expected in manifest.files.items():
        path = manifest.folder / name
        try:
            found = sha256(path)
        except InputError as error:
            raise ManifestError(f"{error}; the manifest lists it: build the netlists again") from None
        if found != expected:
            raise ManifestError(
                f"{path}: SHA-256 is {found[:16]}..., the manifest says {expected[:16]}...; the file was changed or cut"
                " short: build the netlists again"
            )
    check_contents(manifest)
