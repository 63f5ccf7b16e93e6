"""Processes end with the one that started them, at once and in the middle of their work, even when it is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from hvae_mnn.errors import SimulatorError
from hvae_mnn.owned import remove_abandoned
from hvae_mnn.spice.batch import deck_folder, run_text
from hvae_mnn.spice.tied import CANNOT_START, tied

pytestmark = pytest.mark.spice

ENDLESS = """an endless transient
V1 a 0 SIN(0 1 1k)
R1 a b 1k
C1 b 0 1u
.control
tran 1n 1000 uic
write deck.raw
.endc
.end
"""


def is_alive(pid):
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def marked(mark):
    """Processes that carry a mark in their environment."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if mark.encode() in file.read().split(b"\0") and is_alive(name):
                found.append(int(name))
    return found


def wait_until(condition):
    """Bound on a hang only."""
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def parent(tmp_path):
    """A function that runs Python code in a process, and returns it when it has printed a line."""
    started = []

    def start(code):
        environment = {**os.environ, "TMPDIR": str(tmp_path), "HVAE_MNN_TEST": str(tmp_path)}
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        process.found = process.stdout.readline().strip()
        return process

    yield start
    for process in started:
        with process:
            process.kill()


BATCH = f"""
import threading
from hvae_mnn.spice.batch import deck_folder, run_text
with deck_folder("verify") as folder:
    threading.Timer(0, print, ("begun",), dict(flush=True)).start()
    run_text({ENDLESS!r}, folder, "deck", ["deck"])
"""
QUIET = """
import subprocess; from hvae_mnn.spice.tied import tied
print("begun", flush=True)
subprocess.run(tied(["/bin/sh", "-c", "while :; do :; done"]))
"""
"""A command that prints nothing: the end of its output would end it as well."""
WORKER = """
import sys; from hvae_mnn.engines import array_process, frames; import json, subprocess
worker = subprocess.Popen([sys.executable, "-m", "hvae_mnn.engines.worker"], stdin=subprocess.PIPE,
    stdout=subprocess.DEVNULL, start_new_session=True)
deck = ["endless", "V1 a 0 SIN(0 1 1k)", "R1 a b 1k", "C1 b 0 1u", ".tran 1n 1000 uic", ".end"]
setup = {"deck": deck, "sources": [], "sensed": [], "window_s": 1.0}
frames.send(worker.stdin, frames.SETUP, json.dumps(setup).encode()); worker.stdin.flush()
print("begun", flush=True); worker.wait()
"""
CLUSTER = """
import time; from hvae_mnn.parallel.cluster import Cluster
if __name__ == "__main__":
    with Cluster.local(2) as cluster:
        print("begun", flush=True)
        cluster.map(time.sleep, [600, 600], limit_s=600)
"""


def busy(pid):
    """Seconds of processor time."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("code", "children"),
    [(BATCH, 1), (QUIET, 1), (WORKER, 1), (CLUSTER, 2)],
    ids=["batch", "quiet", "worker", "dask"],
)
def test_a_killed_process_takes_its_children_with_it(parent, tmp_path, code, children):
    mark = f"HVAE_MNN_TEST={tmp_path}"
    process = parent(code)
    assert process.found == "begun"
    wait_until(lambda: len(marked(mark)) > children)
    if code != CLUSTER:  # in the middle of its work
        wait_until(lambda: any(busy(pid) > 1 for pid in marked(mark) if pid != process.pid))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not marked(mark))
    left = list(tmp_path.iterdir())
    assert bool(left) == (code in (BATCH, CLUSTER))
    assert remove_abandoned(tmp_path) == left
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_cannot_be_started(tmp_path):
    done = subprocess.run(tied([str(tmp_path / "none")]), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (CANNOT_START, "No such file or directory\n")


def test_a_tied_command_gets_its_arguments_and_gives_its_exit_code():
    command = tied(["/bin/sh", "-c", 'printf "%s|" "$@"; exit 7', "sh", "a b", "", "-x"])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, "a b||-x|")


def test_a_failed_deck_stays_under_a_name_that_nothing_removes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SimulatorError, match="run it again: cd ") as caught, deck_folder("verify") as folder:
        run_text("broken\nR1 a\n.op\n.end\n", folder, "deck", ["deck"])
    (kept,) = tmp_path.iterdir()
    assert kept.name.startswith("hvae-mnn-verify-")
    assert (kept / "deck.cir").exists()
    assert f"cd {kept} && ngspice -n -b deck.cir" in str(caught.value)
    assert remove_abandoned(tmp_path) == []


def test_any_other_end_leaves_no_deck(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), deck_folder("verify"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
