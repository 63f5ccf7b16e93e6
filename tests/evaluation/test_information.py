"""Information of a set of Gaussians, against closed forms and a numerical integral."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from torch import Tensor

from hvae_mnn.evaluation.information import (
    active_units,
    aggregate_log_density,
    batch_information,
    kl_profile,
    log_density,
    set_information,
)
from hvae_mnn.models.latent import Posterior
from hvae_mnn.models.objective import gaussian_kl


def draw(mean: Tensor, log_variance: Tensor, seed: int = 0) -> Tensor:
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    return mean + torch.exp(log_variance / 2) * noise


def test_log_density_of_pairs_equals_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    latent, mean = torch.randn(4, 3, generator=generator), torch.randn(5, 3, generator=generator)
    log_variance = torch.randn(5, 3, generator=generator) - 2
    for m in range(5):
        normal = torch.distributions.Normal(mean[m].double(), torch.exp(log_variance[m].double() / 2))
        expected = normal.log_prob(latent.double()).sum(dim=1)
        torch.testing.assert_close(log_density(latent, mean, log_variance)[:, m], expected)


def test_aggregate_is_the_even_mixture() -> None:
    mean, log_variance = torch.tensor([[0.0], [4.0]]), torch.tensor([[0.0], [-1.0]])
    x = 1.3
    parts = [
        math.exp(-0.5 * (x - m) ** 2 / math.exp(v)) / math.sqrt(2 * math.pi * math.exp(v))
        for m, v in ((0.0, 0.0), (4.0, -1.0))
    ]
    found = aggregate_log_density(torch.tensor([[x]]), mean, log_variance).item()
    assert found == pytest.approx(math.log(sum(parts) / 2), abs=1e-6)


def test_information_of_two_gaussians_equals_the_integral() -> None:
    """Half of the sentences at -a, half at +a, unit variance: H(mixture) - H(Gaussian), integrated."""
    a, count = 1.0, 20000
    x = np.linspace(-12, 12, 40001)
    density = 0.5 * (np.exp(-0.5 * (x - a) ** 2) + np.exp(-0.5 * (x + a) ** 2)) / math.sqrt(2 * math.pi)
    mixture = -trapezoid(density * np.log(density), x)
    expected = mixture - 0.5 * math.log(2 * math.pi * math.e)
    mean = torch.full((count, 1), a)
    mean[::2] = -a
    zeros = torch.zeros(count, 1)
    latent = draw(mean, zeros)
    # The mixture has two different parts only, so those two stand for all of them.
    own = torch.distributions.Normal(mean.double(), 1.0).log_prob(latent.double()).sum(dim=1)
    found = (own - aggregate_log_density(latent, mean[:2], zeros[:2])).mean().item()
    assert found == pytest.approx(expected, abs=0.015)
    small, error = set_information(latent[:2000], mean[:2000], zeros[:2000])
    assert abs(small - expected) < 4 * error
    assert batch_information(latent[:2000], mean[:2000], zeros[:2000]).mean().item() == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("count", [2, 64, 300])
def test_information_saturates_at_the_logarithm_of_the_pool(count: int) -> None:
    """Far apart, n Gaussians can be told from each other for certain: ln n nats, whatever more they know."""
    mean, log_variance = 100.0 * torch.arange(count)[:, None].float(), torch.zeros(count, 1)
    latent = draw(mean, log_variance)
    information, error = set_information(latent, mean, log_variance)
    assert information == pytest.approx(math.log(count), abs=1e-6)
    assert error == pytest.approx(0.0, abs=1e-5)
    assert batch_information(latent, mean, log_variance).mean().item() == pytest.approx(
        math.log(count), abs=6 / math.sqrt(count)
    )


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 6), st.floats(0.0, 5.0))
def test_information_never_exceeds_its_cap(seed: int, count: int, size: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    mean = spread * torch.randn(count, size, generator=generator)
    log_variance = torch.randn(count, size, generator=generator)
    information, _ = set_information(draw(mean, log_variance, seed), mean, log_variance)
    assert information <= math.log(count) + 1e-9


def test_information_is_at_most_the_kl() -> None:
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(500, 4, generator=generator)
    log_variance = torch.randn(500, 4, generator=generator) - 1
    information, error = set_information(draw(mean, log_variance), mean, log_variance)
    assert information <= gaussian_kl(mean, log_variance).mean().item() + 3 * error


def test_active_units_use_the_variance_of_the_means() -> None:
    mean = torch.zeros(5, 3)
    mean[:, 0] = torch.tensor([0.3, -0.3, 0.3, -0.3, 0.0])  # variance 0.09
    mean[:, 1] = 7.0  # far from zero, but the same for every sentence
    mean[:, 2] = torch.tensor([0.1, -0.1, 0.1, -0.1, 0.0])  # variance 0.01 with n - 1
    assert active_units(mean.double() * 1.001) == 2
    assert active_units(mean.double() * 0.999) == 1


def test_profile_of_two_sentences() -> None:
    """KL of a Gaussian with unit variance and mean m is m^2 / 2; pads do not count."""
    mean = torch.tensor([[1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 99.0, 99.0]])[..., None]
    posterior = Posterior(mean, torch.zeros_like(mean), torch.tensor([4, 2]))
    profile = kl_profile([posterior])
    assert profile.by_step == pytest.approx(((0.5 + 2) / 2, (2 + 8) / 2, 4.5, 8.0))
    assert profile.steps_counted == (2, 2, 1, 1)
    assert profile.from_end == pytest.approx(((8 + 8) / 2, (4.5 + 2) / 2, 2.0, 0.5))
    # t / T: 0.25, 0.5, 0.75, 1 and 0.5, 1; an edge belongs to the bin below it.
    filled = {place: value for place, value in enumerate(profile.by_position) if value is not None}
    assert filled == pytest.approx({2: 0.5, 4: (2 + 2) / 2, 7: 4.5, 9: (8 + 8) / 2})
    parts = [
        Posterior(mean[:1], torch.zeros_like(mean[:1]), torch.tensor([4])),
        Posterior(mean[1:, :2], torch.zeros_like(mean[1:, :2]), torch.tensor([2])),
    ]
    assert kl_profile(parts) == profile


def test_one_sentence_alone_has_no_spread() -> None:
    """A valid split may be that short; torch warns of such a variance, and gives NaN."""
    one = torch.ones(1, 3)
    assert set_information(one, one, one) == pytest.approx((0.0, 0.0))
    assert active_units(one) == 0
