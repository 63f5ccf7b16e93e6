"""The aggressive phase of lagging inference (He et al. 2019): the encoder catches up before the decoder moves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hvae_mnn.text.batches import Batch
from hvae_mnn.training.learner import Costs, Learner

_MOST_STEPS, _WINDOW = 99, 15


def is_aggressive(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the phase lasts: until the valid split's mutual information falls for the first time, or below 0."""
    seen = [0.0, *(record["valid"]["mutual_information"] for record in history)]
    return all(later >= earlier for earlier, later in itertools.pairwise(seen))


def lagging_update(
    learner: Learner, batch: Batch, weight: float, epochs_done: float, other_batch: Callable[[int], Batch]
) -> Costs:
    """Steps of the encoder alone until its loss per word no longer falls, then one of the decoder alone.

    The first step is on the batch itself, the others on random ones, `other_batch(n)` for the n-th. Every 15 of them
    their mean loss is compared with that of the 15 before. Returns the costs that the decoder's step saw.
    """
    encoder = learner.model.encoder_parameters()
    inner, before, loss, words = batch, float("inf"), 0.0, 0
    for step in range(1, _MOST_STEPS + 1):
        costs = learner.costs(inner, weight, epochs_done)
        learner.step(costs.loss, only=encoder)
        loss, words = loss + costs.rec + weight * costs.kl, words + costs.words
        if step % _WINDOW == 0:
            if loss / words > before:
                break
            before, loss, words = loss / words, 0.0, 0
        inner = other_batch(step)
    costs = learner.costs(batch, weight, epochs_done)
    moved = {id(parameter) for parameter in encoder}
    learner.step(costs.loss, only=[part for part in learner.model.parameters() if id(part) not in moved])
    return costs
