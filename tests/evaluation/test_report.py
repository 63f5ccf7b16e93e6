"""Both reports on small models: formulas written out by hand, invariances, and an integral as an independent oracle."""

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import Tensor
from torch.distributions import Normal

from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.evaluation.importance import log_weights
from hvae_mnn.evaluation.paper import paper_report
from hvae_mnn.evaluation.proper import proper_report
from hvae_mnn.evaluation.report import evaluate
from hvae_mnn.evaluation.scoring import log_likelihood
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.objective import gaussian_kl
from hvae_mnn.text.batches import collate
from hvae_mnn.text.vocabulary import EOS, SOS

WORDS = 12


def make_model(latent: int = 3, scale: float = 3.0, sees_eos: bool = False, seed: int = 0) -> HSRVAE:
    """A small random model whose latent matters; eval mode is not set on purpose."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = ModelConfig(
            vocabulary_size=WORDS,
            embedding_size=6,
            hidden_size=8,
            latent_size=latent,
            dropout=0.5,
            encoder_sees_eos=sees_eos,
        )
        model = HSRVAE(config)
        with torch.no_grad():
            for name, weights in model.named_parameters():
                if not name.endswith("embedding.weight"):
                    weights.mul_(scale)
    return model


def make_sentences(count: int, seed: int = 0, shortest: int = 1, longest: int = 7) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [
        [SOS, *rng.integers(4, WORDS, size=rng.integers(shortest, longest + 1)).tolist(), EOS] for _ in range(count)
    ]


def by_hand(model: HSRVAE, sentence: Sequence[int], latent: Tensor) -> float:
    """ln p(x | z) of one sentence, word by word."""
    tokens = torch.tensor([sentence])
    probabilities = torch.softmax(model.decode(tokens, latent[None])[0].double(), dim=1)
    return sum(math.log(probabilities[place, word]) for place, word in enumerate(sentence[1:]))


@torch.no_grad()
def test_log_likelihood_in_slices_equals_word_by_word(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sentences = make_model().eval(), make_sentences(5)
    latent = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    whole = log_likelihood(model, collate(sentences).tokens, latent)
    for place, sentence in enumerate(sentences):
        assert whole[place].item() == pytest.approx(by_hand(model, sentence, latent[place]), abs=1e-4)
    monkeypatch.setattr("hvae_mnn.evaluation.scoring._LOGITS_AT_ONCE", 3 * WORDS)
    torch.testing.assert_close(log_likelihood(model, collate(sentences).tokens, latent), whole)


@torch.no_grad()
@pytest.mark.parametrize("sees_eos", [False, True])
def test_paper_report_is_the_published_formulas(sees_eos: bool) -> None:
    """Two batches of two, written out: pads are encoder steps, T is the padded length, words + 2 are counted."""
    model = make_model(sees_eos=sees_eos)
    sentences = make_sentences(4, seed=5)
    report = paper_report(model, sentences, batch_size=2)
    assert model.training
    model.eval()
    rec = kl = 0.0
    ordered = sorted(sentences, key=len)
    for pair in (ordered[:2], ordered[2:]):
        batch = collate(pair)
        posterior = model.encode(batch.tokens, batch.lengths, masked=False)
        mean, log_variance = posterior.mean, posterior.log_variance  # the encoder's steps, pads among them
        steps = max(len(sentence) for sentence in pair) - (0 if sees_eos else 1)
        assert mean.shape[1] == steps
        kl += (0.5 * (mean**2 + log_variance.exp() - log_variance - 1)).sum().item() / steps
        rec -= sum(by_hand(model, sentence, mean[row, -1]) for row, sentence in enumerate(pair))
    ids = sum(map(len, sentences))
    assert report.tokens == ids
    assert report.kl == pytest.approx(kl / 4, rel=1e-5)
    assert report.reconstruction == pytest.approx(rec / 4, rel=1e-5)
    assert report.nll == pytest.approx((rec + kl) / 4, rel=1e-5)
    assert report.ppl == pytest.approx(math.exp((rec + kl) / ids), rel=1e-5)
    assert report.information_cap == pytest.approx(math.log(2))


@torch.no_grad()
def test_the_papers_information_and_its_error_are_of_all_sentences_shares() -> None:
    """Batches of two and one: each sentence's share within its batch, then mean and standard error over all three."""
    model = make_model(sees_eos=True).eval()
    sentences = sorted(make_sentences(3, seed=5), key=len)
    report = paper_report(model, sentences, batch_size=2)
    generator = torch.Generator().manual_seed(0)
    shares = []
    for part in (sentences[:2], sentences[2:]):
        batch = collate(part)
        mean, log_variance = model.encode(batch.tokens, batch.lengths, masked=False).last()
        spread = (log_variance / 2).exp()
        z = mean + spread * torch.randn(mean.shape, generator=generator)
        for row in range(len(part)):
            densities = [Normal(mean[m], spread[m]).log_prob(z[row]).double().sum().exp() for m in range(len(part))]
            entropy = Normal(mean[row], spread[row]).entropy().double().sum()
            shares.append(float(-entropy - (sum(densities) / len(part)).log()))
    assert report.mutual_information == pytest.approx(np.mean(shares), rel=1e-5)
    assert report.information_error == pytest.approx(np.std(shares, ddof=1) / math.sqrt(3), rel=1e-5)


