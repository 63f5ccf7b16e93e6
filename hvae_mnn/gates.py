"""Gate units: the matrices inside recurrent cells, read out of any torch `nn.RNN`, `nn.LSTM` or `nn.GRU`.

A *gate unit* turns the step's vector into one pre-activation per hidden unit; on hardware it is one crossbar array
(paper Fig. 2b, page 693). This module only knows how PyTorch stacks them: gate order i, f, g, o for the LSTM and
r, z, n for the GRU, blocks of H rows in `weight_ih_l*` (4H x I) and `weight_hh_l*` (4H x H), and two bias vectors.
It stands below both the text model and the crossbars, and imports neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.errors import MappingError

if TYPE_CHECKING:
    from torch import nn

Cell = Literal["rnn", "lstm", "gru"]
CELLS: tuple[Cell, ...] = ("rnn", "lstm", "gru")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GateUnit:
    """One gate matrix of a cell."""

    name: str
    """Unique within the cell: `i`, `f`, `g`, `o` (LSTM); `r`, `z`, `nx`, `nh` (GRU); `h` (RNN)."""
    row_block: int
    """Which block of H rows of PyTorch's stacked weights it is."""
    sees_x: bool
    """Whether the layer's input x_t is among its inputs."""
    sees_h: bool
    """Whether the previous hidden state h_{t-1} is among its inputs."""


GATE_UNITS: dict[Cell, tuple[GateUnit, ...]] = {
    "lstm": tuple(GateUnit(name, block, True, True) for block, name in enumerate("ifgo")),
    # The GRU's candidate is tanh(W x + b + r * (U h + b_h)): its two parts are read out apart.
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
    """(H, I): from the layer's input."""
    h: Array | None
    """(H, H): from the previous hidden state."""
    bias: Array
    """(H,): PyTorch's two bias vectors added, but for the two parts of the GRU's candidate, which have one each."""
    peephole: Array | None
    """(H,): element-wise, from the memory c (c_{t-1} for i and f, c_t for o); None without peepholes."""


@dataclass(frozen=True)
class RecurrentLayer:
    """One recurrent layer in one direction: its cell and its gate units."""

    name: str
    cell: Cell
    input_size: int
    hidden_size: int
    gates: dict[str, GateMatrix]
    """By the unit's name, in PyTorch's order."""

    @property
    def peepholes(self) -> bool:
        """Whether any gate sees the memory."""
        return any(gate.peephole is not None for gate in self.gates.values())


_MODES: dict[str, Cell] = {"RNN_TANH": "rnn", "LSTM": "lstm", "GRU": "gru"}
"""By the `mode` of a torch recurrent module."""


def cell_of(module: nn.Module) -> Cell:
    """Which cell a torch recurrent module has; raises `MappingError` for anything but tanh RNN, LSTM and GRU."""
    mode = getattr(module, "mode", None)
    if not isinstance(mode, str) or mode not in _MODES:
        raise MappingError(
            f"cannot map a {type(module).__name__}{f' with mode {mode}' if mode else ''}; allowed are nn.RNN with tanh,"
            " nn.LSTM and nn.GRU themselves"
        )
    return _MODES[mode]


def recurrent_layers(module: nn.Module, name: str) -> list[RecurrentLayer]:
    """Every layer and direction of a torch `nn.RNN`, `nn.LSTM` or `nn.GRU` (or a module with their parameter layout).

    A single layer is called `name`; several are called `name_l0`, `name_l1`, ..., a reverse direction
    `name_l0_reverse`. Raises `MappingError` for projections, NaN or infinite weights, and modules of another kind.
    """
    cell = cell_of(module)
    if getattr(module, "proj_size", 0):
        raise MappingError(
            f"{name}: an LSTM with proj_size={module.proj_size} cannot be mapped; allowed is proj_size=0"
        )
    parameters = {key: value.detach().cpu().double().numpy() for key, value in module.named_parameters()}
    for key, value in parameters.items():
        if not np.isfinite(value).all():
            bad = int((~np.isfinite(value)).sum())
            raise MappingError(
                f"{name}.{key}: {bad} of {value.size} weights are NaN or infinite; train again or mend the model"
            )
    missing = {name.replace("_ih", "_hh") for name in parameters if name.startswith("weight_ih")} - set(parameters)
    if missing or not any(key.startswith("weight_ih") for key in parameters):
        raise MappingError(
            f"{name}: no parameter {min(missing, default='weight_ih_l0')}; parametrized weights cannot be mapped"
        )
    suffixes = [key.removeprefix("weight_ih") for key in parameters if key.startswith("weight_ih")]
    layers = []
    for suffix in suffixes:
        own_name = name if len(suffixes) == 1 else f"{name}{suffix}"
        layers.append(_layer(own_name, cell, suffix, parameters))
    return layers


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
