"""The commands as a person types them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from hvae_mnn.cli.main import COMMANDS, main


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


@pytest.mark.parametrize("command", [*COMMANDS, None])
def test_help_reads_to_the_end(command, capsys):
    main(["--help"] if command is None else [command, "--help"])
    printed = capsys.readouterr().out
    assert "Usage: hvae-mnn" in printed
    if command in ("train", "evaluate", "build-netlist", "simulate"):
        assert "Examples:" in printed


def test_neither_import_nor_help_needs_torch_or_pyspice():
    code = (
        "import sys, hvae_mnn; from hvae_mnn.cli.main import main\n"
        "main(['--help'])\n"
        "assert not {'torch', 'PySpice', 'matplotlib'} & set(sys.modules), 'imported too much'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.spice
def test_build_and_simulate_leave_what_they_promise(make_checkpoint, tmp_path, capsys):
    main(["build-netlist", str(make_checkpoint("lstm")), "--name", "net"])
    assert "encoder1" in capsys.readouterr().out
    main(["simulate", "--steps", "7"])
    printed = capsys.readouterr().out
    assert "7 steps of 3 layers, engine ngspice (KLU)" in printed
    folder = tmp_path / "runs" / "net"
    names = {path.name for path in folder.iterdir()}
    figures = {f"{name}.{ending}" for name in ("preactivations", "error_over_steps") for ending in ("png", "svg")}
    assert names == figures | {"run.json", "summary.json", "steps.parquet", "tokens.parquet", "preactivations.parquet"}
    summary = json.loads((folder / "summary.json").read_text())
    for key in (
        "engine",
        "steps",
        "tokens_digital",
        "tokens_hardware",
        "token_agreement",
        "preactivation_error",
        "clipping",
        "seconds_total",
        "seconds_in_engine",
        "versions",
        "seeds",
    ):
        assert key in summary
    assert summary["steps"] == 7 == pq.read_table(folder / "tokens.parquet").num_rows
    assert summary["clipping"]["dac"]["decoder.z"]["samples"] == 7 * 3
    assert summary["clipping"]["adc"]["encoder1.f"]["samples"] == 7 * 5
    # A second run gets a folder of its own.
    main(["simulate", "--steps", "2", "--engine", "ideal"])
    assert (tmp_path / "runs" / "net-2" / "summary.json").exists()


@pytest.mark.spice
@pytest.mark.parametrize("out", [[], ["--out", "else where"]])
def test_ctrl_c_leaves_a_run_that_resume_continues(make_checkpoint, tmp_path, capsys, monkeypatch, out):
    from hvae_mnn.cosim.lockstep import Lockstep

    main(["build-netlist", str(make_checkpoint("rnn")), "--name", "net"])
    decode = Lockstep._decode

    def interrupted(self, *arguments):
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Lockstep, "_decode", interrupted)
    with pytest.raises(SystemExit) as caught:
        main(["simulate", "--steps", "9", *out])
    assert caught.value.code == 130
    said = re.search(r"go on with: hvae-mnn (.*)", capsys.readouterr().out)
    assert Lockstep._decode is decode
    main(shlex.split(said[1]))
    folder = out[1] if out else "runs/net"
    assert f"resuming {folder}" in capsys.readouterr().out
    assert json.loads((tmp_path / folder / "summary.json").read_text())["steps"] == 9


@pytest.mark.spice
def test_doctor_is_content_here(capsys):
    main(["doctor"])
    printed = capsys.readouterr().out
    assert "KLU, in a run that asked for it" in printed
    assert "the main job runs here" in printed


def test_doctor_names_the_problem_and_its_remedy(capsys, monkeypatch):
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "/nowhere/libngspice.so")
    with pytest.raises(SystemExit) as caught:
        main(["doctor"])
    assert caught.value.code == 1
    printed = capsys.readouterr().out
    assert "problem" in printed
    assert "make system" in printed
