"""Pulse map and wired programming against ngspice with moving devices."""

from __future__ import annotations

import time

import numpy as np
import pytest

from hvae_mnn.devices.half_select import BIAS_SCHEMES, SelectedArray
from hvae_mnn.devices.presets import AIST, HP_TIO2
from hvae_mnn.devices.programming import Controller, WriteVerify
from hvae_mnn.devices.pulse_map import PulseMap
from hvae_mnn.devices.spread import Devices
from hvae_mnn.netlist.device_lines import TRANSIENT_OPTIONS, control_prologue, device_header, device_line
from hvae_mnn.netlist.programming_deck import WiredArray, programming_deck, schedule
from hvae_mnn.spice.batch import run_deck
from hvae_mnn.spice.osdi import osdi_problem
from hvae_mnn.studies.programming.wired import program_wired

pytestmark = pytest.mark.spice
EDGE_S = 1e-9


@pytest.fixture
def osdi():
    """Skip if compiled devices do not run on this machine, with the reason."""
    problem = osdi_problem()
    if problem:
        pytest.skip(problem)


def states_after_each_pulse(spec, volts, width_s, x0, pulses, folder):
    """States after each of a train of equal pulses on one device, from ngspice."""
    corners, rests, time = ["0 0"], [], 1e-6
    for _ in range(pulses):
        edges = ((time, 0.0), (time + EDGE_S, volts), (time + width_s, volts), (time + width_s + EDGE_S, 0.0))
        corners += [f"{t!r} {v!r}" for t, v in edges]
        rests.append(time + 1.05 * width_s)
        time += 1.1 * width_s
    lines = [
        "one device, equal pulses",
        TRANSIENT_OPTIONS,
        *device_header(spec, "behavioural"),
        f"Vdrive te 0 PWL({' '.join(corners)})",
        device_line("m", "te", "0", "x", spec, "behavioural", x0),
        f".tran {width_s / 50!r} {time!r} 0 {width_s / 50!r}",
        ".save v(x)",
        ".control",
        *control_prologue("behavioural"),
        "run",
        "write train.raw",
        ".endc",
        ".end",
    ]
    vectors = run_deck("\n".join(lines) + "\n", folder, "train", spec, "behavioural")
    return np.interp(rests, vectors["time"], vectors["v(x)"])


@pytest.mark.parametrize(
    ("spec", "volts", "width_s", "x0"),
    [
        (AIST, 0.2, 1e-3, 0.05),
        (AIST, 0.15, 3e-4, 0.3),
        (AIST, 0.11, 2e-4, 0.05),
        (AIST, 0.5, 1e-3, 0.05),
        (AIST, -0.2, 8e-3, 0.9),
        (AIST, -0.5, 1e-3, 0.95),
        (HP_TIO2, 1.0, 2e-2, 0.314),
        (HP_TIO2, -1.0, 2e-2, 0.8),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_1_3_5_and_10_pulses_of_the_map_are_those_of_ngspice(spec, volts, width_s, x0, tmp_path):
    states = states_after_each_pulse(spec, volts, width_s, x0, 10, tmp_path)
    table, x, expected = PulseMap(spec, volts), x0, []
    for _ in range(10):
        x = float(table.after(x, width_s))
        expected.append(x)
    assert abs(expected[0] - x0) > 0.01
    for pulses in (1, 3, 5, 10):
        assert states[pulses - 1] == pytest.approx(expected[pulses - 1], abs=1e-4), f"after {pulses} pulses"


@pytest.mark.parametrize("scheme", BIAS_SCHEMES)
def test_one_round_on_ideal_wires_is_what_the_map_says(scheme, tmp_path):
    rng = np.random.default_rng(4)
    shape = (3, 4)
    targets, x0 = rng.uniform(AIST.g_min, AIST.g_max, shape), rng.uniform(0.05, 0.9, shape)
    # 0.24 V: with V/2 every half-selected cell moves.
    settings = WriteVerify(amplitude_v=0.24)
    seconds = Controller(AIST, targets, settings).pulses(AIST.conductance(x0), np.ones(shape, dtype=bool))
    array = WiredArray(AIST, "behavioural", scheme, 0.24, 0.0, 1e-6)
    vectors = run_deck(programming_deck(array, x0, seconds, "p"), tmp_path, "p", AIST, "behavioural")
    states = np.array([[vectors[f"v(x{i}_{j})"][-1] for j in range(4)] for i in range(3)])
    model = SelectedArray(AIST, 0.24, scheme, Devices(np.ones(shape), np.ones(shape)))
    expected, _ = model.pulse(x0, seconds, np.ones(shape))
    np.testing.assert_allclose(states, expected, rtol=0, atol=5e-4)
    assert (model.disturbance.count > 0) == (scheme == "V/2")
    currents = [
        [np.interp(time, vectors["time"], vectors[f"i(vb{j})"]) for j in range(4)]
        for time in schedule(array, seconds).sample_s
    ]
    # A column's current is that of the one driven row; 1T1R's closed switch is 1 ohm.
    np.testing.assert_allclose(currents, AIST.read_v * AIST.conductance(states), rtol=2e-4)


def test_a_4_by_4_array_with_wires_is_programmed_to_1_percent(tmp_path):
    targets = np.random.default_rng(2).uniform(AIST.g_min, AIST.g_max, (4, 4))
    array = WiredArray(AIST, "behavioural", "V/3", 0.15, 20.0, 1e-6)
    result = program_wired(array, targets, WriteVerify(), tmp_path)
    assert result.within.all()
    assert np.abs(result.error).max() <= 0.01
    # The wires' drop made the first pulses miss; reading back mended it.
    assert np.abs(result.first / targets - 1).max() > 0.01
    assert len(result.within_after) > 2
    # What is read lies below what the devices have: the wires are in series.
    assert (result.read < AIST.conductance(result.state)).all()
    began, told = time.monotonic(), []

    def slow(number, rounds):
        told.append(number)
        time.sleep(0.5)

    opened = program_wired(array, targets, WriteVerify(open_loop=True), tmp_path / "open", progress=slow)
    # What others do meanwhile is not ngspice's time.
    assert 0 < opened.wall_s <= time.monotonic() - began - 0.5 * len(told)
    np.testing.assert_array_equal(opened.pulses, 1)
    assert not opened.within.all()


def test_a_16_by_16_array_with_wires_is_programmed_to_tolerance(tmp_path, osdi):
    targets = np.random.default_rng(1).uniform(AIST.g_min, AIST.g_max, (16, 16))
    array = WiredArray(AIST, "osdi", "V/2", 0.15, 1.0, 1e-6)
    result = program_wired(array, targets, WriteVerify(tolerance=0.02), tmp_path)
    assert result.within.all()
    assert np.abs(result.read / targets - 1).max() <= 0.02
    assert result.pulses.mean() < 1.5


def test_both_back_ends_give_the_same_states(tmp_path, osdi):
    targets = np.random.default_rng(6).uniform(HP_TIO2.g_min, HP_TIO2.g_max, (2, 2))
    states = [
        program_wired(
            WiredArray(HP_TIO2, backend, "1T1R", 1.0, 1.0, 1e-6),
            targets,
            WriteVerify(amplitude_v=1.0),
            tmp_path / backend,
        ).state
        for backend in ("behavioural", "osdi")
    ]
    np.testing.assert_allclose(states[0], states[1], atol=1e-6)
    assert np.abs(HP_TIO2.conductance(states[0]) / targets - 1).max() < 0.011
