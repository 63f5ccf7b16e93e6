"""Relations that hold for every row of the tables, whatever its weights: bounds in order, and what is a likelihood."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hvae_mnn.evaluation.importance import log_weights
from hvae_mnn.evaluation.proper import proper_report
from hvae_mnn.models.families import model_class
from hvae_mnn.models.inference.infer import infer
from hvae_mnn.models.latent import sentence_noise
from hvae_mnn.models.objective import gaussian_kl
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.rows import ROWS, configure_row
from hvae_mnn.text.batches import collate
from hvae_mnn.text.vocabulary import EOS, SOS

WORDS = 11
ONE_OF_EACH_KIND = ("lm", "vae-lstm", "sa-vae", "bn-vae", "sri-vae", "twr-gru", "hsr-gru-rnn", "hsr-lstm-lstm-per-step")
WITH_LATENT = ONE_OF_EACH_KIND[1:]


def make_model(row: str, scale: float = 3.0) -> RecurrentModel:
    """A row's model with random weights whose latent matters, in eval mode."""
    config, _ = configure_row(row, WORDS, epochs=2, embedding_size=5, hidden_size=6, latent_size=3)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = model_class("hsrvae")(config).eval()
    for name, parameter in model.named_parameters():
        if not name.endswith("embedding.weight"):
            parameter.data.mul_(scale)
    return model


def make_sentences(count: int) -> list[list[int]]:
    rng = np.random.default_rng(5)
    return [[SOS, *rng.integers(4, WORDS, size=rng.integers(1, 8)).tolist(), EOS] for _ in range(count)]


SENTENCES = make_sentences(60)


@torch.no_grad()
@pytest.mark.parametrize("row", WITH_LATENT)
def test_the_importance_weighted_nll_of_a_sentence_is_at_most_its_elbo_on_the_same_samples(row: str) -> None:
    """And at least that of more samples in the mean, down to the likelihood."""
    model = make_model(row)
    gaps, shorter = [], []
    for sentence in SENTENCES[:6]:
        batch = collate([sentence])
        mean, log_variance = (part[0] for part in infer(model, batch.tokens, batch.lengths).last())
        weights = log_weights(model, sentence, mean, log_variance, sentence_noise(0, 9, sentence, (64, len(mean))))
        gaps.append(-weights.mean().item() - (math.log(64) - torch.logsumexp(weights, 0).item()))
        groups = math.log(8) - torch.logsumexp(weights.view(8, 8), 1)
        shorter.append(groups.mean().item() - (math.log(64) - torch.logsumexp(weights, 0).item()))
    assert min(gaps) >= 0
    assert max(gaps) > 1e-3, "no weight differs, or the test shows nothing"
    assert min(shorter) >= 0


@torch.no_grad()
@pytest.mark.parametrize("row", WITH_LATENT)
def test_the_information_is_at_most_the_kl_within_its_standard_error(row: str) -> None:
    """KL - MI = KL(q(z) || p(z)) of the mixture over the set, which is never negative."""
    model = make_model(row)
    report = proper_report(model, SENTENCES, importance_samples=0, short_run_sentences=0)
    assert report.mutual_information <= report.kl + 3 * report.information_error
    assert report.information_error < 0.5
    batch = collate(SENTENCES)  # the KL that it is held against, without the report
    kl = gaussian_kl(*infer(model, batch.tokens, batch.lengths).last())
    assert report.kl == pytest.approx(kl.mean().item(), rel=1e-4)
    assert all(check.holds for check in report.checks)


@torch.no_grad()
def test_the_elbo_of_a_language_model_is_its_likelihood() -> None:
    model = make_model("lm")
    report = proper_report(model, SENTENCES, importance_samples=7, importance_sentences=None)
    nats = []
    for sentence in SENTENCES:  # word by word: the product of what the model gives to each
        logits, state = [], None
        for word in sentence[:-1]:
            embedded = model.decoder_embedding(torch.tensor([[word]]))
            hidden, state = model.decoder(embedded, state)
            logits.append(model.to_logits(hidden[0, 0]).double())
        probabilities = torch.softmax(torch.stack(logits), dim=1)
        nats.append(-sum(math.log(probabilities[place, word]) for place, word in enumerate(sentence[1:])))
    assert report.elbo_nll == pytest.approx(np.mean(nats), rel=1e-6)
    assert report.elbo_ppl == pytest.approx(math.exp(sum(nats) / sum(len(one) - 1 for one in SENTENCES)), rel=1e-6)
    assert (report.kl, report.mutual_information, report.active_units) == (0, 0, 0)
    assert report.importance is not None
    assert report.importance.nll == pytest.approx(report.elbo_nll, rel=1e-6)
    assert report.importance.gap == pytest.approx(0, abs=1e-9)
    assert report.ablation.gain == pytest.approx(0, abs=1e-9)


def test_likelihoods_of_a_language_model_add_up_to_one() -> None:
    """Over all texts of a small vocabulary, those that end within four words and those that go on."""
    model = make_model("lm")
    total, going_on = 0.0, [[SOS]]
    with torch.no_grad():
        for _ in range(4):
            tokens = torch.tensor([[*one, EOS] for one in going_on])
            logits = model.decode(tokens, torch.zeros(len(tokens), 0)).double().log_softmax(2)
            taken = logits.gather(2, tokens[:, 1:, None])[..., 0]
            total += taken.sum(1).exp().sum().item()
            going_on = [[*one, word] for one in going_on for word in range(WORDS) if word != EOS]
        tokens = torch.tensor(going_on)
        logits = model.decode(tokens, torch.zeros(len(tokens), 0)).double().log_softmax(2)
        total += logits.gather(2, tokens[:, 1:, None])[..., 0].sum(1).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-5)


def test_every_kind_is_a_row() -> None:
    assert set(ONE_OF_EACH_KIND) <= set(ROWS)
