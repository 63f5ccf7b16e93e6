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
from hvae_mnn.models.training_config import TrainingConfig
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
    loss = batch_loss(
        reconstruction(output.logits, batch.tokens),
        charged_kl(output.posterior, config.kl_target),
        config.beta,
        config,
    )
    hidden, _ = net.encoder2(net.encoder1(net.encoder_embedding(batch.tokens))[0])
    mean, log_variance = net.to_mean(hidden), net.to_log_variance(hidden)
    kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1)
    z = mean[:, -1] + (log_variance[:, -1] / 2).exp() * noise
    rec = nn.functional.cross_entropy(
        net.decode(batch.tokens, z).flatten(0, 1), batch.tokens[:, 1:].flatten(), ignore_index=0, reduction="sum"
    )
    assert loss.item() == pytest.approx((rec + kl.sum() / batch.tokens.shape[1]).item(), rel=1e-5)


def test_free_bits_stop_the_gradient_of_a_small_kl_only() -> None:
    rec = torch.tensor([10.0, 20.0])
    config = TrainingConfig(free_bits=3.0)
    for values, pull in ((torch.tensor([1.0, 4.0]), 0.0), (torch.tensor([1.0, 8.0]), 0.35)):
        kl = values.clone().requires_grad_()
        loss = batch_loss(rec, kl, 0.7, config)
        assert loss.item() == pytest.approx(15 + 0.7 * max(values.mean().item(), 3.0))
        loss.backward()
        assert kl.grad is not None
        assert kl.grad.tolist() == pytest.approx([pull, pull])


def test_reduction_by_sum_is_batch_size_times_the_mean() -> None:
    rec, kl = torch.tensor([10.0, 20.0]), torch.tensor([1.0, 4.0])
    losses = [batch_loss(rec, kl, 1.0, TrainingConfig(free_bits=0.0, reduction=way)).item() for way in ("mean", "sum")]
    assert losses == pytest.approx([17.5, 35.0])
