"""Records that are whole by their checksum and hold something else than a task's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hvae_mnn.errors import InputError
from hvae_mnn.files import write_sealed
from hvae_mnn.reproduction.record import FORMAT, RECORD, Record, read_record, write_record

CORPUS = {
    "name": "short",
    "folder": "toy",
    "stands_for": "ptb",
    "is_same": False,
    "tokenizer": "plain",
    "longest": None,
    "note": "",
}
CHECK = {"name": "a <= b", "left": 1.0, "right": 2.0, "slack": 0.0, "holds": True}
WHOLE = Record(
    {"profile": "cpu", "corpus": CORPUS, "row": "lm", "seed": 0},
    "done",
    paper={"nll": 60.0, "checks": [CHECK]},
    proper={"elbo_nll": 65.0, "profile": {"from_end": [2.0, 1.0]}, "checks": []},
    further={"accuracy": 0.5},
)


def test_a_whole_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path, WHOLE)
    assert read_record(tmp_path) == WHOLE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: one["proper"].update(profile={"from_end": [1.0, "2"]}),
        lambda one: one["paper"].update(checks=[[1]]),
        lambda one: one["paper"]["checks"][0].pop("holds"),
        lambda one: one["paper"].update(nll="60"),
        lambda one: one.update(further=None),
        lambda one: one.update(proper=[]),
        lambda one: one["task"]["corpus"].update(stands_for=["ptb"]),
        lambda one: one["task"]["corpus"].update(other=1),
        lambda one: one["task"].update(seed="0"),
        lambda one: one.update(status="over"),
        lambda one: one.update(another={}),
    ],
)
def test_other_content_is_refused_in_one_line(tmp_path: Path, spoil: Callable[[dict[str, Any]], object]) -> None:
    stored = json.loads(json.dumps({"format": FORMAT, **asdict(WHOLE)}))
    spoil(stored)
    write_sealed(tmp_path / RECORD, stored)
    with pytest.raises(InputError, match=r"record\.json holds no record of a task; remove it"):
        read_record(tmp_path)
