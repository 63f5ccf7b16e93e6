"""Arrays in files: equal arrays give equal bytes, every damage is noticed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from hvae_mnn.errors import TensorsError, UncheckedFileWarning
from hvae_mnn.tensors import read_tensors, write_tensors

ARRAYS = {"a": np.arange(60.0).reshape(5, 12).T, "b": np.array(7), "c": np.zeros((0, 3), dtype=np.int64)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "x.safetensors", ARRAYS)
    return tmp_path / "x.safetensors"


def check(path: Path) -> None:
    found = read_tensors(path, "file")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_arrays_come_back_and_equal_ones_give_equal_bytes(path: Path, tmp_path: Path) -> None:
    check(path)
    write_tensors(tmp_path / "y" / "z.safetensors", dict(reversed(ARRAYS.items())))
    assert (tmp_path / "y" / "z.safetensors").read_bytes() == path.read_bytes()


def test_every_damage_is_noticed(path: Path) -> None:
    good, rng, refused = path.read_bytes(), random.Random(2), 0
    for number in range(400):
        data = bytearray(good)
        place = rng.randrange(len(data))
        if number % 4 == 3:
            del data[place : place + rng.randrange(1, 40)]
        else:
            data[place] ^= rng.randrange(1, 256) if number % 2 else 1 << rng.randrange(8)
        path.write_bytes(bytes(data))
        try:
            check(path)
        except TensorsError as error:
            refused += len(str(error).splitlines())
    assert refused == 400


def test_a_file_without_checksum(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    save_file({"a": ARRAYS["a"].copy()}, path)
    with pytest.raises(TensorsError, match="does not match its checksum"):
        read_tensors(path, "file")
    with pytest.warns(UncheckedFileWarning, match=r"old\.safetensors carries no checksum"):
        np.testing.assert_array_equal(read_tensors(path, "file", may_be_unchecked=True)["a"], ARRAYS["a"])


@pytest.mark.parametrize("data", [b"", b"{}", bytes(300), save({"a": np.zeros(3)})[:-1]])
def test_what_is_no_file_of_tensors(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(TensorsError, match=r"x\.safetensors is damaged or not a file of tensors \(.*\); make it again"):
        read_tensors(path, "file")
    with pytest.raises(TensorsError, match="no solved array at"):
        read_tensors(tmp_path / "nowhere", "solved array")
    with pytest.raises(TensorsError, match="is a pipe, a socket or a device"):
        read_tensors(Path("/dev/zero"), "file")
