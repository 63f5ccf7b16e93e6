"""BN-VAE's normalisation of the means: the KL that it guarantees, and its folding into the linear map before it."""

from __future__ import annotations

import pytest
import torch

from hvae_mnn.errors import InputError
from hvae_mnn.models.families import model_class
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.objective import gaussian_kl
from hvae_mnn.models.rows import configure_row
from hvae_mnn.text.batches import Batch, collate

GAMMA = 0.6
SENTENCES = [[2, 5, 7, 9, 6, 3], [2, 8, 5, 6, 3], [2, 9, 3], [2, 10, 9, 8, 7, 6, 3], [2, 4, 3]]


def model_of(seed: int = 3) -> HSRVAE:
    config, _ = configure_row("bn-vae", 11, epochs=2, embedding_size=7, hidden_size=6, latent_size=4)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class("hsrvae")(config)
    assert isinstance(model, HSRVAE)
    model.normalise_means(GAMMA)
    return model.double()


def posterior(model: HSRVAE, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return model.encode(batch.tokens, batch.lengths, masked=True).last()


@torch.no_grad()
@pytest.mark.parametrize("seed", range(5))
def test_a_batchs_mean_kl_is_at_or_above_the_bound(seed: int) -> None:
    """On the statistics of the batch itself: Z (gamma^2 + shift^2) / 2, less what keeps the variance above zero."""
    model, batch = model_of(seed).train(), collate(SENTENCES)
    assert model.mean_norm is not None
    model.mean_norm.shift.copy_(torch.tensor([0.3, -0.7, 0.0, 1.1]))
    mean, log_variance = posterior(model, batch)
    torch.testing.assert_close(mean.mean(dim=0), model.mean_norm.shift.detach(), rtol=0, atol=1e-12)
    kl = gaussian_kl(mean, log_variance).mean().item()
    hidden = torch.stack([model.encoder1(model.encoder_embedding(torch.tensor([s])))[0][0, -1] for s in SENTENCES])
    variance = model.to_mean(hidden).var(dim=0, unbiased=False)
    stated = GAMMA**2 * variance / (variance + 1e-5)  # the squared scale that is reached, unit by unit
    bound = 0.5 * (stated + model.mean_norm.shift**2).sum().item()
    assert kl >= bound - 1e-12
    # Untrained posteriors have variances near 1, which cost little more: the bound is what holds the KL up.
    assert kl == pytest.approx(bound, abs=0.5)
    model.mean_norm = None
    assert gaussian_kl(*posterior(model, batch)).mean().item() < 0.5 * bound


@torch.no_grad()
def test_evaluation_uses_running_statistics_of_the_latents_own_steps() -> None:
    """Torch's BatchNorm1d on the last valid steps, batch after batch: a plain mean over ten of them, then a running one
    of momentum 0.1, which the published code has from the first."""
    model = model_of().train()
    assert model.mean_norm is not None
    published = torch.nn.BatchNorm1d(4).double()
    published.weight.copy_(model.mean_norm.gamma)
    for number in range(13):
        part = SENTENCES[:3] if number % 3 else SENTENCES[3:]
        batch = collate(part)
        published.momentum = None if number < 10 else 0.1
        found, _ = posterior(model, batch)
        hidden = torch.stack([model.encoder1(model.encoder_embedding(torch.tensor([s])))[0][0, -1] for s in part])
        torch.testing.assert_close(found, published(model.to_mean(hidden)), rtol=0, atol=1e-12)
    model.eval()
    published.eval()
    found, _ = posterior(model, batch)
    torch.testing.assert_close(found, published(model.to_mean(hidden)), rtol=0, atol=1e-12)


@torch.no_grad()
def test_folding_changes_no_logit() -> None:
    model, batch = model_of().train(), collate(SENTENCES)
    assert model.mean_norm is not None
    model.mean_norm.shift.copy_(torch.tensor([0.3, -0.7, 0.0, 1.1]))
    for _ in range(30):
        posterior(model, batch)
    folded = model.deployed()
    assert not folded.training
    assert model.training
    assert isinstance(folded, HSRVAE)
    assert folded.mean_norm is None
    assert set(folded.state_dict()) == {name for name in model.state_dict() if not name.startswith("mean_norm")}
    model.eval()
    logits = [one.decode(batch.tokens, posterior(one, batch)[0]) for one in (model, folded)]
    assert (logits[0] - logits[1]).abs().max().item() < 1e-6
    model.mean_norm = None  # it is what folding takes away, not nothing
    assert (model.decode(batch.tokens, posterior(model, batch)[0]) - logits[1]).abs().max().item() > 1e-3


@torch.no_grad()
def test_a_single_sentence_is_put_on_the_running_scale() -> None:
    """It has no spread of its own, and leaves the statistics as they are."""
    model, one = model_of().train(), collate(SENTENCES[:1])
    assert model.mean_norm is not None
    posterior(model, collate(SENTENCES))
    before = model.mean_norm.running_mean.clone()
    found, _ = posterior(model, one)
    assert torch.equal(model.mean_norm.running_mean, before)
    assert torch.equal(found, posterior(model.eval(), one)[0])


def test_a_model_without_an_encoder_has_no_means_to_normalise() -> None:
    config, _ = configure_row("lm", 11, epochs=2, embedding_size=7, hidden_size=6)
    with pytest.raises(InputError, match=r"batch_norm_gamma is 0\.6, but the model has no encoder"):
        model_class("hsrvae")(config).normalise_means(0.6)
