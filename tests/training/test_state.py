"""What a resume takes from `last.pt` and `metrics.json`: nothing that is damaged, and nothing that is no number."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hvae_mnn.errors import CheckpointError, InputError, TrainingError, UncheckedFileWarning
from hvae_mnn.models.archive import read_archive, write_archive
from hvae_mnn.models.presets import configure
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training.history import read_history
from hvae_mnn.training.run import train

pytestmark = pytest.mark.usefixtures("one_thread")

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return grammar_corpus(seed=1, train=150, valid=10, test=1)


@pytest.fixture(scope="module")
def begun(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, stopped after the first."""
    out = tmp_path_factory.mktemp("begun") / "run"

    def stop(event: Any) -> None:
        if event.kind == "epoch":
            raise TrainingError("that is enough")

    with pytest.raises(TrainingError):
        train(corpus, *specs(corpus), out, progress=stop)
    return out


def specs(corpus: Corpus) -> tuple[Any, Any]:
    sizes = {"embedding_size": 4, "hidden_size": 5, "latent_size": 2, "epochs": 2, "batch_size": 16}
    return configure("tiny", "sound", len(Vocabulary.build(corpus.train)), **sizes)


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    for name in ("best.pt", "last.pt", "metrics.json"):
        (tmp_path / name).write_bytes((begun / name).read_bytes())
    return tmp_path


def resume(corpus: Corpus, out: Path) -> Path:
    return train(corpus, *specs(corpus), out, resume=True)


def set_in(*place: Any) -> Change:
    """A change that puts the last of `place` where the others lead."""

    def do(content: dict[str, Any]) -> None:
        *keys, last, value = place
        for key in keys:
            content = content[key]
        if isinstance(value, float) and isinstance(content[last], torch.Tensor):
            content[last].view(-1)[0] = value
        else:
            content[last] = value

    return do


def drop(*place: Any) -> Change:
    def do(content: dict[str, Any]) -> None:
        for key in place[:-1]:
            content = content[key]
        del content[place[-1]]

    return do


NAN, INF = float("nan"), float("inf")
MOMENTS = ("optimizer", "state", 3)
GROUP = ("optimizer", "param_groups", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in(*MOMENTS, "exp_avg", NAN), "exp_avg of parameter 3 holds values that no run gives"),
        (set_in(*MOMENTS, "exp_avg_sq", INF), "exp_avg_sq of parameter 3 holds values"),
        (set_in(*MOMENTS, "exp_avg_sq", -1.0), "exp_avg_sq of parameter 3 holds values"),
        (set_in(*MOMENTS, "step", NAN), "step of parameter 3 holds values"),
        (set_in(*MOMENTS, "step", torch.zeros(2)), "step of parameter 3 is torch.float32 of shape (2,)"),
        (set_in(*MOMENTS, "exp_avg", torch.zeros(3, 3)), "exp_avg of parameter 3 is torch.float32 of shape (3, 3)"),
        (set_in(*MOMENTS, "exp_avg", torch.zeros(20, dtype=torch.float64)), "exp_avg of parameter 3 is torch.float64"),
        (set_in(*MOMENTS, "exp_avg", [0.0]), "exp_avg of parameter 3 is list"),
        (drop(*MOMENTS, "exp_avg"), "parameter 3 has other parts"),
        (set_in("optimizer", "state", 99, {}), "parameter 99 is unknown"),
        (set_in("optimizer", "state", None), "cannot be used"),
        (set_in(*GROUP, "lr", NAN), "the step size is no number"),
        (set_in(*GROUP, "lr", "fast"), "the step size is no number"),
        (set_in(*GROUP, "betas", (0.9, 2.0)), "betas is another"),
        (set_in(*GROUP, "params", [0]), "params is another"),
        (drop(*GROUP, "eps"), "settings eps"),
        (set_in("optimizer", "param_groups", []), "not enough values"),
        (drop("optimizer", "state"), "no 'state'"),
        (set_in("model", "to_mean.bias", NAN), "'to_mean.bias' hold 1 values that are NaN"),
        (drop("model", "to_mean.bias"), "'to_mean.bias' are missing"),
        (set_in("state", "batch", -1), "its position cannot be used"),
        (set_in("state", "epoch", 1.0), "its position cannot be used"),
        (set_in("state", "epoch", 2), "the history is of other epochs"),
        (set_in("state", "sums", "rec", NAN), "a sum is no number"),
        (set_in("state", "sums", {}), "its position cannot be used"),
        (set_in("state", "history", 0, "valid", "elbo_nll", NAN), "holds a value that is no number"),
        (set_in("state", "history", [5]), "its position cannot be used"),
        (set_in("state", "more", 5), "its position cannot be used"),
        (set_in("optimizer", 5), "'optimizer' is a int; allowed: a dict"),
        (drop("corpus"), "'corpus' is missing; allowed: a str"),
    ],
)
def test_a_state_that_no_run_leaves_behind_is_refused(run: Path, corpus: Corpus, change: Change, message: str) -> None:
    content = read_archive(run / "last.pt")
    change(content)
    write_archive(run / "last.pt", content)
    with pytest.raises(CheckpointError) as caught:
        resume(corpus, run)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_no_damage_of_a_state_is_taken_for_a_state(run: Path, corpus: Corpus) -> None:
    good, rng = (run / "last.pt").read_bytes(), random.Random(6)
    expected = read_archive(run / "last.pt")
    for number in range(200):
        data = bytearray(good)
        place = rng.randrange(len(data))
        if number % 4:
            data[place] ^= 1 << rng.randrange(8)
        else:
            del data[place:]
        (run / "last.pt").write_bytes(bytes(data))
        try:
            found = read_archive(run / "last.pt")
        except CheckpointError:
            continue
        write_archive(run / "again.pt", found)
        write_archive(run / "expected.pt", expected)
        assert (run / "again.pt").read_bytes() == (run / "expected.pt").read_bytes()


