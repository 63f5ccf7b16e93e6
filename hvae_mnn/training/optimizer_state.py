"""The optimiser of a training run, and its stored state, checked before it is used: a moment that is NaN would spoil
every weight."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hvae_mnn.errors import CheckpointError
from hvae_mnn.models.training_config import TrainingConfig

_MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser that a training spec asks for: Adam, or plain gradient descent."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.Adam(
        parameters, lr=config.learning_rate, eps=config.adam_eps, weight_decay=config.weight_decay, fused=True
    )


def restore_optimizer(path: Path, optimizer: torch.optim.Optimizer, stored: Any) -> None:
    """Put the state of an optimiser that `path` holds into `optimizer`, made anew for the same parameters.

    Raises `CheckpointError` for settings, shapes or types that are not this optimiser's, and for values that are NaN or
    infinite.
    """
    try:
        _check(optimizer, stored)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(
            f"{path}: its optimiser's state cannot be used ({reason}); choose another --out and begin anew"
        ) from None
    optimizer.load_state_dict(stored)


def _check(optimizer: torch.optim.Optimizer, stored: Any) -> None:
    """Raise one of the errors that damaged structures raise, with the reason as its message."""
    (own,), (group,) = optimizer.state_dict()["param_groups"], stored["param_groups"]
    if set(group) != set(own):
        raise ValueError(f"settings {', '.join(sorted(map(str, set(group) ^ set(own))))}")
    for key, value in own.items():
        if key != "lr" and (type(group[key]) is not type(value) or group[key] != value):
            raise ValueError(f"{key} is another")
    if not isinstance(group["lr"], float) or not 0 <= group["lr"] < math.inf:
        raise ValueError("the step size is no number, 0 or above")
    parameters = dict(zip(own["params"], optimizer.param_groups[0]["params"], strict=True))
    if not isinstance(optimizer, torch.optim.Adam) and stored["state"]:
        raise ValueError("moments of an optimiser that has none")
    for number, moments in stored["state"].items():
        if number not in parameters:
            raise ValueError(f"parameter {number!r} is unknown")
        if set(moments) != {"step", *_MOMENTS}:
            raise ValueError(f"parameter {number} has other parts than step, {', '.join(_MOMENTS)}")
        _check_tensor(f"step of parameter {number}", moments["step"], torch.Size([]), torch.float32)
        for name in _MOMENTS:
            what, parameter = f"{name} of parameter {number}", parameters[number]
            _check_tensor(what, moments[name], parameter.shape, parameter.dtype, name == "exp_avg")


def _check_tensor(what: str, value: Any, shape: torch.Size, kind: torch.dtype, may_be_negative: bool = False) -> None:
    if not isinstance(value, Tensor) or value.shape != shape or value.dtype != kind:
        stored = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{what} is {stored}, not {kind} of shape {tuple(shape)}")
    if not bool(torch.isfinite(value).all()) or (not may_be_negative and bool((value < 0).any())):
        raise ValueError(f"{what} holds values that no run gives: NaN, infinite or below 0")
