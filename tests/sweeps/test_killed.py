"""A sweep that is killed at random ends with the table of an undisturbed one; a lost scheduler loses no result."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hvae_mnn.errors import RunError
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.sweeps.file import read_sweep
from hvae_mnn.sweeps.grid import make_plan
from hvae_mnn.sweeps.run import run_sweep

pytestmark = pytest.mark.slow

TEXT = """
name = "long"
models = { net = "net.pt" }
sentences = 2
metrics = ["top1", "mean_error"]

[[grid]]
name = "spread"
axes = { "noise.spread.device_on" = { from = 0.01, to = 0.3, points = 10 }, "hardware.adc.bits" = [0, 6, 8] }

[[grid]]
name = "stuck"
axes = { "noise.stuck.on" = { from = 1e-3, to = 0.5, points = 9, scale = "log" } }
"""
TASKS = 5 * (10 * 3 + 9) + 6
"""Points and baselines: digital, unigram, and converters of 8 and 0, 6, 8 and 10 bits."""


@pytest.fixture
def work(tmp_path, monkeypatch, make_checkpoint):
    """A folder with the sweep in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(make_checkpoint("rnn"), tmp_path / "net.pt")
    (tmp_path / "long.toml").write_text(TEXT, encoding="utf-8")
    return tmp_path


def command(folder, workers):
    """Start the command in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "hvae_mnn", "sweep", "long.toml", "--out", str(folder), "--workers", str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def parts(folder):
    """Modification time of each result, by name."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "parts").glob("[!.]*.parquet")}


def wait_for_parts(process, folder, count):
    while len(parts(folder)) < count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)


def finish(process):
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    return printed


@pytest.mark.timeout(1800)  # it starts Python two dozen times
def test_killed_five_times_it_ends_with_the_table_of_an_undisturbed_one(work):
    chance = random.Random(20240607)
    killed, undisturbed = work / "killed", work / "undisturbed"
    written = {}
    for count in sorted(chance.sample(range(1, TASKS - 10), 5)):
        process = command(killed, 2)
        wait_for_parts(process, killed, max(count, len(written) + 1))
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        there = parts(killed)
        assert {name: there[name] for name in written} == written  # nothing lost, nothing done twice
        assert len(there) < TASKS
        written = there
    printed = finish(command(killed, 2))
    assert f"{TASKS} tasks, {len(written)} of them finished before; 0 failed" in printed
    there = parts(killed)
    assert {name: there[name] for name in written} == written
    assert len(there) == TASKS

    assert f"{TASKS} tasks, 0 of them finished before; 0 failed" in finish(command(undisturbed, 1))
    assert pq.read_table(killed / "results.parquet").equals(pq.read_table(undisturbed / "results.parquet"))
    assert (killed / "results.parquet").read_bytes() == (undisturbed / "results.parquet").read_bytes()
    rows = pq.read_table(killed / "results.parquet").to_pylist()
    assert len(rows) == len({(row["grid"], row["kind"], row["settings"], row["seed"]) for row in rows}) == TASKS + 2
    assert not list(killed.glob("**/.*.part"))


def test_ctrl_c_says_how_to_go_on(work):
    process = command(work / "out", 2)
    wait_for_parts(process, work / "out", 5)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "finished results are kept in " in errors
    assert "rerun the same command to resume" in errors
    before = len(parts(work / "out"))
    assert 5 <= before < TASKS
    tasks = {row["task"] for row in pq.read_table(work / "out" / "results.parquet").to_pylist()}
    assert len(tasks) in (before - 1, before)  # the last one may have come while Ctrl-C did
    assert {f"{task}.parquet" for task in tasks} <= set(parts(work / "out"))


def test_a_scheduler_lost_half_way(work, scheduler, connected):
    address, process, start_worker = scheduler
    start_worker(threads=1)
    plan = make_plan(read_sweep(Path("long.toml")))
    folder = work / "out"
    counts = []

    def progress(done, of):
        counts.append(done)
        if done == 20:
            process.kill()
            process.wait()

    with (
        connected(address) as cluster,
        pytest.raises(RunError, match=r"scheduler of tcp://.* does not answer any more") as caught,
    ):
        run_sweep(plan, folder, cluster, progress=progress)
    kept = counts[-1]
    assert 20 <= kept < TASKS
    assert f"{kept} of {TASKS} results are kept in {folder}; rerun the same command to resume" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(parts(folder)) == kept
    result = run_sweep(plan, folder, Cluster.here())
    assert (result.kept, len(result.finished), len(result.failed)) == (kept, TASKS, 0)
