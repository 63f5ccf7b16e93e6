"""A short fuzz campaign, and that the campaign's judge finds what it is there for."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path

import pytest

from hvae_mnn.errors import InputError, UncheckedFileWarning
from tests.campaigns import fuzz, fuzz_worker
from tests.campaigns.fuzz_mutations import CANARY
from tests.campaigns.fuzz_readers import READERS, Reader, digest


def test_three_hundred_spoilt_files(tmp_path: Path) -> None:
    said: list[str] = []
    campaign = fuzz.run(tmp_path, seed=7, numbers=range(300), quick=True, say=said.append)
    assert campaign.findings == [], "\n".join(said)
    assert len(campaign.outcomes) == 300
    results = {one["result"] for one in campaign.outcomes}
    assert {"refused", "same", "accepted"} <= results
    assert len({one["reader"] for one in campaign.outcomes}) > 0.8 * len(READERS)
    assert "all " in campaign.table()


class _Bench(fuzz_worker.Bench):
    """A single file of JSON, in two variants."""

    def __init__(self, folder: Path) -> None:
        for name, value in (("a", 1), ("b", 2)):
            place = folder / "originals" / name / "place"
            place.mkdir(parents=True)
            (place / "f.json").write_text(json.dumps({"value": value, "more": list(range(50))}))
        super().__init__(folder / "originals", folder / "scratch")


def _judged(folder: Path, monkeypatch: pytest.MonkeyPatch, read, *, is_ours: bool = True, count: int = 60) -> list[str]:
    """What the judge says of a reader."""
    reader = Reader("reader", 1, "place", ("f.json",), read, is_ours=is_ours)
    monkeypatch.setattr(fuzz_worker, "READERS", (reader,))
    monkeypatch.setattr(fuzz_worker, "SECONDS", 0.2)
    monkeypatch.setattr(fuzz_worker, "_ODD", 0.0)
    monkeypatch.chdir(folder)
    before = fuzz_worker.signal.signal(fuzz_worker.signal.SIGPROF, fuzz_worker._time_is_up)
    try:
        bench = _Bench(folder)
        found = []
        for number in range(count):
            outcome = fuzz_worker.judge(bench, number, seed=3)
            bench.restore(reader, outcome.file.partition("/")[0])
            found.append(outcome.result)
        assert all(
            path.read_bytes() == (bench.originals / path.relative_to(bench.scratch)).read_bytes()
            for path in bench.scratch.rglob("*.json")
        )
        return found
    finally:
        fuzz_worker.signal.signal(fuzz_worker.signal.SIGPROF, before)


def _text(folder: Path, _: Path) -> dict[str, str]:
    try:
        return {"text": (folder / "f.json").read_text(encoding="utf-8")}
    except UnicodeDecodeError:
        raise InputError("no text") from None


def test_changed_data_is_found(tmp_path, monkeypatch, capsys) -> None:
    found = _judged(tmp_path, monkeypatch, _text)
    assert found.count("different") > 30
    assert "refused" in found


def test_a_users_own_file_may_be_changed(tmp_path, monkeypatch, capsys) -> None:
    assert set(_judged(tmp_path, monkeypatch, _text, is_ours=False)) <= {"accepted", "refused", "same"}


def test_changed_data_that_is_warned_of_is_told_apart(tmp_path, monkeypatch, capsys) -> None:
    def read(folder: Path, original: Path) -> dict[str, str]:
        found = _text(folder, original)
        if found != _text(original, original):
            warnings.warn("no checksum", UncheckedFileWarning, stacklevel=1)
        return found

    assert "warned" in _judged(tmp_path, monkeypatch, read)


def test_another_error_is_found(tmp_path, monkeypatch, capsys) -> None:
    def read(folder: Path, _: Path) -> object:
        return json.loads((folder / "f.json").read_bytes())

    assert _judged(tmp_path, monkeypatch, read).count("error") > 10


def test_a_loop_without_end_is_found(tmp_path, monkeypatch, capsys) -> None:
    def read(folder: Path, original: Path) -> dict[str, str]:
        text = (folder / "f.json").read_bytes()
        while text != (original / "f.json").read_bytes():
            pass
        return {"text": "same"}

    assert "hung" in _judged(tmp_path, monkeypatch, read, count=3)


def test_code_that_was_run_is_found(tmp_path, monkeypatch, capsys) -> None:
    def read(folder: Path, original: Path) -> dict[str, str]:
        if (folder / "f.json").read_bytes() != (original / "f.json").read_bytes():
            Path(CANARY).touch()
        return {"text": "same"}

    assert "code" in _judged(tmp_path, monkeypatch, read, count=3)
    assert not (tmp_path / CANARY).exists()


def test_a_worker_that_dies_or_sleeps_is_found_and_replaced(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fuzz, "_PATIENCE_S", 2.0)
    monkeypatch.setattr(fuzz, "_START_S", 30.0)
    monkeypatch.setattr(fuzz.fuzz_originals, "make", lambda folder, quick: folder.mkdir())
    script = tmp_path / "worker.py"
    script.write_text(
        "import json, os, sys, time\n"
        "for number in range(*map(int, sys.argv[4:7])):\n"
        "    print(json.dumps({'begin': number, 'reader': 'r', 'file': 'f', 'way': 'w'}), flush=True)\n"
        "    if number == 1: os.abort()\n"
        "    if number == 3: time.sleep(99)\n"
        "    told = {'number': number, 'reader': 'r', 'file': 'f', 'way': 'w', 'result': 'same', 'message': ''}\n"
        "    print(json.dumps(told | {'seconds': 0.1, 'peak': 5}), flush=True)\n"
    )
    monkeypatch.setattr(fuzz, "_WORKER", [str(script)])
    start = time.monotonic()
    campaign = fuzz.run(tmp_path, seed=1, numbers=range(6), say=lambda line: None)
    assert time.monotonic() - start < 60
    assert {one["number"]: one["result"] for one in campaign.outcomes} == {
        0: "same",
        1: "crashed",
        2: "same",
        3: "hung",
        4: "same",
        5: "same",
    }
    assert [one["result"] for one in campaign.findings] == ["crashed", "hung"]


def test_digests_tell_values_apart() -> None:
    import numpy as np
    import torch

    values = [1, 1.0, True, "1", None, [1], {"a": 1}, {"a": 2}, np.ones(2), np.ones(2, np.float32), torch.zeros(2)]
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a": np.arange(3)}) == digest({"a": np.arange(3)})
