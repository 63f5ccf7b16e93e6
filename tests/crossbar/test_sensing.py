"""Amplifiers at the sense ends, against nodal analysis with one more equation per amplifier, and against ngspice."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hvae_mnn
from hvae_mnn.crossbar.hardware.spec import Amplifier
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.sensing import read_out, sensed_transfer
from hvae_mnn.crossbar.transfer import tile_network

WIRES = Wires(word_ohm=3.0, bit_ohm=2.0, driver_ohm=40.0)
AMPLIFIER = Amplifier("transimpedance", feedback_ohm=8e3, gain=2e4, offset_v=1.5e-3, swing_v=0.2)
LIBRARY = Path(hvae_mnn.__file__).parents[1] / "device_models" / "tia.lib"


def tile(rows=6, columns=5, seed=0):
    generator = np.random.default_rng(seed)
    conductance = generator.uniform(1e-5, 1e-4, (rows, columns))
    transfer, admittance = tile_network(torch.from_numpy(conductance)[None, None], WIRES)
    return conductance, transfer[0, 0].numpy(), admittance[0].numpy()


def dense_read(conductance, volts, amplifier, states):
    """-v_out / R_f by a dense solution of every node and every output; `states`: -1, 0, 1 by column."""
    rows, columns = conductance.shape
    word = np.arange(rows * columns).reshape(rows, columns)
    bit = word + rows * columns
    minus = 2 * rows * columns + np.arange(columns)
    out = minus + columns
    matrix, right = np.zeros((out[-1] + 1,) * 2), np.zeros(out[-1] + 1)

    def resistor(here, there, siemens):
        matrix[here, here] += siemens
        matrix[there, there] += siemens
        matrix[here, there] -= siemens
        matrix[there, here] -= siemens

    for i in range(rows):
        driver = 1 / (WIRES.word_ohm + WIRES.driver_ohm)
        matrix[word[i, 0], word[i, 0]] += driver
        right[word[i, 0]] += driver * volts[i]
        for j in range(columns):
            resistor(word[i, j], bit[i, j], conductance[i, j])
            if j:
                resistor(word[i, j - 1], word[i, j], 1 / WIRES.word_ohm)
            resistor(bit[i, j], bit[i + 1, j] if i + 1 < rows else minus[j], 1 / WIRES.bit_ohm)
    for j in range(columns):
        resistor(minus[j], out[j], 1 / amplifier.feedback_ohm)
        matrix[out[j]] = 0  # the output drives what it must: its equation is that of the amplifier
        matrix[out[j], out[j]] = 1
        if states[j]:
            right[out[j]] = states[j] * amplifier.swing_v
        else:
            matrix[out[j], minus[j]] = amplifier.gain
            right[out[j]] = amplifier.gain * amplifier.offset_v
    found = np.linalg.solve(matrix, right)
    wanted = amplifier.gain * (amplifier.offset_v - found[minus])
    assert (np.where(np.abs(wanted) > amplifier.swing_v, np.sign(wanted), 0) == states).all()
    return -found[out] / amplifier.feedback_ohm


def close(found, expected, part):
    np.testing.assert_allclose(found, expected, rtol=0, atol=part * np.abs(expected).max())


@pytest.mark.parametrize("gain", [1.5, 200.0, 1e6])
@pytest.mark.parametrize("offset_v", [0.0, -2e-3])
def test_within_the_swing_a_read_is_one_product(gain, offset_v):
    conductance, transfer, admittance = tile()
    amplifier = replace(AMPLIFIER, gain=gain, offset_v=offset_v, swing_v=float("inf"))
    volts = np.random.default_rng(1).uniform(-0.3, 0.3, 6)
    read, offset = sensed_transfer(transfer, admittance, amplifier)
    expected = dense_read(conductance, volts, amplifier, np.zeros(5))
    close(volts @ read + offset, expected, 1e-10 if gain > 1e5 else 1e-12)
    np.testing.assert_array_equal(read_out(volts[None], transfer, admittance, amplifier)[0], volts @ read + offset)


def test_an_ideal_ammeter_changes_nothing():
    _, transfer, admittance = tile()
    read, offset = sensed_transfer(transfer, admittance, Amplifier())
    np.testing.assert_array_equal(read, transfer)
    np.testing.assert_array_equal(offset, np.zeros(5))
    volts = np.ones((2, 6))
    np.testing.assert_array_equal(read_out(volts, transfer, admittance, Amplifier()), volts @ transfer)


def test_an_amplifier_of_large_gain_is_a_virtual_ground():
    _, transfer, admittance = tile()
    read, offset = sensed_transfer(transfer, admittance, replace(AMPLIFIER, gain=1e12, offset_v=0.0))
    close(read, transfer, 1e-9)
    assert (np.abs(offset) == 0).all()


def test_tiles_may_be_stacked():
    parts = [tile(seed=seed)[1:] for seed in range(3)]
    stacked = [np.stack(part) for part in zip(*parts, strict=True)]
    read, offset = sensed_transfer(*stacked, AMPLIFIER)
    for number, part in enumerate(parts):
        alone = sensed_transfer(*part, AMPLIFIER)
        close(read[number], alone[0], 1e-14)
        close(offset[number], alone[1], 1e-14)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.5, 100.0, 1e5]),
    st.sampled_from([0.0, 4e-3, -0.05]),
    st.sampled_from([0.01, 0.1, 0.4]),
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
)
@settings(max_examples=60, deadline=None)
def test_saturated_outputs_are_what_nodal_analysis_says(seed, gain, offset_v, swing_v, shape):
    conductance, transfer, admittance = tile(*shape, seed=seed)
    amplifier = replace(AMPLIFIER, gain=gain, offset_v=offset_v, swing_v=swing_v)
    volts = np.random.default_rng(seed).uniform(-0.4, 0.4, (7, shape[0]))
    found = read_out(volts, transfer, admittance, amplifier)
    assert (np.abs(found) <= swing_v / amplifier.feedback_ohm * (1 + 1e-12)).all()
    for one, read in zip(volts, found, strict=True):
        output = -read * amplifier.feedback_ohm
        states = np.where(np.abs(output) > swing_v * (1 - 1e-12), np.sign(output), 0)
        close(read, dense_read(conductance, one, amplifier, states), 1e-9)


def test_saturated_neighbours_pull_the_others_along():
    """Within a network, a saturated column's current is not merely cut: its bit line leaves ground."""
    _, transfer, admittance = tile(6, 5)
    volts = np.full((1, 6), 0.5)
    free = read_out(volts, transfer, admittance, replace(AMPLIFIER, swing_v=float("inf")))
    swing_v = float(np.sort(np.abs(free[0]))[2:4].mean() * AMPLIFIER.feedback_ohm)
    found = read_out(volts, transfer, admittance, replace(AMPLIFIER, swing_v=swing_v))
    within = np.abs(found[0]) * AMPLIFIER.feedback_ohm < swing_v * (1 - 1e-9)
    assert within.any()
    assert not within.all()
    assert (np.abs(found[0] - free[0])[within] > 1e-6 * np.abs(free).max()).all()


