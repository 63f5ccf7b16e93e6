"""Memristors that move during reads: three engines agree, and restarts keep the history."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from hvae_mnn import Options, build_netlist, read_manifest, resume, simulate
from hvae_mnn.cosim import journal, simulation
from hvae_mnn.devices.presets import AIST, HP_TIO2
from hvae_mnn.engines import array_process
from hvae_mnn.engines.ideal import IdealEngine
from hvae_mnn.engines.ngspice import NgspiceEngine, array_decks
from hvae_mnn.errors import InputError, ManifestError, RunError, SimulatorError
from hvae_mnn.spice.osdi import osdi_problem

pytestmark = pytest.mark.spice

READ_S = 2e-5


def backend_or_skip(backend):
    problem = osdi_problem() if backend == "osdi" else None
    if problem:
        pytest.skip(problem)
    return backend


@pytest.fixture(params=["behavioural", "osdi"])
def backend(request):
    return backend_or_skip(request.param)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return nn.GRU(6, 4)


def build(folder, backend, **options):
    """Not symmetric: SET beyond 0.1 V, RESET beyond 0.1 V at another speed, and most lines below both."""
    return build_netlist(network(), folder, device_backend=backend, read_s=READ_S, **options)


def disturbing(folder, backend):
    return build(folder, backend, read_voltage=0.2, allow_disturb=True)


def ideal(manifest):
    stored = load_file(manifest.folder / "conductances.safetensors")
    conductances = {unit.array: stored[f"{unit.array}.conductance"] for _, unit in manifest.units()}
    layouts = manifest.layouts
    return IdealEngine(conductances, layouts, manifest.moving)


def reads(manifest, count, seed=0):
    generator = np.random.default_rng(seed)
    volts = manifest.device.read_v
    return {unit.array: generator.uniform(-volts, volts, (count, unit.row_count)) for _, unit in manifest.units()}


def states(engine):
    return {name: process.states for name, process in engine._processes.items()}


@pytest.fixture
def start():
    engines = []

    def make(manifest):
        engines.append(NgspiceEngine(array_decks(manifest)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def test_at_the_safe_read_voltage_nothing_moves(tmp_path, backend, start):
    manifest = build(tmp_path / "n", backend)
    engine, expected = start(manifest), ideal(manifest)
    for seed in range(40):
        volts = reads(manifest, 1, seed)
        read = engine.currents(volts)
        for name, currents in expected.currents(volts).items():
            np.testing.assert_allclose(read[name], currents, rtol=0, atol=1e-9 * np.abs(currents).max())
            assert engine.drift(name)[0] <= 1e-12
            assert engine.drift(name)[2] == 0


def test_above_threshold_states_move_as_the_equation_says(tmp_path, backend, start):
    manifest = disturbing(tmp_path / "n", backend)
    engine, expected = start(manifest), ideal(manifest)
    for seed in range(6):
        volts = reads(manifest, 2, seed)
        currents, wanted = engine.currents(volts), expected.currents(volts)
        for name in volts:
            np.testing.assert_allclose(states(engine)[name], expected._states[name], rtol=0, atol=5e-4)
            np.testing.assert_allclose(currents[name], wanted[name], rtol=0, atol=2e-3 * np.abs(wanted[name]).max())
            np.testing.assert_allclose(engine.drift(name)[:2], expected.drift(name)[:2], rtol=2e-3)
            assert engine.drift(name)[2] == expected.drift(name)[2] > 0


def test_a_read_below_threshold_moves_nothing_after_one_above_it(tmp_path, backend, start):
    """At ngspice's usual tolerance, Newton's method keeps a rate extrapolated from the previous voltage."""
    manifest = disturbing(tmp_path / "n", backend)
    engine = start(manifest)
    name = manifest.units()[0][1].array
    rows = manifest.units()[0][1].row_count
    for volts in (0.12, -0.12, 0.2, -0.2):
        engine.currents({name: np.full((1, rows), volts)})
        before = states(engine)[name]
        engine.currents({name: np.full((1, rows), 0.05 * np.sign(-volts))})
        np.testing.assert_allclose(states(engine)[name], before, rtol=0, atol=1e-12)


def test_a_device_without_threshold_moves_at_any_read(tmp_path, backend, start):
    manifest = build(tmp_path / "n", backend, device=HP_TIO2, allow_disturb=True)
    engine, expected = start(manifest), ideal(manifest)
    for seed in range(3):
        volts = reads(manifest, 1, seed)
        engine.currents(volts)
        expected.currents(volts)
    for name in volts:
        assert 1e-7 < engine.drift(name)[0] < 1e-4
        np.testing.assert_allclose(engine.drift(name)[:2], expected.drift(name)[:2], rtol=1e-3)


def test_transients_hand_their_states_over(tmp_path, backend, start, monkeypatch):
    manifest = disturbing(tmp_path / "n", backend)
    volts = reads(manifest, 20)
    whole = start(manifest)
    expected = whole.currents(volts)
    monkeypatch.setattr(array_process, "_POINTS_BYTES", 0)  # eight reads a transient, the least
    assert array_decks(manifest)[0].reads_per_transient == 8
    engine = start(manifest)
    currents = engine.currents(volts)
    for name in volts:
        # Time steps differ a little: a transient's first ones depend on its length.
        np.testing.assert_allclose(currents[name], expected[name], rtol=0, atol=1e-6 * np.abs(expected[name]).max())
        np.testing.assert_allclose(engine.drift(name), whole.drift(name), rtol=1e-4)


def test_a_worker_that_dies_lives_through_its_past_again(tmp_path, backend, start, monkeypatch):
    monkeypatch.setattr(array_process, "_POINTS_BYTES", 0)
    manifest = disturbing(tmp_path / "n", backend)
    undisturbed, engine = start(manifest), start(manifest)
    volts = reads(manifest, 13)
    for read in range(13):
        one = {name: value[read : read + 1] for name, value in volts.items()}
        expected = undisturbed.currents(one)
        if read in (5, 11):  # in the first transient, and in the second
            os.kill(next(iter(engine.pids().values())), signal.SIGKILL)
        currents = engine.currents(one)
        for name in one:
            np.testing.assert_array_equal(currents[name], expected[name])
    assert engine.restarts == 2
    for name in volts:
        np.testing.assert_array_equal(engine.drift(name), undisturbed.drift(name))


def test_a_restored_engine_gives_the_same_bits(tmp_path, backend, start, monkeypatch):
    monkeypatch.setattr(array_process, "_POINTS_BYTES", 0)
    manifest = disturbing(tmp_path / "n", backend)
    for make in (start, ideal):
        first, second = make(manifest), make(manifest)
        first.currents(reads(manifest, 11, seed=1))
        second.restore({name: value.copy() for name, value in first.position().items()})
        for seed in (2, 3):
            expected, currents = first.currents(reads(manifest, 3, seed)), second.currents(reads(manifest, 3, seed))
            for name in expected:
                np.testing.assert_array_equal(currents[name], expected[name])
                np.testing.assert_array_equal(second.drift(name), first.drift(name))


def model(make_checkpoint, folder, backend, read_v):
    return build_netlist(
        make_checkpoint("lstm"),
        folder,
        device_backend=backend,
        read_voltage=read_v,
        read_s=1e-5,
        allow_disturb=read_v >= AIST.threshold_v,
    )


@pytest.mark.parametrize("engine", ["ngspice", "ideal"])
def test_a_run_below_threshold_is_the_static_run(make_checkpoint, tmp_path, engine):
    moving = model(make_checkpoint, tmp_path / "moving", backend_or_skip("osdi"), 0.05)
    static = model(make_checkpoint, tmp_path / "static", "static", 0.05)
    results = [
        simulate(manifest, steps=40, out=tmp_path / f"run-{manifest.name}", options=Options(engine=engine))
        for manifest in (moving, static)
    ]
    devices = results[0].summary["devices"]
    assert devices["moved"] == devices["above_threshold"] == 0
    assert devices["max_drift"] <= 1e-12
    assert results[1].summary["devices"]["moved"] is None
    assert results[0].tokens == results[1].tokens
    table = pq.read_table(results[0].folder / "drift.parquet").to_pydict()
    assert len(table["moved"]) == pq.read_table(results[0].folder / "steps.parquet").num_rows
    assert max(table["max_drift"]) <= 1e-12
    assert (results[0].folder / "read_disturb.png").exists()
    assert not (results[1].folder / "drift.parquet").exists()
    assert not (results[1].folder / "read_disturb.png").exists()


def test_a_run_above_threshold_disturbs_and_says_so(make_checkpoint, tmp_path):
    manifest = model(make_checkpoint, tmp_path / "n", backend_or_skip("osdi"), 0.15)
    result = simulate(manifest, steps=30, out=tmp_path / "run", options=Options(dac_bits=0, adc_bits=0))
    devices = result.summary["devices"]
    assert 0 < devices["above_threshold"] < devices["count"]
    assert 0 < devices["moved"] < devices["count"]
    table = pq.read_table(tmp_path / "run" / "drift.parquet").to_pydict()
    assert max(table["max_drift"]) == pytest.approx(devices["max_drift"], rel=1e-9)
    errors = pq.read_table(tmp_path / "run" / "steps.parquet").to_pydict()["max_array_error"]
    assert np.mean(errors[-12:]) > np.mean(errors[:12])


@pytest.mark.parametrize("engine", ["ngspice", "ideal"])
@pytest.mark.parametrize("after", [3, 29])
def test_an_interrupted_disturbing_run_goes_on_bit_for_bit(make_checkpoint, tmp_path, monkeypatch, engine, after):
    monkeypatch.setattr(journal, "POSITION_EVERY", 16)
    manifest = model(make_checkpoint, tmp_path / "n", backend_or_skip("osdi"), 0.15)
    options = Options(engine=engine)
    whole = simulate(manifest, steps=12, out=tmp_path / "whole", options=options)

    real, asked = journal.JournalEngine.currents, 0

    def stops(self, volts):
        nonlocal asked
        asked += 1
        if asked > after:
            raise KeyboardInterrupt
        return real(self, volts)

    with monkeypatch.context() as patch:
        patch.setattr(journal.JournalEngine, "currents", stops)
        with pytest.raises(KeyboardInterrupt):
            simulate(manifest, steps=12, out=tmp_path / "stopped", options=options)
    assert (tmp_path / "stopped" / "journal.position").exists() == (after > 16)
    again = resume(tmp_path / "stopped")
    assert again.tokens == whole.tokens
    for name in ("steps.parquet", "drift.parquet", "preactivations.parquet", "tokens.parquet"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert again.summary["devices"] == whole.summary["devices"]
    assert not (tmp_path / "stopped" / "journal.position").exists()


def test_a_journal_shorter_than_its_position_is_refused(make_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "POSITION_EVERY", 4)
    manifest = model(make_checkpoint, tmp_path / "n", backend_or_skip("osdi"), 0.15)
    real, asked = journal.JournalEngine.currents, 0

    def stops(self, volts):
        nonlocal asked
        asked += 1
        if asked > 9:
            raise KeyboardInterrupt
        return real(self, volts)

    with monkeypatch.context() as patch:
        patch.setattr(journal.JournalEngine, "currents", stops)
        with pytest.raises(KeyboardInterrupt):
            simulate(manifest, steps=8, out=tmp_path / "run", options=Options(engine="ideal"))
    path = tmp_path / "run" / simulation.JOURNAL
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RunError, match="it was cut short; start the run again"):
        resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"read_voltage": 0.1}, r"read voltage 0\.1 V, at or above its threshold of 0\.1 V.*--allow-disturb"),
        ({"read_voltage": 0.3, "device_backend": "static"}, "at or above its threshold"),
        ({"device": HP_TIO2}, "has no threshold: reading would move the states"),
        ({"device": "nowhere.toml"}, "does not exist"),
        ({"read_s": 0.0}, "a read of 0.0 s"),
        ({"device_backend": "spectre"}, "allowed: static, behavioural, osdi"),
        ({"read_voltage": -0.05}, "read_v is -0.05"),
    ],
)
def test_reads_that_would_disturb_and_other_mistakes_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message) as caught:
        build_netlist(network(), tmp_path / "n", **{"device_backend": "behavioural", **options})
    assert caught.value.exit_code == 2
    assert not (tmp_path / "n").exists()


def test_the_scale_keeps_every_input_within_the_read_voltage(tmp_path):
    module = network()
    for read_v in (0.05, 0.08):
        manifest = build_netlist(module, tmp_path / "n", read_voltage=read_v, input_range=3.0)
        (layer,) = manifest.layers
        assert layer.volts_per_unit * 3.0 == pytest.approx(read_v)  # x reaches 3; h and the bias stay at 1
        assert manifest.device.read_v == read_v


def test_decks_of_moving_memristors_run_alone_and_hold_their_states(tmp_path, backend):
    """The decks use the models beside them and hold the states even above the threshold."""
    manifest = disturbing(tmp_path / "n", backend)
    stored = load_file(manifest.folder / "conductances.safetensors")
    for _, unit in manifest.units():
        done = subprocess.run(
            ["ngspice", "-n", "-b", manifest.deck(unit).name],
            cwd=manifest.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed = dict(re.findall(r"^(i\(\S+\)) = (\S+)$", done.stdout, re.MULTILINE))
        currents = [float(printed[f"i(vs{unit.name}{k})"]) for k in range(unit.columns)]
        expected = stored[f"{unit.array}.ideal_currents"]
        np.testing.assert_allclose(currents, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    (layer,) = manifest.layers
    done = subprocess.run(
        ["ngspice", "-n", "-b", manifest.deck(layer).name],
        cwd=manifest.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^v\(hidden3\) = ", done.stdout, re.MULTILINE)


def test_what_was_checked_is_what_runs_whatever_becomes_of_the_folder(tmp_path, backend, start, monkeypatch):
    monkeypatch.setattr(array_process, "_POINTS_BYTES", 0)  # loaded anew after eight reads
    manifest = build(tmp_path / "n", backend)
    engine = start(manifest)
    for _, unit in manifest.units():
        with manifest.elements(unit).open("a") as file:
            file.write(f".control\nshell touch {tmp_path}/executed\n.endc\n")
    volts = reads(manifest, 20)
    read = engine.currents(volts)
    for name, currents in ideal(manifest).currents(volts).items():
        np.testing.assert_allclose(read[name], currents, rtol=0, atol=1e-9 * np.abs(currents).max())
    with pytest.raises(ManifestError, match="was changed since it was checked"):
        start(manifest)
    assert not (tmp_path / "executed").exists()


def test_a_state_that_overshot_its_end_is_handed_over(tmp_path, backend, start, monkeypatch):
    monkeypatch.setattr(array_process, "_POINTS_BYTES", 0)
    device = replace(AIST, end_stop=0.0, window_floor=0.0, read_v=0.3)
    manifest = build_netlist(
        network(), tmp_path / "n", device=device, device_backend=backend, read_s=1e-3, allow_disturb=True
    )
    engine = start(manifest)
    assert all(np.isfinite(currents).all() for currents in engine.currents(reads(manifest, 20)).values())


def test_an_array_at_the_end_of_its_range_is_built_and_read(tmp_path, backend, start):
    """Where 1 / (1 / R_off) is a little more than R_off, the state of g_min is a little below 0."""
    device = replace(AIST, r_off_ohm=9e5, i_0=0.1 / 9e5, g_min=1 / 9e5)
    manifest = build_netlist(network(), tmp_path / "n", device=device, device_backend=backend)
    engine = start(read_manifest(manifest.folder))
    volts = reads(manifest, 1)
    for name, currents in ideal(manifest).currents(volts).items():
        np.testing.assert_allclose(engine.currents(volts)[name], currents, rtol=0, atol=1e-8 * np.abs(currents).max())


def test_a_failure_leaves_a_deck_that_fails_again(tmp_path, backend, start, monkeypatch):
    manifest = disturbing(tmp_path / "n", backend)
    engine = start(manifest)
    volts = reads(manifest, 1)
    engine.currents(volts)
    name = next(iter(volts))
    with pytest.raises(SimulatorError) as caught:
        engine._fail(engine._decks[name], volts[name][0], array_process.WorkerDied("a test"))
    command = str(caught.value).split("run it again: ")[1].splitlines()[0]
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"\)\s*-?1\]\s*=\s*(\S+)$", done.stdout, re.MULTILINE)
    assert all(len(re.sub(r"e.*|\D", "", value)) >= 17 for value in told)  # a whole double
    currents = [float(value) for value in told]
    unit = next(unit for _, unit in manifest.units() if unit.array == name)
    assert len(currents) == unit.columns
    expected = engine.currents({name: volts[name]})[name][0]
    # The device moves, and the deck's time steps differ from those of the persistent transient.
    np.testing.assert_allclose(currents, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_models_beside_the_arrays_are_never_run(tmp_path, backend, start):
    """The folder's copies are for manual runs; the engine uses the package's own."""
    manifest = build(tmp_path / "n", backend)
    name = "memristor.osdi" if backend == "osdi" else "aist.lib"
    (manifest.folder / name).write_text("* nothing\n")
    volts = reads(manifest, 1)
    read = start(manifest).currents(volts)
    for array, currents in ideal(manifest).currents(volts).items():
        np.testing.assert_allclose(read[array], currents, rtol=0, atol=1e-9 * np.abs(currents).max())
    with pytest.raises(ManifestError, match="SHA-256"):
        read_manifest(manifest.folder)
