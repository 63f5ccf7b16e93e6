"""A table's column "next word right on hardware": trained models on drawn chips, beside the same models in float64.

Recurrent layers run on the exact engine. Latents that an encoder does not give alone (SA-VAE's refinement, Sri-VAE's
Langevin chain), embeddings and logits are software on both sides. A model's figures are kept in its record.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hvae_mnn.cosim.calibration import SENTENCES
from hvae_mnn.cosim.chip import answers_on, draw_chip
from hvae_mnn.cosim.export import map_checkpoint
from hvae_mnn.crossbar.transfer import threads
from hvae_mnn.errors import EnvironmentProblem, HvaeMnnError, InputError, RunError, StorageError
from hvae_mnn.evaluation.answers import run_answers
from hvae_mnn.evaluation.report import encode_split
from hvae_mnn.evaluation.text_metrics import compute_metrics, passes_for
from hvae_mnn.folders import taken
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.stepwise import Stepper
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.reading import absolute, shown
from hvae_mnn.reproduction.figures import summarise
from hvae_mnn.reproduction.hardware_plan import HardwarePlan
from hvae_mnn.reproduction.plan import TablePlan
from hvae_mnn.reproduction.record import Record, read_record, write_record
from hvae_mnn.reproduction.run import MARK, TASK_LIMIT_S, EpochProgress
from hvae_mnn.reproduction.task import Task, corpus_of
from hvae_mnn.sweeps.digital import BATCH_SIZE
from hvae_mnn.training.seeds import spawn_seed
from hvae_mnn.training.state import BEST

METRIC = "top1"
"""Name in `evaluation.text_metrics.METRICS` of what is measured."""
_CHIP = 11
"""Branch of a task's seed tree for the draws of chips."""


@dataclass(frozen=True)
class HardwareOrder:
    """A trained task for a worker, to be run on its chips."""

    task: Task
    folder: str
    """Folder of the task, absolute."""
    plan: HardwarePlan


def chosen_rows(plan: TablePlan, records: Sequence[Record]) -> set[tuple[str, str]]:
    """Corpus and row of every entry that has the column, by the records of all rows; empty without `[hardware]`."""
    if plan.hardware is None:
        return set()
    ranked: dict[str, list[tuple[float, str]]] = {}
    for summary in summarise(plan, records):
        nll = summary.mean("iw_nll")
        nll = summary.mean("elbo_nll") if nll is None else nll
        if nll is not None and (plan.hardware.rows is None or summary.row in plan.hardware.rows):
            ranked.setdefault(summary.corpus.name, []).append((nll, summary.row))
    return {(corpus, row) for corpus, rows in ranked.items() for _, row in sorted(rows)[: plan.hardware.best]}


def has_figures(record: Record, plan: HardwarePlan) -> bool:
    """Whether a record has figures, or the reason why there are none, of its present model on this hardware."""
    stored = record.hardware
    return stored.get("asked") == plan.asked and stored.get("checkpoint_sha256") == record.checkpoint.get("sha256")


def without_stale(plan: TablePlan, records: Mapping[Path, Record]) -> dict[Path, Record]:
    """Records as the table shows them: without figures of other hardware than the plan's, or of rows that the plan
    does not choose."""
    chosen = chosen_rows(plan, list(records.values()))
    shown_ones = {}
    for place, record in records.items():
        asked = plan.hardware is not None and (record.corpus, record.row) in chosen
        keeps = asked and plan.hardware is not None and has_figures(record, plan.hardware)
        shown_ones[place] = record if keeps else replace(record, hardware={})
    return shown_ones


def missing_tasks(
    plan: TablePlan, tasks: Sequence[Task], records: Mapping[Path, Record], retry_failed: bool = False
) -> list[Task]:
    """Chosen tasks that lack their figures on the plan's hardware; with `retry_failed`, or that have only a reason."""
    hardware, chosen = plan.hardware, chosen_rows(plan, list(records.values()))
    return [
        task
        for task in tasks
        if hardware is not None
        and (task.text.corpus.name, task.row) in chosen
        and _is_missing(records[task.place], hardware, retry_failed)
    ]


def most_missing(plan: TablePlan, tasks: Sequence[Task], records: Mapping[Path, Record], retry_failed: bool) -> int:
    """Number of `missing_tasks`, or, before all rows are trained, the most that there can be."""
    if plan.hardware is None:
        return 0
    if all(task.place in records for task in tasks):
        return len(missing_tasks(plan, tasks, records, retry_failed))
    return sum(plan.hardware.rows is None or task.row in plan.hardware.rows for task in tasks)


