"""A user's mistakes: one line that says what, where, found, allowed; the right exit code; nothing half-written."""

from __future__ import annotations

import ctypes.util
import gzip
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hvae_mnn.cli.main import main


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (os.system, ("touch pwned",))


def test_checkpoints_that_are_none(fails, tmp_path):
    assert "no checkpoint at nowhere.pt" in fails("build-netlist", "nowhere.pt")
    (tmp_path / "text.pt").write_text("hello")
    assert "truncated or no PyTorch file" in fails("build-netlist", "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    assert "holds a list, not a checkpoint" in fails("build-netlist", "list.pt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    assert "is not a checkpoint of hvae-mnn" in fails("build-netlist", "foreign.pt")
    assert "is a folder" in fails("build-netlist", tmp_path)


def test_code_in_a_checkpoint_does_not_run(fails, tmp_path):
    torch.save({"format": Code()}, tmp_path / "evil.pt")
    assert "nothing was run" in fails("build-netlist", "evil.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Code()))
    assert "no PyTorch file" in fails("build-netlist", "old.pt")
    assert not (tmp_path / "pwned").exists()


def test_a_truncated_checkpoint(fails, make_checkpoint, tmp_path):
    content = make_checkpoint("lstm").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    assert "cut.pt is truncated" in fails("build-netlist", "cut.pt")


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers(fails, make_checkpoint, tmp_path, bad):
    content = torch.load(make_checkpoint("lstm"), weights_only=True)
    content["state_dict"]["encoder2.weight_hh_l0"][3, 1] = bad
    torch.save(content, tmp_path / "bad.pt")
    assert "'encoder2.weight_hh_l0' hold 1 values that are NaN or infinite" in fails("build-netlist", "bad.pt")


def test_an_unknown_cell(fails, make_checkpoint, tmp_path):
    content = torch.load(make_checkpoint("lstm"), weights_only=True)
    content["model_config"]["decoder_cell"] = "transformer"
    torch.save(content, tmp_path / "bad.pt")
    message = fails("build-netlist", "bad.pt")
    assert "transformer" in message
    assert "lstm" in message


def test_a_vocabulary_that_does_not_fit_the_embedding(fails, make_checkpoint, tmp_path):
    content = torch.load(make_checkpoint("lstm"), weights_only=True)
    content["vocabulary"].pop()
    torch.save(content, tmp_path / "bad.pt")
    assert "the vocabulary has" in fails("build-netlist", "bad.pt")


def test_a_checkpoint_without_ranges_cannot_be_built(fails, make_checkpoint, tmp_path):
    content = torch.load(make_checkpoint("lstm"), weights_only=True)
    content["activation_ranges"] = None
    torch.save(content, tmp_path / "bad.pt")
    assert "no activation ranges inside" in fails("build-netlist", "bad.pt")


def test_names_of_builds(fails, make_checkpoint):
    for name in ("../x", "..", ".", "a/", "/tmp", "a\nb"):
        assert "allowed: one folder name" in fails("build-netlist", make_checkpoint("lstm"), "--name", name)
    assert "a name of 200 bytes at most" in fails("build-netlist", make_checkpoint("lstm"), "--name", "x" * 300)


@pytest.fixture
def netlist(make_checkpoint, tmp_path, capsys):
    main_quietly(capsys, "build-netlist", make_checkpoint("rnn"), "--name", "net")
    return tmp_path / "netlists" / "net"


def main_quietly(capsys, *arguments):
    main([str(argument) for argument in arguments])
    capsys.readouterr()


@pytest.mark.parametrize("value", ["0", "-7"])
def test_limits_below_one(fails, netlist, value):
    assert f"--steps is {value}; allowed: a whole number from 1" in fails("simulate", "--steps", value)
    assert f"--sentences is {value}; allowed: a whole number from 1" in fails("simulate", "--sentences", value)


def test_no_netlists_at_all(fails):
    assert "build some: hvae-mnn build-netlist" in fails("simulate")
    assert "is not a netlist folder" in fails("simulate", "elsewhere")


def test_a_changed_netlist(fails, netlist):
    with (netlist / "decoder_h.inc").open("a") as file:
        file.write("R1 x0 blh0 1\n")
    assert "SHA-256" in fails("simulate", "--steps", "3")


@pytest.mark.parametrize("option", ["--dac-bits", "--adc-bits"])
def test_impossible_converters(fails, netlist, option):
    for bits in (-1, 1, 40):
        message = fails("simulate", option, bits, "--engine", "ideal")
        assert f"{option} is {bits}; allowed: a whole number from 0 to 24 other than 1" in message


def test_text_that_does_not_fit(fails, netlist, tmp_path):
    assert "--text is empty" in fails("simulate", "--text", " ")
    assert "not in the model's vocabulary" in fails("simulate", "--text", "Fischers Fritz fischt")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    assert "no test file" in fails("simulate", "--data-dir", corpus)
    (corpus / "test.txt").write_text("\n \n")
    assert "empty corpus" in fails("simulate", "--data-dir", corpus)
    (corpus / "test.txt").write_bytes(b"the old\n\xff\xfe sailor\n")
    message = fails("simulate", "--data-dir", corpus)
    assert "test.txt" in message
    assert "UTF-8" in message
    (corpus / "test.txt").unlink()
    (corpus / "test.txt.gz").write_bytes(gzip.compress(b"the old sailor\n" * 50)[:-20])
    assert "test.txt.gz" in fails("simulate", "--data-dir", corpus)
    assert "does not exist" in fails("simulate", "--data-dir", "nowhere")


def test_runs_that_cannot_be_resumed(fails, netlist, tmp_path):
    assert "no unfinished run" in fails("simulate", "--resume")
    assert "holds no run to resume" in fails("simulate", "--resume", "--out", "nowhere")
    assert "leave out --steps" in fails("simulate", "--resume", "--steps", "9")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    assert "exists and is not empty" in fails("simulate", "--out", "taken")


def test_an_absent_or_foreign_ngspice(fails, netlist, monkeypatch):
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "/nowhere/libngspice.so")
    assert "NGSPICE_LIBRARY_PATH names /nowhere/libngspice.so" in fails("simulate", "--steps", "3")
    library = ctypes.util.find_library("m")
    path = next(Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines() if library in line)
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", str(path))
    assert "cannot be used as libngspice" in fails("simulate", "--steps", "3")


def test_options_that_contradict_each_other(fails, netlist):
    assert "--text is the one sentence that is read; leave out --sentences" in fails(
        "simulate", "--text", "the dog", "--sentences", "2"
    )
    assert "leave out NETLIST" in fails("simulate", netlist, "--resume")
    assert "--seed is -1; allowed: a whole number from 0" in fails("simulate", "--seed", "-1", "--latent", "sampled")


def test_names_are_printed_as_they_are(fails):
    assert "[/red]x is not a netlist folder" in fails("simulate", "[/red]x")


@pytest.mark.parametrize("limit_kib", [1, 8])
def test_a_full_disk(make_checkpoint, tmp_path, limit_kib):
    # A limit on the size of files is the full disk that a test can have anywhere.
    script = (
        f"ulimit -f {limit_kib}; exec {sys.executable} -m hvae_mnn build-netlist {make_checkpoint('lstm')} --name net"
    )
    shell = shutil.which("bash")
    assert shell
    done = subprocess.run([shell, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "error: cannot write netlists/net" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "netlists").iterdir()) == []


def test_a_disk_that_fills_in_the_middle_of_a_run(netlist, tmp_path):
    command = f"{sys.executable} -m hvae_mnn simulate --steps 60 --engine ideal --out run"
    shell = shutil.which("bash")
    assert shell
    run = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120, "check": False}
    full = subprocess.run([shell, "-c", f"ulimit -f 4; exec {command}"], **run)
    assert full.returncode == 2, full.stderr
    assert full.stderr.startswith("error: cannot write run/")  # whichever of its files is first
    assert len(full.stderr.splitlines()) == 1
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["journal.bin", "run.json"]
    freed = subprocess.run([sys.executable, "-m", "hvae_mnn", "simulate", "--resume", "--out", "run"], **run)
    assert freed.returncode == 0, freed.stderr
    assert (tmp_path / "run" / "summary.json").exists()


def test_an_unknown_command_and_option(capsys):
    for arguments in (["simulat"], ["simulate", "--stepps", "3"], ["simulate", "--steps", "many"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert "Traceback" not in capsys.readouterr().err
