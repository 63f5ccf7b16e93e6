"""Every exported deck gives torch's results with `ngspice -n -b` alone, without this package."""

from __future__ import annotations

import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from hvae_mnn.cosim.export import build_netlist
from hvae_mnn.models.peephole import PeepholeLSTM

pytestmark = pytest.mark.spice

MODULES = {
    "lstm": lambda: nn.LSTM(5, 3),
    "gru": lambda: nn.GRU(4, 3),
    "rnn": lambda: nn.RNN(2, 4),
    "no-bias": lambda: nn.LSTM(3, 2, bias=False),
    "two-way": lambda: nn.GRU(3, 2, num_layers=2, bidirectional=True),
    "peephole": lambda: PeepholeLSTM(3, 2),
}


def run_deck(folder, deck):
    """Values by name, as ngspice prints them for the deck on disk."""
    command = shutil.which("ngspice")
    assert command, "the ngspice command is part of the set-up: make system"
    done = subprocess.run(
        [command, "-n", "-b", deck], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Using KLU" in done.stdout
    printed = dict(re.findall(r"^(\S+) = (\S+)$", done.stdout, re.MULTILINE))
    assert all(len(re.sub(r"e.*|\D", "", value)) >= 17 for value in printed.values())  # a whole double
    return {name: float(value) for name, value in printed.items()}


@pytest.fixture(params=list(MODULES))
def build(request, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = MODULES[request.param]().double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter))
    return module, build_netlist(module, tmp_path / request.param)


def test_column_currents_are_those_of_eq_12(build):
    _, manifest = build
    stored = load_file(manifest.folder / "conductances.safetensors")
    for _, unit in manifest.units():
        printed = run_deck(manifest.folder, manifest.deck(unit).name)
        currents = np.array([printed[f"i(vs{unit.name}{k})"] for k in range(unit.columns)])
        volts, conductance = stored[f"{unit.array}.test_volts"], stored[f"{unit.array}.conductance"]
        assert np.abs(volts).max() <= 0.05 * (1 + 1e-12)
        # Summed cell by cell here, not by the product that made the stored answer.
        expected = [
            sum(v * (manifest.fixed_siemens - g) for v, g in zip(volts, conductance[:, k], strict=True))
            for k in range(unit.columns)
        ]
        np.testing.assert_allclose(currents, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
        np.testing.assert_allclose(
            currents, stored[f"{unit.array}.ideal_currents"], rtol=0, atol=1e-12 * np.abs(currents).max()
        )


def test_the_layer_deck_is_the_torch_cell(build):
    module, manifest = build
    for layer in manifest.layers:
        printed = run_deck(manifest.folder, manifest.deck(layer).name)
        text = manifest.deck(layer).read_text()
        driven = {name: float(v) for name, v in re.findall(r"^V(\w+) \w+ 0 DC (\S+)$", text, re.MULTILINE)}
        x, h = (
            torch.tensor([driven[f"{role}{k}"] / layer.volts_per_unit for k in range(size)], dtype=torch.float64)
            for role, size in (("x", layer.input_size), ("h", layer.hidden_size))
        )
        state = (h[None, None],)
        if layer.cell == "lstm":
            memory = torch.tensor([driven[f"previous{k}"] for k in range(layer.hidden_size)], dtype=torch.float64)
            state = (*state, memory[None, None])
        single = one_layer(module, layer.name)
        _, new = single(x[None, None], state if layer.cell == "lstm" else state[0])
        expected = {"hidden": new[0] if layer.cell == "lstm" else new}
        if layer.cell == "lstm":
            expected["memory"] = new[1]
        for name, value in expected.items():
            values = [printed[f"v({name}{k})"] for k in range(layer.hidden_size)]
            np.testing.assert_allclose(values, value.detach().flatten(), rtol=0, atol=1e-9)


def one_layer(module, name):
    """The single-layer, unidirectional torch module of the netlist layer `name`."""
    suffix = name.partition("_l")[2]
    key = f"l{suffix or '0'}"
    weights = {n: p for n, p in module.named_parameters() if n.endswith(f"_{key}") or n.startswith("peephole")}
    size = weights[f"weight_ih_{key}"].shape[1]
    if isinstance(module, PeepholeLSTM):
        return module
    single = type(module)(size, module.hidden_size, bias=module.bias).double()
    single.load_state_dict({n.replace(f"_{key}", "_l0"): p.detach() for n, p in weights.items()})
    return single
