"""Whether two results are the same but for times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

_TIMES = {"seconds", "sha256"}
"""Keys whose values are times, or follow from them: a sealed file's checksum is of all of it."""
_OF_A_SESSION = {"engine_facts", "last_session"}
"""What a result says of the last session alone: how much it took from a journal, and how long it ran."""
_FIGURES = {".png", ".svg"}


def differences(expected: Path, found: Path) -> list[str]:
    """What is in one of two folders and not in the other, and files that differ in more than times; each a line."""
    names = [{str(path.relative_to(folder)) for path in folder.rglob("*")} for folder in (expected, found)]
    lines = [f"{name} is missing" for name in sorted(names[0] - names[1])]
    lines += [f"{name} is new" for name in sorted(names[1] - names[0])]
    return lines + [
        f"{name} differs" for name in sorted(names[0] & names[1]) if not _same(expected / name, found / name)
    ]


def _same(first: Path, second: Path) -> bool:
    if first.is_dir() or second.is_dir():
        return first.is_dir() and second.is_dir()
    if first.suffix in _FIGURES:  # of an image, that it is there: it may show times
        return second.stat().st_size > 0
    if first.read_bytes() == second.read_bytes():
        return True
    if first.suffix == ".json" and first.name != "manifest.json":
        return bool(_timeless(json.loads(first.read_text())) == _timeless(json.loads(second.read_text())))
    if first.name == "last.pt":
        return _equal(*(_timeless(torch.load(path, weights_only=True)) for path in (first, second)))
    if first.suffix == ".parquet" and (first.parent.name == "parts" or first.name == "timings.parquet"):
        return _table(first).equals(_table(second))
    return False


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: one for key, one in value.items() if key not in _TIMES | _OF_A_SESSION}
        return {key: _timeless(one) for key, one in kept.items() if not str(key).startswith("seconds")}
    return [_timeless(one) for one in value] if isinstance(value, list | tuple) else value


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_equal, first, second))
    return bool(first == second)


def _table(path: Path) -> pa.Table:
    """Without times, and without the counts of what was found in a cache, which depend on who was first."""
    table = pq.read_table(path, partitioning=None)
    kinds = {field.name: field.type for field in table.schema}
    times = [name for name, kind in kinds.items() if path.name == "timings.parquet" and pa.types.is_floating(kind)]
    return table.drop_columns([name for name in ("seconds", "facts", *times) if name in kinds])
