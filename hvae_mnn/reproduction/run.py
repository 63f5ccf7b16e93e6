"""Run of a table's tasks on a cluster. Every record is kept at once, and an interrupted run resumes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hvae_mnn.errors import EnvironmentProblem, HvaeMnnError, InputError, RunError, StorageError
from hvae_mnn.files import disk_errors, read_sealed, write_sealed
from hvae_mnn.folders import taken
from hvae_mnn.owned import is_vacant
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.reading import absolute, is_missing, shown
from hvae_mnn.reproduction.record import FORMAT, RECORD, Record, read_record, write_record
from hvae_mnn.reproduction.task import Task
from hvae_mnn.reproduction.work import Order, failed_record, run_order
from hvae_mnn.training.history import read_history

MARK = "reproduction.json"
"""File that marks a folder of results, with the name of their profile."""
TASK_LIMIT_S = 14 * 86_400.0
"""Seconds after which a task counts as hanging: far more than the longest training."""
_LOOK_EVERY_S = 2.0
"""Interval at which progress is read from the tasks' folders, seconds."""

EpochProgress = Callable[[int, int], None]
"""Called with the numbers of epochs and evaluations done, and of all, from a thread of its own."""


@dataclass
class Found:
    """What a folder of results holds of some tasks."""

    kept: dict[Path, Record] = field(default_factory=dict)
    """Records that stay, done or failed, by the task's place."""
    damaged: list[Path] = field(default_factory=list)
    """Records that cannot be read, whose tasks run again."""


def refuse_foreign(folder: Path, profile: str) -> None:
    """Raise `RunError` for a folder that holds anything but results of the same profile."""
    with disk_errors(folder):
        if not folder.exists() or (folder.is_dir() and is_vacant(folder)):
            return
    if is_missing(folder / MARK):
        raise RunError(f"{shown(folder)} exists and holds no results of hvae-mnn reproduce; choose another --out")
    there = read_sealed(folder / MARK, "mark of a folder of results").get("profile")
    if there != profile:
        raise RunError(
            f"{shown(folder)} holds results of profile {there}, asked for is {profile}; choose another --out"
        )


def look(tasks: Sequence[Task], folder: Path, *, retry_failed: bool = False) -> Found:
    """What `folder` holds of the tasks. Those of `kept` need not run; with `retry_failed`, failed ones do.

    Raises `InputError` with a line for every task whose folder holds another training.
    """
    found, problems = Found(), []
    for task in tasks:
        place = folder / task.place
        try:
            record = read_record(place)
        except InputError:
            found.damaged.append(place / RECORD)
            continue
        difference = None if record is None else task.trains_as(record.task)
        if record is None:
            continue
        if difference is not None:
            problems.append(f"{task.place} holds another training: {difference}")
        elif (record.status == "done" and task.evaluates_as(record.task)) or (
            record.status == "failed" and not retry_failed
        ):
            found.kept[task.place] = record
    if problems:
        raise InputError.of(f"{shown(folder)}, which needs another --out", problems)
    return found


def run_tasks(
    tasks: Sequence[Task],
    folder: Path,
    cluster: Cluster,
    *,
    device: str = "auto",
    progress: EpochProgress | None = None,
    retry_failed: bool = False,
    limit_s: float = TASK_LIMIT_S,
) -> tuple[dict[Path, Record], Found]:
    """Run every task without a record in `folder`; with `retry_failed` also failed ones. Returns all records, and what
    was there before.

    A task that cannot continue (its loss is not finite, its worker is lost twice) is recorded as failed with the
    reason, and the others run on. Results do not depend on interruptions or on the cluster.

    Raises `RunError` if another process holds the folder, or the cluster is lost; `StorageError` if the disk is full;
    `InputError` as `look`. What is finished is kept: call again to resume, a half-trained task at its last state.
    """
    profile = tasks[0].profile
    refuse_foreign(folder, profile)
    with taken(folder, "being reproduced", MARK):
        found = look(tasks, folder, retry_failed=retry_failed)
        for path in found.damaged:
            path.unlink()
        write_sealed(folder / MARK, {"format": FORMAT, "profile": profile})
        records = dict(found.kept)
        todo = [Order(task, str(absolute(folder)), device) for task in tasks if task.place not in records]

        def succeeded(index: int, record: Record) -> None:
            records[todo[index].task.place] = record

        def failed(index: int, error: HvaeMnnError) -> None:
            if isinstance(error, StorageError | EnvironmentProblem):
                raise error
            record = failed_record(todo[index].task, error)
            write_record(todo[index].folder, record)
            records[todo[index].task.place] = record

        with _watched(tasks, folder, records, progress):
            try:
                cluster.each(run_order, todo, succeeded, failed, limit_s=limit_s)
            except RunError as error:
                raise RunError(
                    f"{error}; {len(records)} of {len(tasks)} results are kept in {shown(folder)}; rerun the same"
                    " command to resume"
                ) from None
    return {task.place: records[task.place] for task in tasks}, found


def steps_of(tasks: Sequence[Task]) -> int:
    """Epochs and evaluations of all tasks."""
    return sum(task.training.epochs + 1 for task in tasks)


@contextlib.contextmanager
def _watched(
    tasks: Sequence[Task], folder: Path, records: Mapping[Path, Record], progress: EpochProgress | None
) -> Iterator[None]:
    """Report progress while tasks run, wherever they do: their folders say how far they are."""
    if progress is None:
        yield
        return
    total = steps_of(tasks)
    over = threading.Event()

    def report() -> None:
        while not over.wait(_LOOK_EVERY_S):
            progress(sum(_done(task, folder, records) for task in tasks), total)

    thread = threading.Thread(target=report, name="hvae-mnn-progress", daemon=True)
    progress(sum(_done(task, folder, records) for task in tasks), total)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    progress(sum(_done(task, folder, records) for task in tasks), total)


def _done(task: Task, folder: Path, records: Mapping[Path, Record]) -> int:
    """Epochs and evaluations of a task that are done; all of them once it has ended."""
    if task.place in records:
        return task.training.epochs + 1
    try:
        return min(len(read_history(folder / task.place)[0]), task.training.epochs)
    except HvaeMnnError:
        return 0
