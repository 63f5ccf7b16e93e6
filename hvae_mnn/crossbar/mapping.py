"""Weights to conductances and back: paper eq. 12 (page 693), with the scale that the paper leaves out.

Every weight is a memristor and a fixed resistor on one bit line. The memristor's word line carries -V_j, the
resistor's +V_j, so the column current is I_k = sum_j (1/R_s - G_jk) V_j, and a weight is w_jk = s (1/R_s - G_jk) with
one scale s per array. Array rows are inputs in the order x (, z), h, b (, memory): word lines. Array columns are
hidden units: bit lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.errors import MappingError
from hvae_mnn.gates import GateMatrix, RecurrentLayer

Array = NDArray[np.float64]


ROLES = ("x", "z", "h", "b", "cp", "ct")
"""What a word line may carry: the layer's input x, a latent z, the previous hidden state h, the bias b (a fixed 1); for
peepholes the previous memory c_{t-1} (`cp`), or the new one c_t (`ct`, output gate)."""


@dataclass(frozen=True)
class RowGroup:
    """Neighbouring word lines that carry one kind of input."""

    role: str
    """One of `ROLES`."""
    size: int
    """How many word lines."""


@dataclass(frozen=True)
class GateArray:
    """One gate unit as a crossbar array (paper Fig. 2b)."""

    layer: str
    unit: str
    rows: tuple[RowGroup, ...]
    conductance: Array
    """(R, C) siemens: the memristors."""
    fixed_siemens: float
    """1/R_s: the fixed resistor of every cell."""
    weight_scale: float
    """s in w = s (1/R_s - G), weight per siemens."""

    @property
    def name(self) -> str:
        """Unique within a network: `<layer>_<unit>`."""
        return f"{self.layer}_{self.unit}"

    @property
    def weights(self) -> Array:
        """(R, C): the signed weights that the conductances stand for."""
        return self.weight_scale * (self.fixed_siemens - self.conductance)

    @property
    def word_lines(self) -> list[str]:
        """Names of the R word lines: role and index, `x0`, `x1`, ..., `h0`, ..., `b0`."""
        return [f"{group.role}{index}" for group in self.rows for index in range(group.size)]


def to_conductance(weights: Array, device: MemristorSpec) -> tuple[Array, float]:
    """Conductances (R, C) in siemens and the scale s for signed `weights` (R, C), so that w = s (g_mid - G).

    The largest magnitude in the array uses the whole range; an array of zeros gets s as if that magnitude were 1.
    Raises `MappingError` for NaN or infinite weights.
    """
    if not np.isfinite(weights).all():
        raise MappingError(
            f"{int((~np.isfinite(weights)).sum())} of {weights.size} weights are NaN or infinite; mend the model"
        )
    largest = float(np.abs(weights).max(initial=0.0)) or 1.0
    scale = largest / ((device.g_max - device.g_min) / 2)
    # Rounding may step an ulp over the end of the range. Row-major, whatever the weights' order in memory: safetensors
    # stores the bytes as they lie.
    return np.ascontiguousarray(np.clip(device.g_mid - weights / scale, device.g_min, device.g_max)), scale


def row_weights(gate: GateMatrix) -> Array:
    """(R, H): the unit's weights with one row per input, in the order x, h, b, memory.

    Peepholes are a diagonal block of rows: in a full crossbar every crosspoint has a device, and zero is a weight too.
    """
    blocks = [part.T for part in (gate.x, gate.h) if part is not None]
    blocks.append(gate.bias[np.newaxis, :])
    if gate.peephole is not None:
        blocks.append(np.diag(gate.peephole))
    return np.concatenate(blocks)


def row_groups(layer: RecurrentLayer, gate: GateMatrix, latent_size: int = 0) -> tuple[RowGroup, ...]:
    """What the rows of `row_weights` carry; the last `latent_size` inputs of the layer are a latent z."""
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


def map_layer(layer: RecurrentLayer, device: MemristorSpec, latent_size: int = 0) -> list[GateArray]:
    """Every gate unit of `layer` as an array on `device`, in PyTorch's order."""
    arrays = []
    for unit, gate in layer.gates.items():
        conductance, scale = to_conductance(row_weights(gate), device)
        rows = row_groups(layer, gate, latent_size)
        arrays.append(GateArray(layer.name, unit, rows, conductance, device.g_mid, scale))
    return arrays
