"""Weights before the first step, as the recipes of published baselines draw them."""

from __future__ import annotations

import torch
from torch import nn

from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.training_config import InitialWeights

_LARGE, _SMALL = 0.1, 0.01


def draw_weights(model: RecurrentModel, name: InitialWeights) -> None:
    """Draw a model's weights anew from torch's generator, as `TrainingConfig.initial_weights` describes; a pad's
    embedding stays 0.

    A fixed scale (of BN-VAE's normalisation) is no weight and stays.
    """
    if name == "torch":
        return
    kept = {id(part) for part in model.encoder_parameters()} if name == "small_decoder" else set()
    tables = {id(module.weight): module for module in model.modules() if isinstance(module, nn.Embedding)}
    for parameter in model.parameters():
        if id(parameter) in kept or not parameter.requires_grad:
            continue
        bound = _LARGE if name == "uniform" or id(parameter) in tables else _SMALL
        with torch.no_grad():
            parameter.uniform_(-bound, bound)
            table = tables.get(id(parameter))
            if table is not None and table.padding_idx is not None:
                parameter[table.padding_idx].zero_()
