"""A network of recurrent layers on crossbar arrays, and how one is mapped from weights.

A layer has one array per gate unit. Its word lines carry what the unit reads, its bit lines give the pre-activations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.file import hardware_from_dict, hardware_to_dict
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.layout import ArrayLayout, check_tiling
from hvae_mnn.crossbar.mapping import GateArray, RowGroup, largest_weight, map_layer, row_weights
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import DeviceBackend, MovingDevices
from hvae_mnn.errors import HardwareError, MappingError
from hvae_mnn.gates import GATE_UNITS, RecurrentLayer
from hvae_mnn.names import unknown_name

Array = NDArray[np.float64]

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of layers: what ngspice, shells and file systems all take as it is."""
READ_S = 1e-6
"""Default length of a read in seconds, when devices may move."""


@dataclass(frozen=True)
class CrossbarUnit:
    """One gate unit: an array."""

    name: str
    """Gate unit within its layer: `i`, `f`, ..."""
    array: str
    """Name of the array, `<layer>_<unit>`."""
    rows: tuple[RowGroup, ...]
    """What the word lines carry, in order."""
    columns: int
    """Columns of weights, the hidden size."""
    weight_scale: float | tuple[float, ...]
    """s of w = s (1/R_s - G) or s (G+ - G-), weight per siemens: one number, or one per column."""
    adc_range: tuple[float, ...] | None
    """Full scale of the ADCs in the model's units: one, or one per row block whose partial sums are converted. None:
    not calibrated, or fixed by the hardware."""

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
class CrossbarLayer:
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
    units: tuple[CrossbarUnit, ...]

    def unit(self, name: str) -> CrossbarUnit:
        """The gate unit called `name`."""
        return next(unit for unit in self.units if unit.name == name)


@dataclass(frozen=True)
class CrossbarNetwork:
    """Recurrent layers on crossbar arrays: what engines, sources and studies work on."""

    hardware: Hardware
    """What the weights are mapped to, with its wires, amplifiers, converters and tiles."""
    device_backend: DeviceBackend
    """Whether the memristors' states may move, and what computes that."""
    read_s: float
    """How long a read takes, seconds; of no effect on `static` devices."""
    layers: tuple[CrossbarLayer, ...]

    @property
    def device(self) -> MemristorSpec:
        """The memristor; its `g_mid` is the fixed resistors' conductance 1/R_s."""
        return self.hardware.device

    @property
    def fixed_siemens(self) -> float:
        """1/R_s."""
        return self.device.g_mid

    def layout(self, unit: CrossbarUnit) -> ArrayLayout:
        """How the unit's array is cut into tiles."""
        return ArrayLayout(unit.row_count, unit.columns, self.hardware)

    @property
    def layouts(self) -> dict[str, ArrayLayout]:
        """By array: how it is cut into tiles."""
        return {unit.array: self.layout(unit) for _, unit in self.units()}

    @property
    def memristors(self) -> int:
        """How many there are in all: one per weight, or two."""
        return sum(layout.rows * layout.memristors for layout in self.layouts.values())

    @property
    def moving(self) -> MovingDevices | None:
        """How the memristors move; None where they do not."""
        if self.device_backend == "static":
            return None
        return MovingDevices(self.device, self.device_backend, self.read_s)

    def layer(self, name: str) -> CrossbarLayer:
        """The layer called `name`. Raises `MappingError` if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise MappingError(unknown_name("layer", name, [layer.name for layer in self.layers]))

    def units(self) -> list[tuple[CrossbarLayer, CrossbarUnit]]:
        """Every gate unit of every layer."""
        return [(layer, unit) for layer in self.layers for unit in layer.units]


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
    """A network with the arrays that its weights were mapped to."""

    network: CrossbarNetwork
    arrays: dict[str, GateArray]
    """By name, in the network's order."""

    @property
    def conductances(self) -> dict[str, Array]:
        """Memristors (R, D) in siemens by array, as the weights ask for them."""
        return {name: array.conductance for name, array in self.arrays.items()}

    @property
    def layouts(self) -> dict[str, ArrayLayout]:
        """How each array is cut into tiles."""
        return {name: array.layout for name, array in self.arrays.items()}

    def with_conductances(self, conductances: Mapping[str, Array], hardware: Hardware | None = None) -> MappedNetwork:
        """The same weights on memristors with other conductances, (R, D) siemens by array.

        `hardware`: where that differs, too; cells, converters and tiles stay.
        """
        hardware = hardware or self.network.hardware
        arrays = {
            name: replace(array, conductance=conductances[name], hardware=hardware)
            for name, array in self.arrays.items()
        }
        return MappedNetwork(replace(self.network, hardware=hardware), arrays)


def map_network(
    exports: Sequence[LayerExport],
    hardware: Hardware,
    *,
    backend: DeviceBackend = "static",
    read_s: float = READ_S,
) -> MappedNetwork:
    """Map the layers of `exports` to `hardware`; with another `backend` than `static`, a read takes `read_s` seconds.

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
        layers.append(_layer(export, mapped))
    return MappedNetwork(CrossbarNetwork(hardware, backend, read_s, tuple(layers)), arrays)


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


def _layer(export: LayerExport, arrays: Sequence[GateArray]) -> CrossbarLayer:
    layer, hardware = export.layer, arrays[0].hardware
    fixed = hardware.dac.full_scale if hardware.dac.range == "fixed" else None
    order = dict.fromkeys(group.role for array in arrays for group in array.rows)
    ranges = {role: fixed or float(export.input_range.get(role, 1.0)) for role in order if role != "b"}
    gate_count = len({unit.row_block for unit in GATE_UNITS[layer.cell]})
    return CrossbarLayer(
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
        units=tuple(
            _unit(array, _adc_range(array, export.preactivation_range.get(array.unit), ranges)) for array in arrays
        ),
    )


def _unit(array: GateArray, adc_range: tuple[float, ...] | None) -> CrossbarUnit:
    scale = array.weight_scale
    return CrossbarUnit(
        name=array.unit,
        array=array.name,
        rows=array.rows,
        columns=array.layout.columns,
        weight_scale=float(scale) if np.ndim(scale) == 0 else tuple(np.asarray(scale).tolist()),
        adc_range=adc_range,
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
