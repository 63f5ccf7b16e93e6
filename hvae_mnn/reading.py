"""What a user gives, read within bounds: regular files only, no larger than allowed; one line when it cannot be.

Nothing here waits for a pipe, fills memory from `/dev/zero`, or raises anything but `InputError` for what is in a file.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from hvae_mnn.errors import InputError

MIB = 2**20
SETTINGS_BYTES = MIB
"""Largest settings file (TOML): ours have some kilobytes."""
JSON_BYTES = 256 * MIB
"""Largest JSON file: a manifest of a thousand arrays has a megabyte."""
_KEY_PARTS = 64
"""Most parts of a dotted key: tomllib takes time with the square of it."""
_SHOWN = 80


def open_regular(path: Path, limit: int, what: str = "file") -> tuple[int, int]:
    """An open handle of a regular file of at most `limit` bytes, and its size; the caller closes the handle.

    Raises `InputError` for a missing file, a folder, a device, a pipe, a file without read permission or too large.
    """
    path = Path(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(f"no {what} at {shown(path)}; give the path of an existing one") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {shown(path)}: {reason}; give a readable {what}") from None
    found = os.fstat(handle)
    problem = ""
    if stat.S_ISDIR(found.st_mode):
        problem = f"{shown(path)} is a folder; give the {what} in it"
    elif not stat.S_ISREG(found.st_mode):
        problem = f"{shown(path)} is a pipe or a device; give a regular file"
    elif found.st_size > limit:
        problem = f"{shown(path)} has {found.st_size:,} bytes; allowed for a {what}: {limit:,}"
    if problem:
        os.close(handle)
        raise InputError(problem)
    return handle, found.st_size


def read_bytes(path: Path, limit: int, what: str = "file") -> bytes:
    """The content of a regular file of at most `limit` bytes; `what` names it in the message.

    Raises `InputError` as `open_regular` does.
    """
    handle, size = open_regular(path, limit, what)
    with open(handle, "rb") as file:
        try:
            # Python makes room for all that is asked for. A file that grows meanwhile stays within the limit.
            data = file.read(size + 1)
            if len(data) > size:
                data += file.read(limit + 1 - len(data))
        except OSError as error:
            raise InputError(f"cannot read {shown(path)}: {error.strerror or error}; give a readable {what}") from None
    if len(data) > limit:
        raise InputError(f"{shown(path)} has more than {limit:,} bytes; that is the most allowed for a {what}")
    return data


def read_text(path: Path, limit: int, what: str = "text file") -> str:
    """A UTF-8 text file, a byte order mark left out. Raises `InputError` as `read_bytes`, and for another encoding."""
    return decoded(read_bytes(path, limit, what), path)


def decoded(data: bytes, path: Path) -> str:
    """UTF-8 bytes of the file at `path` as text, a byte order mark left out.

    Raises `InputError` with the line of what is not UTF-8, or with the encoding that a byte order mark names.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{shown(path)} is UTF-16 text; convert it to UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise InputError(
            f"{shown(path)}, line {line}: byte 0x{data[error.start]:02x} at position {column} is not UTF-8; convert the"
            " file to UTF-8"
        ) from None


def read_toml(path: Path, what: str = "TOML file") -> dict[str, Any]:
    """The tables of a TOML file. Raises `InputError` as `read_text`, and for what is no TOML, with its line."""
    return parse_toml(read_text(path, SETTINGS_BYTES, what), shown(path))


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The tables of TOML text; `where` names it in the message. Raises `InputError`."""
    runs = re.split(r"[^\w.\"'-]+", re.sub(r"[ \t]+", "", text))
    if max(run.count(".") for run in runs) >= _KEY_PARTS:
        raise InputError(f"{where} has a key of more than {_KEY_PARTS} parts; that is the most allowed")
    try:
        return tomllib.loads(text)
    except ValueError as error:  # no TOML, or a number that Python does not take
        raise InputError(f"{where} cannot be read as TOML: {error}; mend that line") from None
    except RecursionError:
        raise InputError(f"{where} cannot be read as TOML: it nests too deeply; write it flatter") from None


def parse_json(text: str, where: str) -> Any:
    """The value of JSON text, in which numbers are finite; `where` names it. Raises `InputError`."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except ValueError as error:
        raise InputError(f"{where} cannot be read as JSON: {error}") from None
    except RecursionError:
        raise InputError(f"{where} cannot be read as JSON: it nests too deeply") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is beyond the largest number")
    return value


def shown(value: object) -> str:
    """A path or value from outside as one line of bounded length, for a message."""
    text = str(value)
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: 4 * _SHOWN])
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]}...{text[-_SHOWN // 2 :]}"
