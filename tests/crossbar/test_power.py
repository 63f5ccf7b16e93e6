"""The power of reads in closed form, and how currents settle: hand-made circuits, and nodal analysis as the judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm

from hvae_mnn.crossbar.hardware.spec import Amplifier
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.nodal import Network, nodal_potentials
from hvae_mnn.crossbar.power import read_power, tile_power
from hvae_mnn.crossbar.settling import settled_after, settling
from hvae_mnn.errors import RunError

SIGNS = {1: (1,), 2: (1, -1)}
TOPOLOGIES = [
    Wires(),
    Wires(120.0, 250.0, 400.0, 50.0),
    Wires(word_ohm=90.0),
    Wires(bit_ohm=80.0),
    Wires(bit_ohm=80.0, sense_ohm=20.0),
    Wires(driver_ohm=700.0),
    Wires(sense_ohm=30.0),
    Wires(word_ohm=50.0, sense_ohm=30.0),
    Wires(word_ohm=50.0, bit_ohm=3.0, driver_ohm=9.0),
]


def some_tiles(lines, rows, columns, seed=0):
    return np.random.default_rng(seed).uniform(1e-5, 1e-3, (2, lines, rows, columns))


def power(cells, wires, volts, amplifier=None):
    form = tile_power(torch.from_numpy(cells), wires, SIGNS[cells.shape[1]])
    return read_power(form, volts, amplifier or Amplifier())


def judged(cells, wires, volts, end_v=0.0):
    """Watts (S,) of the drivers of one tile, and currents (S, N) into ends at `end_v`: every cell's current, summed."""
    lines = np.stack([sign * volts for sign in SIGNS[len(cells)]], axis=1)
    words, bits, currents = nodal_potentials(cells, wires, lines - end_v)
    branch = cells * (words - bits[:, np.newaxis])
    return np.einsum("swm,swmn->s", lines, branch), currents


@pytest.mark.parametrize("lines", SIGNS)
@pytest.mark.parametrize("wires", TOPOLOGIES)
def test_drivers_deliver_what_nodal_analysis_says(lines, wires):
    cells = some_tiles(lines, 4, 3)
    volts = np.random.default_rng(1).uniform(-0.05, 0.05, (5, 4))
    found = power(cells, wires, volts)
    assert found.drivers.shape == (2, 5)
    assert not found.amplifiers.any()
    for tile in range(2):
        np.testing.assert_allclose(found.drivers[tile], judged(cells[tile], wires, volts)[0], rtol=1e-12)


@pytest.mark.parametrize("lines", SIGNS)
@pytest.mark.parametrize("wires", TOPOLOGIES)
def test_amplifiers_with_an_offset(lines, wires):
    amplifier = Amplifier("transimpedance", feedback_ohm=2e4, gain=50.0, offset_v=3e-3)
    wires = replace(wires, sense_ohm=amplifier.input_ohm)
    cells = some_tiles(lines, 4, 3)
    volts = np.random.default_rng(2).uniform(-0.05, 0.05, (5, 4))
    found = power(cells, wires, volts, amplifier)
    gain = amplifier.gain / (1 + amplifier.gain)
    largest = 0.0
    for tile in range(2):
        watts, currents = judged(cells[tile], wires, volts, gain * amplifier.offset_v)
        output = gain * (amplifier.offset_v - amplifier.feedback_ohm * currents)
        np.testing.assert_allclose(found.drivers[tile], watts, rtol=1e-11)
        np.testing.assert_allclose(found.amplifiers[tile], -(output * currents).sum(1), rtol=1e-11)
        largest = max(largest, np.abs(output).max())
    assert found.largest_output_v == pytest.approx(largest, rel=1e-11)


def test_one_cell_by_hand():
    # 0.2 V over 100 + 300 (driver, segment), 1000 (cell), 500 + 100 (segment, end) ohm in series
    found = power(np.full((1, 1, 1, 1), 1e-3), Wires(300.0, 500.0, 100.0, 100.0), np.array([[0.2]]))
    np.testing.assert_allclose(found.drivers, [[0.04 / 2000]], rtol=1e-14)
    # An inverting amplifier of gain 9 and 1 kOhm: the end is 100 ohm; 0.1 mA gives -0.09 V at the output.
    amplifier = Amplifier("transimpedance", feedback_ohm=1e3, gain=9.0)
    found = power(
        np.full((1, 1, 1, 1), 1e-3), Wires(300.0, 500.0, 100.0, amplifier.input_ohm), np.array([[0.2]]), amplifier
    )
    np.testing.assert_allclose(found.drivers, [[2e-5]], rtol=1e-14)
    np.testing.assert_allclose(found.amplifiers, [[0.09 * 1e-4]], rtol=1e-14)
    assert found.largest_output_v == pytest.approx(0.09)


