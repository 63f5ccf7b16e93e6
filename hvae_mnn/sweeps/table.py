"""Files of a sweep: a small Parquet file per finished task (a part), and tables made from the parts."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from hvae_mnn.errors import InputError, TableError, UncheckedFileWarning
from hvae_mnn.names import listed, nearest, unknown_name
from hvae_mnn.reading import is_missing, shown
from hvae_mnn.sweeps.grid import SweepPlan
from hvae_mnn.sweeps.task import ModelChoice, Outcome, Task, TextChoice
from hvae_mnn.tables import read_table, write_rows, write_table

FORMAT = "hvae-mnn-sweep/1"
"""Version of parts and tables; increases whenever their columns change."""
PARTS, RESULTS, TIMINGS = "parts", "results.parquet", "timings.parquet"
SUMMARY = "sweep.json"
"""This file exists once all tasks are finished."""
_FORMAT_KEY = b"format"
_NUMBERS = pa.map_(pa.string(), pa.float64())
_SECONDS = ("load", "reference", "draw", "transfer", "forward", "logits", "total")
"""Columns of times that every table has."""

Status = Literal["done", "failed"]


@dataclass(frozen=True)
class Finished:
    """A finished task with its outcome."""

    task: Task
    status: Status
    reason: str
    """Reason of the failure; empty for a successful task."""
    outcome: Outcome
    """Outcome, without metrics for a failed task."""


_PART = pa.schema(
    [
        ("task", pa.string()),  # key
        ("description", pa.string()),  # JSON of the whole task
        ("status", pa.string()),
        ("reason", pa.string()),
        ("metrics", _NUMBERS),
        ("seconds", _NUMBERS),
        ("facts", _NUMBERS),
        ("sentences", pa.int64()),
        ("tokens", pa.int64()),
    ],
    metadata={_FORMAT_KEY: FORMAT.encode()},
)


def part_path(folder: Path, key: str) -> Path:
    """Path of the part of a task."""
    return folder / PARTS / f"{key}.parquet"


def write_part(folder: Path, finished: Finished) -> None:
    """Write the part of a task, whole or not at all. Raises `StorageError`."""
    outcome, key = finished.outcome, finished.task.key
    row = {
        "task": key,
        "description": json.dumps(finished.task.to_dict(), sort_keys=True),
        "status": finished.status,
        "reason": finished.reason,
        "metrics": sorted(outcome.metrics.items()),
        "seconds": sorted(outcome.seconds.items()),
        "facts": sorted(outcome.facts.items()),
        "sentences": outcome.sentences,
        "tokens": outcome.tokens,
    }
    write_rows(part_path(folder, key), [row], _PART)


def read_parts(folder: Path, keys: Iterable[str]) -> tuple[dict[str, Finished], list[Path]]:
    """The existing parts by key, and the paths of damaged ones.

    One `UncheckedFileWarning` counts parts without checksum, which an older version wrote. Raises `InputError` for a
    part, or `results.parquet`, of another version.
    """
    parts: dict[str, Finished] = {}
    damaged: list[Path] = []
    unchecked: list[Path] = []
    if not is_missing(folder / RESULTS):
        with suppress(TableError):  # a damaged table is written again
            check_format(folder / RESULTS, read_table(folder / RESULTS, unchecked=[]))
    for key in keys:
        path = part_path(folder, key)
        if is_missing(path):
            continue
        try:
            parts[key] = _read_part(path, key, unchecked)
        except (TableError, ValueError, KeyError, TypeError, AttributeError):
            damaged.append(path)
    if unchecked:
        warnings.warn(
            f"{len(unchecked)} of the results in {folder} carry no checksum, so damage to them cannot be noticed",
            UncheckedFileWarning,
            stacklevel=2,
        )
    return parts, damaged


def _read_part(path: Path, key: str, unchecked: list[Path]) -> Finished:
    table = read_table(path, unchecked=unchecked)
    check_format(path, table)
    if not table.schema.equals(_PART) or table.num_rows != 1:
        raise ValueError("it has other columns, or not one row")
    (row,) = table.to_pylist()
    described = json.loads(row["description"])
    described["model"], described["text"] = ModelChoice(**described["model"]), TextChoice(**described["text"])
    task = Task(**described | {"metrics": tuple(described["metrics"])})
    if row["task"] != key or task.key != key or row["status"] not in ("done", "failed"):
        raise ValueError("its name and its content are of different tasks")
    numbers = {name: dict(row[name]) for name in ("metrics", "seconds", "facts")}
    if row["status"] == "done" and not all(map(math.isfinite, numbers["metrics"].values())):
        raise ValueError("a metric is not finite")
    outcome = Outcome(sentences=row["sentences"], tokens=row["tokens"], **numbers)
    return Finished(task, row["status"], row["reason"], outcome)


def find_task(folder: Path, key: str) -> Finished:
    """The finished task whose key begins with `key`. Raises `InputError` for none, several, or a damaged part."""
    every = sorted(path.stem for path in (folder / PARTS).glob("*.parquet"))
    keys = [stem for stem in every if stem.startswith(key)]
    if not every:
        raise InputError(f"{folder} holds no results of a sweep; run hvae-mnn sweep, and name its folder")
    if not keys:
        near = nearest(key, [stem[: len(key)] for stem in every])
        raise InputError(
            f"{folder}: {unknown_name('point', key, every, listing=f'keys in the column task of {RESULTS}', near=near)}"
        )
    if len(keys) > 1:
        raise InputError(
            f"{folder}: {len(keys)} points have keys that begin with {key!r}; give more digits:"
            f" {listed([stem[: len(key) + 4] for stem in keys])}"
        )
    done, damaged = read_parts(folder, keys)
    if damaged:
        raise InputError(f"{damaged[0]} is damaged; rerun the sweep to replace it")
    return done[keys[0]]


def check_format(path: Path, table: pa.Table) -> None:
    """Raise `InputError` for a table of another version; `path` is its file."""
    version = shown((table.schema.metadata or {}).get(_FORMAT_KEY, b"none").decode(errors="replace"))
    if version != FORMAT:
        raise InputError(
            f"{path} has format {version}; allowed: {FORMAT}, which this version of hvae-mnn reads and writes; choose"
            " another folder with --out, or begin anew in this one with --fresh"
        )


def remove_results(folder: Path) -> None:
    """Delete a sweep's parts and tables of any version."""
    for path in (*(folder / PARTS).glob("*.parquet"), folder / RESULTS, folder / TIMINGS, folder / SUMMARY):
        path.unlink(missing_ok=True)


