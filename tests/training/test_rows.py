"""A row of every kind: killed and resumed to the same bits, its two reports, and what its updates change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hvae_mnn.errors import InputError
from hvae_mnn.evaluation.report import evaluate
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.rows import configure_row
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.text.batches import collate
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training.history import read_history
from hvae_mnn.training.learner import Costs, Learner
from hvae_mnn.training.run import TrainingEvent, TrainingRun, train
from hvae_mnn.training.updates import lagging
from hvae_mnn.training.updates.joint import joint_update
from hvae_mnn.training.updates.lagging import is_aggressive, lagging_update

KINDS = ["lm", "sa-vae", "cyc-vae", "lag-vae", "bn-vae", "sri-vae", "twr-gru", "twr-lstm-last50", "hsr-gru-rnn"]
KINDS += ["hsr-lstm-lstm-per-step", "hsr-lstm-lstm-unit-free-bits"]
CORPUS = grammar_corpus(seed=1, train=60, valid=20, test=12)
VOCABULARY = Vocabulary.build(CORPUS.train)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(lagging, "_MOST_STEPS", 7)
    monkeypatch.setattr(lagging, "_WINDOW", 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def specs(row: str, **values: Any) -> tuple[ModelConfig, TrainingConfig]:
    sizes = {"embedding_size": 6, "hidden_size": 8, "latent_size": 3, "batch_size": 16}
    return configure_row(row, len(VOCABULARY), **{"epochs": 2, **sizes, **values})


def run_in(out: Path, row: str, corpus: Corpus = CORPUS, **values: Any) -> TrainingRun:
    return TrainingRun(corpus, VOCABULARY, *specs(row, **values), out, torch.device("cpu"))


class Stop(Exception):
    """Stands for a kill."""


def assert_same(found: Any, expected: Any) -> None:
    """Equal to the bit; wall-clock seconds aside."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            if key != "seconds":
                assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert torch.equal(found, expected) if isinstance(expected, torch.Tensor) else found == expected


@pytest.mark.parametrize("row", KINDS)
def test_a_row_resumes_to_the_same_bits_and_its_reports_hold(tmp_path: Path, row: str) -> None:
    """Killed in the middle of both epochs; MI stays below the KL within its error, as all checks of both reports."""
    model_config, config = specs(row)
    seen: list[TrainingEvent] = []

    def stops(event: TrainingEvent) -> None:
        seen.append(event)
        if len(seen) in (2, 7):  # the second batch of an epoch of four
            assert (event.kind, event.batch) == ("batch", 2)
            raise Stop

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    best = train(CORPUS, model_config, config, whole)
    for _ in range(2):
        with pytest.raises(Stop):
            train(CORPUS, model_config, config, killed, resume=True, progress=stops, save_every_s=0.0)
    train(CORPUS, model_config, config, killed, resume=True)
    assert (killed / "best.pt").read_bytes() == best.read_bytes()
    states = [torch.load(out / "last.pt", weights_only=True) for out in (killed, whole)]
    assert_same(*states)
    for record in read_history(whole)[0]:
        assert record["valid"]["mutual_information"] <= record["valid"]["elbo_kl"] + 3 * max(
            record["valid"]["information_error"], 1e-9
        )

    model = load_checkpoint(best).model
    test = [VOCABULARY.encode_sentence(sentence) for sentence in CORPUS.test]
    found = evaluate(model, test, importance_samples=5, importance_sentences=6)
    assert [check.name for check in (*found.paper.checks, *found.proper.checks) if not check.holds] == []
    assert found.proper.mutual_information <= found.proper.kl + 3 * max(found.proper.information_error, 1e-9)
    importance = found.proper.importance
    assert importance is not None
    if row == "lm":  # its ELBO is its likelihood, and so is its importance-weighted bound
        likelihood = 0.0
        for sentence in test:
            tokens = collate([sentence]).tokens
            logits = model.decode(tokens, torch.zeros(1, 0))[0]
            likelihood -= logits.log_softmax(dim=1)[range(len(sentence) - 1), tokens[0, 1:]].sum().item() / len(test)
        assert found.proper.elbo_nll == pytest.approx(likelihood, rel=1e-6)
        assert importance.set_nll == pytest.approx(likelihood, rel=1e-6)
        assert (found.proper.kl, importance.gap) == (0.0, 0.0)


def test_going_back_to_the_best_epoch_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    """At a step size that spoils the model an epoch ends with a halving, and the next begins from the best one's."""
    values = {"epochs": 4, "plateau_from": 0.0, "patience": 1, "updates": "joint", "learning_rate": 4.0}
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    specs_of_both = specs("lag-vae", **values)
    train(CORPUS, *specs_of_both, whole)
    rates = [record["learning_rate"] for record in read_history(whole)[0]]
    halved = next(count for count in range(1, 4) if rates[count] < rates[0])  # epochs before the smaller step size
    stopped.mkdir()
    run = run_in(stopped, "lag-vae", **values)
    run.start(resume=False)
    while len(run.position.history) < halved:
        run.step()
        if run.validation_due():
            last = {name: value.clone() for name, value in run.model.state_dict().items()}
            run.validate()
    assert_same(dict(run.model.state_dict()), dict(load_checkpoint(stopped / "best.pt").model.state_dict()))
    assert not torch.equal(run.model.state_dict()["to_logits.weight"], last["to_logits.weight"])
    run.save()
    train(CORPUS, *specs_of_both, stopped, resume=True)
    assert_same(*[torch.load(out / "last.pt", weights_only=True) for out in (stopped, whole)])


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.model.named_parameters()}