@torch.no_grad()
def test_proper_report_charges_the_last_steps_kl_of_single_sentences() -> None:
    model, sentences = make_model(), make_sentences(9, seed=6)
    report = proper_report(model, sentences, importance_samples=0, batch_size=4)
    assert model.training
    model.eval()
    means, variances = [], []
    for sentence in sentences:
        read = torch.tensor([sentence[:-1]])  # this model's encoder does not see the end symbol
        hidden, _ = model.encoder2(model.encoder1(model.encoder_embedding(read))[0])
        means.append(model.to_mean(hidden[0, -1]))
        variances.append(model.to_log_variance(hidden[0, -1]))
    mean, log_variance = torch.stack(means), torch.stack(variances)
    assert report.kl == pytest.approx(gaussian_kl(mean, log_variance).mean().item(), rel=1e-5)
    assert report.tokens == sum(len(sentence) - 1 for sentence in sentences)
    assert report.elbo_nll == pytest.approx(report.reconstruction + report.kl)
    assert report.elbo_ppl == pytest.approx(math.exp(9 * report.elbo_nll / report.tokens))
    assert report.active_units == int((mean.numpy().var(axis=0, ddof=1) >= 0.01).sum())
    assert report.importance is None
    assert report.ablation.own == report.reconstruction
    assert report.ablation.net_gain == pytest.approx(report.ablation.prior - report.elbo_nll)


def flat(values: object, prefix: str = "") -> dict[str, float]:
    """Numbers of a nested report by their path."""
    if isinstance(values, dict):
        pairs = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list):
        pairs = [(str(place), value) for place, value in enumerate(values)]
    else:
        return {prefix: values} if isinstance(values, int | float) else {}
    return {path: number for key, value in pairs for path, number in flat(value, f"{prefix}/{key}").items()}


def test_proper_does_not_depend_on_order_or_batches() -> None:
    model, sentences = make_model(), make_sentences(60, seed=7)
    asked = {"importance_samples": 20, "importance_sentences": 15}
    first = flat(proper_report(model, sentences, **asked).to_dict())
    second = flat(proper_report(model, sentences[::-1], batch_size=7, **asked).to_dict())
    assert first == pytest.approx(second, rel=1e-4, abs=1e-5)


def test_paper_information_depends_on_the_order() -> None:
    """The published estimate takes a batch for the whole: the company a sentence comes in changes its figure."""
    model, sentences = make_model(), make_sentences(60, seed=7)
    figures = {
        round(paper_report(model, ordered, batch_size=8).mutual_information, 6)
        for ordered in (sentences, sentences[::-1])
    }
    assert len(figures) == 2


def test_pads_change_paper_but_not_proper() -> None:
    """A short sentence in one batch with a long one is read after its pads, by the published formulas."""
    model = make_model(sees_eos=True)
    sentences = [[SOS, 5, EOS], [SOS, *range(4, 12), EOS]]
    assert paper_report(model, sentences, batch_size=1).kl != pytest.approx(
        paper_report(model, sentences, batch_size=2).kl, rel=1e-3
    )
    one, two = (proper_report(model, sentences, importance_samples=0, batch_size=size) for size in (1, 2))
    assert one.kl == pytest.approx(two.kl, rel=1e-5)


@torch.no_grad()
def exact_log_likelihood(model: HSRVAE, sentence: list[int]) -> float:
    """ln p(x) = ln of the integral over the one latent of p(z) p(x | z), by the trapezoidal rule."""
    z = torch.linspace(-9, 9, 6001)
    tokens = torch.tensor([sentence]).expand(len(z), -1)
    log_likelihoods = log_likelihood(model, tokens, z[:, None]).numpy()
    density = np.exp(-0.5 * z.double().numpy() ** 2) / math.sqrt(2 * math.pi)
    return math.log(trapezoid(density * np.exp(log_likelihoods), z.double().numpy()))


