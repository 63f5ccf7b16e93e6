"""The ngspice engine: its currents are right, also over long runs, and it reports an ngspice that dies."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from hvae_mnn.cosim.export import build_netlist
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.engines import ngspice
from hvae_mnn.engines.ideal import IdealEngine
from hvae_mnn.engines.ngspice import ArrayDeck, NgspiceEngine, array_decks
from hvae_mnn.errors import EnvironmentProblem, SimulatorError
from hvae_mnn.netlist.running import WINDOWS_PER_RUN
from hvae_mnn.spice.probe import probe

PAPER = read_hardware("paper")

pytestmark = pytest.mark.spice


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return build_netlist(nn.LSTM(6, 4), tmp_path_factory.mktemp("engine") / "net")


def decks(manifest, units="ifgo"):
    return [deck for deck in array_decks(manifest) if deck.unit in units]


def ideal(manifest):
    stored = load_file(manifest.folder / "conductances.safetensors")
    return IdealEngine(
        {unit.array: stored[f"{unit.array}.conductance"] for _, unit in manifest.units()},
        manifest.layouts,
    )


@pytest.fixture
def engine(manifest):
    engine = NgspiceEngine(decks(manifest))
    yield engine
    engine.close()


def reads(manifest, count, seed=0, units="ifgo"):
    generator = np.random.default_rng(seed)
    return {deck.name: generator.uniform(-0.05, 0.05, (count, len(deck.word_lines))) for deck in decks(manifest, units)}


def same(currents, expected, tolerance=1e-12):
    assert currents.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(currents[name], value, rtol=0, atol=tolerance * np.abs(value).max())


def test_currents_are_those_of_the_ideal_engine_read_after_read(manifest, engine):
    for seed in range(5):
        volts = reads(manifest, 3, seed)
        same(engine.currents(volts), ideal(manifest).currents(volts))
    assert engine.facts()["solver"] == "KLU"
    assert engine.facts()["seconds_solving"] > 0


def test_a_batch_is_its_reads_one_by_one_bit_for_bit(manifest, engine):
    volts = reads(manifest, 4)
    together = engine.currents(volts)
    for index in range(4):
        alone = engine.currents({name: value[index : index + 1] for name, value in volts.items()})
        for name, value in alone.items():
            np.testing.assert_array_equal(value[0], together[name][index])


def test_an_array_alone_gives_the_same_bits_as_among_others(manifest, engine):
    volts = reads(manifest, 2)
    together = engine.currents(volts)
    single = NgspiceEngine(decks(manifest, "g"))
    try:
        np.testing.assert_array_equal(single.currents({"lstm_g": volts["lstm_g"]})["lstm_g"], together["lstm_g"])
    finally:
        single.close()


def test_more_reads_than_one_transient_holds(manifest):
    engine = NgspiceEngine(decks(manifest, "f"))
    try:
        for part in range(3):
            volts = reads(manifest, WINDOWS_PER_RUN // 2 + 7, part, "f")
            same(engine.currents(volts), ideal(manifest).currents(volts))
    finally:
        engine.close()


def test_a_worker_that_dies_is_started_again_and_the_step_repeated(manifest, engine):
    volts = reads(manifest, 2)
    before = engine.currents(volts)
    os.kill(engine.pids()["lstm_g"], signal.SIGKILL)
    after = engine.currents(volts)
    assert engine.restarts == 1
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_a_worker_that_dies_in_the_middle_of_a_batch(manifest, engine):
    volts = reads(manifest, 5000)
    killer = threading.Timer(0.1, os.kill, (engine.pids()["lstm_f"], signal.SIGKILL))
    killer.start()
    currents = engine.currents(volts)
    killer.join()
    assert engine.restarts == 1
    same(currents, ideal(manifest).currents(volts))


def test_the_second_death_carries_deck_log_and_command(manifest):
    engine = NgspiceEngine(decks(manifest, "i"))
    stop = threading.Event()

    def kill_every_worker():
        while not stop.is_set():
            for pid in list(engine.pids().values()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_every_worker)
    killer.start()
    try:
        with pytest.raises(SimulatorError) as caught:
            engine.currents(reads(manifest, 1, units="i"))
    finally:
        stop.set()
        killer.join()
        engine.close()
    message = str(caught.value)
    assert "ngspice failed twice on array lstm_i: the ngspice process was ended by signal 9" in message
    assert "last lines of the log" in message
    command = message.split("run it again: ")[1].splitlines()[0]
    assert re.fullmatch(r"cd \S+ && ngspice -n -b lstm_i\.cir", command)
    # The command really repeats the read, in the very circuit.
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    expected = ideal(manifest).currents(reads(manifest, 1, units="i"))["lstm_i"][0]
    currents = [float(line.split("=")[1]) for line in done.stdout.splitlines() if line.startswith("i(vsi")]
    np.testing.assert_allclose(currents, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_a_deck_that_ngspice_refuses_is_an_error_with_its_words(manifest, tmp_path):
    broken = tmp_path / "broken.inc"
    broken.write_text("Rmi0_0 x0n bli0 not-a-number\n")
    deck = ArrayDeck("broken", "i", ("x0",), ArrayLayout(1, 1, PAPER), broken)
    with pytest.raises(SimulatorError, match="array broken"):
        NgspiceEngine([deck])


def test_no_process_is_left_behind(manifest):
    engine = NgspiceEngine(decks(manifest))
    pids = engine.pids().values()
    engine.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_missing_library_is_one_line(manifest, monkeypatch):
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "/nowhere/libngspice.so")
    with pytest.raises(EnvironmentProblem, match="NGSPICE_LIBRARY_PATH names /nowhere"):
        NgspiceEngine(decks(manifest))


@pytest.mark.parametrize("solver", ["SPARSE 1.3", None])
def test_a_large_array_without_klu_is_refused_before_it_is_loaded(manifest, monkeypatch, solver):
    # No ngspice without KLU can be installed beside the other one, so only the probe's result is replaced here.
    facts = dataclasses.replace(probe(), solver=solver)
    monkeypatch.setattr(ngspice, "probe", lambda: facts)
    rows = ngspice.SPARSE_CELLS // 256 + 1
    layout = ArrayLayout(rows, 256, PAPER)
    large = ArrayDeck("large", "i", tuple(f"x{k}" for k in range(rows)), layout, manifest.folder / "not-there.inc")
    with pytest.raises(
        EnvironmentProblem, match=r"array large has 257 x 256 cells and this ngspice solves with (?i:sparse 1\.3)"
    ) as caught:
        NgspiceEngine([large])
    assert caught.value.exit_code == 2
    assert "allowed: 65536 cells without KLU; install ngspice 42 or later" in str(caught.value)
    small = NgspiceEngine(decks(manifest, "i"))  # needs no KLU
    small.close()


def test_the_probe_proves_solver_and_osdi_by_running():
    facts = probe()
    assert facts.problem is None
    assert facts.solver == "KLU"
    assert facts.divider_volts == pytest.approx(2.0, abs=1e-12)
    assert facts.osdi
    # Which OSDI versions it takes is found out by loading libraries that are compiled on the spot.
    compiler = shutil.which(os.environ.get("CC", "cc"))
    assert facts.osdi_versions == (("0.3", "0.4") if compiler else ())
