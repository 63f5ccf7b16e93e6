"""The journal of an engine's answers: damaged answers are computed again or refused, and never used."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hvae_mnn.cosim import journal as module
from hvae_mnn.cosim.journal import JournalEngine
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.engines.ideal import IdealEngine
from hvae_mnn.errors import MendedWarning, RunError, UncheckedFileWarning
from hvae_mnn.tensors import read_tensors, write_tensors

Array = NDArray[np.float64]
MEMRISTORS = np.random.default_rng(0).uniform(1e-5, 1e-4, (3, 2))
VOLTS = [{"a": np.random.default_rng(n).uniform(-0.1, 0.1, (1 + n % 2, 3))} for n in range(12)]
"""Voltages (B, R) of twelve calls."""


def engine() -> IdealEngine:
    return IdealEngine({"a": MEMRISTORS}, {"a": ArrayLayout(3, 2, read_hardware("paper"))})


def answers(path: Path, count: int = len(VOLTS)) -> tuple[list[Array], int]:
    """Currents of `count` calls, and the number of calls that the journal answered."""
    with closing(JournalEngine(engine(), path, {"a": 2})) as journal:
        currents = [journal.currents(volts)["a"] for volts in VOLTS[:count]]
        return currents, journal.replayed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    answers(tmp_path / "journal.bin")
    return tmp_path / "journal.bin"


def test_answers_come_from_the_journal(path: Path) -> None:
    currents, replayed = answers(path)
    assert replayed == len(VOLTS)
    for volts, own in zip(VOLTS, currents, strict=True):
        np.testing.assert_array_equal(own, engine().currents(volts)["a"])


def test_a_part_of_an_answer_that_a_kill_left_is_removed_silently(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])
    assert answers(path)[1] == len(VOLTS) - 1
    assert answers(path)[1] == len(VOLTS)


def test_damage_in_the_middle_is_reported_and_computed_again(path: Path) -> None:
    good = path.read_bytes()
    offset = len(good) // 2
    path.write_bytes(good[:offset] + bytes([good[offset] ^ 8]) + good[offset + 1 :])
    with pytest.warns(MendedWarning, match=r"journal\.bin is damaged: [\d,]+ bytes of answers are computed again"):
        currents, replayed = answers(path)
    assert 0 < replayed < len(VOLTS)
    assert path.read_bytes() == good
    for volts, own in zip(VOLTS, currents, strict=True):
        np.testing.assert_array_equal(own, engine().currents(volts)["a"])


def test_no_damage_gives_another_answer(path: Path) -> None:
    good, rng = path.read_bytes(), random.Random(7)
    expected, _ = answers(path)
    for number in range(300):
        data, offset = bytearray(good), rng.randrange(len(good))
        if number % 4 == 0:
            del data[offset : offset + rng.randrange(1, 100)]
        elif number % 4 == 1:
            other = rng.randrange(len(good))
            data[offset : offset + 40] = data[other : other + 40]
        else:
            data[offset] ^= rng.randrange(1, 256)
        path.write_bytes(bytes(data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MendedWarning)
            try:
                currents, _ = answers(path)
            except RunError as error:
                assert len(str(error).splitlines()) == 1  # noqa: PT017
                continue
        for own, right in zip(currents, expected, strict=True):
            np.testing.assert_array_equal(own, right)


class Moving:
    """An engine with a history: every read moves a state, which changes the next read."""

    name = "moving"
    seconds = seconds_loading = 0.0

    def __init__(self) -> None:
        self.initial, self.reads = np.zeros((3, 2)), np.zeros((0, 3))

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        self.reads = np.concatenate([self.reads, volts["a"]])
        return {"a": volts["a"] @ (self.initial + 1 + self.reads.sum())}

    def drift(self, name: str) -> Array | None:
        return np.array([self.reads.sum(), 0.0, 1.0])

    def position(self) -> dict[str, Array]:
        return {"a.initial": self.initial, "a.reads": self.reads}

    def restore(self, position: Mapping[str, Array]) -> None:
        self.initial, self.reads = position["a.initial"], position["a.reads"]

    def close(self) -> None:
        pass

    def facts(self) -> dict[str, object]:
        return {}


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal of six answers, with a position after the fourth."""
    monkeypatch.setattr(module, "POSITION_EVERY", 4)
    lived(tmp_path / "journal.bin", 6)
    return tmp_path / "journal.bin"


def lived(path: Path, count: int) -> list[Array]:
    with closing(JournalEngine(Moving(), path, {"a": 2})) as journal:
        return [journal.currents(volts)["a"] for volts in VOLTS[:count]]


def test_devices_that_move_go_on_where_they_were(moved: Path) -> None:
    whole = Moving()
    for own, volts in zip(lived(moved, 9), VOLTS[:9], strict=True):
        np.testing.assert_array_equal(own, whole.currents(volts)["a"])


def test_a_damaged_position_is_refused(moved: Path) -> None:
    path = moved.with_suffix(".position")
    good, rng = path.read_bytes(), random.Random(8)
    for _ in range(60):
        offset = rng.randrange(len(good))
        path.write_bytes(good[:offset] + bytes([good[offset] ^ rng.randrange(1, 256)]) + good[offset + 1 :])
        if b'"sha256"' in path.read_bytes():
            with pytest.raises(RunError, match=r"journal\.position cannot be used: .*; start the run again"):
                lived(moved, 6)


@pytest.mark.parametrize(
    "change",
    [
        {"a.initial": np.full((3, 2), np.nan)},
        {"a.initial": np.zeros((2, 3))},
        {"a.reads": np.zeros((4, 2))},
        {"a.reads": np.zeros((4, 3), dtype=np.float32)},
        {"a.states": np.zeros((3, 3))},
        {"b.initial": np.zeros((3, 2))},
        {"answers": np.zeros(0, dtype=np.int64)},
    ],
)
def test_a_position_of_other_devices_is_refused(moved: Path, change: dict[str, Array]) -> None:
    path = moved.with_suffix(".position")
    write_tensors(path, read_tensors(path, "position") | change)
    with pytest.raises(RunError, match=r"journal\.position cannot be used"):
        lived(moved, 6)


def test_a_position_of_an_earlier_version_is_taken_with_a_note(moved: Path) -> None:
    path = moved.with_suffix(".position")
    save_file(load_file(path), path)
    with pytest.warns(UncheckedFileWarning, match=r"journal\.position carries no checksum"):
        assert len(lived(moved, 9)) == 9
