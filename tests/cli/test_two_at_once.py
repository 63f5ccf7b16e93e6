"""Two commands in one folder, and a command in a folder of another: the second is refused, and nothing is changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import torch

from hvae_mnn.cli.main import main
from hvae_mnn.cosim.export import build_netlist
from hvae_mnn.cosim.plan import Options
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.owned import alone, alone_at

TRAIN = ["train", "--preset", "tiny", "--embedding", "8", "--hidden", "10", "--latent", "4", "--threads", "1"]
SWEEP = """
name = "s"
models = { net = "net.pt" }
sentences = 2
metrics = ["top1"]
[[grid]]
name = "g"
axes = { "noise.stuck.on" = [0, 0.1] }
"""


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch, make_checkpoint):
    """The working folder, with a checkpoint and a sweep's file in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copy(make_checkpoint("rnn"), tmp_path / "net.pt")
    (tmp_path / "s.toml").write_text(SWEEP)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def content(folder, left_out=None):
    """What every file under `folder` holds."""
    found = {path.relative_to(folder): path for path in folder.rglob("*")}
    return {
        str(name): path.read_bytes() if path.is_file() else None
        for name, path in found.items()
        if name.parts[0] != left_out
    }


@pytest.fixture
def refused(work, capsys):
    """Run a command that must be refused in one line and change nothing; returns the line."""

    def run(*arguments, changing=None):
        before = content(work, changing)
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr().err.strip()
        assert caught.value.code == 2, said
        assert said.startswith("error: ")
        assert len(said.splitlines()) == 1, said
        assert content(work, changing) == before
        return said

    return run


