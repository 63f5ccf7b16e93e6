"""Disks that are full, fill up half-way, or cannot be written: one line before the work, nothing half-written, and the
same command succeeds once there is room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hvae_mnn.api import circuits
from hvae_mnn.cli.main import main
from hvae_mnn.studies import verify as verify_module
from hvae_mnn.studies.cost import run as cost_module
from hvae_mnn.text.grammar import grammar_corpus

SIZES = ("--embedding", "8", "--hidden", "10", "--latent", "4")
SHORT = ("--updates", "4", "--validate-every", "2", "--valid-sentences", "4", "--batch-size", "4")
SWEEP = """
name = "small"
models = { net = "net.pt" }
seeds = 2
sentences = 3
metrics = ["top1", "ppl"]

[[grid]]
name = "spread"
set = { "noise.programming.error" = "lognormal" }
axes = { "noise.programming.sigma" = [0.05, 0.2] }
"""
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "--data-dir", "data", "--preset", "tiny", *SIZES, "--epochs", "2", "--out"),
    "finetune": ("finetune", "net.pt", *SHORT, "--out"),
    "build-netlist": ("build-netlist", "net.pt", "--out"),
    "simulate-exact": ("simulate", "net", "--engine", "exact", "--steps", "6", "--out"),
    "simulate-ngspice": ("simulate", "net", "--steps", "6", "--out"),
    "generate": ("generate", "net", "--engine", "exact", "--prior", "2", "--most-words", "3", "--out"),
    "sweep": ("sweep", "small.toml", "--workers", "1", "--out"),
    "iv": ("iv", "--backend", "reference", "--out"),
    "program": ("program", "--random", "4", "4", "--out"),
    "cost": ("cost", "net", "--steps", "4", "--tiles", "1", "--out"),
    "verify": ("verify", "net", "--tiles", "1", "--steps", "1", "--out"),
    "ir-drop": ("ir-drop", "--sizes", "8", "--spice-sizes", "8", "--ohms", "1", "--out"),
}
WITH_NGSPICE = ("simulate-ngspice", "cost", "verify", "ir-drop")
EVERY = [pytest.param(name, marks=pytest.mark.spice if name in WITH_NGSPICE else ()) for name in COMMANDS]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_checkpoint: Callable[..., Path]) -> Path:
    """A folder with all that the commands read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copy(make_checkpoint("rnn"), "net.pt")
    Path("small.toml").write_text(SWEEP, encoding="utf-8")
    corpus = grammar_corpus(seed=1, train=60, valid=20, test=10)
    Path("data").mkdir()
    for split in ("train", "valid", "test"):
        lines = (" ".join(words) for words in corpus.split(split))
        (tmp_path / "data" / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run a command; returns its exit code and what it wrote to stderr without progress."""

    def call(*arguments: object) -> tuple[int, str]:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as done:
            code = int(done.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        lines = [line for line in printed.err.splitlines() if line.startswith(("error:", "note:"))]
        return code, "\n".join(lines)

    return call


def build(name: str, run: Callable[..., tuple[int, str]]) -> None:
    if "net" in COMMANDS[name]:
        assert run("build-netlist", "net.pt", "--out", "net") == (0, "")


def fill(disk: Path, leave: int = 0) -> Path:
    """Take all room of the disk but so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        left = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, max(1, left.f_bavail * left.f_frsize - leave))
    return ballast


def without_engines(patch: pytest.MonkeyPatch) -> None:
    """A command that comes as far as an engine fails."""
    patch.setattr(circuits, "start_engine", None)
    for module in (verify_module, cost_module):
        patch.setattr(module, "exact_engine", None)


