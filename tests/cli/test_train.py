"""The command `train`, called as a person calls it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hvae_mnn.cli.main import main
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.training.history import read_history

SIZES = ["--embedding", "8", "--hidden", "10", "--latent", "4", "--batch-size", "16", "--epochs", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """The command sets the process's threads, as a process of its own may."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "story"
    folder.mkdir()
    corpus = grammar_corpus(seed=1, train=80, valid=16, test=1)
    for split in ("train", "valid"):
        (folder / f"{split}.txt").write_text("\n".join(" ".join(words) for words in corpus.split(split)) + "\n")
    return folder


def run(*arguments: object) -> int:
    """Exit code of the command line."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def text(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Output and errors without the terminal's line breaks."""
    captured = capsys.readouterr()
    return " ".join(captured.out.split()), captured.err


def test_a_run_from_start_to_resume(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model"
    command = ["train", "--data-dir", folder, "--tokenizer", "twr", "--encoder-cells", "gru,lstm", *SIZES, "--out", out]
    assert run(*command) == 0
    printed, _ = text(capsys)
    assert "epoch 1/2 train" in printed
    last = read_history(out)[0][-1]["valid"]
    information = f"MI {last['mutual_information']:.2f}±{last['information_error']:.2f}"
    assert f"valid ELBO {last['elbo_nll']:.2f} (PPL {last['elbo_ppl']:.2f}, KL {last['elbo_kl']:.2f}, " in printed
    assert f"{information}, AU {last['active_units']}) paper PPL" in printed
    assert "best epoch" in printed
    assert sorted(path.name for path in out.iterdir()) == [
        "best.pt",
        "last.pt",
        "metrics.json",
        "training.png",
        "training.svg",
    ]
    found = load_checkpoint(out / "best.pt")
    assert found.config.encoder_cells == ("gru", "lstm")
    assert found.tokenizer == "twr"
    assert found.metrics["corpus"] == "story"

    assert run(*command) == 2
    _, errors = text(capsys)
    assert "already holds a training run; rerun with --resume" in errors
    assert errors.count("\n") == 1

    before = (out / "best.pt").read_bytes()
    assert run(*command, "--resume") == 0
    printed, _ = text(capsys)
    assert "is complete: 2 epochs" in printed
    assert (out / "best.pt").read_bytes() == before


def test_objective_and_single_settings(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "model"
    options = ["--objective", "paper", "--kl-target", "last", "--peepholes", "--max-vocabulary", "30", "--seed", "7"]
    assert run("train", "--data-dir", folder, *SIZES, *options, "--out", out) == 0
    stored = json.loads((out / "metrics.json").read_text())
    assert stored["training"]["objective"] == "paper"
    assert stored["training"]["kl_target"] == "last"
    assert stored["training"]["weight_decay"] == 1e-5
    assert stored["training"]["seed"] == 7
    assert stored["model"]["peepholes"] is True
    assert stored["model"]["encoder_sees_eos"] is True
    assert stored["model"]["vocabulary_size"] == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data-dir", "nowhere"], "corpus folder nowhere does not exist"),
        (["--encoder-cells", "lstm,lstm,lstm"], "names 3 cells; allowed: 0 to 2"),
        (["--encoder-cells", "lstm,mlp"], "unknown cell 'mlp'"),
        (["--epochs", "0"], "--epochs is 0; allowed: a whole number from 1"),
        (["--learning-rate", "-1"], "learning_rate is -1.0"),
        (["--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_bad_options_are_one_line_and_write_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("train", "--out", "model", *options) == 2
    _, errors = text(capsys)
    assert message in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_bad_choice_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--out", "x", "--preset", "huge") == 2
    assert "huge" in capsys.readouterr().err


def test_help_reads_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--help") == 0
    printed, _ = text(capsys)
    for expected in ("--preset", "--resume", "Examples", "Objective and optimiser", "hvae-mnn train --preset paper"):
        assert expected in printed


@pytest.mark.parametrize(
    ("unknown", "code", "told"),
    [
        (100, 2, "error: none of the 100 words of story/valid is in the vocabulary, which is the train split's; give"),
        (30, 0, "note: 30 of 100 words of story/valid are not in the vocabulary; above 20% a checkpoint's other"),
    ],
)
def test_a_valid_split_of_other_words_is_told_in_one_line(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], unknown: int, code: int, told: str
) -> None:
    story = tmp_path / "story"
    story.mkdir()
    (story / "train.txt").write_bytes((folder / "train.txt").read_bytes())
    word = (story / "train.txt").read_text().split()[0]
    (story / "valid.txt").write_text("\n".join(["wort"] * unknown + [word] * (100 - unknown)))
    assert run("train", "--data-dir", story, *SIZES, "--out", tmp_path / "model") == code
    (line,) = [line for line in text(capsys)[1].splitlines() if "words" in line]
    assert line.startswith(told)
    assert (tmp_path / "model").exists() == (code == 0)
