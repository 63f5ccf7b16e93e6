"""Pure functions on a cluster's workers: one worker per item, a time limit, and a second attempt on another worker."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hvae_mnn.errors import HvaeMnnError, RunError
from hvae_mnn.parallel.dask_client import one_line
from hvae_mnn.parallel.workers import POLL_S, WorkerGone, Workers

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2
"""Items sent to a worker per thread, so that it does not wait for the next one."""


Tell = Callable[[int, Any], None]
"""Callback with the index of an item, and its value or the `HvaeMnnError` that ended it."""


class ItemError(RunError):
    """Failure of an item that was not raised on purpose; the message does not name the item."""


@dataclass(eq=False)
class Assignment:
    """An item of `map` that was sent to a worker."""

    index: int
    future: Any
    started: float | None = None
    """Start of its run on the worker; None before that."""


class Mapping:
    """One `map` or `each` on a cluster.

    Every item is sent to exactly one worker, when it is its turn. The place and start of each item are therefore known,
    and a worker that dies or hangs affects few items.
    """

    def __init__(
        self, workers: Workers, function: Callable[[Any], Any], items: Sequence[Any], tell: Tell, limit_s: float
    ) -> None:
        self._workers, self._function, self._items, self._tell, self._limit_s = workers, function, items, tell, limit_s
        self._todo = deque(range(len(items)))
        self._flying: dict[str, list[Assignment]] = {}
        self._threads: dict[str, int] = {}
        self._losses = [0] * len(items)
        self._settled = 0

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Run until every item is settled, and report each one."""
        looked = -POLL_S
        try:
            while (before := self._settled) < len(self._items):
                if time.monotonic() - looked >= POLL_S:
                    self._look_after_workers()
                    looked = time.monotonic()
                self._hand_out()
                flying = [task.future for tasks in self._flying.values() for task in tasks]
                self._workers.wait(flying, min(POLL_S, self._limit_s / 4), "FIRST_COMPLETED")
                self._collect()
                if progress is not None and self._settled > before:
                    progress(self._settled, len(self._items))
        finally:
            for task in [task for tasks in self._flying.values() for task in tasks]:
                task.future.cancel()

    def _look_after_workers(self) -> None:
        self._threads = self._workers.alive()
        for address in [address for address in self._flying if address not in self._threads]:
            self._lose(address, f"the worker at {address} died or fell silent")
        now = time.monotonic()
        for address, tasks in list(self._flying.items()):
            if any(task.started is not None and now - task.started > self._limit_s for task in tasks):
                self._workers.give_up(address)
                del self._threads[address]
                self._lose(address, f"the worker at {address} gave no answer within {self._limit_s:g} s")
        if not self._threads:
            self._threads = self._workers.some_alive()

    def _lose(self, address: str, why: str) -> None:
        """Take back all items of a worker; those that it was running have failed there."""
        for task in reversed(self._flying.pop(address)):
            task.future.cancel()
            self._take_back(task.index, why if task.started is not None else None)

    def _take_back(self, index: int, failed: str | None) -> None:
        """Put an item first in the queue again. `failed`: the reason why it failed, which is accepted once."""
        if failed is not None:
            self._losses[index] += 1
            if self._losses[index] > 1:
                self._settle(
                    index,
                    ItemError(
                        f"failed twice on {self._workers.name}: {failed}; see whether memory ran out there, use fewer"
                        " workers, and run it again"
                    ),
                )
                return
        self._todo.appendleft(index)

    def _settle(self, index: int, answer: Any) -> None:
        self._settled += 1
        self._tell(index, answer)

    def _hand_out(self) -> None:
        for depth in range(1, _AHEAD + 1):  # every worker gets a first item before any gets a second
            for address, threads in self._threads.items():
                tasks = self._flying.setdefault(address, [])
                while self._todo and len(tasks) < depth * threads:
                    index = self._todo.popleft()
                    tasks.append(
                        Assignment(index, self._workers.submit(address, guarded, self._function, self._items[index]))
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
                    answer = self._workers.wait_for(task.future, address)
                except WorkerGone as gone:
                    self._workers.alive()  # a lost scheduler is not the fault of an item
                    self._take_back(task.index, str(gone))
                else:
                    self._settle(task.index, answer)


def guarded(function: Callable[[T], R], item: T) -> R | HvaeMnnError:
    """The value of a call, or the error that ended it."""
    try:
        return function(item)
    except HvaeMnnError as error:
        return error
    except Exception as error:
        return ItemError(f"failed: {one_line(error)}; this is an error in hvae-mnn, report it")
