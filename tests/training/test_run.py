"""Training: the same weights with and without a kill, and what it refuses."""

import json
import math
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from hvae_mnn.errors import CheckpointError, InputError, TextError, TrainingError, UnknownWordsWarning
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.device import pick_device, pick_precision
from hvae_mnn.models.latent import Posterior
from hvae_mnn.models.presets import configure
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training import learner, loop
from hvae_mnn.training import run as training
from hvae_mnn.training.history import read_history
from hvae_mnn.training.run import TrainingEvent, train
from hvae_mnn.training.seeds import spawn_seed
from hvae_mnn.training.validation import valid_figures


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return grammar_corpus(seed=1, train=60, valid=20, test=1)


def specs(corpus: Corpus, objective: str = "sound", **values: Any) -> tuple[ModelConfig, TrainingConfig]:
    sizes = {"embedding_size": 8, "hidden_size": 10, "latent_size": 4, "epochs": 3, "batch_size": 16}
    vocabulary = Vocabulary.build(corpus.train)
    return configure("tiny", objective, len(vocabulary), **{**sizes, **values})


class Stop(Exception):
    """Stands for a kill: the loop is left wherever it is."""


def stop_after(batches: int):
    seen = []

    def callback(event: TrainingEvent) -> None:
        seen.append(event)
        if len(seen) == batches:
            raise Stop

    return callback


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """Equal to the bit, through dicts and lists; wall-clock seconds aside."""
    assert type(found) is type(expected), where
    if isinstance(found, torch.Tensor):
        assert torch.equal(found, expected), where
    elif isinstance(found, dict):
        assert found.keys() == expected.keys(), where
        for key in found:
            if key != "seconds":
                assert_same(found[key], expected[key], f"{where}/{key}")
    elif isinstance(found, list):
        assert len(found) == len(expected), where
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}/{place}")
    else:
        assert found == expected, where


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"objective": "paper"},
        {"encoder_cells": ("gru", "rnn"), "decoder_cell": "gru", "annealing": "cyclical", "precision": "bf16"},
        {"peepholes": True, "shuffle": False, "kl_target": "sum"},
    ],
    ids=["sound", "paper", "gru-rnn-bf16", "peepholes"],
)
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path: Path, corpus: Corpus, values: dict[str, Any]) -> None:
    model_config, config = specs(corpus, epochs=2, **values)
    whole = tmp_path / "whole"
    train(corpus, model_config, config, whole)
    # One run saves after every batch and is stopped in the second epoch and twice more; the other saves
    # after epochs only, so that its resume repeats batches.
    for out, save_every_s, stops in ((tmp_path / "often", 0.0, (6, 1, 1)), (tmp_path / "seldom", 1e9, (7,))):
        for stop in stops:
            with pytest.raises(Stop):
                train(
                    corpus, model_config, config, out, resume=True, progress=stop_after(stop), save_every_s=save_every_s
                )
        train(corpus, model_config, config, out, resume=True)
        assert (out / "best.pt").read_bytes() == (whole / "best.pt").read_bytes()
        assert_same(content(out / "last.pt"), content(whole / "last.pt"))
        assert [entry.name for entry in sorted(out.iterdir())] == ["best.pt", "last.pt", "metrics.json"]