def test_the_lagging_update_moves_the_encoder_first_and_then_the_decoder(tmp_path: Path) -> None:
    run = run_in(tmp_path, "lag-vae")
    learner, batch = run.learner, run._batch(0)
    encoder = {name for name, value in learner.model.named_parameters() if name.startswith(("encoder", "to_mean"))}
    encoder |= {"to_log_variance.weight", "to_log_variance.bias"}
    calls: list[set[str]] = []
    real = Learner.step

    def spy(self: Learner, loss: torch.Tensor, only: Any = None) -> None:
        before = weights(self)
        real(self, loss, only)
        calls.append({name for name, value in weights(self).items() if not torch.equal(value, before[name])})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", spy)
        lagging_update(learner, batch, 0.5, 0.0, run._random_batch)
        joint_update(learner, batch, 0.5, 0.0)
    *first, decoder, both = calls
    assert len(first) in (3, 6, 7)  # after windows of three, or at the most
    assert all(moved == encoder for moved in first)
    assert decoder == set(weights(learner)) - encoder
    assert both == set(weights(learner))


@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        ([9, 9, 9, 8, 8, 8, 7], 7),  # falls for ever: the most steps
        ([9, 9, 9, 8, 8, 12, 7], 6),  # the second window's mean per word is above the first's
        ([9, 9, 9, 9, 9, 9, 9], 7),  # equal is no rise
    ],
)
def test_the_encoder_stops_when_its_loss_per_word_rises(tmp_path: Path, losses: list[int], steps: int) -> None:
    """Words count, not batches: a window's loss is over all of its words."""
    run = run_in(tmp_path, "lag-vae")
    taken = []

    def costs(batch: Any, weight: float, done: float) -> Costs:
        loss = float(losses[len(taken)]) if len(taken) < len(losses) else 0.0
        return Costs(torch.zeros(()), 10 * loss - 0.5 * 4.0, 4.0, 3, 10)  # loss per word is (rec + weight kl) / words

    def step(loss: torch.Tensor, only: Any = None) -> None:
        taken.append(only)

    run.learner.costs, run.learner.step = costs, step  # type: ignore[method-assign]
    lagging_update(run.learner, run._batch(0), 0.5, 0.0, run._random_batch)
    assert len(taken) == steps + 1


def test_the_aggressive_phase_ends_for_good_when_the_information_falls() -> None:
    def history(*values: float) -> list[dict[str, Any]]:
        return [{"valid": {"mutual_information": value}} for value in values]

    assert is_aggressive(history())
    assert is_aggressive(history(0.5, 0.7, 0.7))
    assert not is_aggressive(history(0.5, 0.4))
    assert not is_aggressive(history(0.5, 0.4, 0.9))
    assert not is_aggressive(history(-0.1))


def test_an_encoder_that_is_not_there_cannot_lag(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="updates lagging trains the encoder ahead, and the model has none"):
        train(CORPUS, *specs("lm", updates="lagging"), tmp_path / "out")


def test_a_chains_run_cannot_be_made_longer(tmp_path: Path) -> None:
    """Its temperature depends on the run's length; other rows of a constant step size may."""
    model_config, config = specs("sri-vae", epochs=1, inference_steps=1)
    train(CORPUS, model_config, config, tmp_path / "sri")
    with pytest.raises(InputError, match="has epochs 1, asked for is 2"):
        train(CORPUS, model_config, replace(config, epochs=2), tmp_path / "sri", resume=True)


def test_a_valid_split_of_one_sentence_is_enough(tmp_path: Path) -> None:
    train(replace(CORPUS, valid=CORPUS.valid[:1]), *specs("vae-lstm", epochs=1), tmp_path / "out")
    ((record,), _) = read_history(tmp_path / "out")
    assert record["valid"]["information_error"] == 0.0


def gradients(run: TrainingRun, samples: int, draws: int) -> torch.Tensor:
    """Gradients (draws, N) of the decoder's first projection at one model and batch."""
    learner = Learner(run.model, run.optimizer, replace(run.config, samples=samples), run._accelerator, bf16=False)
    run.model.eval()
    found = []
    for draw in range(draws):
        torch.manual_seed(draw)
        run.model.zero_grad()
        learner.costs(run._batch(1), 1.0, 1.0).loss.backward()
        gradient = run.model.get_parameter("to_mean.weight").grad
        assert gradient is not None
        found.append(gradient.flatten().clone())
    return torch.stack(found)


def test_more_samples_make_the_gradient_steadier(tmp_path: Path) -> None:
    """Eq. 7 with M = 1 and 8: the same mean, a variance of about an eighth."""
    run = run_in(tmp_path, "vae-lstm")
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.mul_(4)
    one, many = (gradients(run, samples, 40) for samples in (1, 8))
    ratio = (many.var(dim=0).sum() / one.var(dim=0).sum()).item()
    assert 1 / 16 < ratio < 1 / 4
    error = (one.var(dim=0).sum() / 40).sqrt().item()
    assert (one.mean(dim=0) - many.mean(dim=0)).norm().item() < 4 * error