def write_tables(folder: Path, plan: SweepPlan, finished: Mapping[str, Finished]) -> None:
    """Write `results.parquet`, with equal bytes for equal results, and `timings.parquet`. Raises `StorageError`."""
    write_table(folder / RESULTS, results_table(plan, finished))
    write_table(folder / TIMINGS, _timings_table(plan, finished))


def results_table(plan: SweepPlan, finished: Mapping[str, Finished]) -> pa.Table:
    """Table with a row per finished point and seed of every grid, and per finished baseline."""
    rows = [(row, finished[row.task]) for row in plan.rows if row.task in finished]
    columns: dict[str, Any] = {
        "sweep": pa.array([plan.file.name] * len(rows), pa.string()),
        "grid": pa.array([row.grid for row, _ in rows], pa.string()),
        "kind": pa.array([row.kind for row, _ in rows], pa.string()),
        "model": pa.array([row.model for row, _ in rows], pa.string()),
        "seed": pa.array([row.seed for row, _ in rows], pa.int64()),
        "task": pa.array([row.task for row, _ in rows], pa.string()),
        "status": pa.array([done.status for _, done in rows], pa.string()),
        "reason": pa.array([done.reason for _, done in rows], pa.string()),
        "settings": pa.array([json.dumps(dict(row.settings)) for row, _ in rows], pa.string()),
    }
    for path in plan.axes:
        if path not in columns:  # the model has a column already
            columns[path] = _axis([value for grid in plan.file.grids for value in grid.axes.get(path, ())])(
                [row.along.get(path) for row, _ in rows]
            )
    for name in plan.file.metrics:
        columns[name] = pa.array([done.outcome.metrics.get(name) for _, done in rows], pa.float64())
    for name in ("sentences", "tokens"):
        counts = [getattr(one.outcome, name) if one.status == "done" else None for _, one in rows]
        columns[name] = pa.array(counts, pa.int64())
    return pa.table(columns).replace_schema_metadata({_FORMAT_KEY: FORMAT.encode()})


def _axis(values: Sequence[Any]) -> Any:
    """Function that makes the column of an axis: of numbers if all `values` are numbers, otherwise of text."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return lambda column: pa.array([None if value is None else float(value) for value in column], pa.float64())
    return lambda column: pa.array([None if value is None else axis_text(value) for value in column], pa.string())


def axis_text(value: Any) -> str:
    """Text of a setting, as a file would write it; text is unchanged."""
    return value if isinstance(value, str) else json.dumps(value)


def _timings_table(plan: SweepPlan, finished: Mapping[str, Finished]) -> pa.Table:
    """Table with a row per finished task: seconds, and facts of the draw."""
    tasks = [task for key, task in plan.tasks.items() if key in finished]
    done = [finished[task.key] for task in tasks]
    others = {name for one in done for name in one.outcome.seconds} - set(_SECONDS)
    columns: dict[str, Any] = {
        "task": pa.array([task.key for task in tasks], pa.string()),
        "kind": pa.array([task.kind for task in tasks], pa.string()),
        "model": pa.array([task.model.label for task in tasks], pa.string()),
        "seed": pa.array([task.seed for task in tasks], pa.int64()),
        "status": pa.array([one.status for one in done], pa.string()),
    }
    for name in (*_SECONDS, *sorted(others)):
        columns[name] = pa.array([one.outcome.seconds.get(name) for one in done], pa.float64())
    columns["facts"] = pa.array([json.dumps(one.outcome.facts, sort_keys=True) for one in done], pa.string())
    return pa.table(columns).replace_schema_metadata({_FORMAT_KEY: FORMAT.encode()})
