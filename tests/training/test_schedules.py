"""Weight of the KL, step size and temperature over a run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from hvae_mnn.errors import InputError
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.training.schedules import Plateau, kl_weight, langevin_temperature, learning_rate, plateau


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


@pytest.mark.parametrize(
    ("annealing", "expected"),
    [
        ("none", [2, 2, 2, 2, 2, 2]),
        ("linear", [0.2, 0.65, 1.55, 2, 2, 2]),
        ("cyclical", [0.2, 1.1, 2, 0.2, 2, 1.1]),
    ],
)
def test_a_ramp_begins_at_its_start(annealing: str, expected: list[float]) -> None:
    """The start is a part of beta, and every cycle begins from it."""
    config = TrainingConfig(annealing=annealing, annealing_epochs=4.0, beta=2.0, annealing_start=0.1)
    assert [kl_weight(config, epochs) for epochs in (0, 1, 3, 4, 7.5, 9)] == pytest.approx(expected)


def test_learning_rate_schedules() -> None:
    cosine = TrainingConfig(learning_rate=1.0, epochs=10)
    assert [learning_rate(cosine, t) for t in (0, 5, 10, 11)] == pytest.approx([1.0, 0.525, 0.05, 0.05])
    assert learning_rate(replace(cosine, schedule="constant"), 7) == 1.0


def test_cosine_cycles_fall_by_whole_epochs_of_a_cycle() -> None:
    """Fu et al.: lr (1 + cos(pi e / 10)) / 2 with e the epoch within the cycle, the same for all its batches."""
    config = TrainingConfig(learning_rate=2.0, schedule="cosine_cycles", annealing="cyclical", annealing_epochs=10.0)
    for epoch in range(40):
        expected = 1.0 + math.cos(math.pi * (epoch % 10) / 10)
        assert [learning_rate(config, epoch + part) for part in (0, 0.5, 0.999)] == pytest.approx([expected] * 3)
    odd = replace(config, annealing_epochs=49.0)  # 29 / 49 * 49 is below 29 in floating point
    assert [learning_rate(odd, e) for e in range(49)] == [1.0 + math.cos(math.pi * e / 49) for e in range(49)]


PLATEAU = TrainingConfig(schedule="plateau", epochs=20, patience=2)


def halvings(config: TrainingConfig, figures: list[float]) -> list[int]:
    """Epochs, from 1, that end with a halving."""
    return [count for count in range(1, len(figures) + 1) if plateau(config, figures[:count]).halved]


def test_a_plateau_halves_after_epochs_without_a_better_figure() -> None:
    figures = [9.0, 8.0, 8.5, 8.0, 7.0, 7.5, 7.2, 7.1, 7.3, 6.0]
    assert halvings(PLATEAU, figures) == [4, 7, 9]
    assert halvings(replace(PLATEAU, patience=1), figures) == [3, 4, 6, 7, 8, 9]
    assert plateau(PLATEAU, figures) == Plateau(0.125, halved=False, ended=False)
    assert plateau(replace(PLATEAU, schedule="constant"), figures) == Plateau(1.0, halved=False, ended=False)
    assert plateau(PLATEAU, []) == Plateau(1.0, halved=False, ended=False)


def test_a_plateau_may_begin_late() -> None:
    """Stalled epochs before it count, as in published code: the first halving comes at once if they are enough."""
    figures = [9.0] * 8
    assert halvings(replace(PLATEAU, plateau_from=5.0), figures) == [5, 7]
    assert halvings(replace(PLATEAU, plateau_from=5.2), figures) == [6, 8]


def test_halvings_end_the_run() -> None:
    config = replace(PLATEAU, patience=1, halvings=2)
    figures = [9.0, 9.0, 8.0, 9.0]
    assert [plateau(config, figures[:count]).ended for count in range(5)] == [False, False, False, False, True]
    assert not plateau(replace(config, halvings=0), figures * 4).ended


def test_the_last_epochs_begin_with_a_halving_each() -> None:
    config = replace(PLATEAU, epochs=6, final_halvings=2)
    figures = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
    assert halvings(config, figures) == [4, 5]  # before epochs 5 and 6
    assert plateau(config, figures).factor == 0.25
    assert plateau(config, [9.0] * 5).factor == 0.125  # epoch 3 stalls; 4 and 5 halve once each, though 5 stalls, too


def test_going_back_to_the_best_epoch_sets_a_new_figure_to_beat() -> None:
    """As in He et al.'s code: after a halving, what counts as better is better than the figure that caused it."""
    figures = [5.0, 7.0, 8.0, 7.5, 7.0, 7.2, 7.3]
    assert halvings(PLATEAU, figures) == [3, 5, 7]
    assert halvings(replace(PLATEAU, reload_best=True), figures) == [3, 7]


def test_the_best_epochs_weights_are_not_to_be_had_with_the_normalisation_folded_in() -> None:
    with pytest.raises(InputError, match="reload_best is True with a batch_norm_gamma"):
        TrainingConfig(schedule="plateau", reload_best=True, batch_norm_gamma=0.6)


def test_the_temperature_of_langevin_steps_rises_after_a_quarter_of_the_run() -> None:
    """Pang et al.'s 60 epochs, counted from 1: 0.05 up to epoch 15, then 0.1, 0.15, and 0.2 from epoch 18 on."""
    config = TrainingConfig(epochs=60)
    found = [langevin_temperature(config, epoch - 1) for epoch in (1, 14, 15, 16, 17, 18, 19, 60)]
    assert found == pytest.approx([0.05, 0.05, 0.05, 0.1, 0.15, 0.2, 0.2, 0.2])
    short = replace(config, epochs=12)  # a fifth of the length
    assert [langevin_temperature(short, done) for done in (2.9, 3.0, 3.2, 3.4)] == pytest.approx([0.05, 0.1, 0.15, 0.2])