KILLED = """
import os, sys
from pathlib import Path
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.training.run import train
import json
model, training = json.loads(sys.argv[2])
seen = []
def callback(event):
    seen.append(event)
    if len(seen) == 6:
        os.kill(os.getpid(), 9)
corpus = grammar_corpus(seed=1, train=60, valid=20, test=1)
train(corpus, ModelConfig.from_dict(model), TrainingConfig.from_dict(training), Path(sys.argv[1]), progress=callback,
      save_every_s=0.0)
"""

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_killed_process_resumes_to_the_same_bits(tmp_path: Path, corpus: Corpus) -> None:
    model_config, config = specs(corpus)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    arguments = json.dumps([model_config.to_dict(), config.to_dict()])
    done = subprocess.run([sys.executable, "-c", KILLED, str(killed), arguments], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    assert content(killed / "last.pt")["state"]["batch"] == 1
    train(corpus, model_config, config, killed, resume=True)
    train(corpus, model_config, config, whole)
    assert (killed / "best.pt").read_bytes() == (whole / "best.pt").read_bytes()  # another process wrote it
    assert_same(content(killed / "last.pt"), content(whole / "last.pt"))


@pytest.mark.parametrize(
    ("module", "step"), [(training, "activation_ranges"), (training, "save_metrics"), (loop, "write_state")]
)
@pytest.mark.parametrize("call", [1, 2])
def test_a_kill_between_the_files_of_an_epoch_changes_nothing(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, module: ModuleType, step: str, call: int
) -> None:
    model_config, config = specs(corpus, epochs=2)
    real = getattr(module, step)
    calls = []

    def dies(*arguments: Any, **options: Any) -> Any:
        calls.append(step)
        if len(calls) == call:
            raise Stop
        return real(*arguments, **options)

    train(corpus, model_config, config, tmp_path / "whole")
    monkeypatch.setattr(module, step, dies)
    with pytest.raises(Stop):
        train(corpus, model_config, config, tmp_path / "killed")
    train(corpus, model_config, config, tmp_path / "killed", resume=True)
    for name in ("best.pt", "last.pt"):
        assert_same(content(tmp_path / "killed" / name), content(tmp_path / "whole" / name), name)
    assert read_history(tmp_path / "killed")[1] == read_history(tmp_path / "whole")[1]


def test_files_events_and_the_callers_random_state(tmp_path: Path, corpus: Corpus) -> None:
    model_config, config = specs(corpus)
    events: list[TrainingEvent] = []
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    best = train(corpus, model_config, config, tmp_path, progress=events.append)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert best == tmp_path / "best.pt"
    assert [(event.kind, event.epoch, event.batch) for event in events] == [
        (kind, epoch, batch)
        for epoch in (1, 2, 3)
        for kind, batch in [("batch", 1), ("batch", 2), ("batch", 3), ("batch", 4), ("epoch", 4)]
    ]
    history, best_epoch = read_history(tmp_path)
    losses = [record["valid"]["elbo_nll"] for record in history]
    assert best_epoch == 1 + losses.index(min(losses))
    assert losses[-1] < losses[0]
    assert [event.is_best for event in events if event.kind == "epoch"] == [
        loss < min([math.inf, *losses[:place]]) for place, loss in enumerate(losses)
    ]
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["complete"] is True
    assert stored["history"] == history


@pytest.mark.parametrize(
    ("annealing", "weights"),
    [
        # Four batches an epoch, two epochs; the ramp, or a cycle, is two epochs long.
        ("none", [[2, 2, 2, 2], [2, 2, 2, 2]]),
        ("linear", [[0, 0.25, 0.5, 0.75], [1, 1.25, 1.5, 1.75]]),
        ("cyclical", [[0, 0.5, 1, 1.5], [2, 2, 2, 2]]),
    ],
)
def test_an_epochs_record_holds_what_its_batches_were_given(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, annealing: str, weights: list[list[float]]
) -> None:
    real, charged = learner.batch_loss, []

    def spy(rec: torch.Tensor, posterior: Posterior, weight: float, config: TrainingConfig) -> torch.Tensor:
        charged.append(weight)
        return real(rec, posterior, weight, config)

    monkeypatch.setattr(learner, "batch_loss", spy)
    model_config, config = specs(corpus, epochs=2, annealing=annealing, annealing_epochs=2.0, beta=2.0)
    train(corpus, model_config, config, tmp_path)
    history, _ = read_history(tmp_path)
    assert [charged[:4], charged[4:]] == weights
    assert [record["kl_weight"] for record in history] == [sum(epoch) / 4 for epoch in weights]
    # Half a cosine down to a twentieth, at eighths of the run.
    cosines = [0.5 + 0.5 * math.cos(math.pi * batch / 8) for batch in range(8)]
    sizes = [config.learning_rate * (0.05 + 0.95 * cosine) for cosine in cosines]
    found = [record["learning_rate"] for record in history]
    assert found == pytest.approx([sum(sizes[:4]) / 4, sum(sizes[4:]) / 4])
    assert content(tmp_path / "last.pt")["optimizer"]["param_groups"][0]["lr"] == pytest.approx(sizes[-1])


def test_a_constant_step_size_is_recorded_as_it_is(tmp_path: Path, corpus: Corpus) -> None:
    model_config, config = specs(corpus, "paper", epochs=1, batch_size=7)  # nine batches
    train(corpus, model_config, config, tmp_path)
    ((record,), _) = read_history(tmp_path)
    assert (record["learning_rate"], record["kl_weight"]) == (1e-4, 1.0)


def test_text_of_unknown_words_only_is_refused(tmp_path: Path, corpus: Corpus) -> None:
    """Its perplexity would be that of one word, and look wonderful."""
    model_config, config = specs(corpus)
    strange = [["wort", "für", "wort"]] * 20
    with pytest.raises(TextError, match=r"none of the 60 words of grammar-1/valid is in the vocabulary") as caught:
        train(replace(corpus, valid=strange), model_config, config, tmp_path / "out")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("unknown", "warns"), [(20, False), (21, True)])
