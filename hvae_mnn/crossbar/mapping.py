"""Weights to conductances and back: paper eq. 12 (page 693), with the scale that the paper omits.

Every weight is a memristor and a fixed resistor, so a column current is I_k = sum_j (1/R_s - G_jk) V_j and a weight
w_jk = s (1/R_s - G_jk); or it is two memristors, and w_jk = s (G+_jk - G-_jk), where one of them has the smallest
conductance. The scale s belongs to the network, an array or a column. Array rows are inputs in the order x (, z), h, b
(, memory): word lines. Array columns are hidden units: bit lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.spec import Cells, Hardware
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.errors import MappingError
from hvae_mnn.gates import GateMatrix, RecurrentLayer

Array = NDArray[np.float64]


ROLES = ("x", "z", "h", "b", "cp", "ct")
"""Inputs of a word line: the layer's input x, a latent z, the previous hidden state h, the bias b (a fixed 1); for
peepholes the previous memory c_{t-1} (`cp`), or the new one c_t (`ct`, output gate)."""


@dataclass(frozen=True)
class RowGroup:
    """Neighbouring word lines with one kind of input."""

    role: str
    """One of `ROLES`."""
    size: int
    """Number of word lines."""


@dataclass(frozen=True)
class GateArray:
    """One gate unit as a crossbar array (paper Fig. 2b)."""

    layer: str
    unit: str
    rows: tuple[RowGroup, ...]
    conductance: Array
    """(R, D) siemens: the memristors, two per weight in a differential pair (plus, minus, plus, ...)."""
    hardware: Hardware
    weight_scale: float | Array
    """s of w = s (1/R_s - G) or w = s (G+ - G-), weight per siemens: one number, or (C,) with one scale per column."""

    @property
    def name(self) -> str:
        """Unique within a network: `<layer>_<unit>`."""
        return f"{self.layer}_{self.unit}"

    @property
    def layout(self) -> ArrayLayout:
        """The array's tiles."""
        pair = self.hardware.cells.scheme == "differential_pair"
        return ArrayLayout(len(self.conductance), self.conductance.shape[1] // (2 if pair else 1), self.hardware)

    @property
    def fixed_siemens(self) -> float:
        """1/R_s of the fixed resistors, siemens."""
        return self.hardware.device.g_mid

    @property
    def weights(self) -> Float64[Array, "R C"]:
        """Signed weights (R, C) that the conductances represent."""
        return self.weight_scale * self.layout.without_wires(self.conductance)

    @property
    def word_lines(self) -> list[str]:
        """Names of the R word lines: role and index, `x0`, `x1`, ..., `h0`, ..., `b0`."""
        return [f"{group.role}{index}" for group in self.rows for index in range(group.size)]


def to_conductance(
    weights: Float64[Array, "R C"], device: MemristorSpec, cells: Cells | None = None, largest: float | None = None
) -> tuple[Float64[Array, "R D"], float | Float64[Array, " C"]]:
    """Conductances (R, D) in siemens and the scale s for signed `weights` (R, C); by default by eq. 12.

    The largest magnitude in the array (or in a column, or `largest` for the network) uses the whole range. If all
    weights are zero, s is computed for a magnitude of 1. Raises `MappingError` for NaN or infinite weights.
    """
    cells = cells or Cells()
    if not np.isfinite(weights).all():
        raise MappingError(
            f"{int((~np.isfinite(weights)).sum())} of {weights.size} weights are NaN or infinite; repair the model"
        )
    pair = cells.scheme == "differential_pair"
    reach = (device.g_max - device.g_min) / (1 if pair else 2)
    scale: float | Array
    if cells.scale == "column":
        magnitude = np.abs(weights).max(axis=0, initial=0.0)
        scale = np.where(magnitude > 0, magnitude, 1.0) / reach
    else:
        scale = (largest or float(np.abs(weights).max(initial=0.0)) or 1.0) / reach
    if pair:
        plus, minus = (device.g_min + np.maximum(side, 0) / scale for side in (weights, -weights))
        conductance = np.stack([plus, minus], axis=-1).reshape(len(weights), -1)
    else:
        conductance = device.g_mid - weights / scale
    if cells.levels:
        step = (device.g_max - device.g_min) / (cells.levels - 1)
        conductance = device.g_min + np.rint((conductance - device.g_min) / step) * step
    # Rounding may exceed the range by an ulp. Row-major, whatever the weights' order in memory: safetensors
    # stores the bytes in memory order.
    return np.ascontiguousarray(np.clip(conductance, device.g_min, device.g_max)), scale


def largest_weight(layers: Iterable[RecurrentLayer]) -> float:
    """Largest magnitude of any weight, for one scale in the whole network; 0 if all are zero."""
    return max(
        (float(np.abs(row_weights(gate)).max(initial=0.0)) for layer in layers for gate in layer.gates.values()),
        default=0.0,
    )


def row_weights(gate: GateMatrix) -> Float64[Array, "R H"]:
    """The unit's weights (R, H) with one row per input, in the order x, h, b, memory.

    Peepholes are a diagonal block of rows: a full crossbar has a device at every crosspoint, also for a weight of 0.
    """
    blocks = [part.T for part in (gate.x, gate.h) if part is not None]
    blocks.append(gate.bias[np.newaxis, :])
    if gate.peephole is not None:
        blocks.append(np.diag(gate.peephole))
    return np.concatenate(blocks)


def row_groups(layer: RecurrentLayer, gate: GateMatrix, latent_size: int = 0) -> tuple[RowGroup, ...]:
    """Inputs of the rows of `row_weights`; the layer's last `latent_size` inputs are a latent z."""
    groups = []
    if gate.x is not None:
        groups.append(RowGroup("x", layer.input_size - latent_size))
        groups.append(RowGroup("z", latent_size))
    if gate.h is not None:
        groups.append(RowGroup("h", layer.hidden_size))
    groups.append(RowGroup("b", 1))
    if gate.peephole is not None:
        groups.append(RowGroup("ct" if gate.unit.name == "o" else "cp", layer.hidden_size))
    return tuple(group for group in groups if group.size)


def map_layer(
    layer: RecurrentLayer, hardware: Hardware, latent_size: int = 0, largest: float | None = None
) -> list[GateArray]:
    """Every gate unit of `layer` as an array on `hardware`, in PyTorch's order; `largest` as in `to_conductance`."""
    arrays = []
    for unit, gate in layer.gates.items():
        conductance, scale = to_conductance(row_weights(gate), hardware.device, hardware.cells, largest)
        rows = row_groups(layer, gate, latent_size)
        arrays.append(GateArray(layer.name, unit, rows, conductance, hardware, scale))
    return arrays
