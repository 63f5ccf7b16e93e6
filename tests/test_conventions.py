"""Gate order, row order, signs and units, each pinned by an example that is symmetric in nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.mapping import map_layer, row_weights, to_conductance
from hvae_mnn.devices.presets import AIST
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.netlist.arrays import array_lines

PAPER = read_hardware("paper")


def numbered_rnn() -> nn.RNN:
    """Weights by hand: 3 inputs, 2 hidden units, every number different, both signs."""
    module = nn.RNN(3, 2).double()
    with torch.no_grad():
        module.weight_ih_l0.copy_(torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]]))
        module.weight_hh_l0.copy_(torch.tensor([[7.0, -8.0], [9.0, -10.0]]))
        module.bias_ih_l0.copy_(torch.tensor([0.25, -0.5]))
        module.bias_hh_l0.copy_(torch.tensor([2.0, 4.0]))
    return module


def test_rows_are_x_then_h_then_bias_and_columns_are_hidden_units():
    (layer,) = recurrent_layers(numbered_rnn(), "net")
    expected = [[1, -4], [-2, 5], [3, -6], [7, 9], [-8, -10], [2.25, 3.5]]
    np.testing.assert_array_equal(row_weights(layer.gates["h"]), expected)
    (array,) = map_layer(layer, PAPER)
    assert array.word_lines == ["x0", "x1", "x2", "h0", "h1", "b0"]


def test_latent_rows_follow_the_embedding():
    (layer,) = recurrent_layers(numbered_rnn(), "net")
    (array,) = map_layer(layer, PAPER, latent_size=1)
    assert array.word_lines == ["x0", "x1", "z0", "h0", "h1", "b0"]


def test_conductances_of_eq_12_by_hand():
    # Range 10 to 100 uS, so 1/R_s = 55 uS and the largest weight, 10, takes 45 uS: s = 10 / 45e-6.
    conductance, scale = to_conductance(np.array([[10.0, -10.0, 0.0], [5.0, -2.5, 1.0]]), AIST)
    assert scale == pytest.approx(10 / 45e-6, rel=1e-15)
    np.testing.assert_allclose(conductance * 1e6, [[10, 100, 55], [32.5, 66.25, 50.5]], rtol=1e-14)


def test_a_positive_weight_gives_a_positive_current_for_a_positive_voltage():
    conductance, _ = to_conductance(np.array([[3.0], [-1.0]]), AIST)
    currents = np.array([0.02, 0.0]) @ (AIST.g_mid - conductance), np.array([0.0, 0.02]) @ (AIST.g_mid - conductance)
    assert currents[0] > 0 > currents[1]
    assert currents[0] == pytest.approx(-3 * currents[1])


def test_lstm_gates_are_i_f_g_o_and_make_the_torch_cell():
    torch.manual_seed(1)
    cell = nn.LSTMCell(4, 3).double()
    module = nn.LSTM(4, 3).double()
    module.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    (layer,) = recurrent_layers(module, "net")
    x, h, c = torch.randn(4).double(), torch.randn(3).double(), torch.randn(3).double()
    row = np.concatenate([x, h, [1.0]])
    p = {unit: torch.from_numpy(row @ row_weights(gate)) for unit, gate in layer.gates.items()}
    assert list(p) == ["i", "f", "g", "o"]
    memory = torch.sigmoid(p["f"]) * c + torch.sigmoid(p["i"]) * torch.tanh(p["g"])
    expected_h, expected_c = cell(x[None], (h[None], c[None]))
    torch.testing.assert_close(memory, expected_c[0], rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(torch.sigmoid(p["o"]) * torch.tanh(memory), expected_h[0], rtol=1e-13, atol=1e-14)


def test_gru_candidate_is_read_out_in_two_parts_with_a_bias_each():
    torch.manual_seed(2)
    cell = nn.GRUCell(4, 3).double()
    module = nn.GRU(4, 3).double()
    module.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    (layer,) = recurrent_layers(module, "net")
    x, h = torch.randn(4).double(), torch.randn(3).double()
    rows = {"r": [*x, *h, 1], "z": [*x, *h, 1], "nx": [*x, 1], "nh": [*h, 1]}
    p = {
        unit: torch.from_numpy(np.array(rows[unit], dtype=float) @ row_weights(gate))
        for unit, gate in layer.gates.items()
    }
    candidate = torch.tanh(p["nx"] + torch.sigmoid(p["r"]) * p["nh"])
    hidden = (1 - torch.sigmoid(p["z"])) * candidate + torch.sigmoid(p["z"]) * h
    torch.testing.assert_close(hidden, cell(x[None], h[None])[0], rtol=1e-13, atol=1e-14)


def test_the_memristor_hangs_on_the_inverted_word_line_and_the_resistor_on_the_plain_one():
    module = nn.RNN(1, 2, bias=False).double()
    with torch.no_grad():
        module.weight_ih_l0.copy_(torch.tensor([[2.0], [-4.0]]))
        module.weight_hh_l0.copy_(torch.tensor([[1.0, 0.0], [0.0, -3.0]]))
    (layer,) = recurrent_layers(module, "net")
    (array,) = map_layer(layer, PAPER)
    comment, *lines = "".join(array_lines(array)).splitlines()
    assert comment == "* tile 0,0 of net_h: rows 0 to 3 (x0 to b0), columns 0 to 1, 2 bit lines"
    assert len(lines) == 2 * 4 * 2  # two elements per cell, rows x0 h0 h1 b0, two columns
    assert [line.split()[:3] for line in lines[:4]] == [
        ["Rmh0_0", "x0n", "blh0"],
        ["Rmh0_1", "x0n", "blh1"],
        ["Rsh0_0", "x0", "blh0"],
        ["Rsh0_1", "x0", "blh1"],
    ]
    ohm = {line.split()[0]: float(line.split()[3]) for line in lines}
    # w = 2 of 4: half the span below the middle, 55 - 22.5 uS; w = -4: 100 uS; the resistor is 1 / 55 uS.
    assert ohm["Rmh0_0"] == pytest.approx(1 / 32.5e-6, rel=1e-14)
    assert ohm["Rmh0_1"] == pytest.approx(1 / 100e-6, rel=1e-14)
    assert ohm["Rsh0_0"] == pytest.approx(1 / 55e-6, rel=1e-14)


def test_read_voltage_stays_below_the_threshold():
    assert AIST.read_v == 0.05
    assert AIST.read_v < AIST.threshold_v
