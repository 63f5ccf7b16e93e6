"""Manifest of a netlist folder: the network, the origin of its weights, and the hash of every file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hvae_mnn.crossbar.hardware.file import hardware_from_dict, hardware_to_dict
from hvae_mnn.crossbar.mapping import RowGroup
from hvae_mnn.crossbar.network import PLAIN_NAME, CrossbarLayer, CrossbarNetwork, CrossbarUnit
from hvae_mnn.devices.moving import DEVICE_BACKENDS, DeviceBackend
from hvae_mnn.errors import HvaeMnnError, ManifestError
from hvae_mnn.files import sealed
from hvae_mnn.gates import GATE_UNITS, GateUnit
from hvae_mnn.netlist.arrays import EQUATIONS
from hvae_mnn.netlist.file_names import CONDUCTANCES, MANIFEST, deck_file, elements_file
from hvae_mnn.reading import shown
from hvae_mnn.results import Shown

FORMAT = "hvae-mnn-netlist/3"
_ROUNDING = 1 + 1e-9
_MOST = 10**12
"""Upper limit for rows, columns and weights: beyond any machine's memory, and below the overflow of array sizes."""


@dataclass(frozen=True, repr=False)
class Manifest(Shown, CrossbarNetwork):
    """A network and the folder of its netlists."""

    folder: Path
    name: str
    source: dict[str, Any]
    """Origin of the weights."""
    files: dict[str, str]
    """SHA-256 of every file except the manifest."""

    @property
    def path(self) -> Path:
        """Path of `manifest.json`."""
        return self.folder / MANIFEST

    def deck(self, part: CrossbarLayer | CrossbarUnit) -> Path:
        """Path of the deck of a layer, or of one gate unit; `ngspice -n -b` runs it in the folder."""
        return self.folder / deck_file(part)

    def elements(self, unit: CrossbarUnit) -> Path:
        """Path of the file with the elements of a gate unit's array."""
        return self.folder / elements_file(unit)

    def facts(self) -> Mapping[str, object]:
        """The folder, and the network's size and hardware."""
        return {
            "folder": self.folder,
            "layers": ", ".join(layer.name for layer in self.layers),
            "arrays": sum(len(layer.units) for layer in self.layers),
            "memristors": self.memristors,
            "hardware": self.hardware.name,
            "device_backend": self.device_backend,
        }

    def to_dict(self) -> dict[str, Any]:
        """Contents of `manifest.json`."""
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
            "layers": [_layer_to_dict(layer) for layer in self.layers],
            "files": self.files,
        }
        return sealed(body)


def manifest_from_dict(stored: Mapping[str, Any], folder: Path) -> Manifest:
    """The manifest of `folder`, from its contents `stored`. Raises `ManifestError` for missing or invalid values."""
    try:
        manifest = Manifest(
            hardware=hardware_from_dict(stored["hardware"], "hardware"),
            device_backend=_backend(stored["device_backend"]),
            read_s=_positive(stored["read_s"]),
            layers=tuple(_layer(layer) for layer in stored["layers"]),
            folder=folder,
            name=_folder_name(stored["name"]),
            source=dict(stored["source"]),
            files={_plain(name): _text(value) for name, value in stored["files"].items()},
        )
        _check_together(manifest, stored)
    except (KeyError, TypeError, ValueError, AttributeError, HvaeMnnError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else shown(" ".join(str(error).split()))
        raise ManifestError(f"{folder / MANIFEST}: {reason}; build the netlists again") from None
    return manifest


def _layer_to_dict(layer: CrossbarLayer) -> dict[str, Any]:
    """Fields of a layer, and the file names that follow from them."""
    units = [asdict(unit) | {"include": elements_file(unit), "deck": deck_file(unit)} for unit in layer.units]
    return {**asdict(layer), "deck": deck_file(layer), "units": units}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"found {value!r}; allowed: text")
    return value


def _folder_name(value: Any) -> str:
    """The name for results of the build, which must not lead to another folder."""
    if "/" in _text(value) or "\0" in value or value in (".", "..") or len(value.encode(errors="replace")) > 255:
        raise ValueError(f"name is {shown(repr(value))}; allowed: the name of one folder")
    return str(value)


def _backend(value: Any) -> DeviceBackend:
    for name in DEVICE_BACKENDS:
        if value == name:
            return name
    raise ValueError(f"device_backend is {value!r}; allowed: {', '.join(DEVICE_BACKENDS)}")


