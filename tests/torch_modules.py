"""torch's recurrent modules with weights in all sorts of ways: what several tests make."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

INPUTS, HIDDEN = 4, 3
ALL = [
    f"{kind}_l{layer}{way}"
    for layer in range(2)
    for way in ("", "_reverse")
    for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
]
WEIGHTS = [name for name in ALL if name.startswith("weight")]


def lstm(**options):
    return spread(nn.LSTM(INPUTS, HIDDEN, **options))


def wide(kind=nn.LSTM):
    """Two layers in two directions."""
    return spread(kind(INPUTS, HIDDEN, num_layers=2, bidirectional=True))


def spread(module):
    """In float64, weights and biases large and symmetric in nothing."""
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return module


def pruned(module, *names, how=prune.l1_unstructured, amount=0.4):
    for name in names:
        how(module, name, amount=amount)
    return module


def normed(module, *names):
    """With the older weight norm, a hook."""
    for name in names:
        with pytest.warns(FutureWarning, match="weight_norm"):
            nn.utils.weight_norm(module, name)
    return module


def changed(module, ending):
    """After an optimiser's step, which changes what weights are made of; the attributes are those of before."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith(ending):
                parameter.mul_(0.7).add_(0.1)
    return module


class Scale(nn.Module):
    def forward(self, weight):
        return 2.5 * weight


class Drop(nn.Module):
    def __init__(self, always):
        super().__init__()
        self.always = always

    def forward(self, weight):
        return torch.dropout(weight, 0.5, self.training or self.always)


def parametrized(module, *names, by=Scale):
    for name in names:
        parametrize.register_parametrization(module, name, by())
    return module


def replaced(module, name, value):
    setattr(module, name, nn.Parameter(value, requires_grad=False))
    return module


class Checkered(prune.BasePruningMethod):
    """A pruning method of one's own."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t, default_mask):
        mask = default_mask.clone()
        mask.view(-1)[::2] = 0
        return mask
