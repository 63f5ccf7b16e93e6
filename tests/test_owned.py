"""Locks and temporary files: the owner's death, however it comes, frees them; what lives is never touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from hvae_mnn import owned
from hvae_mnn.errors import RunError, StorageError
from hvae_mnn.files import replacing, write_text
from hvae_mnn.owned import (
    LOCK,
    alone,
    alone_at,
    is_held,
    is_vacant,
    remove_abandoned,
    temporary_file,
    temporary_folder,
)

TEMPORARY = {"file": "temporary_file(folder)", "folder": "temporary_folder(folder)"}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def other(tmp_path):
    """A function that runs a `with` statement in another process; returns that process, waiting within the block."""
    started = []

    def start(context, folder=tmp_path):
        code = (
            "import sys; from pathlib import Path; from hvae_mnn.owned import *\n"
            f"folder = Path({str(folder)!r})\n"
            f"with {context} as found:\n"
            "    print(found, flush=True); sys.stdin.read()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        process.found = process.stdout.readline().strip()
        assert process.found
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def end(process):
    process.stdin.close()
    assert process.wait() == 0


def kill(process):
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_folder_is_held_by_one_process_alone(tmp_path, other):
    process = other("alone(folder, 'being trained')")
    assert is_held(tmp_path)
    with pytest.raises(RunError, match="is being trained by another process; wait for it, or choose another --out"):
        alone(tmp_path, "being trained").__enter__()
    end(process)
    assert not is_held(tmp_path)
    assert names(tmp_path) == []
    with alone(tmp_path):
        assert is_held(tmp_path)


def test_a_killed_process_holds_nothing(tmp_path, other):
    kill(other("alone(folder)"))
    assert names(tmp_path) == [LOCK]
    assert not is_held(tmp_path)
    with alone(tmp_path):
        pass
    assert names(tmp_path) == []


def test_a_name_is_held_before_there_is_anything_of_that_name(tmp_path, other):
    process = other("alone_at(folder / 'net', 'being built')")
    with pytest.raises(RunError, match=r"net is being built by another process"):
        alone_at(tmp_path / "net", "being built").__enter__()
    with alone_at(tmp_path / "net2"):
        assert remove_abandoned(tmp_path) == []  # a lock with an owner stays
    kill(process)
    left = list(tmp_path.iterdir())
    assert remove_abandoned(tmp_path) == left != []
    with alone_at(tmp_path / "net"):
        pass
    assert names(tmp_path) == []


def test_who_only_looks_turns_nobody_away(tmp_path, monkeypatch):
    """A process that tidies up, or asks whether a folder is held, has its lock for a moment."""
    handle = os.open(tmp_path / LOCK, os.O_RDWR | os.O_CREAT)
    assert owned._try_lock(handle)
    looking = threading.Timer(owned._LOOKED_AT_S / 3, os.close, (handle,))
    looking.start()
    with alone(tmp_path):
        assert is_held(tmp_path)
    looking.join()


def test_two_processes_never_hold_one_folder(tmp_path):
    """Locks come and go under each other's hands; a counter would not add up."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    code = (
        "import sys, time; from pathlib import Path; from hvae_mnn.owned import *\n"
        "from hvae_mnn.errors import RunError\n"
        f"folder = Path({str(tmp_path)!r}); done = 0\n"
        "while done < 40:\n"
        "    try:\n"
        "        with alone(folder):\n"
        "            now = int((folder / 'counter').read_text()); time.sleep(0.001)\n"
        "            (folder / 'counter').write_text(str(now + 1)); done += 1\n"
        "    except RunError:\n"
        "        pass\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert counter.read_text() == "120"
    assert names(tmp_path) == ["counter"]


def test_a_folder_that_cannot_be_written_to(tmp_path):
    with pytest.raises(StorageError, match=r"cannot write to .*missing: No such file or directory; choose a folder"):
        alone(tmp_path / "missing").__enter__()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="cannot write to"):
        alone(tmp_path).__enter__()
    assert not (tmp_path / "elsewhere").exists()


