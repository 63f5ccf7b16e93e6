"""A network mapped to crossbar arrays: what its netlists would say, before a line of them is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.file import hardware_from_dict, hardware_to_dict
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.layout import ArrayLayout, check_tiling
from hvae_mnn.crossbar.mapping import GateArray, largest_weight, map_layer, row_weights
from hvae_mnn.devices.moving import DeviceBackend
from hvae_mnn.errors import HardwareError, MappingError
from hvae_mnn.gates import GATE_UNITS, RecurrentLayer
from hvae_mnn.netlist.manifest import PLAIN_NAME, LayerEntry, Manifest, UnitEntry

Array = NDArray[np.float64]

READ_S = 1e-6
"""Default length of a read in seconds, when devices may move."""


@dataclass(frozen=True)
class LayerExport:
    """A recurrent layer to be exported, with what calibration found."""

    layer: RecurrentLayer
    latent_size: int = 0
    """How many of the layer's inputs, the last ones, are a latent z."""
    input_range: Mapping[str, float] = field(default_factory=dict)
    """By role (`x`, `z`, `h`, `cp`, `ct`): largest magnitude in the model's units; 1 where nothing is said."""
    preactivation_range: Mapping[str, float | Sequence[float]] = field(default_factory=dict)
    """By gate unit: largest magnitude of the pre-activation in the model's units, or of each row block's part of it
    where those are converted; may be empty."""


@dataclass(frozen=True)
class MappedNetwork:
    """Arrays, and the manifest that netlists of them would have, but for the files."""

    manifest: Manifest
    arrays: dict[str, GateArray]
    """By name, in the manifest's order."""

    @property
    def conductances(self) -> dict[str, Array]:
        """Memristors (R, D) in siemens by array, as the weights want them."""
        return {name: array.conductance for name, array in self.arrays.items()}

    @property
    def layouts(self) -> dict[str, ArrayLayout]:
        """How each array is cut into tiles."""
        return {name: array.layout for name, array in self.arrays.items()}

    def at(self, folder: Path) -> MappedNetwork:
        """The same, with netlists that will lie in `folder`."""
        return replace(self, manifest=replace(self.manifest, folder=folder, name=folder.name))

    def with_conductances(self, conductances: Mapping[str, Array], hardware: Hardware | None = None) -> MappedNetwork:
        """The same weights on memristors that came out otherwise, (R, D) siemens by array.

        `hardware`: where it came out otherwise, too; cells, converters and tiles stay.
        """
        hardware = hardware or self.manifest.hardware
        arrays = {
            name: replace(array, conductance=conductances[name], hardware=hardware)
            for name, array in self.arrays.items()
        }
        return MappedNetwork(replace(self.manifest, hardware=hardware), arrays)


def map_network(
    exports: Sequence[LayerExport],
    hardware: Hardware,
    source: Mapping[str, Any] | None = None,
    *,
    folder: Path = Path(),
    backend: DeviceBackend = "static",
    read_s: float = READ_S,
) -> MappedNetwork:
    """Map the layers of `exports` to `hardware`; `folder` is where their netlists will lie.

    Raises `HardwareError` and `MappingError`.
    """
    names = [export.layer.name for export in exports]
    for name in names:
        if not PLAIN_NAME.fullmatch(name):
            raise MappingError(f"layer name {name!r}; allowed are letters, digits, '.', '_' and '-'")
    if len(set(names)) != len(names):
        raise MappingError(f"two layers have one name: {', '.join(names)}; every layer needs its own")
    _check_hardware(hardware, exports, backend)
    largest = largest_weight(e.layer for e in exports) if hardware.cells.scale == "network" else None
    arrays: dict[str, GateArray] = {}
    layers = []
    for export in exports:
        mapped = map_layer(export.layer, hardware, export.latent_size, largest)
        arrays |= {array.name: array for array in mapped}
        layers.append(_layer_entry(export, mapped))
    manifest = Manifest(
        folder=folder,
        name=folder.name,
        source=dict(source or {}),
        hardware=hardware,
        device_backend=backend,
        read_s=read_s,
        layers=tuple(layers),
        files={},
    )
    return MappedNetwork(manifest, arrays)


