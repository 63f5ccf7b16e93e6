"""Results of sweeps, read from their tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from hvae_mnn.errors import InputError, TableError
from hvae_mnn.folders import RUNS, newest_first
from hvae_mnn.reading import absolute, is_file, is_folder, is_missing, parse_json, shown
from hvae_mnn.sweeps.table import RESULTS, SUMMARY, check_format
from hvae_mnn.sweeps.task import TaskKind
from hvae_mnn.tables import read_table

MODEL = "model"
FIXED = (
    "sweep",
    "grid",
    "kind",
    MODEL,
    "seed",
    "task",
    "status",
    "reason",
    "settings",
    "sentences",
    "tokens",
)
"""Columns of every table. The other columns are axes, named by the path of a setting, and metrics."""
_NUMBERS = ("seed", "sentences", "tokens")
_NOT_METRICS = ("hardware", "hardware.", "noise.")

Row = dict[str, Any]


@dataclass(frozen=True)
class SweepResults:
    """Table of results of one sweep."""

    folder: Path
    name: str
    rows: tuple[Row, ...]
    """Rows, with values by column."""
    axes: tuple[str, ...]
    """Paths of the settings that any grid changes, in the table's order, without `model`."""
    metrics: tuple[str, ...]
    finished: bool = True
    """Whether the table has all tasks of the sweep."""

    @property
    def grids(self) -> tuple[str, ...]:
        """Names of all grids, in the table's order."""
        return tuple(dict.fromkeys(row["grid"] for row in self.rows if row["kind"] == "point"))


def newest_sweep(root: Path = RUNS) -> Path:
    """Folder of the most recently finished sweep in `root`. Raises `InputError` if there is none."""
    finished = [path.parent for path in newest_first(root, RESULTS) if is_file(path.parent / SUMMARY)]
    if not finished:
        raise InputError(f"no finished sweep in {root}/; run one with hvae-mnn sweep, or name its folder")
    return finished[0]


def read_results(folder: Path) -> SweepResults:
    """Results of a sweep, which may be unfinished.

    Raises `InputError` for a missing folder or table and for a table of another version, `TableError` for a damaged
    one.
    """
    if not is_folder(folder):
        raise InputError(f"{folder} is not a folder; name the folder of a finished sweep")
    path = folder / RESULTS
    if is_missing(path):
        raise InputError(f"{folder} has no {RESULTS}: no sweep was finished there; continue it with hvae-mnn sweep")
    try:
        table = read_table(path)
    except TableError as error:
        raise TableError(f"{error} by rerunning the sweep") from None
    try:
        check_format(path, table)
    except InputError:
        raise InputError(f"{path} was written by another version of hvae-mnn; rerun the sweep") from None
    return _checked(folder, path, table)


def _checked(folder: Path, path: Path, table: pa.Table) -> SweepResults:
    names = table.column_names
    missing = [name for name in FIXED if name not in names]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}: it is from another version; rerun the sweep")
    for name in FIXED:
        kind, allowed = table.schema.field(name).type, pa.int64() if name in _NUMBERS else pa.string()
        if kind not in (allowed, pa.null()):
            raise TableError(f"{path}: column {name} is {shown(kind)}; allowed: {allowed}; rerun the sweep")
    others = [name for name in names if name not in FIXED]
    axes = tuple(name for name in others if name == _NOT_METRICS[0] or name.startswith(_NOT_METRICS[1:]))
    metrics = tuple(name for name in others if name not in axes)
    for name in metrics:
        if not pa.types.is_floating(table.schema.field(name).type):
            kind = table.schema.field(name).type
            raise InputError(f"{path}: column {name} is {kind}, and neither an axis nor a metric; rerun the sweep")
    if not metrics:
        raise InputError(f"{path} has no column of a metric: it is from another version; rerun the sweep")
    rows = tuple(table.to_pylist())
    if not rows:
        raise InputError(f"{path} has no rows; rerun the sweep")
    for row in rows:
        # NaN counts as a run without a number; no run gives infinity.
        wrong = [name for name in metrics if row[name] is not None and math.isinf(row[name])]
        if wrong or not _is_object(row["settings"]):
            what = f"{shown(wrong[0])} is {row[wrong[0]]}" if wrong else f"settings are {shown(row['settings'])}"
            raise TableError(f"{path}: in a row {what}, which no sweep gives; rerun the sweep")
        if row["kind"] not in get_args(TaskKind) or row["status"] not in ("done", "failed"):
            raise InputError(
                f"{path}: a row is of kind {row['kind']!r} and status {row['status']!r}, which another version wrote;"
                " rerun the sweep"
            )
    return SweepResults(folder, str(rows[0]["sweep"]), rows, axes, metrics, is_file(folder / SUMMARY))


def _is_object(text: str | None) -> bool:
    try:
        return isinstance(parse_json(text or "{}", "settings"), dict)
    except InputError:
        return False


def read_sweeps(folders: Sequence[Path]) -> list[SweepResults]:
    """Results of several sweeps; sweeps of the same name are renamed after their folders.

    Raises `InputError` for a folder that is given twice, and as `read_results`.
    """
    resolved = [absolute(folder) for folder in folders]
    for folder, path in zip(folders, resolved, strict=True):
        if resolved.count(path) > 1:
            raise InputError(f"{folder} is named twice; name every sweep once")
    sweeps = [read_results(folder) for folder in folders]
    names = [sweep.name for sweep in sweeps]
    return [
        replace(sweep, name=absolute(sweep.folder).name) if names.count(sweep.name) > 1 else sweep for sweep in sweeps
    ]


def setting(row: Row, path: str) -> Any:
    """Value of a row's setting, from its column or from nested or flat `settings`; None if it is not set."""
    if row.get(path) is not None:
        return row[path]
    known = json.loads(row["settings"] or "{}")
    if path in known:
        return known[path]
    for key in path.split("."):
        known = known.get(key) if isinstance(known, dict) else None
    return known
