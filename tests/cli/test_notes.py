"""Files of earlier versions, without checksums, are read with one line about that; damaged ones are refused in one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from hvae_mnn.api import simulate
from hvae_mnn.cli.main import main
from hvae_mnn.cosim.plan import Options
from hvae_mnn.tables import read_table, write_table

NOTHING_NOTICED = "so damage to it cannot be noticed"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """Run a command; returns its exit code and its notes and errors."""

    def run(*arguments: object) -> tuple[int, list[str]]:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as done:
            code = int(done.code or 0)
        lines = capsys.readouterr().err.splitlines()
        return code, [line for line in lines if not line.startswith(" ") and "0:0" not in line and line]

    return run


@pytest.fixture
def finished(make_checkpoint: Callable[..., Path], call: Callable[..., tuple[int, list[str]]]) -> Path:
    """A run of the ideal engine, whose netlists lie beside it."""
    assert call("build-netlist", make_checkpoint("rnn"), "--out", "net")[0] == 0
    return simulate("net", steps=5, options=Options(engine="ideal"), out="run").folder


def test_a_checkpoint_of_old_pytorch(
    make_checkpoint: Callable[..., Path], call: Callable[..., tuple[int, list[str]]], tmp_path: Path
) -> None:
    content = torch.load(make_checkpoint("rnn"), weights_only=True)
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    code, lines = call("build-netlist", "old.pt", "--out", "net")
    assert code == 0
    assert [line for line in lines if line.startswith("note:")] == [
        f"note: old.pt is in PyTorch's format before 1.6, without a checksum, {NOTHING_NOTICED}"
    ]
    torch.save(content, tmp_path / "newer.pt")  # its archive has CRCs
    code, lines = call("build-netlist", "newer.pt", "--out", "newer")
    assert (code, [line for line in lines if line.startswith("note:")]) == (0, [])


def test_a_run_of_an_earlier_version_is_resumed(finished: Path, call: Callable[..., tuple[int, list[str]]]) -> None:
    (finished / "summary.json").unlink()
    plan = json.loads((finished / "run.json").read_text())
    del plan["sha256"]
    (finished / "run.json").write_text(json.dumps(plan))
    code, lines = call("simulate", "--resume", "--out", finished)
    assert code == 0
    assert [line for line in lines if line.startswith("note:")] == [
        f"note: {finished}/run.json carries no checksum, {NOTHING_NOTICED}"
    ]


def test_a_changed_plan_is_refused(finished: Path, call: Callable[..., tuple[int, list[str]]]) -> None:
    (finished / "summary.json").unlink()
    text = (finished / "run.json").read_text()
    (finished / "run.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    code, lines = call("simulate", "--resume", "--out", finished)
    assert (code, len(lines)) == (2, 1)
    assert "does not match its checksum" in lines[0]


def test_a_damaged_table_is_refused_in_one_line(finished: Path, call: Callable[..., tuple[int, list[str]]]) -> None:
    path, rng = finished / "converters.parquet", random.Random(9)
    good = path.read_bytes()
    for _ in range(20):
        place = rng.randrange(len(good))
        path.write_bytes(good[:place] + bytes([good[place] ^ rng.randrange(1, 256)]) + good[place + 1 :])
        code, lines = call("plot", "converters", finished)
        assert (code, len(lines)) == (2, 1), lines
        assert "converters.parquet" in lines[0]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("bits", pa.array([1.5, 2.5])),
        ("bits", pa.array([1, 2], pa.int32())),
        ("bits", pa.array([-3, 2], pa.int32())),
        ("low", pa.array([np.nan, 0.0])),
        ("high", pa.array(["a", "b"])),
        ("layer", pa.array([1, 2])),
        ("count", pa.array([None, 1], pa.int64())),
    ],
)
def test_a_table_of_another_program_is_refused_in_one_line(
    finished: Path, call: Callable[..., tuple[int, list[str]]], name: str, values: pa.Array
) -> None:
    path = finished / "converters.parquet"
    table = read_table(path).slice(0, 2)
    write_table(path, table.set_column(table.column_names.index(name), name, values))
    code, lines = call("plot", "converters", finished)
    assert (code, len(lines)) == (2, 1), lines
    write_table(path, table.slice(0, 0))
    code, lines = call("plot", "converters", finished)
    assert (code, len(lines)) == (2, 1), lines


def test_a_table_of_an_earlier_version_is_drawn_with_a_note(
    finished: Path, call: Callable[..., tuple[int, list[str]]]
) -> None:
    pq.write_table(read_table(finished / "converters.parquet"), finished / "converters.parquet")
    code, lines = call("plot", "converters", finished)
    assert (code, lines) == (0, [f"note: {finished}/converters.parquet carries no checksum, {NOTHING_NOTICED}"])
