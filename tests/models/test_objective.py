"""The loss, against sampling, against loops over single sentences, and against the published formula spelt out."""

import math

import pytest
import torch
from torch import nn

from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.latent import Posterior
from hvae_mnn.models.objective import batch_loss, charged_kl, gaussian_kl, reconstruction, step_kl
from hvae_mnn.models.presets import configure
from hvae_mnn.models.training_config import KlTarget, TrainingConfig
from hvae_mnn.text.batches import collate

SENTENCES = [[2, 5, 6, 7, 8, 3], [2, 9, 3], [2, 10, 11, 5, 3]]


def test_closed_form_kl_against_sampling() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.tensor([0.7, -1.2, 0.0], dtype=torch.float64)
    log_variance = torch.tensor([-1.0, 0.5, 0.0], dtype=torch.float64)
    noise = torch.randn(400_000, 3, generator=generator, dtype=torch.float64)
    z = mean + (0.5 * log_variance).exp() * noise
    log_q = torch.distributions.Normal(mean, (0.5 * log_variance).exp()).log_prob(z).sum(dim=1)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=1)
    ratio = log_q - log_p
    error = (ratio.std() / math.sqrt(len(ratio))).item()
    assert abs(gaussian_kl(mean, log_variance).item() - ratio.mean().item()) < 4 * error
    assert gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0.0, 0.0]


def test_kl_grows_with_the_means_distance() -> None:
    """The sign that eq. 5 has wrong in print."""
    values = [gaussian_kl(torch.tensor([m]), torch.zeros(1)).item() for m in (0.0, 1.0, -2.0, 3.0)]
    assert values == pytest.approx([0.0, 0.5, 2.0, 4.5])


def test_reconstruction_counts_words_and_eos_but_no_pads() -> None:
    batch = collate(SENTENCES)
    logits = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(1))
    expected = []
    for row, sentence in enumerate(SENTENCES):
        log_p = logits[row].log_softmax(dim=-1)
        expected.append(-sum(log_p[t, word].item() for t, word in enumerate(sentence[1:])))
    assert reconstruction(logits, batch.tokens).tolist() == pytest.approx(expected, rel=1e-5)
    assert reconstruction(logits.bfloat16(), batch.tokens).dtype == torch.float32


def posterior() -> Posterior:
    generator = torch.Generator().manual_seed(2)
    return Posterior(
        torch.randn(3, 6, 4, generator=generator), torch.randn(3, 6, 4, generator=generator), torch.tensor([6, 3, 5])
    )


def test_targets_by_loops() -> None:
    found = posterior()
    by_step = [
        [gaussian_kl(found.mean[row, t], found.log_variance[row, t]).item() for t in range(int(found.steps[row]))]
        for row in range(3)
    ]
    assert charged_kl(found, "last").tolist() == pytest.approx([kl[-1] for kl in by_step], rel=1e-5)
    assert charged_kl(found, "sum").tolist() == pytest.approx([sum(kl) for kl in by_step], rel=1e-5)
    assert charged_kl(found, "mean_t").tolist() == pytest.approx([sum(kl) / len(kl) for kl in by_step], rel=1e-5)
    assert step_kl(found)[1].tolist() == pytest.approx([*by_step[1], 0, 0, 0], rel=1e-5)


def test_the_paper_objective_is_the_published_loss_spelt_out() -> None:
    """rec + 1/T of the sum of every padded step's KL, summed over the batch; the latent is read after the pads."""
    torch.manual_seed(0)
    net = HSRVAE(ModelConfig(12, 5, 6, 4, dropout=0.0)).double()
    _, config = configure("paper", "paper", 12)
    assert config.annealing == "none"
    batch = collate(SENTENCES)
    noise = torch.randn(3, 4, dtype=torch.float64)
    output = net(batch.tokens, batch.lengths, noise=noise, masked=config.mask_pads)
    loss = batch_loss(reconstruction(output.logits, batch.tokens).sum(), output.posterior, config.beta, config)
    hidden, _ = net.encoder2(net.encoder1(net.encoder_embedding(batch.tokens))[0])
    mean, log_variance = net.to_mean(hidden), net.to_log_variance(hidden)
    kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1)
    z = mean[:, -1] + (log_variance[:, -1] / 2).exp() * noise
    rec = nn.functional.cross_entropy(
        net.decode(batch.tokens, z).flatten(0, 1), batch.tokens[:, 1:].flatten(), ignore_index=0, reduction="sum"
    )
    assert loss.item() == pytest.approx((rec + kl.sum() / batch.tokens.shape[1]).item(), rel=1e-5)


