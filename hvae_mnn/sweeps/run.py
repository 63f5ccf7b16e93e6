"""Run of a sweep's tasks on a cluster. Every result is written at once, and an interrupted sweep resumes."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvae_mnn.errors import HvaeMnnError, RunError
from hvae_mnn.files import disk_errors, write_sealed, write_text
from hvae_mnn.folders import RUNS, taken
from hvae_mnn.owned import is_vacant
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.results import Result
from hvae_mnn.sweeps.digital import note_cache_problems
from hvae_mnn.sweeps.grid import SweepPlan
from hvae_mnn.sweeps.point import run_task
from hvae_mnn.sweeps.table import (
    FORMAT,
    PARTS,
    SUMMARY,
    Finished,
    read_parts,
    remove_results,
    write_part,
    write_tables,
)
from hvae_mnn.sweeps.task import Outcome, Task
from hvae_mnn.version import versions

SWEEP = "sweep.toml"
TASK_LIMIT_S = 6 * 3600.0
"""Time limit of a task, seconds; a task of full size takes minutes."""
_OLD_LOCK = ".lock"
"""Lock file that version 0.1 left behind."""
_TABLES_EVERY_S = 30.0
"""Interval at which tables are written while tasks run, seconds."""

TaskProgress = Callable[[int, int], None]
"""Called with the numbers of finished tasks and of all tasks."""


@dataclass(frozen=True, repr=False)
class SweepResult(Result):
    """A finished sweep. Tables: `results`, a row per task and grid; `timings`."""

    folder: Path
    plan: SweepPlan
    finished: Mapping[str, Finished]
    """All tasks of the plan, by key."""
    kept: int
    """Number of tasks that were finished before this run."""
    mended: tuple[Path, ...]
    """Damaged files, whose tasks ran again."""
    seconds: float
    """Duration of this run."""

    @property
    def failed(self) -> tuple[Finished, ...]:
        """Tasks without a result."""
        return tuple(one for one in self.finished.values() if one.status == "failed")

    def facts(self) -> Mapping[str, object]:
        """Numbers of tasks, of kept and of failed ones, and the duration."""
        return {
            "folder": self.folder,
            "tasks": len(self.plan.tasks),
            "kept": self.kept,
            "failed": len(self.failed),
            "seconds": self.seconds,
        }


def default_folder(plan: SweepPlan) -> Path:
    """Default folder of a sweep: `runs/<name>`."""
    return RUNS / plan.file.name


def cores() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def look(plan: SweepPlan, folder: Path, *, retry_failed: bool = False) -> tuple[dict[str, Finished], list[Path]]:
    """Finished tasks in `folder` that need not run again, by key, and damaged files.

    With `retry_failed`, failed tasks count as unfinished. Raises `RunError` for a folder that is not a sweep's,
    `InputError` for results of another version.
    """
    refuse_foreign(folder)
    parts, damaged = read_parts(folder, plan.tasks)
    return {key: one for key, one in parts.items() if one.status == "done" or not retry_failed}, damaged


def remaining(plan: SweepPlan, folder: Path, *, retry_failed: bool = False) -> int:
    """Number of tasks that `run_sweep` would run. Raises as `look`."""
    return len(plan.tasks) - len(look(plan, folder, retry_failed=retry_failed)[0])


def refuse_foreign(folder: Path) -> None:
    """Raise `RunError` for a folder that holds anything but a sweep."""
    with disk_errors(folder):
        foreign = folder.exists() and not (folder / SWEEP).exists() and (not folder.is_dir() or not is_vacant(folder))
    if foreign:
        raise RunError(f"{folder} exists and is not a sweep's folder; choose another --out")


def run_sweep(
    plan: SweepPlan,
    folder: Path,
    cluster: Cluster,
    *,
    progress: TaskProgress | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    limit_s: float = TASK_LIMIT_S,
    run: Callable[[Task], Outcome] = run_task,
) -> SweepResult:
    """Run every task of the plan without a result in `folder`; with `retry_failed` also failed tasks, with `fresh` all.

    Every result is written at once. A task that raises a `HvaeMnnError`, gives a metric that is not finite, or loses
    its worker twice, is recorded as failed with the reason, and the other tasks run on. The folder's content does not
    depend on interruptions, on the cluster, or on the order of results. A task may take `limit_s` seconds;
    `run(task)` computes its result.

    Raises `RunError` if another process holds the folder, or the cluster is lost; `StorageError` if the disk is full;
    `InputError` as `look`. Finished results are kept: call again to resume.
    """
    began = time.perf_counter()
    with _ours(folder, plan, fresh):
        kept, damaged = look(plan, folder, retry_failed=retry_failed)
        keeper = _Keeper(plan, folder, kept, progress)
        todo = [task for key, task in plan.tasks.items() if key not in kept]
        if todo:
            if not cluster.is_here:
                note_cache_problems()
            (folder / SUMMARY).unlink(missing_ok=True)
        try:
            keeper.report()
            _run(run, todo, cluster, keeper, limit_s)
        finally:
            keeper.write_tables()
        result = SweepResult(folder, plan, keeper.finished, len(kept), tuple(damaged), time.perf_counter() - began)
        write_sealed(folder / SUMMARY, _summary(result, cluster))
    return result


@contextlib.contextmanager
def _ours(folder: Path, plan: SweepPlan, fresh: bool) -> Iterator[None]:
    """Hold the folder for this process alone, with the sweep's file in it."""
    refuse_foreign(folder)
    with taken(folder, "being run", SWEEP):
        (folder / _OLD_LOCK).unlink(missing_ok=True)
        for left in (folder / PARTS).glob(".*"):  # half-written by a killed process
            left.unlink()
        if fresh:
            remove_results(folder)
        write_text(folder / SWEEP, plan.file.text)
        yield