def _plain(value: Any) -> str:
    if not PLAIN_NAME.fullmatch(_text(value)):
        raise ValueError(f"name is {value!r}; allowed: plain names inside the folder")
    return str(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
        raise ValueError(f"found {value!r}; allowed: a whole number from 1 to {_MOST:,}")
    return value


def _positive(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"found {value!r}; allowed: a number above 0")
    return float(value)


def _layer(stored: Mapping[str, Any]) -> CrossbarLayer:
    cell = stored["cell"]
    if cell not in GATE_UNITS:
        raise ValueError(f"cell is {cell!r}; allowed: {', '.join(GATE_UNITS)}")
    peepholes, ranges = stored["peepholes"], stored["input_range"]
    if not isinstance(peepholes, bool):
        raise ValueError(f"peepholes is {peepholes!r}; allowed: true, false")
    if not isinstance(ranges, dict):
        raise ValueError(f"input_range is {ranges!r}; allowed: a number per role")
    layer = CrossbarLayer(
        name=_plain(stored["name"]),
        cell=cell,
        input_size=_count(stored["input_size"]),
        hidden_size=_count(stored["hidden_size"]),
        peepholes=peepholes,
        volts_per_unit=_positive(stored["volts_per_unit"]),
        input_range={role: _positive(value) for role, value in ranges.items()},
        weights=_count(stored["weights"]),
        paper_weights=_count(stored["paper_weights"]),
        units=tuple(_unit(unit) for unit in stored["units"]),
    )
    expected = [unit.name for unit in GATE_UNITS[layer.cell]]  # type: ignore[index]
    if [unit.name for unit in layer.units] != expected:
        raise ValueError(f"layer {layer.name}: gate units {[unit.name for unit in layer.units]}, expected {expected}")
    for unit, gate, entry in zip(layer.units, GATE_UNITS[layer.cell], stored["units"], strict=True):  # type: ignore[index]
        _check_unit(layer, unit, gate)
        if (entry["include"], entry["deck"]) != (elements_file(unit), deck_file(unit)):
            raise ValueError(f"array {unit.array}: files {entry['include']!r} and {entry['deck']!r}, expected its own")
    if stored["deck"] != deck_file(layer):
        raise ValueError(f"layer {layer.name}: deck {stored['deck']!r}, expected {deck_file(layer)!r}")
    weights = sum(unit.row_count * unit.columns for unit in layer.units)
    if layer.weights != weights:
        raise ValueError(f"layer {layer.name}: {layer.weights} weights, its arrays have {weights}")
    roles = {group.role for unit in layer.units for group in unit.rows} - {"b"}
    if set(layer.input_range) != roles:
        raise ValueError(f"layer {layer.name}: input_range for {sorted(layer.input_range)}, expected {sorted(roles)}")
    return layer


def _unit(stored: Mapping[str, Any]) -> CrossbarUnit:
    limits, scale = stored["adc_range"], stored["weight_scale"]
    return CrossbarUnit(
        name=_text(stored["name"]),
        array=_plain(stored["array"]),
        rows=tuple(RowGroup(_text(row["role"]), _count(row["size"])) for row in stored["rows"]),
        columns=_count(stored["columns"]),
        weight_scale=tuple(_positive(value) for value in scale) if isinstance(scale, list) else _positive(scale),
        adc_range=None if limits is None else tuple(_positive(limit) for limit in limits),
    )


def _check_unit(layer: CrossbarLayer, unit: CrossbarUnit, gate: GateUnit) -> None:
    """Raise `ValueError` unless the unit has the names and the shape that follow from the layer."""
    array = f"{layer.name}_{unit.name}"
    if unit.array != array:
        raise ValueError(f"array {unit.array!r}, expected {array!r}")
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
    """Raise `ValueError` unless the parts agree with each other."""
    if stored["fixed_siemens"] != manifest.device.g_mid:
        raise ValueError(f"fixed_siemens is {stored['fixed_siemens']}, the device's middle is {manifest.device.g_mid}")
    for layer in manifest.layers:
        volts = layer.volts_per_unit * max(1.0, *layer.input_range.values())
        if volts > manifest.device.read_v * _ROUNDING:
            raise ValueError(f"layer {layer.name}: reads up to {volts} V; allowed: up to {manifest.device.read_v} V")
    for _, unit in manifest.units():
        layout = manifest.layout(unit)
        if unit.adc_range is not None and len(unit.adc_range) != layout.sums:
            raise ValueError(f"{unit.array}: {len(unit.adc_range)} ADC ranges, expected {layout.sums}")
        if not isinstance(unit.weight_scale, float) and len(unit.weight_scale) != unit.columns:
            raise ValueError(f"{unit.array}: {len(unit.weight_scale)} weight scales, expected 1 or {unit.columns}")
    arrays = [unit.array for _, unit in manifest.units()]
    if len(set(arrays)) != len(arrays) or not arrays:
        raise ValueError(f"{len(arrays)} arrays with {len(set(arrays))} names")
    named = {CONDUCTANCES, *(deck_file(layer) for layer in manifest.layers)}
    named |= {file for _, unit in manifest.units() for file in (elements_file(unit), deck_file(unit))}
    for file in sorted(named - set(manifest.files)):
        raise ValueError(f"no hash for {file}")
