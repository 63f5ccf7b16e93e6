"""Arrays and functions on other processes give the same bits as here, even if a worker dies or hangs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from hvae_mnn.cosim.export import build_netlist
from hvae_mnn.engines import array_process, remote_array
from hvae_mnn.engines.array_process import ArrayProcess
from hvae_mnn.engines.ngspice import NgspiceEngine, array_decks
from hvae_mnn.engines.remote_array import RemoteArray
from hvae_mnn.errors import EnvironmentProblem, ManifestError, RunError, SimulatorError
from hvae_mnn.parallel import dask_client
from hvae_mnn.parallel.cluster import Cluster

pytestmark = pytest.mark.spice


def network(kind):
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return kind(6, 4)


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """Arrays of resistors."""
    return build_netlist(network(nn.LSTM), tmp_path_factory.mktemp("cluster") / "still")


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """Arrays whose currents depend on all earlier reads."""
    folder = tmp_path_factory.mktemp("cluster") / "moving"
    options = {"device_backend": "behavioural", "read_s": 2e-5, "read_voltage": 0.2, "allow_disturb": True}
    return build_netlist(network(nn.GRU), folder, **options)


@pytest.fixture(params=["still", "moving"])
def manifest(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def local_cluster():
    with Cluster.local(2) as made:
        yield made


@pytest.fixture
def two(local_cluster):
    """Two live workers, even after a test that killed one."""
    until(lambda: local_cluster.workers == 2)
    return local_cluster


@pytest.fixture
def engine_on():
    engines = []

    def start(manifest, where=None):
        engines.append(NgspiceEngine(array_decks(manifest), cluster=where))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def reads(manifest, count, seed=0):
    generator = np.random.default_rng(seed)
    volts = manifest.device.read_v
    return {
        deck.name: generator.uniform(-volts, volts, (count, len(deck.word_lines))) for deck in array_decks(manifest)
    }


def one_by_one(engine, volts, between=None):
    """Currents of the reads `volts`, one at a time; `between(index)` is called before each."""
    steps = []
    for index in range(len(next(iter(volts.values())))):
        if between is not None:
            between(index)
        steps.append(engine.currents({name: value[index : index + 1] for name, value in volts.items()}))
    return {name: np.concatenate([step[name] for step in steps]) for name in volts}


def same_bits(currents, expected):
    assert currents.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(currents[name], value)


def worker_pids(where):
    return [watcher.pid for watcher in where._processes.workers.values()]


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def parent(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def test_the_bits_are_the_same_wherever_it_runs(manifest, two, engine_on):
    volts = reads(manifest, 12)
    here = engine_on(manifest)
    expected = one_by_one(here, volts)
    with Cluster.local(1) as one:
        engine = engine_on(manifest, one)
        same_bits(one_by_one(engine, volts), expected)
        assert engine.facts()["workers"] == "1 local worker"
        engine.close()
    engine = engine_on(manifest, two)
    same_bits(one_by_one(engine, volts), expected)
    assert engine.facts() | {"workers": 0} == here.facts() | {
        "workers": 0,
        "seconds_loading": engine.facts()["seconds_loading"],
        "seconds_solving": engine.facts()["seconds_solving"],
    }
    assert engine.facts()["workers"] == "2 local workers"
    assert engine.facts()["seconds_solving"] > 0
    assert {parent(pid) for pid in engine.pids().values()} == set(worker_pids(two))
    for name in volts:
        drift, wanted = engine.drift(name), here.drift(name)
        assert (drift is None) == (manifest.moving is None)
        if drift is not None:
            np.testing.assert_array_equal(drift, wanted)


def test_a_position_is_taken_from_here_to_there(moving, two, engine_on):
    volts = reads(moving, 8)
    here, there = engine_on(moving), engine_on(moving, two)
    one_by_one(here, volts)
    there.restore(here.position())
    more = reads(moving, 4, seed=1)
    same_bits(one_by_one(there, more), one_by_one(here, more))


def test_a_worker_killed_between_reads(manifest, two, engine_on):
    volts = reads(manifest, 12)
    expected = one_by_one(engine_on(manifest), volts)
    engine = engine_on(manifest, two)
    killed = []

    def kill(index):
        if index == 7:
            killed.append(worker_pids(two)[0])
            killed.extend(pid for pid in engine.pids().values() if parent(pid) == killed[0])
            os.kill(killed[0], signal.SIGKILL)

    same_bits(one_by_one(engine, volts, kill), expected)
    assert engine.restarts == len(killed) - 1 >= 1
    for pid in killed:  # no ngspice outlives its worker
        until(lambda pid=pid: is_gone(pid))


def test_a_worker_killed_in_the_middle_of_reads(manifest, two, engine_on):
    volts = reads(manifest, 6000 if manifest.moving is None else 120)
    expected = engine_on(manifest).currents(volts)
    engine = engine_on(manifest, two)
    worker = parent(next(iter(engine.pids().values())))
    orphans = [pid for pid in engine.pids().values() if parent(pid) == worker]
    killer = threading.Timer(0.1, os.kill, (worker, signal.SIGKILL))
    killer.start()
    currents = engine.currents(volts)
    killer.join()
    same_bits(currents, expected)
    assert engine.restarts > 0
    for pid in orphans:
        until(lambda pid=pid: is_gone(pid))


def test_the_only_worker_is_killed(moving, engine_on):
    volts = reads(moving, 6)
    expected = one_by_one(engine_on(moving), volts)
    with Cluster.local(1) as one:
        engine = engine_on(moving, one)
        currents = one_by_one(
            engine, volts, lambda index: os.kill(worker_pids(one)[0], signal.SIGKILL) if index == 3 else None
        )
        same_bits(currents, expected)
        engine.close()


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_hanging_ngspice_is_started_again(moving, two, engine_on, monkeypatch, where):
    volts = reads(moving, 6)
    expected = one_by_one(engine_on(moving), volts)
    monkeypatch.setattr(ArrayProcess, "limit_s", 2.0)
    monkeypatch.setattr(RemoteArray, "limit_s", 2.0)
    engine = engine_on(moving, two if where == "there" else None)
    name = next(iter(volts))
    hung = engine.pids()[name]

    def stop(index):
        if index == 3:
            os.kill(hung, signal.SIGSTOP)

    same_bits(one_by_one(engine, volts, stop), expected)
    assert engine.restarts == 1
    until(lambda: is_gone(hung))


@pytest.mark.parametrize("where", ["here", "there"])
def test_ngspice_hangs_twice(still, two, engine_on, monkeypatch, where):
    monkeypatch.setattr(ArrayProcess, "limit_s", 1.0)
    monkeypatch.setattr(RemoteArray, "limit_s", 1.0)
    monkeypatch.setattr(array_process, "LOAD_LIMIT_S", 2.0)
    engine = engine_on(still, two if where == "there" else None)
    stop, name = threading.Event(), "lstm_g"

    def stop_every_process():
        while not stop.wait(0.005):
            with contextlib.suppress(ProcessLookupError, KeyError):
                os.kill(engine.pids()[name], signal.SIGSTOP)

    stopper = threading.Thread(target=stop_every_process)
    stopper.start()
    try:
        with pytest.raises(SimulatorError) as caught:
            engine.currents({name: reads(still, 20_000)[name]})
    finally:
        stop.set()
        stopper.join()
    first = str(caught.value).splitlines()[0]
    assert "ngspice failed twice on array lstm_g: the ngspice process gave no answer within" in first
    assert "run it again: cd " in first


def test_a_hanging_worker_is_left_alone(moving, two, engine_on, monkeypatch):
    volts = reads(moving, 6)
    expected = one_by_one(engine_on(moving), volts)
    monkeypatch.setattr(two.remote, "silence_s", 4.0)
    engine = engine_on(moving, two)
    hung = worker_pids(two)[0]
    currents = one_by_one(engine, volts, lambda index: os.kill(hung, signal.SIGSTOP) if index == 3 else None)
    same_bits(currents, expected)
    until(lambda: is_gone(hung))  # ended, because it belongs to this package's own cluster


def test_a_changed_file_does_not_travel(still, two):
    deck = array_decks(still)[0]
    text = deck.include.read_text(encoding="ascii")
    deck.include.write_text(text + "* changed\n", encoding="ascii")
    try:
        with pytest.raises(ManifestError, match="was changed since it was checked"):
            NgspiceEngine([deck], cluster=two)
    finally:
        deck.include.write_text(text, encoding="ascii")


def test_a_deck_that_ngspice_refuses_there(still, two, tmp_path):
    from dataclasses import replace

    broken = tmp_path / "broken.inc"
    broken.write_text("Rmi0_0 x0n bli0 not-a-number\n")
    with pytest.raises(SimulatorError, match="failed twice on array lstm") as caught:
        NgspiceEngine([replace(array_decks(still)[0], include=broken, sha256=None)], cluster=two)
    assert "last lines of the log" in str(caught.value)


# Functions. They are made within functions, so that they travel by value and not as part of a module of tests.


def squares():
    def square(number):
        return number * number

    return square


def test_map_keeps_the_order_and_tells_how_far_it_is(two):
    def wait_and_square(number):
        time.sleep(0.02 * (number % 3))
        return np.full(3, number * number)

    for where in (Cluster.here(), two):
        told = []
        values = where.map(wait_and_square, range(12), progress=lambda done, of: told.append((done, of)))  # noqa: B023
        np.testing.assert_array_equal(values, [[n * n] * 3 for n in range(12)])
        assert told[-1] == (12, 12)
        assert [done for done, _ in told] == sorted({done for done, _ in told})
        assert where.map(squares(), []) == []


def test_map_runs_in_the_worker_processes(two):
    def who(_):
        time.sleep(0.1)
        return os.getpid()

    assert set(two.map(who, range(8))) == set(worker_pids(two))
    assert Cluster.here().map(who, range(2)) == [os.getpid()] * 2


def test_map_takes_large_items(two):
    items = [np.full(2_000_000, float(k)) for k in range(3)]
    np.testing.assert_array_equal(two.map(squares(), items)[2], items[2] ** 2)


def test_errors_of_ours_pass_through_and_others_are_one_line(two):
    def ours(number):
        raise ManifestError(f"number {number} is wrong; take another")

    def others(number):
        return [][number]

    for where in (Cluster.here(), two):
        with pytest.raises(ManifestError, match="number 4 is wrong; take another"):
            where.map(ours, [4])
        with pytest.raises(RunError, match=r"others, part 1 of 1, failed: IndexError: list index out of range"):
            where.map(others, [4])


def test_a_worker_killed_in_the_middle_of_map(two):
    def slow(number):
        time.sleep(0.25)
        return number + 1

    killer = threading.Timer(0.6, os.kill, (worker_pids(two)[0], signal.SIGKILL))
    killer.start()
    assert two.map(slow, range(10)) == list(range(1, 11))
    killer.join()


def test_an_item_that_kills_its_worker_twice(two):
    def deadly(number):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(RunError, match=r"deadly, part 3 of 4, failed twice on 2 local workers: .* died") as caught:
        two.map(deadly, range(4))
    assert "\n" not in str(caught.value)
    assert two.map(squares(), range(4)) == [0, 1, 4, 9]  # the cluster still works


def test_a_hanging_item_is_tried_elsewhere_once(two, tmp_path):
    seen = tmp_path / "seen"

    def hangs_once(number):
        if number == 1 and not seen.exists():
            seen.touch()
            time.sleep(100)
        return number

    def hangs(number):
        time.sleep(100 * (number == 1))
        return number

    assert two.map(hangs_once, range(6), limit_s=2) == list(range(6))
    with pytest.raises(RunError, match=r"hangs, part 2 of 3, failed twice .* gave no answer within 1 s"):
        two.map(hangs, range(3), limit_s=1)


def test_each_tells_what_failed_and_goes_on(two):
    def difficult(number):
        if number == 1:
            raise ManifestError("number 1 is wrong; take another")
        if number == 3:
            return [][number]
        if number == 5 and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    here = os.getpid()
    for where, lost in ((Cluster.here(), set()), (two, {5})):
        values, failed, told = {}, {}, []
        where.each(
            difficult,
            range(8),
            values.__setitem__,
            failed.__setitem__,
            progress=lambda done, of: told.append((done, of)),  # noqa: B023
        )
        assert values == {number: number**2 for number in range(8) if number not in {1, 3} | lost}
        assert {number: type(error) for number, error in failed.items() if number == 1} == {1: ManifestError}
        assert str(failed[3]) == "failed: IndexError: list index out of range; this is an error in hvae-mnn, report it"
        if lost:
            assert "failed twice on 2 local workers: the worker at tcp://" in str(failed[5])
        assert told[-1] == (8, 8)


def test_each_tells_values_as_they_come(two, tmp_path):
    """The second item waits until the first one was reported."""
    told = tmp_path / "told"

    def patient(number):
        while number == 1 and not told.exists():
            time.sleep(0.01)
        return number

    two.each(patient, range(2), lambda index, _: told.touch(), lambda index, error: pytest.fail(str(error)))


def test_each_ends_with_what_its_listener_raises(two):
    def full(index, value):
        raise RunError("enough")

    for where in (Cluster.here(), two):
        with pytest.raises(RunError, match="enough"):
            where.each(squares(), range(5), full, full)
        assert where.map(squares(), range(3)) == [0, 1, 4]


# A cluster that somebody else started.


def test_an_existing_cluster(still, scheduler, connected, engine_on):
    address, process, start_worker = scheduler
    volts = reads(still, 5)
    expected = one_by_one(engine_on(still), volts)
    with pytest.raises(EnvironmentProblem, match="has no workers; start some: dask worker tcp://"):
        Cluster.at(address)
    worker = start_worker()
    with connected(address) as there:
        engine = engine_on(still, there)
        same_bits(one_by_one(engine, volts), expected)
        assert engine.facts()["workers"] == f"1 at {address}"
        assert there.map(squares(), range(3)) == [0, 1, 4]
        pids = list(engine.pids().values())
        assert {parent(pid) for pid in pids} == {worker.pid}
    # The cluster continues without this session's objects, even though the engine was not closed.
    for pid in pids:
        until(lambda pid=pid: is_gone(pid))
    assert worker.poll() is None
    engine.close()
    with Cluster.at(address) as there:
        engine = engine_on(still, there)
        process.kill()
        process.wait()
        with pytest.raises(RunError, match=r"scheduler of tcp://.* does not answer any more") as caught:
            engine.currents(volts)
        assert "\n" not in str(caught.value)
        engine.close()


def test_a_worker_with_other_versions_is_refused(scheduler, connected, tmp_path):
    address, _, start_worker = scheduler
    shadow = tmp_path / "shadow" / "hvae_mnn"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise ImportError('this is not it')\n")
    start_worker(env=os.environ | {"PYTHONPATH": str(shadow.parent)})
    with pytest.raises(
        EnvironmentProblem, match=r"runs without hvae-mnn \(this is not it\), this process hvae-mnn"
    ) as caught:
        connected(address)
    assert "\n" not in str(caught.value)


def test_a_scheduler_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(dask_client, "CONNECT_S", 2.0)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        port = mute.getsockname()[1]
        for listening in (False, True):
            if listening:
                mute.listen()
            begun = time.monotonic()
            with pytest.raises(EnvironmentProblem, match="no Dask scheduler answers at tcp://127") as caught:
                Cluster.at(f"tcp://127.0.0.1:{port}")
            assert time.monotonic() - begun < 15
            assert "\n" not in str(caught.value)
    with pytest.raises(EnvironmentProblem, match="no Dask scheduler answers at nonsense"):
        Cluster.at("nonsense")


def test_nothing_of_dask_is_imported_for_this_process():
    code = "import sys, hvae_mnn.engines.ngspice as n; n.Cluster.here().map(abs, [1]); print('dask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_it_is_quiet(still, tmp_path):
    """Nothing is printed, neither at an orderly end nor when a worker is killed."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from hvae_mnn.parallel.cluster import Cluster\n"
        "from hvae_mnn.engines.ngspice import NgspiceEngine, array_decks\n"
        "from hvae_mnn.netlist.folder import read_manifest\n"
        "import numpy as np\n"
        "if __name__ == '__main__':\n"
        "    with Cluster.local(2) as cluster:\n"
        "        engine = NgspiceEngine(array_decks(read_manifest(Path(sys.argv[1]))), cluster=cluster)\n"
        "        volts = {deck.name: np.zeros((1, len(deck.word_lines))) for deck in engine._decks.values()}\n"
        "        engine.currents(volts)\n"
        "        os.kill(next(iter(cluster._processes.workers.values())).pid, signal.SIGKILL)\n"
        "        engine.currents(volts)\n"
        "        engine.close()\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script, str(still.folder)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_logs_come_back_from_there(still, two, engine_on):
    engine = engine_on(still, two)
    assert engine.facts()["solver"] == "KLU"
    assert isinstance(engine._processes["lstm_i"], remote_array.RemoteArray)
