"""Netlists of a small build equal the committed ones, which `--force-regen` writes anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.network import LayerExport
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.netlist.build import write_netlists

PAPER = read_hardware("paper")

GOLDEN = Path(__file__).parents[2] / "netlists" / "golden"


def golden_lstm() -> nn.LSTM:
    """2 inputs (one of them a latent), 2 hidden units; weights -1.0, -0.9, ... in PyTorch's order, biases too."""
    module = nn.LSTM(2, 2).double()
    with torch.no_grad():
        start = -10
        for parameter in module.parameters():
            count = parameter.numel()
            parameter.copy_((torch.arange(start, start + count, dtype=torch.float64) / 10).reshape(parameter.shape))
            start += 3
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    (layer,) = recurrent_layers(golden_lstm(), "golden")
    folder = tmp_path_factory.mktemp("build") / "golden"
    export = LayerExport(layer, 1, {"x": 2.0, "z": 1.5}, dict.fromkeys("ifgo", 4.0))
    write_netlists(folder, [export], PAPER, {"module": "LSTM"})
    return folder


NAMES = sorted(path.name for path in GOLDEN.iterdir() if path.suffix in (".cir", ".inc"))


def test_the_golden_folder_holds_every_file(built):
    assert {path.name for path in built.iterdir()} == {path.name for path in GOLDEN.iterdir()}
    assert json.loads((built / "manifest.json").read_text()) == json.loads((GOLDEN / "manifest.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_golden_file(built, name, file_regression):
    file_regression.check((built / name).read_text(), fullpath=GOLDEN / name)
