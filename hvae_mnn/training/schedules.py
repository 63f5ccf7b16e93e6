"""What changes over a run: the weight of the KL, and the optimiser's step size."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from hvae_mnn.models.config import TrainingConfig


def kl_weight(config: TrainingConfig, epochs_done: float) -> float:
    """Weight of the KL after `epochs_done` epochs (a fraction inside an epoch): how training comes to `config.beta`.

    Finetuning charges `beta` from the first batch on, whatever the annealing: `beta` is the objective, and the ramp
    only leads there. The weight at the end of training may be another one: a cyclical weight falls to 0 where a cycle
    ends, as it does after the last epoch of whole cycles, and a linear ramp may be longer than the training.
    """
    if config.annealing == "none":
        return config.beta
    if config.annealing == "linear":
        return config.beta * min(1.0, epochs_done / config.annealing_epochs)
    # Fu et al. 2019: within each cycle the weight ramps over the first half and then stays.
    within = (epochs_done % config.annealing_epochs) / config.annealing_epochs
    return config.beta * min(1.0, within / 0.5)


def learning_rate(config: TrainingConfig, epochs_done: float) -> float:
    """Adam's step size after `epochs_done` epochs (a fraction inside an epoch)."""
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * half_cosine(math.pi * min(1.0, epochs_done / config.epochs))


def half_cosine(angle: float) -> float:
    """Factor of a step size that falls from 1 at angle 0 to a twentieth at angle pi."""
    return 0.05 + 0.95 * (0.5 * (1.0 + math.cos(angle)))


def epoch_mean(
    schedule: Callable[[TrainingConfig, float], float], config: TrainingConfig, epoch: int, batches: int
) -> float:
    """Mean of `schedule` (`kl_weight`, `learning_rate`) over the `batches` of the epoch after `epoch` others."""
    return statistics.mean(schedule(config, epoch + batch / batches) for batch in range(batches))
