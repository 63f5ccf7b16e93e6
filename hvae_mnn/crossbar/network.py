"""Networks of recurrent layers on crossbar arrays, and their mapping from weights.

A layer has one array per gate unit. Its word lines carry the unit's inputs, its bit lines give the pre-activations.
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
"""Pattern of layer names that ngspice, shells and file systems all accept unchanged."""
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
    """Inputs of the word lines, in order."""
    columns: int
    """Number of weight columns: the hidden size."""
    weight_scale: float | tuple[float, ...]
    """s of w = s (1/R_s - G) or w = s (G+ - G-), weight per siemens: one number, or one per column."""
    adc_range: tuple[float, ...] | None
    """Full scale of the ADCs in the model's units: one, or one per row block whose partial sums are converted. None:
    not calibrated, or fixed by the hardware."""

    @property
    def scale(self) -> float | NDArray[np.float64]:
        """Weight scale as a factor for currents (..., C)."""
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
    """Word-line voltage that represents the number 1."""
    input_range: dict[str, float]
    """Full scale of the DAC by role (`x`, `z`, `h`, `cp`, `ct`): the largest magnitude met in calibration, in the
    model's units."""
    weights: int
    """Number of weights: the sum of rows times columns."""
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
    """Hardware of the weights: device, wires, amplifiers, converters and tiles."""
    device_backend: DeviceBackend
    """Whether the memristors' states may move, and which back end computes them."""
    read_s: float
    """Duration of a read, seconds; without effect on `static` devices."""
    layers: tuple[CrossbarLayer, ...]

    @property
    def device(self) -> MemristorSpec:
        """The memristor; its `g_mid` is the fixed resistors' conductance 1/R_s."""
        return self.hardware.device

    @property
    def fixed_siemens(self) -> float:
        """Conductance 1/R_s of the fixed resistors, siemens."""
        return self.device.g_mid

    def layout(self, unit: CrossbarUnit) -> ArrayLayout:
        """Tiles of the unit's array."""
        return ArrayLayout(unit.row_count, unit.columns, self.hardware)

    @property
    def layouts(self) -> dict[str, ArrayLayout]:
        """Tiles by array name."""
        return {unit.array: self.layout(unit) for _, unit in self.units()}

    @property
    def memristors(self) -> int:
        """Number of memristors: one or two per weight."""
        return sum(layout.rows * layout.memristors for layout in self.layouts.values())

    @property
    def moving(self) -> MovingDevices | None:
        """Simulation of moving memristors; None if they do not move."""
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
    """A recurrent layer to be exported, with its calibrated ranges."""

    layer: RecurrentLayer
    latent_size: int = 0
    """Number of the layer's last inputs that are a latent z."""
    input_range: Mapping[str, float] = field(default_factory=dict)
    """Largest magnitude by role (`x`, `z`, `h`, `cp`, `ct`), in the model's units; 1 for a missing role."""
    preactivation_range: Mapping[str, float | Sequence[float]] = field(default_factory=dict)
    """Largest magnitude of the pre-activation by gate unit, in the model's units, or of each row block's partial sum if
    partial sums are converted; may be empty."""


@dataclass(frozen=True)
class MappedNetwork:
    """A network with the arrays that its weights were mapped to."""

    network: CrossbarNetwork
    arrays: dict[str, GateArray]
    """Arrays by name, in the network's order."""

    @property
    def conductances(self) -> dict[str, Array]:
        """Target conductances (R, D) of the memristors by array, siemens."""
        return {name: array.conductance for name, array in self.arrays.items()}

    @property
    def layouts(self) -> dict[str, ArrayLayout]:
        """Tiles by array name."""
        return {name: array.layout for name, array in self.arrays.items()}

    def with_conductances(self, conductances: Mapping[str, Array], hardware: Hardware | None = None) -> MappedNetwork:
        """The same weights on memristors with other `conductances`, (R, D) siemens by array.

        `hardware` replaces the hardware if it also differs; cells, converters and tiles stay the same.
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
            raise MappingError(f"layer name {name!r}; allowed: letters, digits, '.', '_' and '-'")
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
    """Raise `HardwareError` for hardware that cannot be built."""
    hardware_from_dict(hardware_to_dict(hardware), f"hardware {hardware.name}")  # made in Python, it was never checked
    shapes = {
        f"{export.layer.name}_{unit}": row_weights(gate).shape
        for export in exports
        for unit, gate in export.layer.gates.items()
    }
    check_tiling(shapes, hardware)
    if backend != "static" and (hardware.coding != "amplitude" or hardware.cells.read_law != "ohmic"):
        settings = f"input.coding = {hardware.coding}, array.read_law = {hardware.cells.read_law}"
        raise HardwareError(
            f"hardware {hardware.name}: {settings}; memristors that move (--device-backend {backend}) are read with"
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
    """Full scale per number of a column, in the model's units; None if it is unknown or fixed."""
    layout = array.layout
    if array.hardware.adc.range == "fixed":
        return None
    if array.hardware.adc.range == "max":
        full = np.concatenate([np.full(group.size, ranges.get(group.role, 1.0)) for group in array.rows])
        reach = full[:, np.newaxis] * np.abs(array.weights)  # (R, C)
        blocks = layout.row_blocks if layout.sums > 1 else [range(layout.rows)]
        full_scales = [float(reach[rows.start : rows.stop].sum(axis=0).max()) for rows in blocks]
        return tuple(value or 1.0 for value in full_scales)
    if calibrated is None:
        return None
    return tuple(float(value) for value in np.broadcast_to(calibrated, (layout.sums,)))
