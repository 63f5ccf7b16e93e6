"""The figures that choose the best epoch, against the published formulas and against single sentences."""

import math

import pytest
import torch

from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.objective import gaussian_kl, reconstruction
from hvae_mnn.text.batches import collate
from hvae_mnn.training.validation import valid_figures

SENTENCES = [[2, 5, 6, 7, 8, 3], [2, 9, 3], [2, 10, 11, 5, 3], [2, 5, 5, 5, 3]]


@pytest.fixture
def model() -> HSRVAE:
    torch.manual_seed(0)
    return HSRVAE(ModelConfig(12, 5, 6, 4)).double()


def test_paper_figures_by_the_published_formulas(model: HSRVAE) -> None:
    """One batch, so T is the longest padded length; the latent is the mean after the pads; words + 2 tokens."""
    figures = valid_figures(model.train(), SENTENCES, batch_size=4)
    assert model.training  # put back as it was
    model.eval()
    batch = collate(sorted(SENTENCES, key=len))
    posterior = model.encode(batch.tokens, batch.lengths, masked=False)
    kl = gaussian_kl(posterior.mean, posterior.log_variance).sum().item() / 6
    rec = reconstruction(model.decode(batch.tokens, posterior.mean[:, -1]), batch.tokens).sum().item()
    assert figures.paper_kl == pytest.approx(kl / 4, rel=1e-5)
    assert figures.paper_nll == pytest.approx((rec + kl) / 4, rel=1e-5)
    assert figures.paper_ppl == pytest.approx(math.exp((rec + kl) / (6 + 3 + 5 + 5)), rel=1e-5)


def test_elbo_figures_do_not_depend_on_batches(model: HSRVAE) -> None:
    with torch.no_grad():  # no variance: every draw is the mean, so single sentences can be compared
        model.to_log_variance.weight.zero_()
        model.to_log_variance.bias.fill_(-40.0)
    model.eval()
    rec = kl = 0.0
    for sentence in SENTENCES:
        one = collate([sentence])
        mean, log_variance = model.encode(one.tokens, one.lengths, masked=True).last()
        rec += reconstruction(model.decode(one.tokens, mean), one.tokens).item()
        kl += gaussian_kl(mean, log_variance).item()
    for batch_size in (1, 3, 4):
        figures = valid_figures(model, SENTENCES, batch_size)
        assert figures.elbo_kl == pytest.approx(kl / 4, rel=1e-5)
        assert figures.elbo_nll == pytest.approx((rec + kl) / 4, rel=1e-5)
        assert figures.elbo_ppl == pytest.approx(math.exp(min((rec + kl) / (5 + 2 + 4 + 4), 700)), rel=1e-4)


def test_the_latent_is_drawn_from_the_seed(model: HSRVAE) -> None:
    state = torch.get_rng_state()
    one, again, other = (valid_figures(model, SENTENCES, 4, seed).elbo_nll for seed in (1, 1, 2))
    assert one == again != other
    assert torch.equal(torch.get_rng_state(), state)