def shifted(kl: list[list[float]]) -> Posterior:
    """Posteriors of one step whose units have this KL (B, Z): unit variances, and means that make up for it."""
    mean = (2 * torch.tensor(kl, dtype=torch.float64)).sqrt()
    return Posterior(mean[:, None].requires_grad_(), torch.zeros_like(mean)[:, None], torch.ones(len(kl)).long())


def pull(found: Posterior) -> torch.Tensor:
    """Derivative of a loss by each unit's KL, after its backward pass: that by the mean, over the mean."""
    assert found.mean.grad is not None
    return (found.mean.grad / found.mean.detach())[:, 0]


def test_free_bits_stop_the_gradient_of_a_small_kl_only() -> None:
    config = TrainingConfig(free_bits=3.0)
    for values, slope in (([1.0, 4.0], 0.0), ([1.0, 8.0], 0.35)):
        found = shifted([[value] for value in values])
        loss = batch_loss(torch.tensor(30.0), found, 0.7, config)
        assert loss.item() == pytest.approx(15 + 0.7 * max(sum(values) / 2, 3.0))
        loss.backward()
        assert pull(found)[:, 0].tolist() == pytest.approx([slope, slope])


def test_free_bits_of_each_unit_hold_that_units_mean_up() -> None:
    """The floor lies under each unit's mean over the batch, so one rich unit does not pay for a poor one."""
    config = TrainingConfig(free_bits=0.0, free_bits_per_unit=1.0)
    found = shifted([[0.5, 4.0, 3.0], [0.25, 2.0, 0.5]])  # means 0.375, 3, 1.75
    loss = batch_loss(torch.tensor(30.0), found, 0.5, config)
    assert loss.item() == pytest.approx(15 + 0.5 * (1.0 + 3.0 + 1.75))
    loss.backward()
    assert pull(found).tolist() == pytest.approx(torch.tensor([[0.0, 0.25, 0.25]] * 2))
    both = batch_loss(torch.tensor(30.0), found, 0.5, TrainingConfig(free_bits=7.0, free_bits_per_unit=1.0))
    assert both.item() == pytest.approx(15 + 0.5 * 7.0)


def test_reduction_by_sum_is_batch_size_times_the_mean() -> None:
    rec, found = torch.tensor(30.0), shifted([[1.0], [4.0]])
    losses = [
        batch_loss(rec, found, 1.0, TrainingConfig(free_bits=0.0, reduction=way)).item() for way in ("mean", "sum")
    ]
    assert losses == pytest.approx([17.5, 35.0])


def rounded_as_published(steps: int, part: float) -> int:
    """TWR-VAE's count of the last steps: Python's `round` (half to even), and all of them for 0."""
    return round(part * steps) or steps


@pytest.mark.parametrize(("target", "part"), [("last_25", 0.25), ("last_50", 0.5), ("last_75", 0.75)])
def test_partial_targets_by_loops(target: KlTarget, part: float) -> None:
    """On counts where rounding matters: 1 (0 of it), 2, 3, 5, 6, 10 (2.5 of it); no two steps cost the same."""
    counts = [1, 2, 3, 5, 6, 10]
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(len(counts), 10, 2, generator=generator, dtype=torch.float64)
    found = Posterior(mean, torch.zeros_like(mean), torch.tensor(counts))
    expected = []
    for row, steps in enumerate(counts):
        kl = [0.5 * float((mean[row, t] ** 2).sum()) for t in range(steps)]
        last = rounded_as_published(steps, part)
        expected.append(sum(kl[steps - last :]) / last)
    assert charged_kl(found, target).tolist() == pytest.approx(expected, rel=1e-12)


def test_last_over_t_is_the_own_kl_at_the_price_of_the_mean() -> None:
    found = posterior()
    own = charged_kl(found, "last")
    assert charged_kl(found, "last_over_t").tolist() == pytest.approx((own / torch.tensor([6, 3, 5])).tolist())
    only_last = Posterior(found.mean.clone(), found.log_variance.clone(), found.steps)
    for row, steps in enumerate(found.steps.tolist()):
        only_last.mean[row, : steps - 1] = only_last.log_variance[row, : steps - 1] = 0.0
    torch.testing.assert_close(charged_kl(only_last, "mean_t"), charged_kl(found, "last_over_t"))
