"""The commands as a person types them."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time

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
    assert "7 steps of 3 layers, hardware paper, engine ngspice (KLU)" in printed
    told = re.search(
        r"arrays loaded in (\S+) s; stepping (\S+) s, (\S+) s of it in the engine; figures (\S+) s\n", printed
    )
    assert told
    folder = tmp_path / "runs" / "net"
    names = {path.name for path in folder.iterdir()}
    figures = {f"{name}.{ending}" for name in ("preactivations", "error_over_steps") for ending in ("png", "svg")}
    tables = {f"{name}.parquet" for name in ("steps", "tokens", "preactivations", "converters")}
    assert names == figures | tables | {"run.json", "summary.json"}
    summary = json.loads((folder / "summary.json").read_text())
    times = [summary[f"seconds_{name}"] for name in ("loading", "stepping", "in_engine", "figures")]
    assert list(told.groups()) == [f"{seconds:.1f}" for seconds in times]
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
    main(["simulate", "--steps", "2", "--engine", "exact"])
    assert "tiles solved in " in capsys.readouterr().out
    assert (tmp_path / "runs" / "net-2" / "summary.json").exists()


@pytest.mark.spice
@pytest.mark.parametrize("out", [[], ["--out", "else where"]])
def test_ctrl_c_leaves_a_run_that_resume_continues(make_checkpoint, tmp_path, capsys, out):
    main(["build-netlist", str(make_checkpoint("rnn")), "--name", "net"])
    folder = tmp_path / (out[1] if out else "runs/net")
    command = [sys.executable, "-m", "hvae_mnn", "simulate", "--steps", "2000", *out]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    journal = folder / "journal.bin"
    for _ in range(1200):
        if journal.exists() and journal.stat().st_size > 4000:
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert sorted(path.name for path in folder.iterdir()) == ["journal.bin", "run.json"]
    capsys.readouterr()
    # The very words that were printed.
    main(shlex.split(re.search(r"resume with: hvae-mnn (.*)", said)[1]))
    summary = json.loads((folder / "summary.json").read_text())
    known = summary["engine_facts"]["answers_from_journal"]
    told = f"in this session; {known:,} answers of the engine came from the journal of an earlier one"
    assert told in capsys.readouterr().out
    assert summary["steps"] == 2000
    assert summary["engine_facts"]["answers_from_journal"] > 10


@pytest.mark.spice
def test_doctor_is_content_here(capsys):
    main(["doctor"])
    printed = capsys.readouterr().out
    assert "KLU, in a run that requested it" in printed
    assert "the main job runs here" in printed


def test_doctor_names_the_problem_and_its_remedy(capsys, monkeypatch):
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "/nowhere/libngspice.so")
    with pytest.raises(SystemExit) as caught:
        main(["doctor"])
    assert caught.value.code == 1
    printed = capsys.readouterr().out
    assert "problem" in printed
    assert "make system" in printed