def test_importance_bound_agrees_with_the_integral() -> None:
    model, sentences = make_model(latent=1, scale=2.0).eval(), make_sentences(12, seed=8)
    exact = -np.mean([exact_log_likelihood(model, sentence) for sentence in sentences])
    reports = [
        proper_report(model, sentences, importance_samples=samples, importance_sentences=None, seed=3).importance
        for samples in (1, 10, 4000)
    ]
    few, more, many = [report for report in reports if report is not None]
    assert many.nll == pytest.approx(exact, abs=0.01)
    assert few.nll == pytest.approx(few.elbo_nll)
    assert few.nll > more.nll > exact - 0.02
    assert many.elbo_nll > exact + 0.05, "the random posterior should be visibly off, or the test shows nothing"
    assert many.gap == pytest.approx(many.elbo_nll - many.nll)
    # With every sentence in it, the two ways to a figure of the set differ by the ELBO's own sampling only.
    assert many.set_nll == pytest.approx(many.nll, abs=1.0)


@torch.no_grad()
def test_one_importance_weight_by_hand() -> None:
    model, sentence = make_model(latent=2).eval(), make_sentences(1, seed=9)[0]
    mean, log_variance = torch.tensor([0.3, -0.8]), torch.tensor([-0.5, 0.4])
    noise = torch.tensor([[0.7, -1.1], [0.1, 0.2]])
    found = log_weights(model, sentence, mean, log_variance, noise)
    for row in range(2):
        z = mean + torch.exp(log_variance / 2) * noise[row]
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
        posterior = torch.distributions.Normal(mean, torch.exp(log_variance / 2)).log_prob(z).sum()
        expected = by_hand(model, sentence, z) + (prior - posterior).item()
        assert found[row].item() == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_a_latent_that_the_decoder_cannot_read_makes_no_difference() -> None:
    model, sentences = make_model(), make_sentences(30)
    model.latent_to_hidden.weight.zero_()
    model.decoder.weight_ih_l0[:, -3:] = 0.0
    report = proper_report(model, sentences, importance_samples=50)
    assert report.ablation.gain == pytest.approx(0.0, abs=1e-5)
    assert report.ablation.net_gain == pytest.approx(-report.kl, rel=1e-4)


@torch.no_grad()
def test_a_posterior_equal_to_the_prior_knows_nothing_and_is_exact() -> None:
    """With q(z|x) = p(z) every KL is 0, the latent of the set is the prior's, and no unit is active."""
    model, sentences = make_model(), make_sentences(40)
    for layer in (model.to_mean, model.to_log_variance):
        layer.weight.zero_()
        layer.bias.zero_()
    report = proper_report(model, sentences, importance_samples=5)
    assert report.kl == pytest.approx(0.0, abs=1e-7)
    assert report.mutual_information == pytest.approx(0.0, abs=1e-7)
    assert report.active_units == 0
    assert all(value == pytest.approx(0.0, abs=1e-7) for value in report.profile.by_step)
    assert all(check.holds for check in report.checks)


def test_all_checks_hold_and_the_report_is_json() -> None:
    evaluation = evaluate(make_model(), make_sentences(70), importance_samples=30, importance_sentences=20)
    content = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert set(content) == {"paper", "proper"}
    assert all(check["holds"] for report in content.values() for check in report["checks"])
    assert content["proper"]["importance"]["nll"] <= content["proper"]["importance"]["elbo_nll"]
    assert content["proper"]["importance"]["sentences"] == 20
    assert not {"ppl", "nll"} & set(content["proper"]), "proper figures have names of their own"


def test_the_same_seed_gives_the_same_report_and_another_one_does_not() -> None:
    model, sentences = make_model(), make_sentences(20)
    first, again, other = (evaluate(model, sentences, importance_samples=5, seed=seed).to_dict() for seed in (1, 1, 2))
    assert first == again
    assert first["proper"]["elbo_nll"] != other["proper"]["elbo_nll"]
    assert first["paper"]["nll"] == other["paper"]["nll"], "at the posterior mean nothing is drawn"


def test_progress_reaches_the_end_of_every_stage() -> None:
    seen: dict[str, tuple[int, int]] = {}

    def note(stage: str, done: int, total: int) -> None:
        seen[stage] = (done, total)

    evaluate(make_model(), make_sentences(20), importance_samples=2, importance_sentences=6, progress=note)
    assert seen == {
        "paper": (20, 20),
        "posteriors": (20, 20),
        "reconstructions": (20, 20),
        "importance": (6, 6),
    }


@pytest.mark.parametrize(
    ("count", "options", "found"),
    [
        (1, {}, "found 1"),
        (5, {"seed": -1}, "seed is -1"),
        (5, {"importance_samples": -1}, "importance_samples is -1"),
        (5, {"importance_sentences": 0}, "importance_sentences is 0"),
    ],
)
def test_bad_arguments(count: int, options: dict[str, int], found: str) -> None:
    with pytest.raises(InputError, match=found):
        proper_report(make_model(), make_sentences(count), **options)


def test_figures_that_are_not_finite_are_refused() -> None:
    model = make_model()
    with torch.no_grad():
        model.to_log_variance.bias.fill_(1e30)
    with pytest.raises(CheckpointError, match="too large to compute with"):
        proper_report(model, make_sentences(5))
