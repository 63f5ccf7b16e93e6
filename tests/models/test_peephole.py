import math

import torch
from torch import nn

from hvae_mnn.models.peephole import PeepholeLSTM


def test_without_peepholes_it_is_pytorchs_lstm() -> None:
    torch.manual_seed(1)
    own, reference = PeepholeLSTM(5, 7).double(), nn.LSTM(5, 7, batch_first=True).double()
    own.load_state_dict(reference.state_dict(), strict=False)
    with torch.no_grad():
        for name in "ifo":
            getattr(own, f"peephole_{name}").zero_()
    x = torch.randn(3, 6, 5, dtype=torch.float64, requires_grad=True)
    first = (torch.randn(1, 3, 7, dtype=torch.float64), torch.randn(1, 3, 7, dtype=torch.float64))
    for state in (None, first):
        found, (hidden, memory) = own(x, state)
        expected, (last_hidden, last_memory) = reference(x, state)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(hidden, last_hidden)
        torch.testing.assert_close(memory, last_memory)
        torch.testing.assert_close(torch.autograd.grad(found.sum(), x)[0], torch.autograd.grad(expected.sum(), x)[0])


def test_two_steps_by_hand() -> None:
    """i and f see the memory before the step, o the memory after it."""
    layer = PeepholeLSTM(1, 1).double()
    values = {
        "weight_ih_l0": [[0.5], [-0.4], [0.9], [0.3]],
        "weight_hh_l0": [[0.2], [0.1], [-0.7], [0.6]],
        "bias_ih_l0": [0.1, 0.2, -0.1, 0.05],
        "bias_hh_l0": [0.0, 0.3, 0.1, -0.15],
        "peephole_i": [0.8],
        "peephole_f": [-0.6],
        "peephole_o": [1.1],
    }
    layer.load_state_dict({name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    h, c, expected = 0.25, -0.5, []
    for x in (1.5, -2.0):
        i = sigmoid(0.5 * x + 0.2 * h + 0.1 + 0.8 * c)
        f = sigmoid(-0.4 * x + 0.1 * h + 0.5 - 0.6 * c)
        g = math.tanh(0.9 * x - 0.7 * h)
        c = f * c + i * g
        h = sigmoid(0.3 * x + 0.6 * h - 0.1 + 1.1 * c) * math.tanh(c)
        expected.append(h)
    inputs = torch.tensor([[[1.5], [-2.0]]], dtype=torch.float64)
    state = (torch.full((1, 1, 1), 0.25, dtype=torch.float64), torch.full((1, 1, 1), -0.5, dtype=torch.float64))
    found, (last, memory) = layer(inputs, state)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float64))
    assert last.item() == found[0, 1, 0].item()
    assert math.isclose(memory.item(), c)
