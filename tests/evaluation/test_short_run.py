"""Sri-VAE's estimate by the Jacobian of short runs: finite differences, an integral, and where it is no bound."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from hvae_mnn.errors import CheckpointError
from hvae_mnn.evaluation.proper import proper_report
from hvae_mnn.evaluation.report import evaluate
from hvae_mnn.evaluation.short_run import (
    likelihood_derivatives,
    log_weights,
    short_run,
    short_run_report,
)
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.inference.infer import likelihood
from hvae_mnn.models.inference.langevin import chain
from hvae_mnn.models.objective import reconstruction
from hvae_mnn.text.vocabulary import EOS, SOS

WORDS = 12
SENTENCE = [SOS, 5, 9, 4, 7, EOS]
DECODERS = [("lstm", False), ("lstm", True), ("gru", False), ("rnn", False)]


def make_model(latent: int = 3, scale: float = 3.0, cell: str = "lstm", peepholes: bool = False) -> HSRVAE:
    """A small random decoder in float64 whose latent `langevin` finds; the larger `scale`, the sharper p(x | z)."""
    config = ModelConfig(
        vocabulary_size=WORDS,
        embedding_size=6,
        hidden_size=8,
        latent_size=latent,
        encoder_cells=(),
        decoder_cell=cell,
        peepholes=peepholes,
        decoder_start="hidden",
        inference="langevin",
        inference_steps=20,
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = HSRVAE(config).double().eval().requires_grad_(False)
    for name, weights in model.named_parameters():
        if not name.endswith("embedding.weight"):
            weights.mul_(scale)
    return model


def tokens_of(rows: int) -> Tensor:
    return torch.tensor(SENTENCE).expand(rows, -1)


def starts(rows: int, size: int) -> Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def derivatives(model: HSRVAE, rows: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    return lambda latent: likelihood_derivatives(model, tokens_of(rows), latent)


def ends(model: HSRVAE, start: Tensor) -> Tensor:
    """The chain of training and evaluation, without noise."""
    still = torch.zeros(len(start), model.config.inference_steps, start.shape[1], dtype=torch.float64)
    return chain(likelihood(model, tokens_of(len(start))), start, still, temperature=0.0)


@pytest.mark.parametrize(("cell", "peepholes"), DECODERS)
def test_derivatives_are_those_of_all_logits(cell: str, peepholes: bool) -> None:
    model = make_model(cell=cell, peepholes=peepholes)
    latent = starts(4, 3).requires_grad_()
    (slope,) = torch.autograd.grad(likelihood(model, tokens_of(4))(latent), [latent], create_graph=True)
    hessian = torch.stack(
        [torch.autograd.grad(unit.sum(), [latent], retain_graph=True)[0] for unit in slope.unbind(1)], 1
    )
    found = likelihood_derivatives(model, tokens_of(4), latent.detach())
    torch.testing.assert_close(found[0], slope.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found[1], hessian, rtol=1e-10, atol=1e-12)
    assert hessian.abs().max() > 0.1


@pytest.mark.parametrize(("cell", "peepholes"), DECODERS)
def test_a_runs_jacobian_is_that_of_finite_differences(cell: str, peepholes: bool) -> None:
    model, start, width = make_model(scale=2.0, cell=cell, peepholes=peepholes), starts(4, 3), 1e-6
    run = short_run(derivatives(model, 4), start, 20)
    torch.testing.assert_close(run.end, ends(model, start), rtol=0, atol=1e-12)
    columns = [
        (ends(model, start + width * unit) - ends(model, start - width * unit)) / (2 * width)
        for unit in torch.eye(3, dtype=torch.float64)
    ]
    expected = torch.linalg.slogdet(torch.stack(columns, dim=2)).logabsdet
    torch.testing.assert_close(run.log_determinant, expected, rtol=0, atol=1e-6)
    assert expected.abs().max() > 0.3


def joint(model: HSRVAE, latent: Tensor) -> np.ndarray:
    """ln p(x, z) of latents (B, 1)."""
    nats = reconstruction(model.decode(tokens_of(len(latent)), latent), tokens_of(len(latent)))
    return (-nats - 0.5 * latent[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)).numpy()


def exact_nll(model: HSRVAE) -> float:
    grid = torch.linspace(-9, 9, 801, dtype=torch.float64)
    return -math.log(trapezoid(np.exp(joint(model, grid[:, None])), grid.numpy()))


def limit_of_the_estimate(model: HSRVAE) -> tuple[float, float]:
    """The estimate of infinitely many starts, -ln of the mean weight over N(0, 1); and their part that overshoots."""
    grid = torch.linspace(-14, 14, 801, dtype=torch.float64)
    likelihoods, ratio, folded = log_weights(model, SENTENCE, grid[:, None])
    density = torch.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
    weight = torch.exp(likelihoods - ratio)
    mean, part = (trapezoid((density * values).numpy(), grid.numpy()) for values in (weight, folded))
    return -math.log(mean), part


def test_where_no_step_overshoots_the_estimate_is_the_likelihood() -> None:
    model = make_model(latent=1, scale=1.5)
    limit, folded = limit_of_the_estimate(model)
    assert folded == 0
    assert limit == pytest.approx(exact_nll(model), abs=1e-4)


def test_where_steps_overshoot_the_estimate_is_below_the_likelihood() -> None:
    """Starts that share an end count it once each: an NLL that the model does not have."""
    model = make_model(latent=1, scale=4.0)
    limit, folded = limit_of_the_estimate(model)
    assert folded > 0.3
    assert limit < exact_nll(model) - 0.5


def test_the_kl_and_the_weights_by_hand() -> None:
    model, start = make_model(), starts(5, 3)
    run = short_run(derivatives(model, 5), start, 20)
    likelihoods, ratio, _ = log_weights(model, SENTENCE, start)
    prior = torch.distributions.Normal(0.0, 1.0)
    log_q = prior.log_prob(start).sum(1) - run.log_determinant
    torch.testing.assert_close(ratio, log_q - prior.log_prob(run.end).sum(1), rtol=0, atol=1e-12)
    logits = model.decode(tokens_of(5), run.end).log_softmax(2)
    expected = torch.stack([logits[:, place, word] for place, word in enumerate(SENTENCE[1:])]).sum(0)
    torch.testing.assert_close(likelihoods, expected, rtol=0, atol=1e-12)


SENTENCES = [[SOS, *range(4, 4 + length), EOS] for length in range(1, 8)]


def test_the_block_stands_in_the_proper_report_of_such_a_model_only() -> None:
    model = make_model().float()
    seen = []
    asked = {"importance_samples": 50, "importance_sentences": 5, "short_run_sentences": 3}
    report = evaluate(model, SENTENCES, **asked, progress=lambda *stage: seen.append(stage))
    block = json.loads(json.dumps(report.to_dict(), allow_nan=False))["proper"]["short_run"]
    assert (block["sentences"], block["samples"]) == (3, 10)
    assert "no bound" in block["note"]
    assert ("short runs", 3, 3) in seen
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    # The bound beside it is that of the same sentences.
    same = proper_report(model, SENTENCES, importance_samples=50, importance_sentences=3, short_run_sentences=0)
    assert same.short_run is None
    assert same.importance is not None
    assert block["importance_nll"] == same.importance.nll
    alone = proper_report(model, SENTENCES, importance_samples=0, short_run_sentences=3)
    assert alone.short_run is not None
    assert alone.short_run.nll == block["nll"]
    assert alone.short_run.importance_nll is None
    amortised = HSRVAE(ModelConfig(WORDS, 4, 5, 3))
    assert proper_report(amortised, SENTENCES, importance_samples=0).to_dict()["short_run"] is None


def test_perplexity_is_over_words_and_ends() -> None:
    report = short_run_report(make_model(), SENTENCES[:3], importance_nll=None, seed=0)
    assert report.ppl == pytest.approx(math.exp(3 * report.nll / (2 + 3 + 4)))


def test_weights_too_large_to_compute_with_are_refused() -> None:
    model = make_model()
    model.to_logits.weight.fill_(math.nan)
    with pytest.raises(CheckpointError, match="second derivative of the likelihood is nan"):
        short_run_report(model, [SENTENCE], importance_nll=None, seed=0)
