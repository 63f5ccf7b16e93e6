"""The command `evaluate`, called as a person calls it."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hvae_mnn.cli.main import main
from hvae_mnn.files import sha256
from hvae_mnn.models.checkpoint import load_checkpoint, save_checkpoint
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.rows import configure_row

QUICK = ["--sentences", "40", "--importance-samples", "8", "--importance-sentences", "6", "--threads", "1"]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A wide screen; and the command sets the process's threads, as a process of its own may."""
    monkeypatch.setenv("COLUMNS", "160")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def checkpoint(make_checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy in a folder of its own, since the report goes beside it."""
    (tmp_path / "model").mkdir()
    return Path(shutil.copy(make_checkpoint("gru"), tmp_path / "model" / "best.pt"))


def run(*arguments: object) -> int:
    """Exit code of the command line."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def test_two_reports_are_printed_and_kept_apart(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", checkpoint, *QUICK) == 0
    printed = capsys.readouterr().out
    paper, proper = printed.split("proper: bounds on the likelihood")
    assert "paper: the published formulas to the letter" in paper
    assert "per words + 2" in paper
    assert "per words + 1" not in paper
    assert "per words + 1" in proper
    assert "6 sentences, 8 samples each" in proper
    names = {"best.pt", "evaluation.json", "evaluation.png", "evaluation.svg"}
    assert {path.name for path in checkpoint.parent.iterdir()} == names
    record = json.loads((checkpoint.parent / "evaluation.json").read_text())
    assert record["checkpoint"]["file"] == "model/best.pt"
    assert record["checkpoint"]["sha256"] == sha256(checkpoint)
    assert (record["corpus"], record["split"], record["sentences"], record["seed"]) == ("grammar-0", "test", 40, 0)
    assert 0 <= record["unknown_words"] < record["words"]
    assert set(record["versions"]) == {"hvae_mnn", "python", "torch", "numpy"}
    assert f"{record['paper']['nll']:.2f}" in paper
    assert f"{record['proper']['elbo_nll']:.2f}" in proper
    assert record["proper"]["importance"]["samples"] == 8
    assert all(check["holds"] for name in ("paper", "proper") for check in record[name]["checks"])
    assert "does not hold" not in printed


def test_the_same_command_gives_the_same_figures(checkpoint: Path, tmp_path: Path) -> None:
    records = []
    for name in ("one", "two"):
        assert run("evaluate", checkpoint, *QUICK, "--split", "valid", "--out", tmp_path / name) == 0
        records.append(json.loads((tmp_path / name / "evaluation.json").read_text()))
    for record in records:
        del record["seconds"], record["sha256"]  # which covers the seconds
    assert records[0] == records[1]
    assert records[0]["split"] == "valid"
    assert not (checkpoint.parent / "evaluation.json").exists()


def test_a_folder_of_text_with_some_unknown_words(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Evaluation needs the split that it is asked for and no other."""
    known = load_checkpoint(checkpoint).vocabulary.words[4]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "test.txt").write_text(f"{known} {known} {known} zyzzyva\n{known} {known}\n")
    asked = ["--data-dir", tmp_path / "text", "--importance-samples", "0"]
    assert run("evaluate", checkpoint, *asked) == 0
    assert "text test: 2 sentences, 6 words, 1 unknown to the model" in capsys.readouterr().out
    assert json.loads((checkpoint.parent / "evaluation.json").read_text())["proper"]["importance"] is None


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("colourless green ideas\nsleep furiously\n", [], "not in the model's vocabulary"),
        ("the dog\n", [], "found 1; allowed: 2 or more"),
        ("\n\n", [], "has no words"),
        (None, ["--split", "valid"], "no valid file"),
        (None, ["--device", "abacus"], "unknown device 'abacus'"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line_and_leaves_nothing(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "test.txt").write_text(text or "the dog\nthe dog\n")
    assert run("evaluate", checkpoint, "--data-dir", tmp_path / "text", *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in checkpoint.parent.iterdir()] == ["best.pt"]


@pytest.mark.parametrize(
    "arguments",
    [["--sentences", "1"], ["--importance-samples", "-1"], ["--importance-sentences", "0"], ["--seed", "-1"]],
)
def test_numbers_out_of_range(checkpoint: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run("evaluate", checkpoint, *arguments) == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_model_without_an_encoder_has_its_authors_estimate_beside_the_bounds(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = load_checkpoint(checkpoint).vocabulary
    config, training = configure_row(
        "sri-vae", len(vocabulary), epochs=1, embedding_size=5, hidden_size=6, latent_size=2
    )
    with torch.random.fork_rng():
        torch.manual_seed(6)
        model = HSRVAE(config)
    save_checkpoint(checkpoint, model, training, vocabulary, "plain", {}, {})
    few = [*QUICK, "--sentences", "6"]
    assert run("evaluate", checkpoint, *few, "--short-run-sentences", "2") == 0
    printed = capsys.readouterr().out
    block = json.loads((checkpoint.parent / "evaluation.json").read_text())["proper"]["short_run"]
    assert (block["sentences"], block["samples"]) == (2, 10)
    paper, proper = printed.split("proper: bounds on the likelihood")
    assert "short-run" not in paper
    assert all(f"{block[name]:.2f}" in proper for name in ("nll", "ppl", "importance_nll"))
    assert f"{block['kl']:.3f}" in proper
    assert block["note"] in " ".join(proper.split())
    assert run("evaluate", checkpoint, *few, "--short-run-sentences", "0") == 0
    assert "short-run" not in capsys.readouterr().out
