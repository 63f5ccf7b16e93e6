"""Checkpoints, netlists, unfinished runs and sweeps of an earlier version open and end as they did there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from hvae_mnn.api import finetune, resume
from hvae_mnn.files import read_sealed, write_sealed
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.sweeps.file import read_sweep
from hvae_mnn.sweeps.grid import make_plan
from hvae_mnn.sweeps.run import run_sweep
from hvae_mnn.tables import read_table
from hvae_mnn.text.sources import read_corpus
from hvae_mnn.training.run import train

EARLIER = Path(__file__).parent / "earlier"
EXPECTED = EARLIER / "expected"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy to work in, with as many threads as it was made with."""
    shutil.copytree(EARLIER, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path / "work"
    torch.set_num_threads(threads)


def assert_same_weights(found: Path, expected: Path) -> None:
    one, other = (load_checkpoint(path).model.state_dict() for path in (found, expected))
    assert one.keys() == other.keys()
    for name, value in other.items():  # another machine's sums may round differently
        torch.testing.assert_close(one[name], value, rtol=1e-5, atol=1e-6, msg=name)


def assert_same_table(found: Path, expected: Path) -> None:
    one, other = read_table(found), read_table(expected)
    assert one.schema.names == other.schema.names
    for name in other.schema.names:
        values, wanted = one[name].to_pylist(), other[name].to_pylist()
        if pa.types.is_floating(other.schema.field(name).type):
            values, wanted = (np.array(column, dtype=float) for column in (values, wanted))  # None is NaN
            np.testing.assert_allclose(values, wanted, rtol=1e-6, atol=1e-9, err_msg=name)
        else:
            assert values == wanted, name


def test_a_checkpoint_and_its_netlists(work: Path) -> None:
    checkpoint, manifest = load_checkpoint(work / "trained/best.pt"), read_manifest(work / "net")
    assert (checkpoint.config.hidden_size, len(checkpoint.vocabulary)) == (4, 16)
    assert [layer.name for layer in manifest.layers] == ["encoder1", "encoder2", "decoder"]
    assert_same_weights(manifest.folder / "checkpoint.pt", work / "trained/best.pt")


def test_an_unfinished_training(work: Path) -> None:
    checkpoint = load_checkpoint(work / "trained/best.pt")
    corpus = read_corpus(work / "corpus")
    train(corpus, checkpoint.config, checkpoint.training_config, work / "training", resume=True)
    assert_same_weights(work / "training/best.pt", EXPECTED / "training.pt")


def test_an_unfinished_finetuning(work: Path) -> None:
    finetune(
        "trained/best.pt", data_dir="corpus", out="finetuning", updates=8, validate_every=2, batch_size=8, resume=True
    )
    assert_same_weights(work / "finetuning/best.pt", EXPECTED / "finetuning.pt")


def test_an_unfinished_run(work: Path) -> None:
    plan = read_sealed(work / "run/run.json", "plan")
    write_sealed(work / "run/run.json", plan | {"netlist": str(work / "net")})  # they have moved
    resume("run")
    for name in ("tokens", "preactivations"):
        assert_same_table(work / f"run/{name}.parquet", EXPECTED / f"{name}.parquet")


def test_an_unfinished_sweep(work: Path) -> None:
    plan = make_plan(read_sweep(work / "sweep.toml"), work / "corpus")
    assert run_sweep(plan, work / "sweep", Cluster.here()).kept == 2
    assert_same_table(work / "sweep/results.parquet", EXPECTED / "results.parquet")
