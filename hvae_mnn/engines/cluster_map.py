"""Pure functions on a cluster's workers: one item, one worker, a time limit, and a second chance elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hvae_mnn.engines.dask_client import one_line
from hvae_mnn.errors import HvaeMnnError, RunError

if TYPE_CHECKING:
    from hvae_mnn.engines.cluster import Cluster

T = TypeVar("T")
R = TypeVar("R")

POLL_S = 1.0
"""How often the workers are looked at while nothing else happens."""
_AHEAD = 2
"""Items handed to a worker per thread, so that it need not wait for the next."""


class WorkerGone(Exception):
    """The worker that was to answer is dead or silent; the argument says which."""


@dataclass(eq=False)
class Task:
    """An item of `map` on its way."""

    index: int
    future: Any
    started: float | None = None
    """Since when it is a worker's turn to run it."""


class Mapping:
    """One `map` on a cluster.

    Every item is handed to one worker and to no other, as its turn comes: so it is known where each one runs and since
    when, and a worker that dies or hangs takes few with it.
    """

    def __init__(
        self, cluster: Cluster, function: Callable[[Any], Any], items: Sequence[Any], what: str, limit_s: float
    ) -> None:
        self._cluster, self._function, self._items, self._what, self._limit_s = cluster, function, items, what, limit_s
        self._todo = deque(range(len(items)))
        self._flying: dict[str, list[Task]] = {}
        self._threads: dict[str, int] = {}
        self._failed = [0] * len(items)
        self._found: dict[int, Any] = {}

    def run(self, progress: Callable[[int, int], None] | None) -> list[Any]:
        """The values, in order."""
        looked = -POLL_S
        try:
            while len(self._found) < len(self._items):
                if time.monotonic() - looked >= POLL_S:
                    self._look_after_workers()
                    looked = time.monotonic()
                self._hand_out()
                flying = [task.future for tasks in self._flying.values() for task in tasks]
                self._cluster.wait(flying, min(POLL_S, self._limit_s / 4), "FIRST_COMPLETED")
                before = len(self._found)
                self._collect()
                if progress is not None and len(self._found) > before:
                    progress(len(self._found), len(self._items))
        finally:
            for task in [task for tasks in self._flying.values() for task in tasks]:
                task.future.cancel()
        return [self._found[index] for index in range(len(self._items))]

    def _look_after_workers(self) -> None:
        self._threads = self._cluster.alive()
        for address in [address for address in self._flying if address not in self._threads]:
            self._lose(address, f"the worker at {address} died or fell silent")
        now = time.monotonic()
        for address, tasks in list(self._flying.items()):
            if any(task.started is not None and now - task.started > self._limit_s for task in tasks):
                self._cluster.give_up(address)
                del self._threads[address]
                self._lose(address, f"the worker at {address} gave no answer within {self._limit_s:g} s")
        if not self._threads:
            self._threads = self._cluster._some_alive()

    def _lose(self, address: str, why: str) -> None:
        """Take back what a worker was given; what it was working on has failed there."""
        for task in reversed(self._flying.pop(address)):
            task.future.cancel()
            if task.started is not None:
                self._fail(task.index, why)
            self._todo.appendleft(task.index)

    def _fail(self, index: int, why: str) -> None:
        self._failed[index] += 1
        if self._failed[index] > 1:
            raise RunError(
                f"{self._what}, part {index + 1} of {len(self._items)}, failed twice on {self._cluster.name}: {why};"
                " see whether memory ran out there, use fewer workers, and run it again"
            )

    def _hand_out(self) -> None:
        for depth in range(1, _AHEAD + 1):  # each worker its first before any its second
            for address, threads in self._threads.items():
                tasks = self._flying.setdefault(address, [])
                while self._todo and len(tasks) < depth * threads:
                    index = self._todo.popleft()
                    tasks.append(
                        Task(index, self._cluster.submit(address, guarded, self._function, self._items[index]))
                    )
        now = time.monotonic()
        for address, tasks in self._flying.items():
            for task in tasks[: self._threads[address]]:
                task.started = task.started or now

    def _collect(self) -> None:
        for address, tasks in self._flying.items():
            for task in [task for task in tasks if task.future.status != "pending"]:
                tasks.remove(task)
                try:
                    answer = self._cluster.wait_for(task.future, address)
                except WorkerGone as gone:
                    self._fail(task.index, str(gone))
                    self._todo.appendleft(task.index)
                else:
                    self._found[task.index] = value_of(answer, self._what, task.index, len(self._items))


def guarded(function: Callable[[T], R], item: T) -> tuple[str, Any]:
    """What became of a call: ("value", it), ("ours", the error) or ("error", one line)."""
    try:
        return "value", function(item)
    except HvaeMnnError as error:
        return "ours", error
    except Exception as error:
        return "error", one_line(error)


def value_of(answer: tuple[str, Any], what: str, index: int, of: int) -> Any:
    """The value of a guarded call; raises the error that it ended in."""
    kind, found = answer
    if kind == "ours":
        raise found
    if kind == "error":
        raise RunError(f"{what}, part {index + 1} of {of}, failed: {found}; this is an error in hvae-mnn, report it")
    return found
