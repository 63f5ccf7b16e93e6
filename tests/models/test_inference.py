"""Inference beyond an encoder: steps of SVI (SA-VAE), and Langevin chains with a Gaussian about their end (Sri-VAE)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hvae_mnn.evaluation.proper import proper_report
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.families import model_class
from hvae_mnn.models.inference.infer import infer, likelihood
from hvae_mnn.models.inference.langevin import chain, laplace
from hvae_mnn.models.inference.svi import refine
from hvae_mnn.models.latent import sample_latent
from hvae_mnn.models.objective import gaussian_kl
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.rows import configure_row
from hvae_mnn.text.batches import collate
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training.run import train

pytestmark = pytest.mark.usefixtures("one_thread")

CORPUS = grammar_corpus(seed=2, train=224, valid=40, test=48)
VOCABULARY = Vocabulary.build(CORPUS.train)
TEST = [VOCABULARY.encode_sentence(sentence) for sentence in CORPUS.test]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RecurrentModel]:
    """The model of a row after a few epochs, in float64 and eval mode; trained once."""
    made: dict[str, RecurrentModel] = {}

    def get(name: str) -> RecurrentModel:
        if name not in made:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            sizes = {"embedding_size": 10, "hidden_size": 14, "latent_size": 3, "learning_rate": 5e-3}
            specs = configure_row(name, len(VOCABULARY), epochs=3, **sizes)
            path: Path = train(CORPUS, *specs, tmp_path_factory.mktemp(name) / "run")
            made[name] = load_checkpoint(path).model.double()
            torch.set_num_threads(threads)
        return made[name]

    return get


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_svi_lowers_its_own_objective(trained: Callable[[str], RecurrentModel]) -> None:
    """In the mean over batches, at noise that the steps did not see; both weights of the KL."""
    model = trained("sa-vae")
    for weight in (1.0, 0.3):
        gains = []
        for seed in range(4):
            batch = collate(TEST[12 * seed : 12 * seed + 12])
            nats = likelihood(model, batch.tokens)
            start = tuple(part.detach() for part in model.encode(batch.tokens, batch.lengths, masked=True).last())
            end = refine(nats, start, noise(seed, 12, 10, 3), weight)

            def objective(posterior: tuple[Tensor, ...], seed: int = seed, nats=nats, weight=weight) -> float:
                mean, log_variance = posterior
                kl = weight * gaussian_kl(mean, log_variance).sum()
                with torch.no_grad():
                    draws = [nats(sample_latent(mean, log_variance, noise=e)) for e in noise(100 + seed, 40, 12, 3)]
                return (torch.stack(draws).mean() + kl).item()

            gains.append(objective(start) - objective(end))
        assert sum(gains) / len(gains) > 0.1, weight
        assert min(gains) > -0.1, weight


def test_exact_gradients_through_the_steps_are_those_of_finite_differences() -> None:
    """To the start and to the decoder's weights, on a model small enough for all of them."""
    config, _ = configure_row("sa-vae", 9, epochs=2, embedding_size=3, hidden_size=4, latent_size=2)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = model_class("hsrvae")(config).double().eval()
        for parameter in model.parameters():
            parameter.data.mul_(2)
    tokens = collate([[2, 5, 7, 6, 3], [2, 8, 3]]).tokens
    nats, draws = likelihood(model, tokens), noise(1, 2, 4, 2)
    start = noise(2, 2, 2, 2).requires_grad_()

    def last() -> Tensor:
        mean, log_variance = refine(nats, (start[0], start[1]), draws, 0.7, exact=True)
        return (mean * noise(3, 2, 2)).sum() + (log_variance * noise(4, 2, 2)).sum()

    weights = [start, model.to_logits.weight, model.decoder.weight_hh_l0, model.latent_to_hidden.bias]
    gradients = torch.autograd.grad(last(), weights)
    for value, gradient in zip(weights, gradients, strict=True):
        flat, wanted = value.data.view(-1), gradient.reshape(-1)
        for place in range(0, len(flat), max(1, len(flat) // 8)):
            sides = []
            for step in (1e-5, -1e-5):
                flat[place] += step
                sides.append(last().item())
                flat[place] -= step
            slope = (sides[0] - sides[1]) / 2e-5
            assert wanted[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-8)
    # First order passes the gradient to the start unchanged, which is not the same.
    mean, _ = refine(nats, (start[0], start[1]), draws, 0.7)
    (plain,) = torch.autograd.grad(mean.sum(), [start])
    torch.testing.assert_close(plain[0], torch.ones(2, 2, dtype=torch.float64))


def test_the_step_and_the_bound_are_the_published_ones_for_a_batch_of_32() -> None:
    """Kim et al.: momentum 0.5 and step 1 on the gradient of a batch's mean, whose norm over the batch is at most 5."""
    target = noise(6, 32, 3)
    for scale in (1.0, 40.0):  # without and with clipping; equal norms for all sentences, so that both bounds agree
        push = scale * target / target.norm(dim=1, keepdim=True)
        mean, log_variance = torch.zeros(32, 3, dtype=torch.float64), torch.zeros(32, 3, dtype=torch.float64)
        found, _ = refine(lambda z, push=push: (z * push).sum(), (mean, log_variance), torch.zeros(32, 3, 3).double())
        move = torch.zeros_like(mean)
        for _ in range(3):
            gradient = (push + mean) / 32
            gradient = gradient * min(1.0, 5.0 / gradient.norm().item())
            move = 0.5 * move - gradient
            mean = mean + move
        torch.testing.assert_close(found, mean, rtol=1e-9 if scale == 1 else 2e-2, atol=0)


@pytest.mark.parametrize("row", ["sa-vae", "sri-vae"])
def test_a_sentences_posterior_does_not_depend_on_its_batch(trained: Callable[[str], RecurrentModel], row: str) -> None:
    model = trained(row)
    batch = collate(TEST[:9])
    whole = infer(model, batch.tokens, batch.lengths).last()
    for place in (0, 4, 8):
        alone = collate([TEST[place]])
        for part, expected in zip(infer(model, alone.tokens, alone.lengths).last(), whole, strict=True):
            torch.testing.assert_close(part[0], expected[place], rtol=0, atol=1e-10)


def test_a_chain_goes_down_the_joint_density(trained: Callable[[str], RecurrentModel]) -> None:
    """-ln p(x, z) falls in the mean over batches of a trained model, from the prior on."""
    model, falls = trained("sri-vae"), []
    for seed in range(4):
        batch = collate(TEST[12 * seed : 12 * seed + 12])
        nats = likelihood(model, batch.tokens)
        start = noise(seed, 12, 3)
        for temperature in (0.0, 0.2):
            end = chain(nats, start, noise(50 + seed, 12, 20, 3), temperature)
            with torch.no_grad():
                before, after = ((nats(z) + 0.5 * z.square().sum()).item() for z in (start, end))
            falls.append((before - after) / 12)
    assert sum(falls) / len(falls) > 0.5


def test_a_chain_takes_the_published_steps() -> None:
    """On a quadratic, where each step is a known contraction, and its noise is known, too."""
    sizes = [0.8, 0.7, 0.6, 0.5, 0.2, 0.2, 0.1, 0.1, *[0.05] * 12]
    start, draws, precision = noise(7, 2, 3), noise(8, 2, 20, 3), torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    expected = start
    for number, size in enumerate(sizes):
        expected = expected - size**2 / 2 * (precision + 1) * expected + 0.15 * size * draws[:, number]
    found = chain(lambda z: 0.5 * (precision * z.square()).sum(), start, draws, 0.15)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_proposals_precision_is_the_diagonal_of_the_curvature(trained: Callable[[str], RecurrentModel]) -> None:
    """With all sign patterns as probes what is beside the diagonal cancels, and only third differences are left."""
    model = trained("sri-vae")
    batch = collate(TEST[:3])
    nats, latent = likelihood(model, batch.tokens), noise(9, 3, 3)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3).expand(3, -1, -1)
    mean, log_variance = laplace(nats, latent, signs)
    assert torch.equal(mean, latent)

    def joint(z: Tensor) -> Tensor:
        return nats(z) + 0.5 * z.square().sum()

    hessian = torch.autograd.functional.hessian(joint, latent).view(9, 9)
    exact = hessian.diagonal().view(3, 3).clamp(min=1.0)
    assert (exact > 1.0).any()  # the likelihood bends somewhere
    torch.testing.assert_close((-log_variance).exp(), exact, rtol=1e-3, atol=1e-4)


def test_the_proposal_gives_a_bound(trained: Callable[[str], RecurrentModel]) -> None:
    """As NLL, more samples are never above fewer on the same draws, and both stand in the report."""
    report = proper_report(trained("sri-vae").float(), TEST, importance_samples=30, importance_sentences=None)
    importance = report.importance
    assert importance is not None
    assert importance.nll < importance.elbo_nll
    assert all(check.holds for check in report.checks)
    trained("sri-vae").double()
