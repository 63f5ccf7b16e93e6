"""How files are spoilt: bytes anyhow, and trees of values (JSON, TOML, what a checkpoint holds) by their structure."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CANARY = "fuzz-canary"
"""A file of this name in the working folder would mean that something in an input was run."""
_LONG = 10_000


class Pairs(list[tuple[str, Any]]):
    """An object or table with keys in any number, also twice."""


# --- bytes


def _flips(rng: random.Random, data: bytearray, other: bytes) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _values(rng: random.Random, data: bytearray, other: bytes) -> None:
    for _ in range(rng.choice((1, 2, 16))):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _cut(rng: random.Random, data: bytearray, other: bytes) -> None:
    del data[rng.choice((0, 1, len(data) - 1, rng.randrange(len(data)))) :]


def _insert(rng: random.Random, data: bytearray, other: bytes) -> None:
    place = rng.randrange(len(data) + 1)
    length = rng.choice((1, 4, 100, _LONG))
    data[place:place] = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length), b"[" * length))


def _delete(rng: random.Random, data: bytearray, other: bytes) -> None:
    place = rng.randrange(len(data))
    del data[place : place + rng.choice((1, 4, 100, _LONG))]


def _blank(rng: random.Random, data: bytearray, other: bytes) -> None:
    place = rng.randrange(len(data))
    end = min(len(data), place + rng.choice((4, 64, 1024)))
    data[place:end] = bytes([rng.choice((0, 0xFF, 0x20))]) * (end - place)


def _swap(rng: random.Random, data: bytearray, other: bytes) -> None:
    length = rng.choice((4, 64, 1024))
    first, second = sorted(rng.randrange(len(data)) for _ in range(2))
    first_part, second_part = data[first : first + length], data[second : second + length]
    data[second : second + length] = first_part
    data[first : first + length] = second_part


def _repeat(rng: random.Random, data: bytearray, other: bytes) -> None:
    place = rng.randrange(len(data))
    data[place:place] = data[place : place + rng.choice((16, 1024))] * rng.choice((1, 3))


def _splice(rng: random.Random, data: bytearray, other: bytes) -> None:
    place = rng.randrange(len(data))
    data[place:] = other[rng.choice((place, rng.randrange(len(other) + 1))) :]


_BYTE_WAYS = (_flips, _flips, _flips, _values, _cut, _insert, _delete, _blank, _swap, _repeat, _splice)


def spoilt_bytes(rng: random.Random, data: bytes, other: bytes) -> tuple[bytes, str]:
    """A changed copy of `data`, and in which way; `other` is a valid file of the same kind."""
    if not data:
        return other or b"\0", "other"
    found = bytearray(data)
    way = rng.choice(_BYTE_WAYS)
    way(rng, found, other)
    return bytes(found), way.__name__.strip("_")


def put_oddity(rng: random.Random, path: Path) -> str:
    """Something in the place of a file that is no file."""
    path.unlink()
    kind = rng.choice(("missing", "fifo", "folder", "zero", "loop", "broken link"))
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.symlink_to({"zero": "/dev/zero", "loop": path.name, "broken link": "nowhere"}[kind])
    return kind


# --- trees of values


def _deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


def extremes() -> list[Any]:
    """Values that no file of ours has where it is put."""
    numbers = [0, -1, 1, 2, 7, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400]
    reals = [1e308, -1e308, 1e-320, -0.0, 0.5, 1e-9, 1e9, math.nan, math.inf, -math.inf]
    texts = ["", " ", "x" * _LONG, "\0", "..", "../../x", "/dev/zero", "/etc/passwd", "é\u2028\u202e", "nan", "1"]
    texts += [f"$(touch {CANARY})", f"`touch {CANARY}`;touch {CANARY}", f"a\n.control\nshell touch {CANARY}\n.endc\n"]
    others = [None, True, False, [], {}, [[]], [None], {"": {}}, list(range(1000)), _deep(50), _deep(300)]
    return [*numbers, *reals, *texts, *others]


def _nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with a key or index into it."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield tree, key
            yield from _nodes(value)
    elif isinstance(tree, list):
        for place, value in enumerate(tree):
            yield tree, place
            yield from _nodes(value)


def _retyped(rng: random.Random, value: Any) -> Any:
    if isinstance(value, bool):
        return rng.choice((int(value), str(value), None, not value))
    if isinstance(value, int | float):
        return rng.choice((str(value), [value], {"value": value}, -value, value + 1, value * 10, float(value) + 0.5))
    if isinstance(value, str):
        return rng.choice((value.upper(), [value], value + "x", value[:-1], {"value": value}, 1))
    if isinstance(value, list):
        return rng.choice((value[:-1], [*value, *value], value[::-1], {"0": value}, value[0] if value else None))
    if isinstance(value, dict):
        return rng.choice((list(value.values()), list(value), str(value)[:99], None))
    return rng.choice((0, "", [], {}))


def _change(rng: random.Random, tree: Any, holder: Any, key: Any) -> str:
    """One change at a place of the tree."""
    way = rng.choice(("drop", "add", "twice", "rename", "retype", "retype", "extreme", "extreme", "extreme", "swap"))
    if way == "drop":
        del holder[key]
    elif way == "add" and isinstance(holder, dict):
        holder[rng.choice(("x", "base", "", "format", "a.b", "é", "x" * 300))] = rng.choice(extremes())
    elif way == "add":
        holder.insert(key, rng.choice(extremes()))
    elif way == "twice" and isinstance(holder, dict):
        holder[key] = Pairs([("x", 1), ("x", holder[key])])
    elif way == "rename" and isinstance(holder, dict):
        holder[rng.choice((f"{key}_", str(key).upper(), str(key)[:-1], "x"))] = holder.pop(key)
    elif way == "swap":
        other, place = rng.choice(list(_nodes(tree)))
        holder[key] = json.loads(to_json(other[place])) if _is_plain(other[place]) else 0
    elif way == "extreme":
        holder[key] = rng.choice(extremes())
    else:
        holder[key] = _retyped(rng, holder[key])
    return f"{way} {str(key)[:40]}"


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def spoil_tree(rng: random.Random, tree: Any, special: Callable[[random.Random, Any], Any] | None = None) -> str:
    """Change some values in place; returns what was done. `special` gives another value for what is no plain one."""
    told = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        nodes = list(_nodes(tree))
        if not nodes:
            break
        holder, key = rng.choice(nodes)
        if special is not None and not isinstance(holder[key], dict | list | str | int | float | bool | None):
            holder[key] = special(rng, holder[key])
            told.append(f"special {str(key)[:40]}")
        else:
            told.append(_change(rng, tree, holder, key))
    return ", ".join(told)


def to_json(value: Any) -> str:
    """JSON text, also of what JSON does not allow: keys twice, NaN."""
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}: {to_json(one)}" for key, one in value) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {to_json(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(to_json, value)) + "]"
    if isinstance(value, int) and abs(value) > 10**300:
        return "9" * 400
    return json.dumps(value)


def to_toml(tree: dict[str, Any]) -> str:
    """TOML text, every table of the first level in one line; also of what TOML does not allow."""
    return "".join(f"{_toml_key(key)} = {_toml(value)}\n" for key, value in tree.items())


def _toml_key(key: str) -> str:
    return key if key.isalnum() and key.isascii() else json.dumps(key)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml(one)}" for key, one in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return to_json(value)
