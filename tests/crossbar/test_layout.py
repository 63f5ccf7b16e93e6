"""Tiles, signs and sums, each pinned by an example that is symmetric in nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import SCHEMES, Cells, Tiling
from hvae_mnn.crossbar.layout import ArrayLayout, check_tiling
from hvae_mnn.crossbar.mapping import GateArray, RowGroup, to_conductance
from hvae_mnn.errors import HardwareError

PAPER = read_hardware("paper")


def hardware(scheme, rows=None, columns=None, sums="before_adc", **cells):
    return replace(PAPER, cells=Cells(scheme, **cells), tiling=Tiling(rows, columns, sums))


def test_tiles_at_the_edge_are_cut_short():
    layout = ArrayLayout(7, 5, hardware("reference_column", 3, 2))
    assert [(tile.name, tile.rows, tile.columns, tile.bit_lines) for tile in layout.tiles[-3:]] == [
        ("2,0", range(6, 7), range(0, 2), ("0", "1", "ref0")),
        ("2,1", range(6, 7), range(2, 4), ("2", "3", "ref1")),
        ("2,2", range(6, 7), range(4, 5), ("4", "ref2")),
    ]
    assert layout.sensed == 3 * (3 + 3 + 2)


def test_which_conductances_stand_where():
    memristors = np.array([[10e-6, 20e-6], [30e-6, 40e-6]])
    fixed = PAPER.device.g_mid
    plain = ArrayLayout(2, 2, hardware("fixed_resistor_per_cell"))
    np.testing.assert_array_equal(plain.cells(plain.tiles[0], memristors), [np.full((2, 2), fixed), memristors])
    assert plain.memristor_sign == -1
    reference = ArrayLayout(2, 2, hardware("reference_column"))
    np.testing.assert_array_equal(
        reference.cells(reference.tiles[0], memristors), [[[10e-6, 20e-6, fixed], [30e-6, 40e-6, fixed]]]
    )
    pair = ArrayLayout(2, 1, hardware("differential_pair"))
    assert pair.tiles[0].bit_lines == ("0p", "0m")
    np.testing.assert_array_equal(pair.cells(pair.tiles[0], memristors), memristors[np.newaxis])
    assert pair.memristor_sign == 1


def test_signs_of_currents():
    currents = np.array([[1.0, 5.0, 20.0]])
    assert ArrayLayout(1, 2, hardware("reference_column")).signed(currents).tolist() == [[19.0, 15.0]]
    four = np.array([[7.0, 2.0, 1.0, 4.0]])
    assert ArrayLayout(1, 2, hardware("differential_pair")).signed(four).tolist() == [[5.0, -3.0]]
    assert ArrayLayout(1, 3, hardware("fixed_resistor_per_cell")).signed(currents) is currents


@pytest.mark.parametrize(("sums", "expected"), [("before_adc", [[11, 22, 33]]), ("after_adc", [[1, 2, 3, 10, 20, 30]])])
def test_row_blocks_are_added_or_leave_apart(sums, expected):
    layout = ArrayLayout(4, 3, hardware("fixed_resistor_per_cell", 2, 2, sums))
    # Tiles in order: (0,0) with columns 0, 1; (0,1) with column 2; (1,0); (1,1).
    assert layout.read_out(np.array([[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]])).tolist() == expected
    assert layout.outputs == len(expected[0])


@given(
    scheme=st.sampled_from(SCHEMES),
    scale=st.sampled_from(["array", "column"]),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 5)),
    tile=st.tuples(st.integers(1, 6), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_weights_survive_every_scheme_scale_and_tiling(scheme, scale, shape, tile, seed):
    weights = np.random.default_rng(seed).normal(size=shape)
    made = hardware(scheme, *tile, scale=scale)
    conductance, scales = to_conductance(weights, made.device, made.cells)
    assert made.device.g_min <= conductance.min()
    assert conductance.max() <= made.device.g_max
    array = GateArray("net", "i", (RowGroup("x", shape[0]),), conductance, made, scales)
    np.testing.assert_allclose(array.weights, weights, rtol=0, atol=1e-13 * np.abs(weights).max())
    # Through the tiles: every cell's conductance is the transfer of a tile without wires.
    layout, volts = array.layout, np.eye(shape[0])
    sensed = np.concatenate(
        [
            volts[:, tile.rows.start : tile.rows.stop] @ layout.drive(layout.cells(tile, conductance))
            for tile in layout.tiles
        ],
        axis=1,
    )
    np.testing.assert_allclose(layout.read_out(sensed) * scales, weights, rtol=0, atol=1e-12 * np.abs(weights).max())
    assert sorted(layout.tile_order.tolist()) == list(range(conductance.size))


def test_a_pair_of_a_positive_weight_has_its_minus_side_at_the_least():
    device = PAPER.device
    conductance, scale = to_conductance(np.array([[2.0, -1.0]]), device, Cells("differential_pair"))
    np.testing.assert_allclose(conductance, [[100e-6, 10e-6, 10e-6, 55e-6]], rtol=1e-12)
    assert scale == pytest.approx(2 / 90e-6)


def test_a_scale_per_column_uses_the_whole_range_in_each():
    conductance, scale = to_conductance(
        np.array([[4.0, 0.5, 0.0], [-1.0, -0.25, 0.0]]), PAPER.device, Cells(scale="column")
    )
    np.testing.assert_allclose(scale, [4 / 45e-6, 0.5 / 45e-6, 1 / 45e-6])
    np.testing.assert_allclose(conductance[0], [10e-6, 10e-6, 55e-6], rtol=1e-12)


def test_levels_are_even_and_include_both_ends():
    weights = np.linspace(-1, 1, 41)[:, np.newaxis]
    conductance, _ = to_conductance(weights, PAPER.device, Cells(levels=4))
    np.testing.assert_allclose(np.unique(np.round(conductance, 12)), [10e-6, 40e-6, 70e-6, 100e-6])
    assert np.abs(conductance - (55e-6 - 45e-6 * weights)).max() <= 15e-6 * (1 + 1e-9)


def test_a_tile_larger_than_every_array_is_refused():
    shapes = {"net_i": (9, 4), "net_f": (12, 4)}
    check_tiling(shapes, hardware("reference_column", 12, 4))
    with pytest.raises(HardwareError, match=r"tiles\.rows is 13, but the largest array, net_f, has 12; allowed: 1 to"):
        check_tiling(shapes, hardware("reference_column", 13, 4))
    with pytest.raises(HardwareError, match=r"tiles\.columns is 5"):
        check_tiling(shapes, hardware("reference_column", 3, 5))
