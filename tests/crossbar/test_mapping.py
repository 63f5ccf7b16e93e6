from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch import nn

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.mapping import GateArray, RowGroup, map_layer, to_conductance
from hvae_mnn.devices.presets import AIST
from hvae_mnn.errors import MappingError
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.models.peephole import PeepholeLSTM

PAPER = read_hardware("paper")


@given(arrays(float, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e3, 1e3)))
@settings(max_examples=60, deadline=None)
def test_weights_come_back_from_their_conductances(weights):
    conductance, scale = to_conductance(weights, AIST)
    assert (conductance >= AIST.g_min).all()
    assert (conductance <= AIST.g_max).all()
    assert conductance.flags.c_contiguous
    array = GateArray("net", "i", (RowGroup("x", len(weights)),), conductance, PAPER, scale)
    np.testing.assert_allclose(array.weights, weights, rtol=0, atol=1e-14 * (np.abs(weights).max() or 1))


def test_zeros_are_the_middle_conductance():
    conductance, scale = to_conductance(np.zeros((2, 3)), AIST)
    np.testing.assert_array_equal(conductance, AIST.g_mid)
    assert scale == pytest.approx(1 / 45e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(bad):
    with pytest.raises(MappingError, match="1 of 4 weights are NaN or infinite"):
        to_conductance(np.array([[1.0, bad], [0.0, 2.0]]), AIST)


def test_the_tensor_with_the_bad_weight_is_named():
    module = nn.GRU(2, 3)
    with torch.no_grad():
        module.weight_hh_l0[4, 1] = float("nan")
    with pytest.raises(MappingError, match=r"encoder1\.weight_hh_l0: 1 of 27 weights"):
        recurrent_layers(module, "encoder1")


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (nn.Linear(2, 2), "Linear"),
        (nn.LSTM(4, 3, proj_size=2), "proj_size=2"),
        (nn.RNN(2, 3, nonlinearity="relu"), "RNN_RELU"),
        (nn.LSTMCell(2, 3), "LSTMCell"),
    ],
)
def test_other_modules_are_refused_by_name(module, found):
    with pytest.raises(MappingError, match=found):
        recurrent_layers(module, "net")


def test_paper_counts_of_weights():
    # 4 (in + M + 1) M for encoder layer 1, layer 2 and decoder of the paper's size (512 / 256 / 32).
    for size, expected in ((512, 787_456), (256, 525_312), (544, 820_224)):
        (layer,) = recurrent_layers(nn.LSTM(size, 256), "net")
        assert (
            sum(array.conductance.size for array in map_layer(layer, PAPER)) == expected == 4 * (size + 256 + 1) * 256
        )


def test_layers_and_directions_are_named_and_sized():
    layers = recurrent_layers(nn.LSTM(4, 3, num_layers=2, bidirectional=True), "net")
    assert [layer.name for layer in layers] == ["net_l0", "net_l0_reverse", "net_l1", "net_l1_reverse"]
    assert [layer.input_size for layer in layers] == [4, 4, 6, 6]


def test_peepholes_are_diagonal_rows_of_old_and_new_memory():
    module = PeepholeLSTM(2, 3)
    with torch.no_grad():
        module.peephole_o.copy_(torch.tensor([0.5, -1.5, 2.5]))
    (layer,) = recurrent_layers(module, "net")
    arrays_by_unit = {array.unit: array for array in map_layer(layer, PAPER)}
    assert [group.role for group in arrays_by_unit["f"].rows] == ["x", "h", "b", "cp"]
    assert [group.role for group in arrays_by_unit["g"].rows] == ["x", "h", "b"]
    assert [group.role for group in arrays_by_unit["o"].rows] == ["x", "h", "b", "ct"]
    np.testing.assert_allclose(arrays_by_unit["o"].weights[-3:], np.diag([0.5, -1.5, 2.5]), atol=1e-12)
