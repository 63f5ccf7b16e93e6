"""What the kill campaign runs: commands on tiny models, how each is resumed, and what its result is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvae_mnn.errors import HvaeMnnError
from hvae_mnn.files import sha256
from hvae_mnn.models.archive import read_archive
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.tables import read_table
from hvae_mnn.text.grammar import grammar_corpus

_DRAWINGS = {".png", ".svg", ".pdf"}
"""Files that carry dates: only that they are there is compared."""
_SWEEP = """
name = "killed"
hardware = "paper"
models = { net = "NET" }
sentences = 2
seeds = 2
metrics = ["top1", "mean_error"]

[[grid]]
name = "spread"
axes = { "noise.spread.device_on" = [0.01, 0.05, 0.1], "hardware.adc.bits" = [0, 6] }
"""
_PLAN = """
table = "table2"
title = "Killed"
rows = ["lm", "bn-vae"]

[profiles.tiny]
embedding = 6
hidden = 8
latent = 3
epochs = 3
seeds = 1
importance_samples = 4
importance_sentences = 8
set = { batch_size = 16 }

[profiles.tiny.corpora.short]
folder = "text"
stands_for = "ptb"
"""


@dataclass(frozen=True)
class Case:
    """A command to be killed."""

    name: str
    arguments: tuple[str, ...]
    result: str
    """The folder that it writes, in the case's own."""
    resume: tuple[str, ...] = ()
    """What is added to the command to resume it."""
    instead: tuple[str, ...] = ()
    """The command that resumes it, where that is another one."""
    plan: str | None = None
    """File in the result without which a killed run left nothing to resume, and the command is rerun as it was."""
    older: Path | None = None
    """Netlists that stand in the result's place before: a whole build must be there at every moment."""

    def begin(self, folder: Path) -> None:
        """Put there what is there before the command."""
        if self.older is not None:
            shutil.copytree(self.older, folder / self.result)

    def lost(self, folder: Path) -> str | None:
        """What is wrong with the result after a kill, before any other command has run."""
        try:
            if self.older is not None:
                read_manifest(folder / self.result)
        except HvaeMnnError as error:
            return f"the older build is lost: {error}"
        return None

    def again(self, folder: Path) -> tuple[str, ...]:
        """The arguments to rerun the command with after a kill."""
        if self.plan is not None and not (folder / self.result / self.plan).exists():
            return self.arguments
        return self.instead or self.arguments + self.resume


def prepare(base: Path) -> list[Case]:
    """Make text, a model and netlists in `base`; the cases that use them."""
    text = base / "text"
    text.mkdir()
    corpus = grammar_corpus(train=300, valid=40, test=20)
    for split in ("train", "valid", "test"):
        lines = "\n".join(" ".join(words) for words in corpus.split(split))
        (text / f"{split}.txt").write_text(lines + "\n", encoding="utf-8")
    shape = ("--embedding", "8", "--hidden", "10", "--latent", "4", "--batch-size", "20", "--threads", "1")
    train = ("train", *shape, "--epochs", "6", "--data-dir", str(text))
    model, netlists, sweep = base / "model" / "best.pt", base / "netlists", base / "killed.toml"
    plan = base / "table2.toml"
    plan.write_text(_PLAN, encoding="utf-8")
    sweep.write_text(_SWEEP.replace("NET", str(model)), encoding="utf-8")
    build = ("build-netlist", str(model), "--out")
    for arguments in ((*train, "--out", str(model.parent)), (*build, str(netlists))):
        subprocess.run([sys.executable, "-m", "hvae_mnn", *arguments], cwd=base, check=True, stdout=subprocess.DEVNULL)
    # 12 sentences of text, so that the run takes longer than its start.
    simulate = ("simulate", str(netlists), "--data-dir", str(text), "--sentences", "12", "--latent", "sampled")
    resume = ("simulate", "--resume", "--out", "run")
    finetune = ("finetune", str(model), "--data-dir", str(text), "--updates", "12", "--validate-every", "3")
    finetune += ("--batch-size", "10", "--valid-sentences", "10", "--set", "programming.error=lognormal")
    finetune += ("--set", "programming.sigma=0.1", "--out", "run")
    reproduce = ("reproduce", "table2", "--plan", str(plan), "--profile", "tiny", "--data-dir", str(base))
    generate = ("generate", str(model), "--reconstruct", "--data-dir", str(text), "--sentences", "12", "--seed", "1")
    return [
        Case("train", (*train, "--out", "run"), "run", ("--resume",)),
        Case("build-netlist", (*build, "run", "--read-voltage", "0.04"), "run"),
        Case("rebuild", (*build, "run", "--read-voltage", "0.04"), "run", older=netlists),
        Case("simulate ngspice", (*simulate, "--out", "run"), "run", instead=resume, plan="run.json"),
        Case(
            "simulate exact", (*simulate, "--engine", "exact", "--out", "run"), "run", instead=resume, plan="run.json"
        ),
        Case("sweep", ("sweep", str(sweep), "--out", "run", "--workers", "2"), "run"),
        Case("finetune", finetune, "run", ("--resume",)),
        Case("reproduce", (*reproduce, "--workers", "2", "--out", "run"), "run"),
        Case("generate", (*generate, "--out", "run"), "run"),
    ]


def content(folder: Path) -> dict[str, Any]:
    """What a result is, by file: everything but times, in a form that can be compared."""
    return {
        str(path.relative_to(folder)): _content_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "timings" not in path.name
    }


def _content_of(path: Path) -> Any:
    if path.suffix in _DRAWINGS:
        return "drawn"
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".parquet":
        return _without_times({"rows": read_table(path).to_pylist()})
    if path.name == "last.pt":  # its history has seconds; best.pt has none, and is compared byte by byte
        return repr(_without_times(read_archive(path)))
    return sha256(path)


def _without_times(value: Any) -> Any:
    """A value without what differs between equal runs: times, checksums over times, and who solved what again."""
    if isinstance(value, Mapping):
        return {
            key: _without_times(one)
            for key, one in value.items()
            if not (isinstance(key, str) and ("seconds" in key or key in ("sha256", "engine_facts", "last_session")))
        }
    if isinstance(value, list | tuple):
        return [_without_times(one) for one in value]
    return value


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Names of files that are missing, too many, or of another content."""
    return [
        f"{name}: {'missing' if name not in found else 'left over' if name not in expected else 'differs'}"
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    ]