def _check_hardware(hardware: Hardware, exports: Sequence[LayerExport], backend: DeviceBackend) -> None:
    """Refuse what cannot be built."""
    hardware_from_dict(hardware_to_dict(hardware), f"hardware {hardware.name}")  # made in Python, it was never checked
    shapes = {
        f"{export.layer.name}_{unit}": row_weights(gate).shape
        for export in exports
        for unit, gate in export.layer.gates.items()
    }
    check_tiling(shapes, hardware)
    if backend != "static" and (hardware.coding != "amplitude" or hardware.cells.read_law != "ohmic"):
        found = f"input.coding = {hardware.coding}, array.read_law = {hardware.cells.read_law}"
        raise HardwareError(
            f"hardware {hardware.name}: {found}; memristors that move (--device-backend {backend}) are read with"
            " amplitude coding and the ohmic law; choose these, or --device-backend static"
        )


def _layer_entry(export: LayerExport, arrays: Sequence[GateArray]) -> LayerEntry:
    layer, hardware = export.layer, arrays[0].hardware
    fixed = hardware.dac.full_scale if hardware.dac.range == "fixed" else None
    order = dict.fromkeys(group.role for array in arrays for group in array.rows)
    ranges = {role: fixed or float(export.input_range.get(role, 1.0)) for role in order if role != "b"}
    gate_count = len({unit.row_block for unit in GATE_UNITS[layer.cell]})
    return LayerEntry(
        name=layer.name,
        cell=layer.cell,
        input_size=layer.input_size,
        hidden_size=layer.hidden_size,
        peepholes=layer.peepholes,
        # One driver scale for all rows of the layer, so that inputs of every kind add up on one bit line; the bias is
        # a 1.
        volts_per_unit=hardware.device.read_v / max(1.0, *ranges.values()),
        input_range=ranges,
        weights=sum(array.layout.rows * array.layout.columns for array in arrays),
        paper_weights=gate_count * (layer.input_size + layer.hidden_size + 1) * layer.hidden_size,
        deck=f"{layer.name}.cir",
        units=tuple(
            _unit_entry(array, _adc_range(array, export.preactivation_range.get(array.unit), ranges))
            for array in arrays
        ),
    )


def _unit_entry(array: GateArray, adc_range: tuple[float, ...] | None) -> UnitEntry:
    scale = array.weight_scale
    return UnitEntry(
        name=array.unit,
        array=array.name,
        rows=array.rows,
        columns=array.layout.columns,
        weight_scale=float(scale) if np.ndim(scale) == 0 else tuple(np.asarray(scale).tolist()),
        adc_range=adc_range,
        include=f"{array.name}.inc",
        deck=f"{array.name}.cir",
    )


def _adc_range(
    array: GateArray, calibrated: float | Sequence[float] | None, ranges: Mapping[str, float]
) -> tuple[float, ...] | None:
    """Full scale per number that a column gives, in the model's units; None where nothing is known, or it is fixed."""
    layout = array.layout
    if array.hardware.adc.range == "fixed":
        return None
    if array.hardware.adc.range == "max":
        full = np.concatenate([np.full(group.size, ranges.get(group.role, 1.0)) for group in array.rows])
        reach = full[:, np.newaxis] * np.abs(array.weights)  # (R, C)
        blocks = layout.row_blocks if layout.sums > 1 else [range(layout.rows)]
        found = [float(reach[rows.start : rows.stop].sum(axis=0).max()) for rows in blocks]
        return tuple(value or 1.0 for value in found)
    if calibrated is None:
        return None
    return tuple(float(value) for value in np.broadcast_to(calibrated, (layout.sums,)))