def test_two_trainings_in_one_folder(work, refused):
    """As two people start them: the second ends at once, and the first is what its files say."""
    (work / "text").mkdir()
    for split in ("train", "valid"):
        (work / "text" / f"{split}.txt").write_text("the old sailor sings\na young dog runs\n" * 20)
    arguments = [*TRAIN, "--data-dir", "text", "--out", "model", "--epochs", "3000"]
    command = [sys.executable, "-m", "hvae_mnn", *arguments]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while not (work / "model" / "last.pt").exists():
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.01)
        for resume in ([], ["--resume"]):
            said = refused(*arguments, "--seed", 1, *resume, changing="model")
            assert "model is being trained by another process; wait for it, or choose another --out" in said
    finally:
        first.kill()
        first.communicate()
    assert json.loads((work / "model" / "metrics.json").read_text())["training"]["seed"] == 0
    with alone(work / "model"):  # a killed process keeps nobody out
        pass
    assert not [path for path in (work / "model").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("command", ["train", "finetune", "sweep"])
def test_a_folder_that_another_process_has(work, refused, command):
    (work / "out").mkdir()
    commands = {
        "train": [*TRAIN, "--out", "out"],
        "finetune": ["finetune", "net.pt", "--updates", 1, "--valid-sentences", 2, "--out", "out"],
        "sweep": ["sweep", "s.toml", "--out", "out"],
    }
    with alone(work / "out"):
        assert "out is being " in refused(*commands[command])


@pytest.mark.parametrize("kind", ["simulate", "verify", "cost", "iv", "program", "ir-drop"])
def test_a_new_folder_that_another_process_has(work, refused, kind):
    netlist = build_netlist("net.pt", "a").folder
    (work / "out").mkdir()
    commands = {
        "simulate": [netlist, "--engine", "ideal"],
        "verify": [netlist, "--tiles", 1],
        "cost": [netlist, "--tiles", 1],
        "iv": ["--backend", "reference"],
        "program": ["--random", 2, 2],
        "ir-drop": ["--sizes", "4", "--spice-sizes", "none"],
    }
    with alone(work / "out"):
        assert "out is being run by another process" in refused(kind, *commands[kind], "--out", "out")


def test_two_builds_of_one_name(work, refused):
    (work / "netlists").mkdir()
    with alone_at(work / "netlists" / "a"):
        assert "netlists/a is being built by another process" in refused("build-netlist", "net.pt", "--name", "a")
    main(["build-netlist", "net.pt", "--name", "a"])


def test_two_resumes_of_one_run(work, refused):
    from hvae_mnn import simulate
    from hvae_mnn.cosim import simulation

    manifest = build_netlist("net.pt", "a")
    simulate(manifest, steps=3, options=Options(engine="ideal"), out="runs/a")
    (work / "runs" / "a" / simulation.SUMMARY).unlink()
    with alone(work / "runs" / "a"):
        assert "runs/a is being run by another process" in refused("simulate", "--resume", "--out", "runs/a")
        assert "no unfinished run in runs/" in refused("simulate", "--resume")
    main(["simulate", "--resume"])


@pytest.mark.spice
def test_a_sweep_that_is_running_may_be_looked_at(work):
    main(["sweep", "s.toml", "--out", "out", "--workers", "1"])
    rows = pq.read_table(work / "out" / "results.parquet").to_pylist()
    key = next(row["task"] for row in rows if row["kind"] == "point")
    with alone(work / "out"):
        main(["plot", "accuracy-vs-noise", "out", "--metric", "top1"])
        main(["verify", "out", "--point", key, "--steps", "1", "--arrays", "1", "--out", "proof"])
    assert list((work / "out").glob("*.png"))
    assert (work / "proof" / "verify.json").exists()


OTHERS = {
    "netlists": ["manifest.json", "net_f.inc"],
    "a simulation": ["run.json", "journal.bin"],
    "a sweep": ["sweep.toml", "results.parquet"],
    "a trained model": ["best.pt", "metrics.json"],
    "a verification": ["verify.json"],
}
WRITERS = {
    "train": (TRAIN, {"a trained model"}),
    "finetune": (["finetune", "net.pt"], {"a trained model"}),
    "evaluate": (["evaluate", "net.pt", "--sentences", 2], {"a trained model"}),
    "sweep": (["sweep", "s.toml"], {"a sweep"}),
    "sweep fresh": (["sweep", "s.toml", "--fresh"], {"a sweep"}),
    "build-netlist": (["build-netlist", "net.pt"], set()),
    "build-netlist force": (["build-netlist", "net.pt", "--force"], set()),
    "simulate": (["simulate", "a", "--engine", "ideal"], set()),
    "verify": (["verify", "a", "--tiles", 1], set()),
    "cost": (["cost", "a", "--tiles", 1], set()),
    "iv": (["iv", "--backend", "reference"], set()),
    "program": (["program", "--random", 2, 2], set()),
    "ir-drop": (["ir-drop", "--sizes", "4", "--spice-sizes", "none"], set()),
    "plot crossbar": (["plot", "crossbar", "a"], set()),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_no_command_writes_into_a_folder_of_another_kind(work, refused, writer):
    command, own = WRITERS[writer]
    build_netlist("net.pt", "a")
    for what, files in OTHERS.items():
        if what not in own:
            folder = work / what
            folder.mkdir()
            for name in files:
                (folder / name).write_text("{}")
            said = refused(*command, "--out", folder)
            assert "choose another" in said
    # The real thing, as in the report: training into netlists.
    if "netlists" not in own and not writer.startswith("build-netlist"):
        refused(*command, "--out", "a")
        read_manifest(work / "a")


def test_netlists_of_another_checkpoint_are_replaced_with_force_only(work, refused, make_checkpoint):
    for name, cells in (("one", "rnn"), ("other", "gru")):
        (work / "checkpoints" / name).mkdir(parents=True)
        shutil.copy(make_checkpoint(cells), work / "checkpoints" / name / "best.pt")
    main(["build-netlist", "checkpoints/one/best.pt", "--name", "t64"])
    before = read_manifest(work / "netlists" / "t64").source
    assert before["path"] == "../../checkpoints/one/best.pt"
    said = refused("build-netlist", "checkpoints/other/best.pt", "--name", "t64")
    assert "netlists/t64 holds the netlists of another source (../../checkpoints/one/best.pt)" in said
    assert "choose another --name or --out, or replace them with --force" in said
    main(["build-netlist", "checkpoints/other/best.pt", "--name", "t64", "--force"])
    assert read_manifest(work / "netlists" / "t64").source["path"] == "../../checkpoints/other/best.pt"


def test_train_build_change_build_again(work, make_checkpoint):
    (work / "checkpoints" / "demo").mkdir(parents=True)
    (work / "hardware.toml").write_text('base = "paper"\n[adc]\nbits = 6\n')
    for cells in ("rnn", "gru"):  # trained again, with other settings
        shutil.copy(make_checkpoint(cells), work / "checkpoints" / "demo" / "best.pt")
        main(["build-netlist", "checkpoints/demo/best.pt"])
        main(["build-netlist", "checkpoints/demo/best.pt", "--hardware", "hardware.toml", "--name", "demo"])
        assert read_manifest(work / "netlists" / "demo").hardware.adc.bits == 6
    # A project that moves as a whole.
    (work / "moved").mkdir()
    for name in ("checkpoints", "netlists"):
        (work / name).rename(work / "moved" / name)
    shutil.copy(make_checkpoint("lstm"), work / "moved" / "checkpoints" / "demo" / "best.pt")
    build_netlist(work / "moved" / "checkpoints" / "demo" / "best.pt", work / "moved" / "netlists" / "demo")
