"""The demo-sized examples in the help texts run to their end, each in a folder that has what those before it make."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from hvae_mnn.cli.main import main
from hvae_mnn.cosim.plan import PLAN
from tests.cli.click_tree import commands
from tests.cli.command_lines import ROOT, examples, words_of
from tests.reproduction.conftest import write_corpus

pytestmark = [pytest.mark.spice, pytest.mark.slow]

OF_ONES_OWN = re.compile(r"\bptb\b|ptb-paper|--preset small|tcp://|verify-point|runs/before|table[24].*--data-dir")
"""What marks an example as too large, or as one that needs a corpus, a cluster or a sweep of one's own."""
LINES = list(dict.fromkeys(line for _, command in commands() for line in examples(command.epilog or "")))
RUN = [line for line in LINES if not OF_ONES_OWN.search(line) and "--help" not in line]
SHORTER = {
    "": "",
    "hvae-mnn train --preset tiny --out checkpoints/demo": "--epochs 1",
    "hvae-mnn evaluate checkpoints/demo/best.pt": "--sentences 60",
    "hvae-mnn finetune checkpoints/demo/best.pt": "--updates 4 --validate-every 2 --valid-sentences 20",
    "hvae-mnn sweep experiments/demo-noise.toml": "--sentences 10 --seeds 1",
    "hvae-mnn ir-drop": "--tiles 1 --ohms 1",
    "hvae-mnn ir-drop --sizes": "--tiles 1",
    "hvae-mnn reproduce table2 --profile demo": "--rows lm,hsr-lstm-lstm --workers 1",
    "hvae-mnn reproduce table4 --profile demo": "--rows twr-gru --workers 1",
    "hvae-mnn simulate --workers": "--steps 5",
    "hvae-mnn simulate --engine ideal": "--steps 100",
}
"""What is added to examples that begin so, for the time's sake; an option given twice has its last value."""


def run(line):
    """Run an example in the present folder; what it prints goes where `>` says."""
    more = SHORTER[max((begin for begin in SHORTER if line.startswith(begin)), key=len)]
    command, _, file = line.partition(" > ")
    words = [found for word in words_of(f"{command} {more}") for found in (sorted(glob.glob(word)) or [word])]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            main(words)
        except SystemExit as ended:
            pytest.fail(f"{line}: exit code {ended.code}; it printed: {printed.getvalue()[-500:]}")
    if file:
        Path(file).write_text(printed.getvalue(), encoding="utf-8")
    return printed.getvalue()


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A folder with a model, its netlists on two kinds of hardware, a run, an unfinished run, a sweep, two tables made
    anew, and a person's own files."""
    folder = tmp_path_factory.mktemp("story")
    with contextlib.chdir(folder):
        shutil.copytree(ROOT / "experiments", "experiments", ignore=shutil.ignore_patterns("results", "*.sh"))
        for line in (
            "hvae-mnn train --preset tiny --out checkpoints/demo",
            "hvae-mnn build-netlist checkpoints/demo/best.pt",
            "hvae-mnn build-netlist checkpoints/demo/best.pt --hardware tile64 --name demo-tile64",
            "hvae-mnn simulate netlists/demo --steps 3 --engine ideal",
            "hvae-mnn sweep experiments/demo-noise.toml",
            "hvae-mnn hardware show tile64 --toml > my-chip.toml",
            "hvae-mnn finetune checkpoints/demo/best.pt",
            "hvae-mnn reproduce table2 --profile demo",
        ):
            run(line)
        Path("runs/reproduce-demo").rename("runs/reproduce-cpu")
        shutil.copytree("runs/reproduce-cpu", "runs/reproduce-paper")
        write_corpus(Path("corpora")).joinpath("toy").rename("corpora/ptb")
        Path("runs/unfinished").mkdir()
        shutil.copy(f"runs/demo/{PLAN}", "runs/unfinished")
        Path("chips").mkdir()
        shutil.copy("my-chip.toml", "chips/first.toml")
        Path("my_device.toml").write_text('base = "aist"\nr_off_ohm = 120e3\n', encoding="utf-8")
        Path("targets.csv").write_text("2e-5,3e-5\n4e-5,9e-5\n", encoding="utf-8")
        os.utime("netlists/demo")  # the newest build
    return folder


@pytest.mark.parametrize("line", RUN, ids=lambda line: line.removeprefix("hvae-mnn "))
def test_an_example_runs(story, tmp_path, monkeypatch, line):
    folder = tmp_path / "story"
    shutil.copytree(story, folder, copy_function=os.link)  # nothing is written into; files are replaced
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    for begin, made in (("hvae-mnn train", "checkpoints/demo"), ("hvae-mnn finetune", "checkpoints/demo-finetuned")):
        if line.startswith(begin):
            shutil.rmtree(made)
    run(line)


def test_what_does_not_run_is_known():
    left = [shlex.split(line)[1:3] for line in LINES if OF_ONES_OWN.search(line)]
    assert len(RUN) > 40
    assert sorted({words[0] for words in left}) == [
        "build-netlist", "evaluate", "finetune", "generate", "plot", "reproduce", "simulate", "sweep", "train",
        "verify-point",
    ]  # fmt: skip