@pytest.mark.parametrize("name", EVERY)
def test_a_full_disk_is_noticed_before_the_work(
    name: str, work: Path, small_disk: Path, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    build(name, run)
    out, ballast = small_disk / "runs" / "out", fill(small_disk)
    with monkeypatch.context() as patch:
        without_engines(patch)  # so early that none is started
        code, message = run(*COMMANDS[name], out)
    assert (code, len(message.splitlines())) == (2, 1)
    assert "No space left on device; free the disk or choose another folder" in message
    assert [path.name for path in small_disk.rglob("*") if path.name != "runs"] == ["ballast"]
    ballast.unlink()
    assert run(*COMMANDS[name], out) == (0, "")


@pytest.mark.parametrize("name", EVERY)
def test_a_disk_that_cannot_be_written_is_noticed_before_the_work(
    name: str, work: Path, read_only_disk: Path, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    build(name, run)
    without_engines(monkeypatch)
    code, message = run(*COMMANDS[name], read_only_disk / "runs" / "out")
    assert (code, len(message.splitlines())) == (2, 1)
    assert "Read-only file system; " in message


@pytest.mark.slow
@pytest.mark.parametrize("leave", [70_000, 200_000])
@pytest.mark.parametrize(
    "name",
    ["train", "finetune", "build-netlist", "simulate-exact", EVERY[list(COMMANDS).index("simulate-ngspice")], "sweep"],
)
def test_a_disk_that_fills_up_half_way_loses_nothing(
    name: str, leave: int, work: Path, small_disk: Path, run: Callable[..., tuple[int, str]]
) -> None:
    build(name, run)
    assert run(*COMMANDS[name], work / "whole") == (0, "")
    out = small_disk / "out"
    ballast = fill(small_disk, leave)
    code, message = run(*COMMANDS[name], out)
    if code:
        assert (code, len(message.splitlines())) == (2, 1)
        assert "No space left on device" in message
    assert not list(small_disk.rglob("*.part")), "something half-written was left"
    for path in small_disk.rglob("*.parquet"):
        pq.read_table(path)
    ballast.unlink()
    if code:
        resume = ["--resume"] if any((out / mark).exists() for mark in ("run.json", "last.pt", "best.pt")) else []
        again = ["simulate"] if resume and "simulate" in name else COMMANDS[name][:-1]
        assert run(*again, *resume, "--out", out) == (0, "")
    same(work / "whole", out)


def same(whole: Path, found: Path) -> None:
    """Every file of a run is there and equal to the undisturbed one's, but for times and figures."""
    names = {path.name for path in whole.rglob("*") if path.is_file()}
    assert {path.name for path in found.rglob("*") if path.is_file()} == names
    for path in whole.rglob("*.parquet"):
        if path.name != "timings.parquet" and path.parent.name != "parts":
            assert path.read_bytes() == (found / path.relative_to(whole)).read_bytes()
    for path in (*whole.rglob("*.pt"), *whole.rglob("*.inc"), *whole.rglob("*.safetensors")):
        if path.name != "last.pt":  # which has times
            assert path.read_bytes() == (found / path.relative_to(whole)).read_bytes()


@pytest.mark.parametrize("kind", ["full", "read-only"])
def test_a_cache_that_cannot_be_written_is_told_once_and_ends_nothing(
    kind: str, work: Path, small_disk: Path, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    build("simulate-exact", run)
    if kind == "full":
        fill(small_disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    monkeypatch.setenv("HVAE_MNN_CACHE", str(small_disk / "cache"))
    code, message = run(*COMMANDS["simulate-exact"], "run")
    assert (code, len(message.splitlines())) == (0, 1)
    assert message.startswith("note: cannot write ")
    assert message.endswith("with HVAE_MNN_CACHE; solved arrays are not kept for the next run")
    assert np.isfinite(json.loads(Path("run/summary.json").read_text())["token_agreement"])
    code, message = run(*COMMANDS["sweep"], "swept")
    assert (code, len(message.splitlines())) == (0, 1)
    assert "the digital model is run once in every process" in message


def test_a_folder_without_rights_is_told_to_whoever_is_not_root(work: Path) -> None:
    command = [sys.executable, "-m", "hvae_mnn", *COMMANDS["train"], "locked/out"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("another user: no setpriv")
        command = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", *command]
    with tempfile.TemporaryDirectory() as place:  # tmp_path lets no other user in
        os.chmod(place, 0o755)
        shutil.copytree(work / "data", Path(place) / "data")
        (Path(place) / "locked").mkdir(mode=0o555)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "Permission denied" in lines[0]
    assert "epoch" not in done.stdout