def spice_outputs(folder, conductance, volts, amplifier, analysis):
    """Outputs (N,) of the last point of `analysis` of the tile behind amplifiers of `device_models/tia.lib`."""
    command = shutil.which("ngspice")
    assert command, "the ngspice command is part of the set-up: make system"
    shutil.copyfile(LIBRARY, folder / "tia.lib")
    rows, columns = conductance.shape
    swing = 1e30 if np.isinf(amplifier.swing_v) else amplifier.swing_v
    lines = ["* tile behind amplifiers", ".options klu", ".include tia.lib"]
    for i in range(rows):
        lines += [f"V{i} d{i} 0 {float(volts[i])!r}", f"Rd{i} d{i} w{i}_0 {WIRES.driver_ohm + WIRES.word_ohm!r}"]
        lines += [f"Rw{i}_{j} w{i}_{j - 1} w{i}_{j} {WIRES.word_ohm!r}" for j in range(1, columns)]
        lines += [f"Rg{i}_{j} w{i}_{j} b{i}_{j} {float(1 / conductance[i, j])!r}" for j in range(columns)]
        lines += [f"Rb{i}_{j} b{i}_{j} b{i + 1}_{j} {WIRES.bit_ohm!r}" for j in range(columns)]
    lines += [
        f"X{j} b{rows}_{j} out{j} tia rf={amplifier.feedback_ohm!r} gain={amplifier.gain!r} "
        f"vos={amplifier.offset_v!r} swing={swing!r}"
        for j in range(columns)
    ]
    last = "" if analysis == "op" else "[5]"
    prints = [f"print v(out{j}){last}" for j in range(columns)]
    lines += [".control", "set numdgt=17", analysis, *prints, "quit", ".endc", ".end", ""]
    (folder / "tile.cir").write_text("\n".join(lines), encoding="ascii")
    done = subprocess.run([command, "-n", "-b", "tile.cir"], cwd=folder, capture_output=True, text=True, check=False)
    found = [float(line.rpartition("=")[2]) for line in done.stdout.splitlines() if line.startswith("v(out")]
    assert len(found) == columns, done.stdout + done.stderr
    return np.array(found)


@pytest.mark.spice
@pytest.mark.parametrize("analysis", ["op", "tran 1u 5u"])
@pytest.mark.parametrize("swing_v", [float("inf"), 0.3, 0.15, 0.02])
@pytest.mark.parametrize("gain", [50.0, 2e4])
def test_ngspice_agrees(tmp_path, analysis, swing_v, gain):
    conductance, transfer, admittance = tile(9, 7)
    amplifier = replace(AMPLIFIER, gain=gain, swing_v=swing_v)
    volts = np.random.default_rng(4).uniform(-0.3, 0.3, 9)
    found = read_out(volts[None], transfer, admittance, amplifier)[0]
    expected = -spice_outputs(tmp_path, conductance, volts, amplifier, analysis) / amplifier.feedback_ohm
    close(found, expected, 1e-9)


def test_the_library_is_plain_text():
    text = LIBRARY.read_text(encoding="ascii")
    assert all(line.startswith("* ") or line == "*" for line in text.splitlines() if line.startswith("*"))