def test_two_by_two_by_hand():
    # Ideal wires, signs and all: sum V^2 G, whatever the signs.
    cells = np.array([[[[1e-3, 2e-3], [4e-3, 5e-3]]]])
    volts = np.array([[0.1, -0.3], [0.0, 0.2]])
    found = power(cells, Wires(), volts)
    np.testing.assert_allclose(found.drivers, [[0.01 * 3e-3 + 0.09 * 9e-3, 0.04 * 9e-3]], rtol=1e-14)
    # Only the ends have resistance: each bit line is a divider. Conductances 1, 4 and 10 mS meet in the first, 2, 5 and
    # 10 in the second.
    first, second = (0.1 * 1 - 0.3 * 4) / 15, (0.1 * 2 - 0.3 * 5) / 17
    expected = 0.1 * ((0.1 - first) * 1e-3 + (0.1 - second) * 2e-3)
    expected += -0.3 * ((-0.3 - first) * 4e-3 + (-0.3 - second) * 5e-3)
    found = power(cells, Wires(sense_ohm=100.0), volts[:1])
    np.testing.assert_allclose(found.drivers, [[expected]], rtol=1e-14)


@given(st.floats(0.01, 30), st.sampled_from(TOPOLOGIES), st.sampled_from([1, 2]))
def test_power_grows_with_the_square_of_the_voltage(factor, wires, lines):
    cells = some_tiles(lines, 3, 2)
    volts = np.array([[0.01, -0.03, 0.02]])
    once, scaled = power(cells, wires, volts), power(cells, wires, factor * volts)
    np.testing.assert_allclose(scaled.drivers, factor**2 * once.drivers, rtol=1e-12)
    assert (once.drivers > 0).all()


def test_one_capacitor_settles_like_one():
    # Driver of 500 ohm, one node with 1 pF, and a cell of 1 mS to a bit line at ground: tau = C / (g + 1/R).
    found = settling(np.array([[[1e-3]]]), Wires(driver_ohm=500.0), np.array([[0.05]]), 1e-12, 1e-9)
    assert found is not None
    tau = 1e-12 / (1e-3 + 1 / 500)
    final = 0.05 / 1500
    assert found.left[0, 0] == pytest.approx(-final, rel=1e-12)
    for part in (0.3, 0.05, 1e-3):
        assert found.seconds(part * final) == pytest.approx(-tau * np.log(part), rel=1e-3)
    assert found.seconds(2 * final) == 0


@pytest.mark.parametrize("lines", SIGNS)
@pytest.mark.parametrize("wires", [wires for wires in TOPOLOGIES if wires != Wires()])
def test_settling_is_that_of_the_matrix_exponential(lines, wires):
    cells = some_tiles(lines, 3, 4)[1]
    volts = np.random.default_rng(3).uniform(-0.05, 0.05, (lines, 3))
    found = settling(cells, wires, volts, 2e-15, 1e-9)
    assert found is not None
    network = Network(cells.shape, wires)
    _, matrix, driven = network.equations(cells)
    sensed = network.sensing(cells)[0]
    # By hand: a cell's word-line node and bit-line node carry 2 fF each; a line that is one node, all of them.
    farads = np.zeros(network.count)
    for node in [*network.word.ravel(), *network.bit.ravel()]:
        if node >= 0:
            farads[node] += 2e-15
    start = -np.linalg.solve(matrix.toarray(), driven @ volts.ravel())
    largest = np.abs(found.left).max()
    for place in (20, 100, 200):
        moved = expm(-matrix.toarray() / farads[:, np.newaxis] * found.times[place]) @ start
        np.testing.assert_allclose(found.left[place], sensed.T @ moved, rtol=0, atol=1e-3 * largest)
    assert np.abs(found.left[-1]).max() < 1e-9
    # Twice the capacitance, twice the time.
    slower = settling(cells, wires, volts, 4e-15, 1e-9)
    assert slower is not None
    assert slower.seconds(1e-8) == pytest.approx(2 * found.seconds(1e-8), rel=1e-9)


def test_ideal_lines_have_nothing_to_settle():
    assert settling(np.full((1, 2, 2), 1e-3), Wires(), np.ones((1, 2)), 1e-15, 1e-9) is None


def test_when_it_has_settled():
    times = np.array([0.0, 1.0, 2.0, 3.0])
    left = np.array([[1.0, 0.1], [0.1, -0.5], [0.01, 0.05], [0.001, 0.001]])
    assert settled_after(times, left, 0.2) == pytest.approx(1 + np.log(0.5 / 0.2) / np.log(0.5 / 0.05))
    assert settled_after(times, left, 3.0) == 0
    with pytest.raises(RunError, match="still"):
        settled_after(times, left, 1e-4)
