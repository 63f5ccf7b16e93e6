"""A rebuild replaces a build in one step: whenever it is killed, one complete build remains, and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from hvae_mnn.cosim.simulation import newest_netlist
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.network import LayerExport
from hvae_mnn.errors import ManifestError, RunError, StorageError
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.netlist import replacement
from hvae_mnn.netlist.build import write_netlists
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.netlist.replacement import exchange, recover
from hvae_mnn.owned import alone_at

PAPER = read_hardware("paper")


def build(folder, number=1, source=None, **options):
    torch.manual_seed(number)
    exports = [LayerExport(layer) for layer in recurrent_layers(nn.RNN(2, 2), "net")]
    return write_netlists(folder, exports, PAPER, source or {"number": number}, **options)


def number_of(folder):
    return read_manifest(folder).source["number"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_replacement import build, replacement
count = 0
def then_killed(call):
    def wrapped(*arguments):
        global count
        answer = call(*arguments)
        count += 1
        if count == {calls}:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    return wrapped
{patch}
build(Path({folder!r}), 2)
"""
EXCHANGE = "replacement.exchange = then_killed(replacement.exchange)"
TWO_RENAMES = "replacement._renameat2 = lambda: None; Path.rename = then_killed(Path.rename)"


def killed(folder, patch, calls):
    code = KILLED.format(tests=os.path.dirname(__file__), folder=str(folder), patch=patch, calls=calls)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture
def without_exchange(monkeypatch):
    """A system that cannot exchange two names in one step."""
    monkeypatch.setattr(replacement, "_renameat2", lambda: None)


def test_this_system_has_the_step(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "x").touch()
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path / "b") == ["x"]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "missing")


def test_killed_after_the_exchange_the_new_build_has_the_name(tmp_path):
    build(tmp_path / "net")
    killed(tmp_path / "net", EXCHANGE, 1)
    assert number_of(tmp_path / "net") == 2
    assert len(names(tmp_path)) == 3  # the old build, and the lock
    build(tmp_path / "net", 3)
    assert names(tmp_path) == ["net"]


@pytest.mark.parametrize(("calls", "kept"), [(1, 1), (2, 2)])
def test_killed_between_two_renames_a_build_comes_back(tmp_path, calls, kept):
    first, second = tmp_path / "first", tmp_path / "second"
    build(first / "net")
    killed(first / "net", TWO_RENAMES, calls)
    assert (first / "net").exists() == (calls == 2)
    assert ".net.hvae-mnn-old" in names(first)
    shutil.copytree(first, second)
    assert number_of(first / "net") == kept  # the next start of any command
    build(first / "net", 3)
    assert names(first) == ["net"]
    build(second / "net", 3)  # or a build at once
    assert number_of(second / "net") == 3
    assert names(second) == ["net"]


def test_the_newest_build_is_found_where_it_was_moved_aside(tmp_path, make_checkpoint):
    for name, time in (("a", 1e9), ("b", 2e9)):
        manifest = build(tmp_path / name, attached={"checkpoint.pt": make_checkpoint("rnn")})
        os.utime(manifest.path, (time, time))
    (tmp_path / "b").rename(tmp_path / ".b.hvae-mnn-old")
    assert newest_netlist(tmp_path) == tmp_path / "b"


def test_hidden_folders_are_never_the_newest(tmp_path, make_checkpoint):
    attached = {"checkpoint.pt": make_checkpoint("rnn")}
    build(tmp_path / ".hvae-mnn-tmp-abcdefgh.part", attached=attached)
    with pytest.raises(ManifestError, match="no netlists in"):
        newest_netlist(tmp_path)
    build(tmp_path / "net", attached=attached)
    build(tmp_path / ".net.abcd1234.part", attached=attached)
    assert newest_netlist(tmp_path) == tmp_path / "net"


def test_a_failure_between_two_renames_puts_the_old_build_back(tmp_path, without_exchange, monkeypatch):
    build(tmp_path / "net")
    rename = type(tmp_path).rename

    def fail(path, target):
        if target.name == "net" and path.name != ".net.hvae-mnn-old":
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        build(tmp_path / "net", 2)
    assert number_of(tmp_path / "net") == 1
    assert names(tmp_path) == ["net"]


def test_without_the_step_a_rebuild_works_as_well(tmp_path, without_exchange):
    assert not exchange(tmp_path, tmp_path)
    build(tmp_path / "net")
    build(tmp_path / "net", 2)
    assert number_of(tmp_path / "net") == 2
    assert names(tmp_path) == ["net"]


