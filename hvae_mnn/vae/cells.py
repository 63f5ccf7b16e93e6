"""The cell equations of recurrent layers, from pre-activations: paper eqs. 10 and 11 (page 692), and PyTorch's GRU and RNN.

A *gate unit* is one matrix of a cell: it turns the step's vector into one pre-activation per hidden unit. Which units a
cell has, and which inputs each one sees, is `GATE_UNITS`. Nothing here knows where pre-activations come from: a matrix
product, or a crossbar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Cell = Literal["rnn", "lstm", "gru"]
CELLS: tuple[Cell, ...] = ("rnn", "lstm", "gru")


@dataclass(frozen=True)
class GateUnit:
    """One gate matrix of a cell."""

    name: str
    """Short name, unique within the cell: `i`, `f`, `g`, `o`; `r`, `z`, `nx`, `nh`; `h`."""
    row_block: int
    """Which block of H rows of PyTorch's stacked weights (`weight_ih_l0`) it is."""
    sees_x: bool
    """Whether the layer's input x_t is among its inputs."""
    sees_h: bool
    """Whether the previous hidden state is among its inputs."""


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


def lstm_memory(preactivations: Mapping[str, Tensor], memory: Tensor) -> Tensor:
    """Memory c_t = f * c_{t-1} + i * g from the pre-activations `i`, `f`, `g` and c_{t-1}, each of shape (B, H) (eq. 10)."""
    i, f, g = (preactivations[name] for name in "ifg")
    return torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)


def lstm_hidden(output_gate: Tensor, memory: Tensor) -> Tensor:
    """Hidden state h_t = o * tanh(c_t) from the pre-activation of o and c_t, each of shape (B, H) (eq. 11)."""
    return torch.sigmoid(output_gate) * torch.tanh(memory)


def gru_hidden(preactivations: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
    """Hidden state of a GRU from the pre-activations `r`, `z`, `nx`, `nh` and h_{t-1}, each of shape (B, H); PyTorch's form."""
    r, z = torch.sigmoid(preactivations["r"]), torch.sigmoid(preactivations["z"])
    candidate = torch.tanh(preactivations["nx"] + r * preactivations["nh"])
    return (1 - z) * candidate + z * hidden


def rnn_hidden(preactivations: Mapping[str, Tensor]) -> Tensor:
    """Hidden state tanh(h) of an Elman RNN from its pre-activation `h` of shape (B, H)."""
    return torch.tanh(preactivations["h"])