def _is_missing(record: Record, hardware: HardwarePlan, retry_failed: bool) -> bool:
    has = has_figures(record, hardware) and not (retry_failed and "reason" in record.hardware)
    return record.status == "done" and not has


def run_hardware(
    plan: TablePlan,
    tasks: Sequence[Task],
    records: Mapping[Path, Record],
    folder: Path,
    cluster: Cluster,
    *,
    progress: EpochProgress | None = None,
    retry_failed: bool = False,
    done: int = 0,
) -> dict[Path, Record]:
    """Run every chosen task that lacks its figures on the plan's hardware; returns all records. Nothing is trained.

    A model that cannot be built or run there keeps its other figures, with the reason; with `retry_failed` it is tried
    again. `progress` counts on from `done`. Results do not depend on interruptions or on the cluster.

    Raises `RunError` if another process holds the folder, or the cluster is lost; `StorageError` if the disk is full.
    """
    changed = dict(records)
    todo = [
        HardwareOrder(task, str(absolute(folder / task.place)), plan.hardware)
        for task in missing_tasks(plan, tasks, records, retry_failed)
        if plan.hardware is not None
    ]
    if not todo:
        return changed

    def succeeded(index: int, record: Record) -> None:
        changed[todo[index].task.place] = record

    def failed(index: int, error: HvaeMnnError) -> None:
        if isinstance(error, StorageError | EnvironmentProblem):
            raise error
        order = todo[index]
        record = _with(changed[order.task.place], order, {"reason": " ".join(str(error).split())})
        write_record(Path(order.folder), record)
        changed[order.task.place] = record

    def tell(finished: int, total: int) -> None:
        if progress is not None:
            progress(done + finished, done + total)

    with taken(folder, "being reproduced", MARK):
        tell(0, len(todo))
        try:
            cluster.each(run_hardware_order, todo, succeeded, failed, progress=tell, limit_s=TASK_LIMIT_S)
        except RunError as error:
            raise RunError(
                f"{error}; what is finished is kept in {shown(folder)}; rerun the same command to resume"
            ) from None
    return changed


def run_hardware_order(order: HardwareOrder) -> Record:
    """Measure a trained model on its chips, and keep the figures in its record.

    Raises `HvaeMnnError` for a model that cannot be built or run on this hardware.
    """
    folder = Path(order.folder)
    record = read_record(folder)
    if record is None or record.status != "done":
        raise InputError(f"{shown(folder)} holds no finished task of a table; rerun the same command")
    with threads(1):
        record = _with(record, order, _figures(order))
    write_record(folder, record)
    return record


def _with(record: Record, order: HardwareOrder, figures: Mapping[str, Any]) -> Record:
    about = {
        "asked": order.plan.asked,
        "description": order.plan.text,
        "checkpoint_sha256": record.checkpoint.get("sha256"),
    }
    return replace(record, hardware={**about, **figures})


def _figures(order: HardwareOrder) -> dict[str, Any]:
    start = time.monotonic()
    task, plan = order.task, order.plan
    checkpoint, corpus = load_checkpoint(Path(order.folder) / BEST), corpus_of(task.text)
    sentences = encode_split(checkpoint, corpus, "test", plan.sentences).sentences
    calibration = encode_split(checkpoint, corpus, "valid", SENTENCES).sentences
    passes = passes_for([METRIC])
    network = map_checkpoint(checkpoint, plan.built(), text=calibration)
    digital = run_answers(Stepper(checkpoint.model), sentences, passes, batch_size=BATCH_SIZE)
    values = []
    for seed in chip_seeds(task.seed, plan.chips):
        chip = draw_chip(network, plan.drawn(), seed)
        answers = answers_on(chip, checkpoint.model, sentences, passes, BATCH_SIZE).answers
        values.append(compute_metrics(answers, digital, sentences, [METRIC])[METRIC])
    if not all(map(math.isfinite, values)):
        raise RunError(f"logits on chip {[*map(math.isfinite, values)].index(False) + 1} are not finite")
    return {
        "chips": values,
        "mean": statistics.fmean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "digital": compute_metrics(digital, digital, sentences, [METRIC])[METRIC],
        "sentences": len(sentences),
        "targets": sum(len(sentence) - 1 for sentence in sentences),
        "seconds": round(time.monotonic() - start, 3),
    }


def chip_seeds(seed: int, chips: int) -> list[int]:
    """Seeds of a task's chips: each is a branch of the task's own, so more chips leave those before as they are."""
    return [spawn_seed(seed, _CHIP, number) for number in range(chips)]
