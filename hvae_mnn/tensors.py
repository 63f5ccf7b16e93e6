"""Numpy arrays in a safetensors file: written whole or not at all, and checked against a checksum."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hvae_mnn.errors import InputError, TensorsError, UncheckedFileWarning
from hvae_mnn.files import arrays_sha256, write_bytes
from hvae_mnn.reading import parse_json, read_bytes, shown

Tensors = dict[str, NDArray[Any]]
TENSORS_BYTES = 16 * 2**30
"""Largest file that is read, in bytes."""
_DIGEST = "sha256"
_LENGTH = 8
"""Bytes of the header's length at the beginning of a file."""


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name to `path` in one step; equal arrays give equal bytes. Raises `StorageError`."""
    tensors = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_bytes(path, save(tensors, metadata={_DIGEST: arrays_sha256(tensors)}))


def read_tensors(path: Path, what: str, *, may_be_unchecked: bool = False) -> Tensors:
    """Arrays by name from a file of `write_tensors`, after their checksum was checked; `what` names the file in
    messages.

    With `may_be_unchecked`, a file without checksum (from an older version) gives an `UncheckedFileWarning`.

    Raises `TensorsError` for a file that is missing, damaged, or changed since it was written.
    """
    try:
        data = read_bytes(path, TENSORS_BYTES, what)
    except InputError as error:
        raise TensorsError(str(error)) from None
    tensors, stored = parse_tensors(data, path), _checksum(data)
    if stored is None and may_be_unchecked:
        warnings.warn(f"{shown(path)} carries no checksum, so damage to it cannot be noticed", UncheckedFileWarning, 2)
    elif stored != arrays_sha256(tensors):
        raise TensorsError(f"{shown(path)} does not match its checksum: it was changed since it was written")
    return tensors


def parse_tensors(data: bytes, path: Path) -> Tensors:
    """Arrays in the content of a safetensors file whose checksum the caller has checked.

    Raises `TensorsError` for other content.
    """
    try:
        return load(data)
    except (SafetensorError, LookupError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = shown(" ".join(str(error).split()) or type(error).__name__)
        raise TensorsError(f"{shown(path)} is damaged or not a file of tensors ({reason}); make it again") from None


def _checksum(data: bytes) -> str | None:
    """The checksum in the header of a parsed file; None without one."""
    length = int.from_bytes(data[:_LENGTH], "little")
    try:
        about = parse_json(data[_LENGTH : _LENGTH + length].decode(), "header").get("__metadata__")
    except (InputError, UnicodeDecodeError, AttributeError):
        return ""
    digest = about.get(_DIGEST) if isinstance(about, dict) else None
    return None if digest is None else str(digest)
