"""Files of a table: Markdown, LaTeX, and two Parquet tables, with a row per model and with a row per seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hvae_mnn.files import write_text
from hvae_mnn.reproduction.figures import FIGURE_NAMES, RowSummary, summarise, values_of
from hvae_mnn.reproduction.layout import latex, markdown
from hvae_mnn.reproduction.plan import TablePlan
from hvae_mnn.reproduction.record import Record
from hvae_mnn.tables import write_table


def write_outputs(plan: TablePlan, records: Sequence[Record], folder: Path) -> tuple[list[RowSummary], list[Path]]:
    """Write `<table>.md`, `.tex`, `.parquet` (means) and `-seeds.parquet`; returns the summaries and the paths.

    Raises `StorageError`.
    """
    summaries = summarise(plan, records)
    paths = [folder / f"{plan.table}{ending}" for ending in (".md", ".tex", ".parquet", "-seeds.parquet")]
    write_text(paths[0], markdown(plan, summaries))
    write_text(paths[1], latex(plan, summaries))
    write_table(paths[2], means_table(plan, summaries))
    write_table(paths[3], seeds_table(plan, records))
    return summaries, paths


def means_table(plan: TablePlan, summaries: Sequence[RowSummary]) -> pa.Table:
    """A row per corpus and model: of every figure the mean, the standard deviation over seeds, and what is printed."""
    columns = _texts(plan, ((one.corpus.name, one.row) for one in summaries))
    columns["label"] = pa.array([one.label for one in summaries], pa.string())
    columns["stands_for"] = pa.array([one.corpus.stands_for for one in summaries], pa.string())
    columns["is_same"] = pa.array([one.corpus.is_same for one in summaries], pa.bool_())
    columns["seeds"] = pa.array([one.seeds for one in summaries], pa.int64())
    columns["failed"] = pa.array([len(one.failed) for one in summaries], pa.int64())
    columns["printed_kind"] = pa.array([one.kind for one in summaries], pa.string())
    for name in _names(name for one in summaries for name in one.values):
        columns[name] = pa.array([one.mean(name) for one in summaries], pa.float64())
        columns[f"{name}_std"] = pa.array([one.deviation(name) for one in summaries], pa.float64())
        columns[f"{name}_printed"] = pa.array([one.printed.get(name) for one in summaries], pa.float64())
    return pa.table(columns)


def seeds_table(plan: TablePlan, records: Sequence[Record]) -> pa.Table:
    """A row per task: its state, its figures, its training."""
    values = [values_of(record) for record in records]
    columns = _texts(plan, ((record.corpus, record.row) for record in records))
    columns["seed"] = pa.array([record.task["seed"] for record in records], pa.int64())
    columns["status"] = pa.array([record.status for record in records], pa.string())
    columns["reason"] = pa.array([record.reason for record in records], pa.string())
    columns["checkpoint_sha256"] = pa.array([record.checkpoint.get("sha256") for record in records], pa.string())
    columns["best_epoch"] = pa.array([record.checkpoint.get("epoch") for record in records], pa.int64())
    columns["epochs"] = pa.array([record.training.get("epochs") for record in records], pa.int64())
    columns["training_seconds"] = pa.array([record.training.get("seconds") for record in records], pa.float64())
    for name in _names(name for one in values for name in one):
        columns[name] = pa.array([one.get(name) for one in values], pa.float64())
    return pa.table(columns)


def _texts(plan: TablePlan, places: Iterable[tuple[str, str]]) -> dict[str, Any]:
    names = list(places)
    return {
        "table": pa.array([plan.table] * len(names), pa.string()),
        "profile": pa.array([plan.profile] * len(names), pa.string()),
        "corpus": pa.array([corpus for corpus, _ in names], pa.string()),
        "row": pa.array([row for _, row in names], pa.string()),
    }


def _names(found: Iterable[str]) -> list[str]:
    """All figures of both reports, in their order, and then those from elsewhere."""
    return list(dict.fromkeys([*FIGURE_NAMES, *found]))