def test_locks_and_temporaries_do_not_count_as_content(tmp_path):
    assert is_vacant(tmp_path)
    with alone(tmp_path), temporary_file(tmp_path), temporary_folder(tmp_path), alone_at(tmp_path / "net"):
        assert len(names(tmp_path)) == 4
        assert is_vacant(tmp_path)
    (tmp_path / ".hvae-mnn-tmp-notes").touch()
    assert not is_vacant(tmp_path)


@pytest.mark.parametrize("kind", TEMPORARY)
def test_what_a_killed_process_made_is_removed_and_what_lives_is_not(tmp_path, other, kind):
    alive, dead = other(TEMPORARY[kind]), other(TEMPORARY[kind])
    assert len(names(tmp_path)) == 2
    if kind == "folder":
        for process in (alive, dead):
            (tmp_path / process.found / "deck.cir").write_text("R1 a 0 1k")
    assert remove_abandoned(tmp_path) == []
    kill(dead)
    assert remove_abandoned(tmp_path) == [tmp_path / dead.found]
    assert names(tmp_path) == [os.path.basename(alive.found)]
    end(alive)
    assert names(tmp_path) == []


def test_what_is_kept_on_purpose_stays(tmp_path):
    kept = ["hvae-mnn-failed-abcdefgh", "hvae-mnn-verify-abcdefgh", "hvae-mnn-cost-abcdefgh", "hvae-mnn-tmp-mine"]
    kept += [".hvae-mnn-tmp-abcdefgh.parquet", "hvae-mnn-tmp-ABCDEFGH", "x-hvae-mnn-tmp-abcdefgh"]
    for name in kept:
        (tmp_path / name).mkdir()
    assert remove_abandoned(tmp_path) == []
    assert names(tmp_path) == sorted(kept)


def test_links_are_not_followed(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").touch()
    (tmp_path / "hvae-mnn-tmp-abcdefgh").symlink_to(tmp_path / "work")
    inside = tmp_path / "hvae-mnn-tmp-hgfedcba"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "work")
    assert remove_abandoned(tmp_path) == [inside]
    assert (tmp_path / "work" / "thesis.tex").exists()


def test_a_folder_that_is_not_there_is_no_error(tmp_path):
    assert remove_abandoned(tmp_path / "missing") == []


@contextmanager
def sweeping(folder):
    """Another thread that removes abandoned things all the time."""
    over = threading.Event()

    def sweep():
        while not over.is_set():
            remove_abandoned(folder)

    thread = threading.Thread(target=sweep)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("make", [temporary_file, temporary_folder])
def test_nothing_is_removed_under_the_hands_of_its_maker(tmp_path, make):
    with sweeping(tmp_path):
        for _ in range(100):
            with make(tmp_path) as path:
                assert path.exists()
                time.sleep(0)
                assert path.exists()
    assert names(tmp_path) == []


def test_writing_a_file_removes_what_a_killed_writer_left(tmp_path, other):
    kill(other("temporary_file(folder)"))
    assert len(names(tmp_path)) == 1
    write_text(tmp_path / "a.txt", "a")
    assert names(tmp_path) == ["a.txt"]


def test_parts_of_the_earlier_version_go_when_they_are_old_and_ours(tmp_path):
    stay = [".best.pt.new12345.part", ".other.abcd1234.part", ".best.pt.part"]
    for name in ("best.pt", ".best.pt.abcd_123.part", *stay):
        (tmp_path / name).touch()
    (tmp_path / ".best.pt.fold1234.part").mkdir()
    for path in tmp_path.iterdir():
        if "new" not in path.name:
            os.utime(path, (1e9, 1e9))
    with replacing(tmp_path / "best.pt") as temporary:
        temporary.write_text("weights")
    assert names(tmp_path) == sorted(["best.pt", ".best.pt.fold1234.part", *stay])


def test_the_temporary_folder_is_in_tmpdir_and_leaves_nothing(tmp_path, other, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    dead = other("temporary_folder()")
    assert os.path.dirname(dead.found) == str(tmp_path)
    kill(dead)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / os.path.basename(dead.found)).mkdir()
    end(other("temporary_folder()"))
    assert names(tmp_path) == []


def test_a_missing_temporary_folder_says_what_to_do(tmp_path):
    with pytest.raises(StorageError, match=r"there is no folder .*missing for temporary files; set TMPDIR to one"):
        temporary_folder(tmp_path / "missing").__enter__()