def test_a_reader_always_finds_a_build(tmp_path):
    build(tmp_path / "net")
    over, numbers = threading.Event(), set()

    def read():
        while not over.is_set():
            numbers.add(read_manifest(tmp_path / "net", verify=False).source["number"])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(2, 12):
            build(tmp_path / "net", number)
    finally:
        over.set()
        reader.join()
    assert numbers <= set(range(1, 12))
    assert len(numbers) > 1


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(tmp_path, exists):
    (tmp_path / "disk").mkdir()
    if exists:
        build(tmp_path / "disk" / "real")
    (tmp_path / "net").symlink_to(tmp_path / "disk" / "real")
    assert build(tmp_path / "net", 2).folder == tmp_path / "net"
    assert (tmp_path / "net").is_symlink()
    assert number_of(tmp_path / "disk" / "real") == 2
    assert names(tmp_path) == ["disk", "net"]
    assert names(tmp_path / "disk") == ["real"]


def test_two_builds_into_one_folder(tmp_path):
    with alone_at(tmp_path / "net"), pytest.raises(RunError, match="net is being built by another process; wait"):
        build(tmp_path / "net")
    assert names(tmp_path) == []


def test_what_comes_while_netlists_are_written_is_not_lost(tmp_path):
    build(tmp_path / "net")
    with pytest.raises(ManifestError, match=r"holds something other than netlists \(notes.txt\)"):
        build(tmp_path / "net", 2, progress=lambda *_: (tmp_path / "net" / "notes.txt").touch())
    assert "notes.txt" in names(tmp_path / "net")
    assert names(tmp_path) == ["net"]


# What version 0.1 left: `.NAME.<8>.part` and `.NAME.<8>.old`.


def test_a_build_that_the_earlier_version_lost_comes_back(tmp_path):
    build(tmp_path / ".net.abcd1234.old")
    build(tmp_path / ".net.abcd1234.part", 2)
    assert number_of(tmp_path / "net") == 1
    assert names(tmp_path) == [".net.abcd1234.part", "net"]  # which somebody may be writing
    for path in (*(tmp_path / ".net.abcd1234.part").iterdir(), tmp_path / ".net.abcd1234.part"):
        os.utime(path, (1e9, 1e9))
    build(tmp_path / "net", 3)
    assert names(tmp_path) == ["net"]


def test_of_two_lost_builds_the_newer_comes_back(tmp_path):
    for age, number in enumerate((1, 2)):
        folder = tmp_path / f".net.abcd123{number}.old"
        build(folder, number)
        os.utime(folder, (1e9 + age,) * 2)
    recover(tmp_path)
    assert names(tmp_path) == ["net"]
    assert number_of(tmp_path / "net") == 2


def test_what_is_not_provably_ours_stays(tmp_path):
    folders = [".net.abcd1234.old", ".net.abcd1234.part", ".net.hvae-mnn-old"]
    for name in folders:
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").touch()
        os.utime(tmp_path / name / "thesis.tex", (1e9, 1e9))
        os.utime(tmp_path / name, (1e9, 1e9))
    (tmp_path / ".net.linkhere.old").symlink_to(tmp_path / "elsewhere")
    build(tmp_path / "elsewhere")
    before = names(tmp_path)
    recover(tmp_path)
    assert names(tmp_path) == before


# Whose netlists a folder holds.

SOURCES = {
    "checkpoint": {"path": "../a/best.pt", "sha256": "11"},
    "trained on": {"path": "../a/best.pt", "sha256": "22"},
    "copied": {"path": "../b/best.pt", "sha256": "11"},
    "another": {"path": "../b/best.pt", "sha256": "33"},
    "of version 0.1": {"original_name": "best.pt", "sha256": "11"},
    "another of version 0.1": {"original_name": "best.pt", "sha256": "33"},
    "LSTM": {"module": "LSTM"},
    "GRU": {"module": "GRU"},
}


@pytest.mark.parametrize(
    ("there", "new", "same"),
    [
        ("checkpoint", "checkpoint", True),
        ("checkpoint", "trained on", True),
        ("checkpoint", "copied", True),
        ("of version 0.1", "checkpoint", True),
        ("LSTM", "LSTM", True),
        ("checkpoint", "another", False),
        ("another of version 0.1", "checkpoint", False),
        ("checkpoint", "LSTM", False),
        ("LSTM", "checkpoint", False),
        ("LSTM", "GRU", False),
    ],
)
def test_another_source_is_replaced_with_force_only(tmp_path, there, new, same):
    folder = tmp_path / "net"
    build(folder, source=SOURCES[there])
    if not same:
        with pytest.raises(
            ManifestError, match=r"net holds the netlists of another source \(.+\); choose another --name"
        ):
            build(folder, source=SOURCES[new])
        assert read_manifest(folder).source == SOURCES[there]
    build(folder, source=SOURCES[new], force=not same)
    assert read_manifest(folder).source == SOURCES[new]
    assert names(tmp_path) == ["net"]


def test_force_does_not_touch_what_is_no_build(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ManifestError, match="holds something other than netlists"):
        build(tmp_path, force=True)
