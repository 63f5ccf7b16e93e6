"""Files that appear whole or not at all, and their fingerprints."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hvae_mnn.errors import InputError, StorageError, UncheckedFileWarning
from hvae_mnn.owned import temporary_file, tidy_once
from hvae_mnn.reading import JSON_BYTES, absolute, open_regular, parse_json, read_text, shown

SEAL = "sha256"
"""Key of a sealed JSON object's checksum."""
_NO_ANSWER = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EFBIG)
"""Errors of systems that cannot reserve space, or that limit the size of single files."""
HASHED_BYTES = 64 * 2**30
"""Largest file that is hashed, in bytes; it takes some minutes."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` while writing `path` into a `StorageError` with the remedy."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {shown(path)}: {error.strerror or error}; free the disk or choose another folder"
        ) from error


def require_room(folder: Path, size: int, name: Path | None = None) -> None:
    """Raise `StorageError` unless `size` further bytes fit into `folder`, which must exist; `name` is its name in the
    message."""
    with disk_errors(name or folder), temporary_file(folder) as path, path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in _NO_ANSWER:
                raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success rename it to `path`, on failure remove it.

    A link at `path` stays a link: its target is replaced. Parts of files that a killed process left in the folder are
    removed. Raises `StorageError` if the disk is full or the folder is not writable.
    """
    with part_of(path) as part:
        with disk_errors(path):
            yield part.temporary
        part.take_name()


@dataclass(frozen=True)
class Part:
    """A file that is written under a temporary name."""

    path: Path
    """The requested path."""
    temporary: Path
    _target: Path

    def take_name(self) -> None:
        """Give the file its name. Raises `StorageError`."""
        with disk_errors(self.path):
            self.temporary.chmod(0o644)
            self.temporary.replace(self._target)


def refuse_special(path: Path) -> None:
    """Raise `StorageError` where a pipe, a socket or a device is: a rename would put a file in its place."""
    with disk_errors(path):
        special = path.exists() and not (path.is_file() or path.is_dir())
    if special:
        raise StorageError(
            f"{shown(path)} is a pipe, a socket or a device, which no file may replace; choose another name"
        )


@contextmanager
def part_of(path: Path) -> Iterator[Part]:
    """A temporary file beside `path` that is removed at the end unless it has taken its name; otherwise as
    `replacing`."""
    path = Path(path)
    with ExitStack() as stack:
        with disk_errors(path):
            target = absolute(path) if path.is_symlink() else path
            refuse_special(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            tidy_once(target.parent)
            temporary = stack.enter_context(temporary_file(target.parent))
        yield Part(path, temporary, target)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` in one step. Raises `StorageError`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` in one step. Raises `StorageError`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path` in one step; keys keep their order, NaN is refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:  # a path that is not UTF-8
        data = json.dumps(value, indent=2, allow_nan=False).encode("ascii") + b"\n"
    write_bytes(path, data)


def write_sealed(path: Path, body: Mapping[str, Any]) -> None:
    """Write `body`, a JSON object, with its checksum to `path` in one step. Raises `StorageError`."""
    write_json(path, sealed(body))


def sealed(body: Mapping[str, Any]) -> dict[str, Any]:
    """`body`, a JSON object, with the checksum of everything in it as its last key."""
    return {**body, SEAL: seal(json.loads(json.dumps(body)))}  # numeric keys come back as text


def seal(body: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a JSON object but the checksum itself."""
    plain = {key: value for key, value in body.items() if key != SEAL}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_sealed(path: Path, what: str) -> dict[str, Any]:
    """A JSON object from a `sealed` file, after its checksum was checked and removed; `what` names the file in
    messages.

    A file that carries no checksum, of an older version or another program, is read with an `UncheckedFileWarning`.

    Raises `InputError` for a file that is missing, not a JSON object, or changed since it was written.
    """
    stored = read_json(path, what)
    if SEAL not in stored:
        warnings.warn(
            f"{shown(path)} carries no checksum, so damage to it cannot be noticed", UncheckedFileWarning, stacklevel=2
        )
    elif stored[SEAL] != seal(stored):
        raise InputError(f"{shown(path)} does not match its checksum: it was changed since it was written")
    return {key: value for key, value in stored.items() if key != SEAL}


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object from a file. Raises `InputError` as `reading.read_text`, and for anything but a JSON object."""
    stored = parse_json(read_text(path, JSON_BYTES, what), shown(path))
    if not isinstance(stored, dict):
        raise InputError(f"{shown(path)} holds a {type(stored).__name__}, not a JSON object; give a {what}")
    return stored


def arrays_sha256(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """Hexadecimal SHA-256 of arrays, including names, shapes and types."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key}{arrays[key].shape}{arrays[key].dtype}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks.

    Raises `InputError` as `reading.open_regular`: for a missing file, a pipe, a device, or a file that is too large.
    """
    handle, _ = open_regular(Path(path), HASHED_BYTES)
    with open(handle, "rb") as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"cannot read {shown(path)}: {error.strerror or error}") from None


def shipped_file(folder: str, name: str) -> Path | None:
    """Path of a file of the top-level folder `folder`, in the installed package or the checkout; None if it is
    missing."""
    package = Path(__file__).parent
    paths = (place / folder / name for place in (package, package.parent))
    return next((path for path in paths if path.is_file()), None)


def cache_folder(kind: str = "exact") -> Path | None:
    """Folder `kind` in `$HVAE_MNN_CACHE`, or in `hvae-mnn` of the user's cache folder; None for a user without a
    home."""
    own = os.environ.get("HVAE_MNN_CACHE")
    if own:
        return Path(own) / kind
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "hvae-mnn" / kind
    except RuntimeError:
        return None
