"""The cell equations of recurrent layers, from pre-activations: paper eqs. 10 and 11 (page 692), and PyTorch's GRU
and RNN.

Nothing here knows where pre-activations come from: a matrix product, or a crossbar. Their names are those of
`hvae_mnn.gates`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


def lstm_memory(
    preactivations: Mapping[str, Float[Tensor, "B H"]], memory: Float[Tensor, "B H"]
) -> Float[Tensor, "B H"]:
    """Memory c_t = f * c_{t-1} + i * g from the pre-activations `i`, `f`, `g` and c_{t-1}, each of shape (B, H) (eq.
    10)."""
    i, f, g = (preactivations[name] for name in "ifg")
    return torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)


def lstm_hidden(output_gate: Float[Tensor, "B H"], memory: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
    """Hidden state h_t = o * tanh(c_t) from the pre-activation of o and c_t, each of shape (B, H) (eq. 11)."""
    return torch.sigmoid(output_gate) * torch.tanh(memory)


def gru_hidden(
    preactivations: Mapping[str, Float[Tensor, "B H"]], hidden: Float[Tensor, "B H"]
) -> Float[Tensor, "B H"]:
    """Hidden state of a GRU from the pre-activations `r`, `z`, `nx`, `nh` and h_{t-1}, each of shape (B, H);
    PyTorch's form."""
    r, z = torch.sigmoid(preactivations["r"]), torch.sigmoid(preactivations["z"])
    candidate = torch.tanh(preactivations["nx"] + r * preactivations["nh"])
    return (1 - z) * candidate + z * hidden


def rnn_hidden(preactivations: Mapping[str, Float[Tensor, "B H"]]) -> Float[Tensor, "B H"]:
    """Hidden state tanh(h) of an Elman RNN from its pre-activation `h` of shape (B, H)."""
    return torch.tanh(preactivations["h"])
