"""What the kill campaign runs: small versions of the long commands, and how each is taken up again."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hvae_mnn.text.grammar import grammar_corpus

_SIZES = ["--embedding", "8", "--hidden", "10", "--latent", "4"]
_NOISE = ["--set", "programming.error=lognormal", "--set", "programming.sigma=0.1"]
_SWEEP = """
name = "small"
models = { net = "model/best.pt" }
sentences = 4
metrics = ["top1", "mean_error"]

[[grid]]
name = "stuck"
axes = { "noise.stuck.on" = { from = 0, to = 0.3, points = 6 } }
"""


@dataclass(frozen=True)
class Case:
    """A command, and how it is taken up again after it was killed."""

    name: str
    arguments: tuple[str, ...]
    """As for a new run."""
    again: Callable[[Path], tuple[str, ...]]
    """From the working folder: the arguments with which a person goes on."""
    result: str
    """What it writes: a folder in the working folder."""
    prepare: Callable[[Path], None] = lambda work: None
    """Brings the working folder to where a run begins, beyond removing `result`."""

    def command(self, work: Path, again: bool) -> list[str]:
        """What is executed."""
        return [sys.executable, "-m", "hvae_mnn", *(self.again(work) if again else self.arguments)]


def _same(name: str, *arguments: str, result: str, prepare: Callable[[Path], None] = lambda work: None) -> Case:
    return Case(name, arguments, lambda work: arguments, result, prepare)


def _simulate(engine: str, steps: int) -> Case:
    out = f"run-{engine}"
    arguments = ("simulate", "netlists/base", "--engine", engine, "--steps", str(steps), "--out", out)

    def again(work: Path) -> tuple[str, ...]:
        return ("simulate", "--resume", "--out", out) if (work / out / "run.json").exists() else arguments

    def prepare(work: Path) -> None:
        shutil.rmtree(work / "cache", ignore_errors=True)

    return Case(f"simulate {engine}", arguments, again, out, prepare)


def _older_build(work: Path) -> None:
    """A rebuild replaces the netlists of the same checkpoint on other hardware."""
    shutil.copytree(work / "netlists" / "older", work / "netlists" / "net")


TRAIN = _same(
    "train", "train", *_SIZES, "--data-dir", "text", "--out", "model", "--epochs", "25", "--resume", result="model"
)
BUILD = ("build-netlist", "model/best.pt", "--name")
CASES = {
    case.name: case
    for case in (
        TRAIN,
        _same("build-netlist", *BUILD, "net", result="netlists/net"),
        _same("rebuild", *BUILD, "net", result="netlists/net", prepare=_older_build),
        _simulate("ngspice", 150),
        _simulate("exact", 600),
        _same("sweep", "sweep", "small.toml", "--workers", "2", "--out", "sweep", result="sweep"),
        _same(
            "finetune",
            *("finetune", "model/best.pt", *_NOISE, "--updates", "24", "--validate-every", "2"),
            *("--valid-sentences", "8", "--valid-draws", "1", "--batch-size", "16", "--resume", "--out", "tuned"),
            result="tuned",
        ),
    )
}
"""By name; all but the first need what it writes, and the simulations a build of it."""


def lay_out(work: Path) -> None:
    """Text and settings in a new working folder."""
    for name in ("text", "tmp"):
        (work / name).mkdir(parents=True)
    corpus = grammar_corpus(seed=3, train=120, valid=24, test=40)
    for split in ("train", "valid", "test"):
        lines = (" ".join(words) for words in corpus.split(split))
        (work / "text" / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (work / "small.toml").write_text(_SWEEP, encoding="utf-8")


def builds_needed() -> list[tuple[str, ...]]:
    """Arguments of the commands that the cases take for granted, once the model is trained."""
    return [(*BUILD, "base"), (*BUILD, "older", "--read-voltage", "0.04")]
