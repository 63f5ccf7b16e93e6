"""The usual update: encoder and decoder together."""

from __future__ import annotations

from hvae_mnn.text.batches import Batch
from hvae_mnn.training.learner import Costs, Learner


def joint_update(learner: Learner, batch: Batch, weight: float, epochs_done: float) -> Costs:
    """One step of all parameters; returns the batch's costs before it."""
    costs = learner.costs(batch, weight, epochs_done)
    learner.step(costs.loss)
    return costs
