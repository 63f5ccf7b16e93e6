"""Files of tensors and plain values (`.pt`): equal content gives equal bytes, and damage is noticed when it is read.

PyTorch ignores the CRC-32 in its archives. Here it is compared with the bytes that are read, and a further part of the
archive holds the SHA-256 of its content. PyTorch reads such a file as any other. Nothing in a file is run as code, and
a file takes no more memory than a few times its size.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import pickletools
import struct
import sys
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvae_mnn.errors import CheckpointError, InputError, UncheckedFileWarning
from hvae_mnn.files import write_bytes
from hvae_mnn.reading import is_folder, read_bytes, shown

ARCHIVE_BYTES = 16 * 2**30
"""Largest file that is read."""
_DIGEST = "archive/hvae_mnn.sha256"
"""Part of the archive with the content's checksum. A file that PyTorch has rewritten lacks it."""
_ARCHIVE_HEAD = b"PK\x03\x04"
"""First bytes by which PyTorch tells an archive from its old format."""
_LEGACY_HEAD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of files of PyTorch before 1.6, which are not archives: a pickle of its magic number."""
_LEGACY_PICKLES = 5
"""Magic number, protocol, system, content, keys of storages; after them come the storages as they are."""
_KINDS = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in _KINDS),
}
"""All names in a pickle of plain tensors."""
_DEEPEST = 64
_SPARE_BYTES = 2**16


def write_archive(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values (numbers, text, None; lists, tuples and dicts of them) to `path` in one step.

    Tensors go to the CPU. Equal content gives equal bytes, at any path. Raises `StorageError`.
    """
    plain = {key: _canonical(value) for key, value in content.items()}
    buffer = io.BytesIO()  # straight to a file, its name would be in every part, and a full disk no OSError
    torch.save(plain, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(zipfile.ZipInfo(_DIGEST), _Digest().of(plain))  # dated 1980, as PyTorch's own
    write_bytes(path, buffer.getbuffer())


def read_archive(path: Path) -> dict[str, Any]:
    """The undamaged dictionary that `write_archive`, or another program, wrote; no code in it is run.

    A file without a content's checksum, of an earlier version, is checked by its archive's CRC-32; one without that
    as well, of PyTorch before 1.6, is read with an `UncheckedFileWarning`.

    Raises `CheckpointError` for a file that is missing, damaged, or holds anything but plain tensors and values.
    """
    path = Path(path)
    if is_folder(path):
        raise CheckpointError(f"{shown(path)} is a folder; give the checkpoint file in it, e.g. {path / 'best.pt'}")
    try:
        data = read_bytes(path, ARCHIVE_BYTES, "checkpoint")
    except InputError as error:
        remedy = (
            f", or train one with: hvae-mnn train --out {shown(path.parent)}" if "no checkpoint" in str(error) else ""
        )
        raise CheckpointError(f"{error}{remedy}") from None
    content, stored = _unpickled(path, data)
    if not isinstance(content, dict):
        raise CheckpointError(f"{shown(path)} holds a {type(content).__name__}, not a checkpoint; give a best.pt")
    try:
        digest = _Digest(2 * len(data) + _SPARE_BYTES).of(content)
    except _NotPlain as error:
        raise CheckpointError(
            f"{shown(path)} is no file of plain tensors and values: {error}; give a best.pt"
        ) from None
    if stored is None and data.startswith(_LEGACY_HEAD):
        warnings.warn(
            f"{shown(path)} is in PyTorch's format before 1.6, without a checksum, so damage to it cannot be noticed",
            UncheckedFileWarning,
            stacklevel=2,
        )
    elif stored is not None and stored != digest:
        raise CheckpointError(f"{shown(path)} does not match its checksum: it was changed since it was written")
    return content


def _unpickled(path: Path, data: bytes) -> tuple[Any, str | None]:
    """Content of a file with an undamaged archive and pickles without code, and the checksum stored with it."""
    stored = None
    try:
        if data.startswith(_LEGACY_HEAD):
            pickles = io.BytesIO(data)
            names = set[str]().union(*(_globals(pickles) for _ in range(_LEGACY_PICKLES)))
        elif data.startswith(_ARCHIVE_HEAD) and zipfile.is_zipfile(io.BytesIO(data)):
            names, stored = _checked_archive(data)
        else:
            raise CheckpointError(f"{shown(path)} is truncated or no PyTorch file ({len(data)} bytes); copy it again")
        if names - _GLOBALS:
            name = shown(sorted(names - _GLOBALS)[0].replace(" ", "."))
            raise CheckpointError(
                f"{shown(path)} holds Python objects ({name}) besides plain tensors and values; nothing was run; give a"
                " best.pt that `hvae-mnn train` wrote"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own formats
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True), stored
    except CheckpointError:
        raise
    except (MemoryError, RecursionError):
        raise CheckpointError(f"{shown(path)} is damaged (it nests too deeply); copy it again") from None
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        OSError,
        RuntimeError,
        NotImplementedError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        AssertionError,
        OverflowError,
        struct.error,
    ) as error:
        lines = str(error).strip().splitlines()
        reason = shown(lines[0] if lines else type(error).__name__)
        raise CheckpointError(f"{shown(path)} is damaged ({reason}); copy it again") from None


