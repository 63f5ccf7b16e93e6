"""Reading of user files within bounds: regular files only, of limited size; one-line errors.

Nothing here waits for a pipe, fills memory from `/dev/zero`, or raises anything but `InputError` because of a path or a
file's content. Layers with their own error class wrap a call in `errors_as`.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hvae_mnn.errors import InputError

MIB = 2**20
SETTINGS_BYTES = MIB
"""Largest settings file (TOML), in bytes: usual ones have some kilobytes."""
JSON_BYTES = 32 * MIB
"""Largest JSON file, in bytes: a manifest of a thousand arrays has a megabyte. Parsed, it takes up to thirty times as
much memory."""
_KEY_PARTS = 16
"""Largest number of parts of a dotted key, since tomllib's time grows with its square. Usual keys have four."""
_SETTINGS_KEYS = 2_000
"""Largest number of keys of a settings file, since every unknown key is compared with the known ones."""
_DEPTH = 100
"""Deepest nesting: Python can parse deeper values than it can write or compare."""
_WHOLE = 2**64
"""Bound on the magnitude of whole numbers: larger ones do not fit an array and may be too long to print."""
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # first, because it begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""Encodings by their byte order marks."""
_SHOWN = 80
_STRINGS = re.compile(
    r"""#[^\n]*|\"{3}(?:[^"\\]|\\.|"(?!""))*+(?:"{3,5})?|'{3}(?:[^']|'(?!''))*+(?:'{3,5})?"""
    r"""|"(?:[^"\\\n]|\\.)*+"?|'[^'\n]*+'?""",
    re.DOTALL,
)
"""Comments and strings of TOML, including unfinished ones, so that no text is scanned twice."""


@contextmanager
def errors_as(kind: type[InputError]) -> Iterator[None]:
    """Turn an `InputError` of the block into an error of class `kind`, that of the caller's layer."""
    try:
        yield
    except InputError as error:
        raise kind(str(error)) from None


def is_missing(path: Path) -> bool:
    """Whether nothing exists at `path`; a path that cannot be inspected (permissions, name too long) is not missing."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def is_file(path: Path) -> bool:
    """Whether there is a regular file, or a link to one; False if it cannot be determined. Raises nothing."""
    return os.path.isfile(path)


def is_folder(path: Path) -> bool:
    """Whether there is a folder, or a link to one; False if it cannot be determined. Raises nothing."""
    return os.path.isdir(path)


def absolute(path: Path) -> Path:
    """The absolute path with links resolved, except links that cannot be resolved. Raises nothing."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return Path(path)


def names_in(folder: Path, what: str = "folder") -> list[str]:
    """Sorted names of a folder's entries. Raises `InputError` if it is missing, not a folder, or unreadable."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError) as error:
        problem = "does not exist" if isinstance(error, FileNotFoundError) else "is not a folder"
        raise InputError(f"{shown(folder)} {problem}; give an existing {what}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {shown(folder)}: {_reason(error)}; give a readable {what}") from None


def open_regular(path: Path, limit: int, what: str = "file") -> tuple[int, int]:
    """An open handle of a regular file of at most `limit` bytes, and its size; the caller closes the handle.

    Raises `InputError` for a missing file, a folder, a device, a pipe, a file without read permission or too large.
    """
    path = Path(path)
    try:
        _check_kind(path, os.stat(path), limit, what)  # opening a device can have effects, so it is not opened
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(f"no {what} at {shown(path)}; give the path of an existing one") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"cannot read {shown(path)}: {_reason(error)}; give a readable {what}") from None
    try:
        status = os.fstat(handle)
        _check_kind(path, status, limit, what)
    except InputError:
        os.close(handle)
        raise
    return handle, status.st_size


def _check_kind(path: Path, status: os.stat_result, limit: int, what: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{shown(path)} is a folder; give the {what} in it")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{shown(path)} is a pipe, a socket or a device; give a regular file")
    if status.st_size > limit:
        raise InputError(f"{shown(path)} has {status.st_size:,} bytes; allowed for a {what}: {limit:,}")


def _reason(error: OSError | ValueError) -> str:
    return shown(getattr(error, "strerror", None) or error)


def read_bytes(path: Path, limit: int, what: str = "file") -> bytes:
    """The content of a regular file of at most `limit` bytes; `what` names it in the message.

    Raises `InputError` as `open_regular`, and if the memory is too small.
    """
    handle, size = open_regular(path, limit, what)
    with open(handle, "rb") as file:
        try:
            data = file.read(size + 1) or b""  # Python allocates the full requested size
            while size < len(data) <= limit:  # the file grows meanwhile, or is one of /proc, which report 0
                more = file.read(min(MIB, limit + 1 - len(data)))
                if not more:
                    break
                data += more
        except OSError as error:
            raise InputError(f"cannot read {shown(path)}: {_reason(error)}; give a readable {what}") from None
        except MemoryError:
            raise InputError(f"{shown(path)} has {size:,} bytes, for which there is not enough memory") from None
    if len(data) > limit:
        raise InputError(f"{shown(path)} has more than {limit:,} bytes; allowed for a {what}: {limit:,}")
    return data


def read_text(path: Path, limit: int, what: str = "text file") -> str:
    """The text of a UTF-8 file without byte order mark. Raises `InputError` as `read_bytes`, and for another
    encoding."""
    return decoded(read_bytes(path, limit, what), path)


def decoded(data: bytes, path: Path) -> str:
    """UTF-8 bytes of the file at `path` as text, without byte order mark.

    Raises `InputError` with the line of the first byte that is not UTF-8, and as `text_bytes`.
    """
    data = text_bytes(data, path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise InputError(
            f"{shown(path)}, line {line}: byte 0x{data[error.start]:02x} at position {column} is not UTF-8; convert the"
            " file to UTF-8"
        ) from None


def text_bytes(data: bytes, path: Path) -> bytes:
    """Bytes of the file at `path` for decoding as UTF-8, without byte order mark.

    Raises `InputError` with the encoding of another byte order mark, or with the line of a zero byte: UTF-8 text has
    none, and UTF-16 without a mark would be read as words with zeros between their letters.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            raise InputError(f"{shown(path)} is {encoding} text; convert it to UTF-8")
    zero = data.find(b"\0")
    if zero >= 0:
        line = data.count(b"\n", 0, zero) + 1
        raise InputError(
            f"{shown(path)}, line {line}: a zero byte, which no text in UTF-8 has; convert the file if it is UTF-16"
        )
    return data.removeprefix(codecs.BOM_UTF8)