def _run(run: Callable[[Task], Outcome], todo: list[Task], cluster: Cluster, keeper: _Keeper, limit_s: float) -> None:
    try:
        cluster.each(
            run,
            todo,
            lambda index, outcome: keeper.done(todo[index], outcome),
            lambda index, error: keeper.failed(todo[index], error),
            limit_s=limit_s,
        )
    except RunError as error:
        raise RunError(
            f"{error}; {len(keeper.finished)} of {len(keeper.plan.tasks)} results are kept in {keeper.folder}; rerun"
            " the same command to resume"
        ) from None


def _summary(result: SweepResult, cluster: Cluster) -> dict[str, Any]:
    """Content of `sweep.json`."""
    plan, file = result.plan, result.plan.file
    done = [one for one in result.finished.values() if one.status == "done"]
    return {
        "format": FORMAT,
        "name": file.name,
        "tasks": len(plan.tasks),
        "done": len(done),
        "failed": len(result.failed),
        "rows": len(plan.rows),
        "grids": {grid.name: {"points": grid.count, "axes": list(grid.axes)} for grid in file.all_grids},
        "models": {
            task.model.label: {"sha256": task.model.sha256, "calibration": task.model.calibration}
            for task in plan.tasks.values()
        },
        "split": file.split,
        "sentences": max((one.outcome.sentences for one in done), default=0),
        "tokens": max((one.outcome.tokens for one in done), default=0),
        "seeds": list(file.seeds),
        "metrics": list(file.metrics),
        "seconds_in_tasks": round(sum(one.outcome.seconds.get("total", 0.0) for one in done), 3),
        "last_session": {
            "tasks": len(plan.tasks) - result.kept,
            "seconds": round(result.seconds, 3),
            "where": cluster.describe(),
        },
        "versions": versions("torch", "numpy", "PySpice"),
    }


class _Keeper:
    """Records results as they come."""

    def __init__(
        self, plan: SweepPlan, folder: Path, kept: Mapping[str, Finished], progress: TaskProgress | None
    ) -> None:
        self.plan, self.folder = plan, folder
        self.finished = dict(kept)
        self._progress = progress
        self._written = time.monotonic()

    def report(self) -> None:
        if self._progress is not None:
            self._progress(len(self.finished), len(self.plan.tasks))

    def done(self, task: Task, outcome: Outcome) -> None:
        wrong = [f"{name} is {value}" for name, value in outcome.metrics.items() if not math.isfinite(value)]
        if wrong:
            self._keep(_failed(task, f"not finite: {', '.join(wrong)}", outcome.seconds))
        else:
            self._keep(Finished(task, "done", "", outcome))

    def failed(self, task: Task, error: HvaeMnnError) -> None:
        self._keep(_failed(task, " ".join(str(error).split())))

    def _keep(self, one: Finished) -> None:
        write_part(self.folder, one)
        self.finished[one.task.key] = one
        self.report()
        if time.monotonic() - self._written > _TABLES_EVERY_S:
            self.write_tables()
            self._written = time.monotonic()

    def write_tables(self) -> None:
        write_tables(self.folder, self.plan, self.finished)


def _failed(task: Task, reason: str, seconds: Mapping[str, float] | None = None) -> Finished:
    return Finished(task, "failed", reason, Outcome({}, dict(seconds or {}), 0, 0))
