"""An LSTM with peepholes, in the parameter layout of PyTorch's own."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hvae_mnn.models.cells import lstm_hidden, lstm_memory


class PeepholeLSTM(nn.Module):
    """One LSTM layer whose gates see the memory: i and f see c_{t-1}, o sees c_t (eq. 11; Gers and Schmidhuber 2000).

    Parameters are named and stacked as in `nn.LSTM` (one layer, gates i, f, g, o), plus one vector of shape (H,) per
    peephole; with those at zero it is that LSTM. Input is batch first: (B, T, input_size).
    """

    mode = "LSTM"
    """The cell's kind, where `nn.LSTM` keeps it."""
    gate_tensors = (
        *("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"),
        *("peephole_i", "peephole_f", "peephole_o"),
    )
    """Every tensor that `forward` reads from the module, at every call; see `hvae_mnn.gates`."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(4 * hidden_size))
        self.bias_hh_l0 = nn.Parameter(torch.empty(4 * hidden_size))
        self.peephole_i = nn.Parameter(torch.empty(hidden_size))
        self.peephole_f = nn.Parameter(torch.empty(hidden_size))
        self.peephole_o = nn.Parameter(torch.empty(hidden_size))
        bound = 1.0 / math.sqrt(hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Hidden states (B, T, H) and the last (h, c), each (1, B, H), from x (B, T, input_size) and a first (h, c)."""
        if state is None:
            zeros = x.new_zeros(1, x.shape[0], self.hidden_size)
            state = (zeros, zeros)
        hidden, memory = state[0][0], state[1][0]  # (B, H)
        from_x = nn.functional.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)  # (B, T, 4H)
        outputs: list[Tensor] = []
        for step in from_x.unbind(dim=1):
            i, f, g, o = (step + nn.functional.linear(hidden, self.weight_hh_l0)).chunk(4, dim=1)  # (B, H) each
            seen = {"i": i + self.peephole_i * memory, "f": f + self.peephole_f * memory, "g": g}
            memory = lstm_memory(seen, memory)
            hidden = lstm_hidden(o + self.peephole_o * memory, memory)
            outputs.append(hidden)
        return torch.stack(outputs, dim=1), (hidden[None], memory[None])

    def extra_repr(self) -> str:
        """Sizes, for `print(model)`."""
        return f"{self.input_size}, {self.hidden_size}, batch_first=True"
