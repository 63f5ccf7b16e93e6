"""Files of tensors and plain values: equal content gives equal bytes, and every damage is noticed."""

from __future__ import annotations

import io
import pickle
import random
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from hvae_mnn.errors import CheckpointError, UncheckedFileWarning
from hvae_mnn.models.archive import read_archive, write_archive

CONTENT: dict[str, Any] = {
    "weights": {"a": torch.arange(600.0).reshape(20, 30) / 7, "b": torch.tensor(-0.0), "c": torch.zeros(0, 3)},
    "kinds": [torch.arange(9, dtype=torch.int64), torch.ones(5).bfloat16(), torch.tensor([True, False])],
    "numbers": {"one": 1, "third": 1 / 3, "none": None, "yes": True, 7: (1, -2.5)},
    "words": ["ein", "Wört", "ein", "語"],
}


def same(found: Any, expected: Any) -> bool:
    """Equal to the bit, in kind and order."""
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and found.numpy(force=True).tobytes() == expected.numpy().tobytes()
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], value) for key, value in expected.items())
    if isinstance(expected, list | tuple):
        return type(found) is type(expected) and len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and bool(found == expected)


def with_numpy_kinds(content: Any) -> Any:
    """bfloat16, which numpy does not have, as bits."""
    if isinstance(content, torch.Tensor):
        return content.view(torch.int16) if content.dtype == torch.bfloat16 else content
    if isinstance(content, dict):
        return {key: with_numpy_kinds(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(with_numpy_kinds(value) for value in content)
    return content


def check(found: Any) -> None:
    assert same(with_numpy_kinds(found), with_numpy_kinds(CONTENT))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_archive(tmp_path / "a.pt", CONTENT)
    return tmp_path / "a.pt"


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_archive(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    assert str(path) in message
    return message


def test_everything_comes_back_and_torch_reads_it_as_any_other(path: Path) -> None:
    check(read_archive(path))
    check(torch.load(path, weights_only=True))


def test_equal_content_gives_equal_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "some" / "where" / "else.pt"
    write_archive(again, read_archive(path))
    assert again.read_bytes() == path.read_bytes()
    # What is shared, seen from elsewhere, or of another mapping's type makes no difference either.
    whole, word = torch.arange(1200.0).reshape(30, 40) / 7, "".join(["e", "in"])
    half = (torch.arange(600.0) / 7).reshape(20, 30).T.contiguous().T
    content = {
        **CONTENT,
        "weights": OrderedDict({**CONTENT["weights"], "a": half}),
        "words": [word, "Wört", word, "語"],
    }
    write_archive(again, content)
    assert again.read_bytes() == path.read_bytes()
    content["weights"]["a"] = whole[:20, :30]
    write_archive(again, content)
    assert len(again.read_bytes()) == len(path.read_bytes())


def test_what_is_no_plain_value_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Path is no plain value"):
        write_archive(tmp_path / "a.pt", {"path": {"a": [tmp_path]}})
    assert not list(tmp_path.iterdir())


def mutations(good: bytes, rng: random.Random, count: int) -> list[bytes]:
    """`count` damaged copies: flipped bits and bytes, cuts, zeros, swapped and doubled blocks."""
    found = []
    for number in range(count):
        data = bytearray(good)
        place, other = rng.randrange(len(data)), rng.randrange(len(data) - 64)
        size = rng.randrange(1, 64)
        kind = number % 8
        if kind < 3:
            data[place] ^= rng.randrange(1, 256)
        elif kind < 5:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 5:
            del data[place:]
        elif kind == 6:
            start = rng.randrange(len(data) - 64)
            data[start : start + size], data[other : other + size] = (
                data[other : other + size],
                data[start : start + size],
            )
        else:
            data[other : other + size] = bytes(size) if number % 16 < 8 else data[other : other + 2 * size]
        if data != good:
            found.append(bytes(data))
    return found


def test_no_damage_gives_another_content(path: Path) -> None:
    good, noticed = path.read_bytes(), 0
    for data in mutations(good, random.Random(1), 480):
        path.write_bytes(data)
        try:
            found = read_archive(path)
        except CheckpointError:
            noticed += 1
        else:
            check(found)  # it met padding, a date, or nothing that matters
    assert noticed > 300


def rewritten(path: Path, change: Any, compression: int = zipfile.ZIP_STORED) -> None:
    """The archive again, each part as `change(name, bytes)` gives it, with right CRCs."""
    with zipfile.ZipFile(path) as old:
        parts = [(entry, old.read(entry)) for entry in old.infolist()]
    with zipfile.ZipFile(path, "w", compression) as new:
        for entry, data in parts:
            new.writestr(zipfile.ZipInfo(entry.filename), change(entry.filename, data), compression)


def test_a_change_that_mends_the_archives_own_checksums_is_noticed_by_the_contents(path: Path) -> None:
    rewritten(path, lambda name, data: data.replace(b"third", b"tHird"))
    assert "does not match its checksum: it was changed since it was written" in refused(path)
    write_archive(path, CONTENT)
    rewritten(path, lambda name, data: b"\x01" + data[1:] if name.endswith("data/0") else data)
    assert "does not match its checksum" in refused(path)


def test_a_file_of_an_earlier_version_is_checked_by_its_archive(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save(CONTENT, path)
    check(read_archive(path))
    good = path.read_bytes()
    place = good.index(CONTENT["weights"]["a"].numpy().tobytes())
    path.write_bytes(good[: place + 9] + bytes([good[place + 9] ^ 4]) + good[place + 10 :])
    assert "is damaged (the CRC-32 of its part old/data/0 is wrong); copy it again" in refused(path)


def test_a_file_of_a_format_without_checksum_is_read_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "legacy.pt"
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)
    with pytest.warns(UncheckedFileWarning, match=r"legacy\.pt is in PyTorch's format before 1\.6, without a checksum"):
        check(read_archive(path))
    path.write_bytes(path.read_bytes()[:-50])
    assert "damaged" in refused(path)


def test_an_archive_that_grows_when_it_is_unpacked(path: Path) -> None:
    rewritten(path, lambda _, data: data, zipfile.ZIP_DEFLATED)
    assert "its archive is compressed" in refused(path)


def test_parts_that_lie_over_each_other(path: Path) -> None:
    """A thousand names for one part: each of them would take its size."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(10_000)}, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        entry = archive.getinfo("archive/data/0")
        for number in range(1, 1000):
            twin = zipfile.ZipInfo(f"archive/data/{number}")
            for name in ("header_offset", "CRC", "compress_size", "file_size", "external_attr"):
                setattr(twin, name, getattr(entry, name))
            archive.filelist.append(twin)
        archive._didModify = True  # type: ignore[attr-defined]
    path.write_bytes(buffer.getvalue())
    assert "the parts of its archive are larger than the file" in refused(path)


def quantised() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch will remove them
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.zeros(1).expand(10**12)}, "it claims to hold much more than it can"),
        ({"a": torch.zeros(3).to_sparse()}, "Python objects (torch.Size)"),
        ({"a": torch.zeros(10**12, device="meta")}, "Python objects (torch.float32)"),
        ({"a": quantised()}, "Python objects (torch.QInt8Storage)"),
        ({"a": bytearray(3)}, "Python objects (__builtin__.bytearray)"),
        ({"a": {1, 2}}, "Python objects (__builtin__.set)"),
        ({"a": torch.nn.Linear(2, 2)}, "Python objects (__builtin__.set)"),
        ({(1, 2): torch.ones(1, dtype=torch.complex64)}, "Python objects (torch.ComplexFloatStorage)"),
    ],
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_what_is_no_plain_tensor_is_refused_by_name(
    tmp_path: Path, content: dict[Any, Any], message: str, is_zip: bool
) -> None:
    path = tmp_path / "x.pt"
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    assert message in refused(path)


def nested(levels: int, width: int) -> Any:
    found: Any = []
    for _ in range(levels):
        found = [found] * width
    return found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nested(12, 10), "it claims to hold much more than it can"),  # 10^12 lists in 100 bytes
        (nested(100, 1), "it nests too deeply"),
    ],
)
def test_few_bytes_that_claim_to_be_many_values(tmp_path: Path, value: Any, message: str) -> None:
    torch.save({"a": value}, tmp_path / "x.pt")
    assert message in refused(tmp_path / "x.pt")


def test_a_list_within_itself(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    torch.save({"a": endless}, tmp_path / "x.pt")
    assert "it nests too deeply" in refused(tmp_path / "x.pt")


def test_an_archive_behind_something_else(path: Path) -> None:
    """PyTorch would read the beginning, and not the archive that was checked."""
    path.write_bytes(b"\x80\x02\x8b\x0a\x00\x00\x00l\xfc\x9cF\xf9 j\xa8P\x19." + path.read_bytes())
    assert "is truncated or no PyTorch file" in refused(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(18),
        pickle.dumps({"a": 1}),
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02r\xff\xff\xff\x7f" * 9,
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02N." * 8,
    ],
)
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    refused(path)


def test_paths_that_lead_to_no_file(tmp_path: Path) -> None:
    assert "train one with: hvae-mnn train --out" in refused(tmp_path / "no.pt")
    assert "is a folder" in refused(tmp_path)
    with pytest.raises(CheckpointError, match="File name too long"):
        read_archive(tmp_path / ("x" * 300))
    with pytest.raises(CheckpointError, match="is a pipe, a socket or a device"):
        read_archive(Path("/dev/zero"))
