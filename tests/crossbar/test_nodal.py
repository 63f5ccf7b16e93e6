"""Nodal analysis obeys the laws of circuits at every node, for every combination of resistances."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.nodal import nodal_network, nodal_potentials, nodal_transfer
from hvae_mnn.errors import MappingError

ALL_WIRES = [Wires(*ohms) for ohms in product((0, 2.0), (0, 3.0), (0, 50.0), (0, 20.0))]
OHMS = st.sampled_from([0.1, 1.0, 30.0, 1e3])


@st.composite
def tiles(draw):
    """Conductances (W, M, N) with open cells among them, wires without ideal ones, and volts (2, W, M)."""
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    conductance = generator.uniform(1e-6, draw(st.sampled_from([1e-4, 1e-2])), shape)
    conductance[generator.random(shape) < draw(st.sampled_from([0.0, 0.3]))] = 0
    wires = Wires(draw(OHMS), draw(OHMS), draw(st.sampled_from([0.0, 70.0])), draw(st.sampled_from([0.0, 9.0])))
    return conductance, wires, generator.uniform(-1, 1, (2, *shape[:2]))


def branch_currents(conductance, wires, volts):
    """Currents along word lines (B, W, M, N), through cells (B, W, M, N), and along bit lines (B, M, N)."""
    words, bits, currents = nodal_potentials(conductance, wires, volts)
    entering = (volts - words[..., 0]) / (wires.word_ohm + wires.driver_ohm)
    along_words = np.concatenate([entering[..., None], -np.diff(words, axis=-1) / wires.word_ohm], axis=-1)
    along_bits = np.concatenate([-np.diff(bits, axis=1) / wires.bit_ohm, currents[:, None]], axis=1)
    return along_words, conductance * (words - bits[:, None]), along_bits


@given(tiles())
@settings(max_examples=60, deadline=None)
def test_currents_at_every_node_sum_to_zero(tile):
    words, cells, bits = branch_currents(*tile)
    scale = np.abs(words).max() + np.abs(tile[2]).max() / min(tile[1].word_ohm, tile[1].bit_ohm) * 1e-3 + 1e-12
    leaving = np.concatenate([words[..., 1:], np.zeros_like(words[..., :1])], axis=-1)
    np.testing.assert_allclose(words - leaving - cells, 0, atol=1e-11 * scale)
    arriving = np.concatenate([np.zeros_like(bits[:, :1]), bits[:, :-1]], axis=1)
    np.testing.assert_allclose(arriving + cells.sum(1) - bits, 0, atol=1e-11 * scale)


@given(tiles())
@settings(max_examples=60, deadline=None)
def test_sources_give_the_power_that_resistors_take(tile):
    _, wires, volts = tile
    words, cells, bits = branch_currents(*tile)
    given_power = (volts * words[..., 0]).sum((1, 2))
    potentials = nodal_potentials(*tile)
    across = potentials[0] - potentials[1][:, None]
    taken = (
        wires.word_ohm * (words**2).sum((1, 2, 3))
        + wires.driver_ohm * (words[..., 0] ** 2).sum((1, 2))
        + (cells * across).sum((1, 2, 3))
        + wires.bit_ohm * (bits**2).sum((1, 2))
        + wires.sense_ohm * (bits[:, -1] ** 2).sum(1)
    )
    # The last bit of a potential over a wire is a current.
    least = min((ohm for ohm in (wires.word_ohm, wires.bit_ohm, wires.driver_ohm, wires.sense_ohm) if ohm), default=1.0)
    np.testing.assert_allclose(given_power, taken, rtol=1e-9, atol=1e-15 * (volts**2).max() / least)


@given(tiles())
@settings(max_examples=40, deadline=None)
def test_currents_are_the_product_with_the_transfer_matrix(tile):
    conductance, wires, volts = tile
    transfer = nodal_transfer(conductance, wires)
    *_, currents = nodal_potentials(conductance, wires, volts)
    expected = np.einsum("bkm,kmn->bn", volts, transfer)
    np.testing.assert_allclose(currents, expected, atol=1e-11 * (np.abs(transfer).max() or 1))
    doubled = nodal_potentials(conductance, wires, 2 * volts[:1] - 3 * volts[1:])[2]
    np.testing.assert_allclose(
        doubled[0], 2 * currents[0] - 3 * currents[1], atol=1e-11 * (np.abs(currents).max() or 1)
    )


@pytest.mark.parametrize("wires", ALL_WIRES, ids=str)
@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 1, 4), (1, 5, 1), (1, 1, 1)])
def test_driving_and_sensing_may_change_places(wires, shape):
    """Turned by a half and transposed, a tile's bit lines are word lines whose drivers are the sense ends."""
    conductance = np.random.default_rng(1).uniform(1e-5, 1e-3, shape)
    conductance = conductance[:1]
    turned = conductance[:, ::-1, ::-1].transpose(0, 2, 1)
    other = Wires(wires.bit_ohm, wires.word_ohm, wires.sense_ohm, wires.driver_ohm)
    found = nodal_transfer(turned, other)[:, ::-1, ::-1].transpose(0, 2, 1)
    expected = nodal_transfer(conductance, wires)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * expected.max())