def read_toml(path: Path, what: str = "TOML file") -> dict[str, Any]:
    """The tables of a TOML file. Raises `InputError` as `read_text`, and with the line of a TOML error."""
    return parse_toml(read_text(path, SETTINGS_BYTES, what), shown(path))


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The tables of TOML text; `where` names it in the message. Raises `InputError`."""
    keys = re.sub(r"[ \t]+", "", _STRINGS.sub(lambda match: "" if match[0].startswith("#") else "s", text))
    if max(run.count(".") for run in re.split(r"[^\w.-]+", keys)) >= _KEY_PARTS:
        raise InputError(
            f"{where} has a key of more than {_KEY_PARTS} parts; allowed: {_KEY_PARTS} at most; shorten it"
        )
    try:
        tables = tomllib.loads(text, parse_float=_finite_or_said)
    except ValueError as error:  # not TOML, or a number that Python rejects
        raise InputError(f"{where} cannot be read as TOML: {shown(error)}; correct that line") from None
    except RecursionError:
        raise InputError(f"{where} cannot be read as TOML: it nests too deeply; write it flatter") from None
    if (count := _bounded(tables, f"{where} cannot be read as TOML")) > _SETTINGS_KEYS:
        raise InputError(f"{where} has {count:,} keys; allowed in a settings file: {_SETTINGS_KEYS:,}")
    return tables


def parse_json(text: str, where: str) -> Any:
    """The value of JSON text, in which numbers are finite and keys unique; `where` names it. Raises `InputError`."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique)
    except ValueError as error:
        raise InputError(f"{where} cannot be read as JSON: {shown(error)}") from None
    except RecursionError:
        raise InputError(f"{where} cannot be read as JSON: it nests too deeply") from None
    _bounded([value], f"{where} cannot be read as JSON")
    return value


def _bounded(value: Any, where: str) -> int:
    """Number of keys of a parsed value. Raises `InputError` if it nests too deeply or holds too large a number."""
    level: list[Any] = [value]
    keys = 0
    for _ in range(_DEPTH):
        below: list[Any] = []
        for node in level:
            own = node.values() if isinstance(node, dict) else node
            if any(isinstance(one, int) and abs(one) >= _WHOLE for one in own):
                raise InputError(f"{where}: {_holder(node)} a whole number beyond 64 bits; give a smaller one")
            below += [one for one in own if isinstance(one, dict | list)]
            keys += len(node) if isinstance(node, dict) else 0
        if not below:
            return keys
        level = below
    raise InputError(f"{where}: it nests deeper than {_DEPTH} levels; write it flatter")


def _holder(node: dict[str, Any] | list[Any]) -> str:
    """Container of a too large number, for a message."""
    if isinstance(node, list):
        return "an array holds"
    return f"{shown(next(key for key, one in node.items() if isinstance(one, int) and abs(one) >= _WHOLE))} is"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)!r} occurs twice")
    return table


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _finite_or_said(text: str) -> float:
    """A float; TOML has words for infinity and NaN."""
    return float(text) if text.lstrip("+-") in ("inf", "nan") else _finite(text)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{shown(text)} is beyond the largest number")
    return value


def shown(value: object) -> str:
    """A path or value from outside as one line of bounded length, for a message."""
    text = str(value)
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: 4 * _SHOWN])
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]}...{text[-_SHOWN // 2 :]}"