def test_a_state_of_an_earlier_version_is_resumed(run: Path, corpus: Corpus, tmp_path: Path) -> None:
    """It has these keys, in this order, and no checksum."""
    stored = torch.load(run / "last.pt", weights_only=True)
    stored.pop("family")
    specs_and_text = ["model_config", "training_config", "corpus", "precision"]
    assert list(stored) == ["format", "version", *specs_and_text, "model", "optimizer", "state"]
    assert (stored["format"], stored["version"]) == ("hvae-mnn training state", 1)
    assert list(stored["state"]) == ["epoch", "batch", "sums", "history"]
    torch.save(stored, run / "last.pt")
    found = resume(corpus, run).read_bytes()
    assert train(corpus, *specs(corpus), tmp_path / "whole").read_bytes() == found


def test_a_state_of_another_family_is_refused(run: Path, corpus: Corpus) -> None:
    content = read_archive(run / "last.pt")
    content["family"] = "other"
    write_archive(run / "last.pt", content)
    with pytest.raises(InputError, match="has family 'other', asked for is 'hsrvae'; resume it with its own settings"):
        resume(corpus, run)


def test_a_best_checkpoint_of_another_run_is_not_overwritten(run: Path, corpus: Corpus) -> None:
    """A kill before the first state leaves the first epoch's checkpoint alone; that of any other run is kept."""
    (run / "last.pt").unlink()
    model_config, config = specs(corpus)
    for other in (replace(config, learning_rate=0.5), replace(config, seed=3)):
        with pytest.raises(InputError, match=r"holds a best\.pt but no last\.pt to resume from"):
            train(corpus, model_config, other, run, resume=True)
    with pytest.raises(InputError, match=r"holds a best\.pt but no last\.pt"):
        train(corpus, model_config, config, run)
    (run / "best.pt").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"holds a best\.pt but no last\.pt"):
        train(corpus, model_config, config, run, resume=True)


def test_a_damaged_history(run: Path) -> None:
    path = run / "metrics.json"
    text = path.read_text(encoding="utf-8")
    assert read_history(run) == (json.loads(text)["history"], 1)
    path.write_text(text.replace('"best_epoch": 1', '"best_epoch": 2'), encoding="utf-8")
    with pytest.raises(InputError, match="does not match its checksum"):
        read_history(run)
    stored = json.loads(text)
    del stored["sha256"]
    path.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.warns(UncheckedFileWarning):
        assert read_history(run)[1] == 1
    for change in ({"history": 5}, {"best_epoch": 2}, {"best_epoch": None}, {"history": []}):
        path.write_text(json.dumps({**stored, **change}), encoding="utf-8")
        with pytest.warns(UncheckedFileWarning), pytest.raises(InputError, match="holds no history of a training run"):
            read_history(run)
