"""Gate units: the matrices inside recurrent cells, read out of any torch `nn.RNN`, `nn.LSTM` or `nn.GRU`.

A *gate unit* maps one step's vector to one pre-activation per hidden unit; on hardware it is one crossbar array (paper
Fig. 2b, page 693). This module knows only PyTorch's layout of the weights: gate order i, f, g, o for the LSTM and r, z,
n for the GRU, blocks of H rows in `weight_ih_l*` (4H x I) and `weight_hh_l*` (4H x H), and two bias vectors. It is a
foundation of both the text model and the crossbars, and imports neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.errors import MappingError

if TYPE_CHECKING:
    from torch import Tensor, nn

Cell = Literal["rnn", "lstm", "gru"]
CELLS: tuple[Cell, ...] = ("rnn", "lstm", "gru")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GateUnit:
    """One gate matrix of a cell."""

    name: str
    """Unique within the cell: `i`, `f`, `g`, `o` (LSTM); `r`, `z`, `nx`, `nh` (GRU); `h` (RNN)."""
    row_block: int
    """Index of its block of H rows in PyTorch's stacked weights."""
    sees_x: bool
    """Whether it reads the layer's input x_t."""
    sees_h: bool
    """Whether it reads the previous hidden state h_{t-1}."""


GATE_UNITS: dict[Cell, tuple[GateUnit, ...]] = {
    "lstm": tuple(GateUnit(name, block, True, True) for block, name in enumerate("ifgo")),
    # The GRU's candidate is tanh(W x + b + r * (U h + b_h)): its two parts are separate units.
    "gru": (
        GateUnit("r", 0, True, True),
        GateUnit("z", 1, True, True),
        GateUnit("nx", 2, True, False),
        GateUnit("nh", 2, False, True),
    ),
    "rnn": (GateUnit("h", 0, True, True),),
}


@dataclass(frozen=True)
class GateMatrix:
    """The weights of one gate unit, in float64; absent parts are None."""

    unit: GateUnit
    x: Array | None
    """Weights (H, I) of the layer's input."""
    h: Array | None
    """Weights (H, H) of the previous hidden state."""
    bias: Array
    """Bias (H,): the sum of PyTorch's two bias vectors; the two parts of the GRU's candidate have one vector each."""
    peephole: Array | None
    """Element-wise weights (H,) of the memory c (c_{t-1} for i and f, c_t for o); None without peepholes."""


@dataclass(frozen=True)
class RecurrentLayer:
    """One recurrent layer in one direction: its cell and its gate units."""

    name: str
    cell: Cell
    input_size: int
    hidden_size: int
    gates: dict[str, GateMatrix]
    """Gate matrices by unit name, in PyTorch's order."""

    @property
    def peepholes(self) -> bool:
        """Whether any gate reads the memory."""
        return any(gate.peephole is not None for gate in self.gates.values())


_MODES: dict[str, Cell] = {"RNN_TANH": "rnn", "LSTM": "lstm", "GRU": "gru"}
"""Cell by the `mode` of a torch recurrent module."""


def cell_of(module: nn.Module) -> Cell:
    """Cell of a torch recurrent module. Raises `MappingError` for anything but tanh RNN, LSTM and GRU."""
    from hvae_mnn.torch_weights import TORCH_MODES, running_class  # netlists are read and written without torch

    cls = running_class(module)
    mode = getattr(module, "mode", None)
    if not isinstance(mode, str) or mode not in _MODES or TORCH_MODES.get(cls, mode) != mode:
        raise MappingError(
            f"cannot map {cls.__name__} with mode {mode}; allowed: nn.RNN with tanh, nn.LSTM and nn.GRU themselves"
        )
    return _MODES[mode]


