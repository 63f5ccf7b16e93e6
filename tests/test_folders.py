"""Folders that commands write to: what is for something else, or in use, is left alone."""

from __future__ import annotations

import os

import pytest

from hvae_mnn.errors import RunError, StorageError
from hvae_mnn.folders import new_folder, newest_first, refuse_other, taken
from hvae_mnn.owned import LOCK, alone, is_held


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_is_held_and_stays_when_it_was_used(tmp_path):
    with new_folder(None, tmp_path / "runs" / "net") as folder:
        assert folder == tmp_path / "runs" / "net"
        assert is_held(folder)
        (folder / "summary.json").touch()
    assert names(folder) == ["summary.json"]
    with new_folder(None, folder) as second, new_folder(None, folder) as third:
        assert [second.name, third.name] == ["net-2", "net-3"]


def test_a_folder_that_a_killed_process_left_empty_is_used_again(tmp_path):
    left = tmp_path / "net"
    left.mkdir()
    (left / LOCK).touch()
    (left / ".hvae-mnn-tmp-abcdefgh.part").touch()
    for out in (left, None):
        with new_folder(out, tmp_path / "net") as folder:
            assert folder == left
            assert names(folder) == [LOCK]


def test_after_an_error_an_empty_folder_goes_and_a_used_one_stays(tmp_path):
    for used in (False, True):
        entered = new_folder(tmp_path / "net", tmp_path)
        folder = entered.__enter__()
        if used:
            (folder / "deck.cir").touch()
        with pytest.raises(KeyboardInterrupt):
            entered.gen.throw(KeyboardInterrupt)
        assert (tmp_path / "net").exists() == used


def test_a_folder_that_is_taken(tmp_path):
    (tmp_path / "notes.txt").touch()
    for out in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(RunError, match="exists and is not empty; resume it"):
            new_folder(out, tmp_path, "resume it").__enter__()
    assert names(tmp_path) == ["notes.txt"]
    with pytest.raises(StorageError, match=r"cannot write .*File name too long"):
        new_folder(tmp_path / ("x" * 300), tmp_path).__enter__()
    with new_folder(tmp_path / "net", tmp_path), pytest.raises(RunError, match="is being run by another process"):
        new_folder(tmp_path / "net", tmp_path).__enter__()


@pytest.mark.parametrize("mark", ["manifest.json", "run.json", "sweep.toml", "best.pt", "last.pt", "verify.json"])
def test_what_is_for_something_else_is_refused(tmp_path, mark):
    (tmp_path / mark).touch()
    own = {"best.pt", "last.pt"} if mark in ("best.pt", "last.pt") else {mark}
    refuse_other(tmp_path, *own)
    with pytest.raises(RunError, match=rf"holds .+ \({mark}\); choose another --out"):
        taken(tmp_path, "being run", *({"best.pt", "run.json"} - own)).__enter__()
    assert names(tmp_path) == [mark]


def test_the_newest_is_no_hidden_one(tmp_path):
    for name, written in (("a", 2e9), ("b", 3e9), (".hvae-mnn-tmp-abcdefgh.part", 4e9), (".a.abcd1234.old", 5e9)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").touch()
        os.utime(tmp_path / name / "run.json", (written, written))
    (tmp_path / "c").mkdir()
    assert [path.parent.name for path in newest_first(tmp_path, "run.json")] == ["b", "a"]
    assert newest_first(tmp_path / "nowhere", "run.json") == []


def test_a_held_folder_may_be_read(tmp_path):
    (tmp_path / "run").mkdir()
    with alone(tmp_path / "run"):
        (tmp_path / "run" / "run.json").touch()
        assert newest_first(tmp_path, "run.json") == [tmp_path / "run" / "run.json"]
