"""Weight of the KL and step size over a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.training.schedules import kl_weight, learning_rate


@pytest.mark.parametrize(
    ("annealing", "expected"),
    [
        ("none", [2, 2, 2, 2, 2, 2]),
        ("linear", [0, 0.5, 1.5, 2, 2, 2]),
        ("cyclical", [0, 1, 2, 0, 2, 1]),
    ],
)
def test_annealing(annealing: str, expected: list[float]) -> None:
    config = TrainingConfig(annealing=annealing, annealing_epochs=4.0, beta=2.0)
    assert [kl_weight(config, epochs) for epochs in (0, 1, 3, 4, 7.5, 9)] == pytest.approx(expected)


def test_learning_rate_schedules() -> None:
    cosine = TrainingConfig(learning_rate=1.0, epochs=10)
    assert [learning_rate(cosine, t) for t in (0, 5, 10, 11)] == pytest.approx([1.0, 0.525, 0.05, 0.05])
    assert learning_rate(replace(cosine, schedule="constant"), 7) == 1.0