def test_without_wires_the_transfer_is_the_conductance():
    conductance = np.random.default_rng(2).uniform(0, 1e-4, (2, 5, 3))
    transfer, admittance = nodal_network(conductance, Wires())
    np.testing.assert_array_equal(transfer, conductance)
    np.testing.assert_array_equal(admittance, np.diag(conductance.sum((0, 1))))
    volts = np.random.default_rng(3).uniform(-1, 1, (4, 2, 5))
    words, bits, currents = nodal_potentials(conductance, Wires(), volts)
    np.testing.assert_array_equal(words, np.broadcast_to(volts[..., None], words.shape))
    np.testing.assert_array_equal(bits, 0)
    np.testing.assert_allclose(currents, np.einsum("bkm,kmn->bn", volts, conductance), rtol=1e-14, atol=1e-20)


@pytest.mark.parametrize("wires", ALL_WIRES, ids=str)
def test_an_ideal_connection_is_the_limit_of_a_small_resistance(wires):
    conductance = np.random.default_rng(4).uniform(1e-5, 1e-3, (2, 4, 3))
    small = Wires(*(ohm or 1e-6 for ohm in (wires.word_ohm, wires.bit_ohm, wires.driver_ohm, wires.sense_ohm)))
    for exact, near in zip(nodal_network(conductance, wires), nodal_network(conductance, small), strict=True):
        np.testing.assert_allclose(near, exact, rtol=0, atol=1e-6 * np.abs(exact).max())


@pytest.mark.parametrize("wires", ALL_WIRES, ids=str)
def test_the_admittance_is_what_the_sense_ends_draw(wires):
    """Raising all sources and all sense ends together moves no current."""
    conductance = np.random.default_rng(5).uniform(1e-5, 1e-3, (2, 4, 3))
    transfer, admittance = nodal_network(conductance, wires)
    np.testing.assert_allclose(transfer.sum((0, 1)), admittance.sum(1), rtol=1e-9)
    np.testing.assert_allclose(admittance, admittance.T, rtol=0, atol=1e-15)
    beyond = 12.0
    ended = nodal_transfer(
        conductance, Wires(wires.word_ohm, wires.bit_ohm, wires.driver_ohm, wires.sense_ohm + beyond)
    )
    loaded = np.linalg.solve(np.eye(3) + beyond * admittance, transfer.reshape(-1, 3).T).T
    np.testing.assert_allclose(loaded.reshape(ended.shape), ended, rtol=0, atol=1e-12 * ended.max())


def test_permuting_rows_is_not_permuting_the_answer():
    """A wired tile has an order: rows near the sense ends are read better, and so are columns near the drivers."""
    conductance = np.full((1, 5, 4), 1e-4)
    transfer = nodal_transfer(conductance, Wires(5.0, 7.0))[0]
    assert (np.diff(transfer, axis=0) > 0).all()
    assert (np.diff(transfer, axis=1) < 0).all()


def test_two_word_lines_of_equal_volts_are_one_with_both_conductances_when_ideal():
    conductance = np.random.default_rng(6).uniform(1e-5, 1e-3, (2, 4, 3))
    both = nodal_transfer(conductance, Wires(bit_ohm=4.0)).sum(0)
    np.testing.assert_allclose(both, nodal_transfer(conductance.sum(0)[None], Wires(bit_ohm=4.0))[0], rtol=1e-12)


@pytest.mark.parametrize("bad", [-1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["word_ohm", "bit_ohm", "driver_ohm", "sense_ohm"])
def test_resistances_that_no_wire_has_are_refused(name, bad):
    with pytest.raises(MappingError, match=rf"{name} is {bad}"):
        Wires(**{name: bad})
