"""A recurrent network of your own, without any text model: exported, run by `ngspice -n -b`, compared with torch.

python examples/03_own_recurrent_network.py [LSTM|GRU|RNN] [FOLDER]

HSR-VAE is only one user of the mapping; it takes any torch nn.LSTM, nn.GRU or nn.RNN, stacked or bidirectional.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from hvae_mnn import GATE_UNITS, build_netlist, read_manifest

kind = sys.argv[1] if len(sys.argv) > 1 else "GRU"
folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp()) / "my_network"
torch.manual_seed(0)
network = getattr(nn, kind)(input_size=6, hidden_size=5).double().requires_grad_(False)

# The folder is all that is needed later, on any machine: reading it back checks every value and every hash.
build_netlist(network, folder, input_range=2.0)
manifest = read_manifest(folder)
layer = manifest.layers[0]
tensors = load_file(folder / "conductances.safetensors")

for unit, gate in zip(layer.units, GATE_UNITS[layer.cell], strict=True):
    # The deck applies a test vector and prints its column currents. It runs as it lies on disk.
    command = ["ngspice", "-n", "-b", manifest.deck(unit).name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    printed = re.findall(r"^i\(vs\w+\) = (\S+)", done.stdout, re.MULTILINE)
    currents = torch.tensor([float(value) for value in printed], dtype=torch.float64)

    # The same vector in the network's units: a word line at `volts_per_unit` stands for the number 1.
    values = tensors[f"{unit.array}.test_volts"] / layer.volts_per_unit
    inputs = dict(zip([group.role for group in unit.rows], values.split([g.size for g in unit.rows]), strict=True))
    block = slice(gate.row_block * layer.hidden_size, (gate.row_block + 1) * layer.hidden_size)
    expected = torch.zeros(layer.hidden_size, dtype=torch.float64)
    if gate.sees_x:
        expected += network.weight_ih_l0[block] @ inputs["x"] + network.bias_ih_l0[block]
    if gate.sees_h:
        expected += network.weight_hh_l0[block] @ inputs["h"] + network.bias_hh_l0[block]

    # Amperes to the network's units: the scale of the weights (eq. 12), and of the voltages.
    found = currents * unit.weight_scale / layer.volts_per_unit
    error = float((found - expected).abs().max() / expected.abs().max())
    print(f"{unit.array}: {unit.row_count} x {unit.columns}, ngspice against torch: {error:.1e} of the largest value")
    if error > 1e-9:
        sys.exit(f"{manifest.deck(unit).name} does not give W x + b")
print(f"decks, conductances and manifest: {folder}")
