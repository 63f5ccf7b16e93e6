"""Training on several processes gives the losses and weights of one; one process is plain torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hvae_mnn.text.batches import collate
from hvae_mnn.training.accelerator import Alone, accelerate
from tests.training import shared_steps

PROCESSES = 2


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Results of each process of a real `torchrun` on this machine, exchanged through gloo."""
    out = tmp_path_factory.mktemp("together")
    root = Path(shared_steps.__file__).resolve().parents[2]
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(PROCESSES)),
        *(shared_steps.__file__, str(out)),
    ]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


@pytest.mark.slow
@pytest.mark.parametrize("name", shared_steps.SETTINGS)
def test_several_processes_train_as_one_does(together, name):
    losses, weights = shared_steps.steps(Alone(torch.device("cpu"), bf16=False), **shared_steps.SETTINGS[name])
    for results in together:
        found_losses, found_weights = results[name]
        assert found_losses == pytest.approx(losses, rel=1e-12)
        for key, expected in weights.items():
            assert torch.allclose(found_weights[key], expected, rtol=1e-11, atol=1e-13), key


@pytest.mark.slow
def test_the_processes_weights_are_equal_bit_for_bit(together):
    first, *others = together
    for name, (losses, weights) in first.items():
        for results in others:
            assert results[name][0] == losses
            assert all(torch.equal(results[name][1][key], value) for key, value in weights.items())


def test_one_process_imports_no_fabric_and_leaves_values_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    found = accelerate(torch.device("cpu"), bf16=True)
    assert isinstance(found, Alone)
    share = found.share(collate([[2, 5, 3], [2, 3]]))
    value = torch.ones(2, 3, requires_grad=True)
    assert share.count == 2
    assert share.rows(value) is value
    assert share.total(value) is value
    with found.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    program = (
        "import sys, torch; from hvae_mnn.training.accelerator import accelerate; "
        "accelerate(torch.device('cpu'), bf16=False); sys.exit('lightning_fabric' in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "WORLD_SIZE"}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, env=environment)