def test_text_of_many_unknown_words_is_warned_of(tmp_path: Path, corpus: Corpus, unknown: int, warns: bool) -> None:
    """Other commands refuse such text for a checkpoint, by the same share."""
    model_config, config = specs(corpus, epochs=1)
    words = ["wort"] * unknown + [corpus.train[0][0]] * (100 - unknown)
    mixed = replace(corpus, valid=[words[start : start + 10] for start in range(0, 100, 10)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(mixed, model_config, config, tmp_path / "out")
    told = [str(one.message) for one in caught if issubclass(one.category, UnknownWordsWarning)]
    assert bool(told) == warns
    if warns:
        assert "21 of 100 words of grammar-1/valid are not in the vocabulary; above 20%" in told[0]
    checkpoint = load_checkpoint(tmp_path / "out/best.pt")
    if warns:
        with pytest.raises(TextError):
            checkpoint.vocabulary.count_unknown(mixed.valid, "valid")
    else:
        assert checkpoint.vocabulary.count_unknown(mixed.valid, "valid") == 20


def test_the_best_checkpoint_is_the_epochs_model_with_calibration(tmp_path: Path, corpus: Corpus) -> None:
    model_config, config = specs(corpus, epochs=1)
    found = load_checkpoint(train(corpus, model_config, config, tmp_path))
    assert found.vocabulary == Vocabulary.build(corpus.train)
    assert found.tokenizer == corpus.tokenizer
    assert found.metrics["corpus"] == corpus.name
    assert found.activation_ranges is not None
    assert set(found.activation_ranges) == {"encoder1", "encoder2", "decoder"}
    valid = [found.vocabulary.encode_sentence(sentence) for sentence in corpus.valid]
    figures = valid_figures(found.model, valid, config.batch_size, spawn_seed(config.seed, 3)).to_dict()
    assert found.metrics["valid"] == pytest.approx(figures)


def test_the_seed_decides(tmp_path: Path, corpus: Corpus) -> None:
    weights = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        model_config, config = specs(corpus, epochs=1, seed=seed)
        weights.append(content(train(corpus, model_config, config, tmp_path / out))["state_dict"])
    assert_same(weights[0], weights[1])
    assert not torch.equal(weights[0]["to_logits.weight"], weights[2]["to_logits.weight"])


def test_a_complete_run_returns_at_once_and_can_be_made_longer(tmp_path: Path, corpus: Corpus) -> None:
    model_config, config = specs(corpus, epochs=1, schedule="constant")
    best = train(corpus, model_config, config, tmp_path / "a")
    before = best.stat().st_mtime_ns
    assert train(corpus, model_config, config, tmp_path / "a", resume=True, progress=stop_after(1)) == best
    assert best.stat().st_mtime_ns == before
    longer = replace(config, epochs=2)
    train(corpus, model_config, longer, tmp_path / "a", resume=True)
    train(corpus, model_config, longer, tmp_path / "b")
    assert_same(content(tmp_path / "a" / "last.pt"), content(tmp_path / "b" / "last.pt"))


def test_runs_that_do_not_fit_are_refused(tmp_path: Path, corpus: Corpus) -> None:
    model_config, config = specs(corpus, epochs=1)
    train(corpus, model_config, config, tmp_path)
    for change, message in (
        ({"resume": False}, "already holds a training run; rerun with --resume"),
        ({"config": replace(config, learning_rate=0.5)}, r"has learning_rate 0\.\d+, asked for is 0\.5"),
        ({"config": replace(config, epochs=2)}, "has epochs 1, asked for is 2"),  # the cosine depends on it
        ({"model": replace(model_config, latent_size=5)}, "has latent_size 4, asked for is 5"),
        ({"corpus": replace(corpus, valid=corpus.train)}, "was on other text"),
        ({"config": replace(config, precision="bf16")}, "has precision 'auto', asked for is 'bf16'"),
    ):
        with pytest.raises(InputError, match=message):
            train(
                change.get("corpus", corpus),
                change.get("model", model_config),
                change.get("config", config),
                tmp_path,
                resume=change.get("resume", True),
            )
    (tmp_path / "best.pt").unlink()
    with pytest.raises(InputError, match=r"has lost its best\.pt"):
        train(corpus, model_config, config, tmp_path, resume=True)
    (tmp_path / "last.pt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"last\.pt is truncated"):
        train(corpus, model_config, config, tmp_path, resume=True)


def test_bad_corpora_and_devices(tmp_path: Path, corpus: Corpus) -> None:
    model_config, config = specs(corpus)
    with pytest.raises(InputError, match=r"vocabulary_size is 7, the corpus \S+ has \d+ ids"):
        train(corpus, replace(model_config, vocabulary_size=7), config, tmp_path)
    with pytest.raises(InputError, match="no valid sentences"):
        train(replace(corpus, valid=[]), model_config, config, tmp_path)
    for name, message in (
        ("tpu", "unknown device 'tpu'"),
        ("meta", "unknown device .meta."),
        ("cuda:99", "is not there"),
    ):
        with pytest.raises(InputError, match=message):
            pick_device(name)
    assert pick_device("cpu") == torch.device("cpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("clip", [5.0, None])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, corpus: Corpus, clip: float | None) -> None:
    model_config, config = specs(corpus)
    with pytest.raises(TrainingError, match=r"in epoch \d, batch \d of 4; try a smaller --learning-rate"):
        train(corpus, model_config, replace(config, learning_rate=1e30, clip=clip), tmp_path)
    assert not (tmp_path / "best.pt").exists()


def test_precision_is_what_was_asked_for() -> None:
    cpu = torch.device("cpu")
    small, large = ModelConfig(50, hidden_size=8), ModelConfig(9947)
    assert pick_precision(TrainingConfig(precision="bf16"), small, cpu) == "bf16"
    assert pick_precision(TrainingConfig(), small, cpu) == "fp32"
    native = torch.cpu.get_capabilities().get("avx512_bf16", False)
    assert pick_precision(TrainingConfig(), large, cpu) == ("bf16" if native else "fp32")
