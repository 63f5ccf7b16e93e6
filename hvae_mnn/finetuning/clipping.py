"""Bounds on the weights of gate units: one large weight takes conductance range from all others of its array."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from hvae_mnn.finetuning.stepper import unit_parameters


def weight_bounds(module: nn.Module, deviations: float) -> dict[str, float]:
    """Bound of each gate unit of a recurrent module: `deviations` times the standard deviation of its weights from x
    and h together."""
    return {
        unit: deviations * float(torch.cat([weights.detach().flatten() for weights in part.weights]).std())
        for unit, part in unit_parameters(module).items()
    }


@torch.no_grad()
def clip_weights(module: nn.Module, bounds: Mapping[str, float]) -> None:
    """Bring the weights of every gate unit of a recurrent module within its bound, peepholes as well.

    Each of PyTorch's two biases gets half of the bound, because an array holds their sum.
    """
    for unit, part in unit_parameters(module).items():
        for weights in (*part.weights, *([] if part.peephole is None else [part.peephole])):
            weights.clamp_(-bounds[unit], bounds[unit])
        for bias in part.biases:
            bias.clamp_(-bounds[unit] / len(part.biases), bounds[unit] / len(part.biases))
