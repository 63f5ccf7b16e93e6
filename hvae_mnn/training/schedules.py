"""What changes over a run: the weight of the KL, the optimiser's step size, the temperature of Langevin steps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hvae_mnn.models.training_config import TrainingConfig


def kl_weight(config: TrainingConfig, epochs_done: float) -> float:
    """Weight of the KL after `epochs_done` epochs (a fraction inside an epoch): how training comes to `config.beta`.

    Finetuning charges `beta` from the first batch on, whatever the annealing: `beta` is the objective, and the ramp
    only leads there. The weight at the end of training may be another one: a cyclical weight falls to its start where
    a cycle ends, as it does after the last epoch of whole cycles, and a linear ramp may be longer than the training.
    """
    if config.annealing == "none":
        return config.beta
    if config.annealing == "linear":
        ramp = min(1.0, epochs_done / config.annealing_epochs)
    else:  # Fu et al. 2019: within each cycle the weight ramps over the first half and then stays.
        ramp = min(1.0, _within_cycle(config, epochs_done) / 0.5)
    return config.beta * (config.annealing_start + (1.0 - config.annealing_start) * ramp)


def learning_rate(config: TrainingConfig, epochs_done: float) -> float:
    """The optimiser's step size after `epochs_done` epochs (a fraction inside an epoch); `plateau` before halvings."""
    if config.schedule == "cosine":
        return config.learning_rate * half_cosine(math.pi * min(1.0, epochs_done / config.epochs))
    if config.schedule == "cosine_cycles":
        epoch = math.floor(epochs_done % config.annealing_epochs)  # Fu et al.: by whole epochs
        return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * epoch / config.annealing_epochs))
    return config.learning_rate


def _within_cycle(config: TrainingConfig, epochs_done: float) -> float:
    """Part of the present annealing cycle that is done, 0 to 1."""
    return (epochs_done % config.annealing_epochs) / config.annealing_epochs


def half_cosine(angle: float) -> float:
    """Factor of a step size that falls from 1 at angle 0 to a twentieth at angle pi."""
    return 0.05 + 0.95 * (0.5 * (1.0 + math.cos(angle)))


@dataclass(frozen=True)
class Plateau:
    """What a `plateau` schedule has come to."""

    factor: float
    """Of the step size: a half for every halving."""
    halved: bool
    """Whether the last epoch ended with a halving."""
    ended: bool
    """Whether the run is over, by the number of halvings that the spec allows."""


def plateau(config: TrainingConfig, figures: Sequence[float]) -> Plateau:
    """The state of the schedule after epochs with these valid figures, the lower the better; none for the others.

    It depends on the figures alone, so a resumed run needs nothing else.
    """
    best, stalled, halvings, halved = math.inf, 0, 0, False
    if config.schedule != "plateau":
        return Plateau(1.0, halved=False, ended=False)
    for epoch, figure in enumerate(figures, start=1):
        stalled = 0 if figure < best else stalled + 1
        best = min(best, figure)
        due = stalled >= config.patience and epoch >= config.plateau_from
        halved = due or 0 < config.epochs - epoch <= config.final_halvings
        if halved:
            halvings, stalled = halvings + 1, 0
            best = figure if config.reload_best else best
    return Plateau(0.5**halvings, halved, ended=0 < config.halvings <= halvings)


def langevin_temperature(config: TrainingConfig, epochs_done: float) -> float:
    """Weight of the noise in Langevin steps (Pang et al. 2021): 0.05, and from a quarter of the run on 0.05 more with
    every 60th of it, up to 0.2."""
    part = 60 * epochs_done / config.epochs
    return min(0.2, 0.05 * (1 + max(0, math.floor(part) - 14)))


def epoch_mean(
    schedule: Callable[[TrainingConfig, float], float], config: TrainingConfig, epoch: int, batches: int
) -> float:
    """Mean of `schedule` (`kl_weight`, `learning_rate`) over the `batches` of the epoch after `epoch` others."""
    return statistics.mean(schedule(config, epoch + batch / batches) for batch in range(batches))
