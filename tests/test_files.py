"""Files that appear whole or not at all, and JSON with a checksum."""

from __future__ import annotations

import json
import os
import random
import socket
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hvae_mnn.errors import InputError, StorageError, UncheckedFileWarning
from hvae_mnn.files import (
    read_sealed,
    replacing,
    require_room,
    seal,
    sealed,
    sha256,
    write_bytes,
    write_json,
    write_sealed,
    write_text,
)

BODY = {"name": "Wört", "numbers": [1, 2.5, -1e-300, None, True], "nested": {"b": {}, "a": [[]]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_sealed(tmp_path / "x.json", BODY)
    return tmp_path / "x.json"


def test_a_sealed_object_comes_back_and_is_plain_json(path: Path) -> None:
    assert read_sealed(path, "file") == BODY
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored.pop("sha256") == seal(BODY)
    assert stored == BODY
    assert list(sealed(BODY))[-1] == "sha256"


def test_what_json_changes_is_sealed_as_it_comes_back(tmp_path: Path) -> None:
    write_sealed(tmp_path / "x.json", {"a": (1, 2), "b": {10: "x", 9: "y", 1.5: "z"}})
    assert read_sealed(tmp_path / "x.json", "file") == {"a": [1, 2], "b": {"10": "x", "9": "y", "1.5": "z"}}


def test_a_path_that_is_no_utf_8_is_written_all_the_same(tmp_path: Path) -> None:
    write_sealed(tmp_path / "x.json", {"path": "a\udcffb"})
    assert read_sealed(tmp_path / "x.json", "file") == {"path": "a\udcffb"}


def test_every_change_of_a_sealed_file_is_noticed_or_told(path: Path) -> None:
    good, rng, refused = path.read_bytes(), random.Random(5), 0
    for number in range(600):
        data = bytearray(good)
        place, size = rng.randrange(len(data)), rng.randrange(1, 60)
        if number % 3 == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif number % 3 == 1:
            del data[place : place + size]
        else:
            data[place : place + size] = rng.randbytes(size)
        path.write_bytes(bytes(data))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                found = read_sealed(path, "file")
            except InputError as error:
                refused += len(str(error).splitlines())
                continue
        assert found == BODY or [warning.category for warning in told] == [UncheckedFileWarning]
    assert refused > 500


def test_an_older_file_without_checksum_is_read_with_a_note(tmp_path: Path) -> None:
    write_json(tmp_path / "old.json", BODY)
    with pytest.warns(UncheckedFileWarning, match=r"old\.json carries no checksum, so damage to it cannot be noticed"):
        assert read_sealed(tmp_path / "old.json", "file") == BODY


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"sha256": 5}', '{"sha256": null}', '{"a": NaN}', '{"a": 1e999}'])
def test_what_is_no_sealed_object(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=r"x\.json") as caught:
        read_sealed(tmp_path / "x.json", "file")
    assert len(str(caught.value).splitlines()) == 1


def test_a_failed_write_keeps_the_old_file(
    tmp_path: Path, largest_file: Callable[[int], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "x"
    write_text(path, "old")
    with largest_file(1000), pytest.raises(StorageError, match="File too large; free the disk or choose another"):
        write_bytes(path, bytes(2000))
    with pytest.raises(KeyError), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("new")
        raise KeyError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert sha256(path) == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"


def test_room_is_looked_for_beforehand(
    tmp_path: Path, largest_file: Callable[[int], AbstractContextManager[None]]
) -> None:
    require_room(tmp_path, 10**5)
    with largest_file(10**4):
        require_room(tmp_path, 10**5)  # of several files
    with pytest.raises(StorageError, match="No such file or directory"):
        require_room(tmp_path / "nowhere", 1)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_has_no_room(small_disk: Path) -> None:
    require_room(small_disk, 2**20)
    with pytest.raises(StorageError, match="No space left on device"):
        require_room(small_disk, 3 * 2**20)
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_special_file_is_not_replaced(tmp_path, kind, through_a_link):
    special = tmp_path / "special"
    with socket.socket(socket.AF_UNIX) as listener:
        os.mkfifo(special) if kind == "pipe" else listener.bind(str(special))
        before, path = special.stat(), special
        if through_a_link:
            path = tmp_path / "link"
            path.symlink_to(special)
        with pytest.raises(StorageError, match="a pipe, a socket or a device, which no file may replace"):
            write_bytes(path, b"content")
        assert special.stat() == before
        assert {one.name for one in tmp_path.iterdir()} == {special.name, path.name}