def recurrent_layers(module: nn.Module, name: str) -> list[RecurrentLayer]:
    """Every layer and direction of a torch `nn.RNN`, `nn.LSTM` or `nn.GRU`, as its forward pass in eval mode computes.

    Pruned, normalised and parametrized weights have the values that the forward pass uses; dropout (between layers and
    of weights) is off. A user's class with torch's parameter layout names its tensors in `gate_tensors`. The arrays are
    copies; float16, bfloat16 and float32 become float64 exactly. A single layer is called `name`; several are called
    `name_l0`, `name_l1`, ..., a reverse direction `name_l0_reverse`.

    Raises `MappingError` for projections, NaN or infinite weights, shapes that do not fit, modules of another kind, and
    tensors that `torch_weights.acting_tensors` cannot determine.
    """
    from hvae_mnn.torch_weights import acting_tensors

    cell = cell_of(module)
    if getattr(module, "proj_size", 0):
        raise MappingError(f"{name}: an LSTM with proj_size={module.proj_size} cannot be mapped; allowed: proj_size=0")
    arrays = {key: _array(tensor, f"{name}.{key}") for key, tensor in acting_tensors(module, name).items()}
    suffixes = [key.removeprefix("weight_ih") for key in arrays if key.startswith("weight_ih")]
    for key, shape in _shapes(module, cell, suffixes).items():
        if key in arrays and arrays[key].shape != shape:
            raise MappingError(
                f"{name}.{key} has shape {arrays[key].shape}; allowed: {shape}, from input_size and hidden_size"
            )
    return [_layer(name if len(suffixes) == 1 else f"{name}{suffix}", cell, suffix, arrays) for suffix in suffixes]


def _array(tensor: Tensor, where: str) -> Array:
    """A finite copy in float64. Raises `MappingError` for NaN or infinite values."""
    array: Array = tensor.cpu().double().resolve_neg().numpy().copy()
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise MappingError(
            f"{where}: {bad} of {array.size} weights are NaN or infinite; train again or repair the model"
        )
    return array


def _shapes(module: Any, cell: Cell, suffixes: list[str]) -> dict[str, tuple[int, ...]]:
    """Shape by tensor name; `suffixes` of the layers, forward before reverse."""
    hidden, ways = module.hidden_size, 2 if getattr(module, "bidirectional", False) else 1
    rows = (GATE_UNITS[cell][-1].row_block + 1) * hidden
    shapes: dict[str, tuple[int, ...]] = {f"peephole_{unit.name}": (hidden,) for unit in GATE_UNITS[cell]}
    for number, suffix in enumerate(suffixes):
        shapes[f"weight_ih{suffix}"] = (rows, module.input_size if number < ways else ways * hidden)
        shapes[f"weight_hh{suffix}"] = (rows, hidden)
        shapes[f"bias_ih{suffix}"] = shapes[f"bias_hh{suffix}"] = (rows,)
    return shapes


def _layer(name: str, cell: Cell, suffix: str, parameters: dict[str, Array]) -> RecurrentLayer:
    weight_x, weight_h = parameters[f"weight_ih{suffix}"], parameters[f"weight_hh{suffix}"]
    hidden = weight_h.shape[1]
    no_bias = np.zeros(weight_x.shape[0])
    bias_x = parameters.get(f"bias_ih{suffix}", no_bias)
    bias_h = parameters.get(f"bias_hh{suffix}", no_bias)
    gates = {}
    for unit in GATE_UNITS[cell]:
        rows = slice(unit.row_block * hidden, (unit.row_block + 1) * hidden)
        bias = np.zeros(hidden)
        if unit.sees_x:
            bias = bias + bias_x[rows]
        if unit.sees_h:
            bias = bias + bias_h[rows]
        gates[unit.name] = GateMatrix(
            unit=unit,
            x=weight_x[rows] if unit.sees_x else None,
            h=weight_h[rows] if unit.sees_h else None,
            bias=bias,
            peephole=parameters.get(f"peephole_{unit.name}"),
        )
    return RecurrentLayer(name, cell, weight_x.shape[1], hidden, gates)
