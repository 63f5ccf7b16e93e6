"""Dropout by random bits: its rate, its mean, its gradient, and where it does nothing."""

from __future__ import annotations

import pytest
import torch

from hvae_mnn.models.dropout import dropout


def drawn(probability: float, shape: tuple[int, ...] = (1000, 1000), seed: int = 0) -> torch.Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return dropout(torch.ones(shape), probability, True)


@pytest.mark.parametrize("probability", [0.05, 0.2, 0.5, 0.9])
def test_rate_and_scale(probability: float) -> None:
    found = drawn(probability)
    kept = found[found != 0]
    assert torch.equal(kept, kept[0].expand_as(kept))
    assert kept[0].item() == pytest.approx(1 / (1 - probability), rel=2e-4)
    deviation = (probability * (1 - probability) / found.numel()) ** 0.5
    assert abs((found == 0).double().mean().item() - probability) < 5 * deviation + 1 / 2**17


def test_values_are_dropped_independently() -> None:
    """Also the four that share a word of the generator, and neighbours along each axis."""
    zero = (drawn(0.5) == 0).double() - 0.5
    for shift in (1, 2, 3, 4, 8, 1000):
        flat = zero.flatten()
        assert abs((4 * flat[shift:] * flat[:-shift]).mean().item()) < 5e-3
    assert not torch.equal(zero[:500], zero[500:])


def test_the_seed_decides() -> None:
    assert torch.equal(drawn(0.3, (7, 11)), drawn(0.3, (7, 11)))
    assert not torch.equal(drawn(0.3, (7, 11)), drawn(0.3, (7, 11), seed=1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_gradient_has_the_same_mask(dtype: torch.dtype) -> None:
    values = torch.full((5, 3), 2.0, dtype=dtype, requires_grad=True)  # 15: not all of the last word is needed
    found = dropout(values, 0.5, True)
    found.sum().backward()
    assert found.dtype == dtype
    assert torch.equal(values.grad * 2, found)


def test_without_training_or_probability_values_stay() -> None:
    values = torch.rand(4)
    assert dropout(values, 0.5, False) is values
    assert dropout(values, 0.0, True) is values
    assert not dropout(values, 1.0, True).any()