def _checked_archive(data: bytes) -> tuple[set[str], str | None]:
    """Names in the pickles of an archive whose CRC-32s are all right, and its content's checksum.

    Raises `ValueError` for a damaged one, or one that would grow when it is unpacked.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its archive is compressed; PyTorch does not write such")
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("the parts of its archive are larger than the file")
        bad = archive.testzip()
        if bad is not None:
            raise ValueError(f"the CRC-32 of its part {bad} is wrong")
        pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
        names = set[str]().union(*(_globals(io.BytesIO(archive.read(entry))) for entry in pickles))
        stored = archive.read(_DIGEST).decode() if _DIGEST in archive.namelist() else None
        return names, stored


def _globals(file: io.BytesIO) -> set[str]:
    """The classes and functions that a pickle names, as `module name`; nothing is imported."""
    return {str(argument) for code, argument, _ in pickletools.genops(file) if code.name in ("GLOBAL", "INST")}


def _canonical(value: Any) -> Any:
    """A copy in which only equal texts are shared. Shared parts are written once, and a resumed run, which shares other
    parts, would otherwise give other bytes."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return sys.intern(str(value))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().clone()
    if isinstance(value, Mapping):
        return {_canonical(key): _canonical(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_canonical(one) for one in value)
    raise TypeError(f"{type(value).__name__} is no plain value")


class _NotPlain(ValueError):
    """A value of a kind that no checkpoint holds."""


class _Digest:
    """SHA-256 of a content: types, keys in their order, values, tensors with type and shape."""

    def __init__(self, limit: float = float("inf")) -> None:
        """`limit`: most bytes of tensors, and values, together; a small file may claim any number of them."""
        self._left = limit
        self._hash = hashlib.sha256()

    def of(self, content: Mapping[str, Any]) -> str:
        """Hexadecimal. Raises `_NotPlain`."""
        self._add(content, 0)
        return self._hash.hexdigest()

    def _head(self, kind: str, *facts: object) -> None:
        self._hash.update("\0".join([kind, *map(str, facts), "\n"]).encode())

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise _NotPlain("it claims to hold much more than it can")

    def _add(self, value: Any, depth: int) -> None:
        self._spend(1)
        if depth > _DEEPEST:
            raise _NotPlain("it nests too deeply")
        if value is None or isinstance(value, bool | int):
            self._head(type(value).__name__, value)
        elif isinstance(value, float):
            self._head("float", value.hex())
        elif isinstance(value, str):
            data = value.encode("utf-8", "surrogatepass")
            self._head("str", len(data))
            self._hash.update(data)
        elif isinstance(value, Mapping):
            self._head("dict", len(value))
            for key, one in value.items():
                self._add(key, depth + 1)
                self._add(one, depth + 1)
        elif isinstance(value, list | tuple):
            self._head(type(value).__name__, len(value))
            for one in value:
                self._add(one, depth + 1)
        elif isinstance(value, Tensor):
            self._tensor(value)
        else:
            raise _NotPlain(f"a {type(value).__name__} is in it")

    def _tensor(self, value: Tensor) -> None:
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized or value.is_nested:
            raise _NotPlain(f"a tensor with layout {value.layout} on {value.device} is in it")
        self._spend(value.numel() * value.element_size())
        self._head("tensor", value.dtype, tuple(value.shape))
        flat = value.detach().contiguous().reshape(-1)
        self._hash.update(flat.view(torch.uint8).numpy().data)
