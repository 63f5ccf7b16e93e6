"""An array's process on a Dask worker: the same to talk to as an `ArrayProcess` here.

Every Dask worker holds one `Station`, an actor with the processes of all arrays that were placed there. The array's
file travels with the deck, so no file system need be shared. Reads take turns on the worker's own threads: what solves
at the same time is what the worker has threads for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import uuid
import weakref
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.engines.array_process import READ_LIMIT_S, ArrayDeck, ArrayProcess, WorkerDied, place_array
from hvae_mnn.errors import HvaeMnnError
from hvae_mnn.owned import temporary_folder_of
from hvae_mnn.parallel.workers import WorkerGone, Workers

Array = NDArray[np.float64]

_CLOSING_S = 5.0
"""Longest wait for a worker to end a process; it does so anyway when the cluster is closed."""


@dataclass(eq=False)
class _Held:
    """An array's process, and how far its log was handed over."""

    process: ArrayProcess
    busy: threading.Lock = field(default_factory=threading.Lock)
    """Held while its pipes are in use: closed under a reader, their numbers could become another process's."""
    told: int = 0

    def end(self) -> None:
        """End the process, at once even where somebody waits for its answer."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        with self.busy:
            self.process.close()

    def news(self) -> bytes:
        """What its log says since the last time."""
        with contextlib.suppress(OSError), self.process.log.open("rb") as log:
            log.seek(self.told)
            found = log.read()
            self.told += len(found)
            return found
        return b""


def _end_all(held: dict[str, _Held]) -> None:
    for one in held.values():
        one.process.close()


class Station:
    """The processes of the arrays on one Dask worker; an actor there.

    Every answer is ("found", values, news of the log), ("died", why, news) or ("ours", error, b"").
    """

    def __init__(self) -> None:
        from distributed import get_worker

        self._worker = get_worker()
        self._folder, _ = temporary_folder_of(self, Path(self._worker.local_directory))
        self._held: dict[str, _Held] = {}
        self._ended: set[str] = set()
        # Also when the worker ends in order; when it does not, the processes end because their input does.
        weakref.finalize(self, _end_all, self._held)

    async def load(
        self, key: str, deck: ArrayDeck, packed: bytes, states: Array | None, limit_s: float
    ) -> tuple[str, Any, bytes]:
        """Start a process and wait until it is ready: its number, its ngspice's version, and its states (R, D).

        `packed`: the array's file, compressed.
        """
        return await self._in_turn(partial(self._load, key, deck, packed, states, limit_s))

    async def read(self, key: str, volts: Array) -> tuple[str, Any, bytes]:
        """Currents of reads (B, R), the states after each (B, R, D), and ngspice's seconds so far."""
        return await self._in_turn(partial(self._read, key, volts))

    async def end(self, key: str) -> None:
        """End a process."""
        self._ended.add(key)  # it may still be on its way
        held = self._held.pop(key, None)
        if held is not None:
            # Not in turn: who waits for an answer has the turn.
            await asyncio.to_thread(held.end)

    async def _in_turn(self, action: Callable[[], tuple[str, Any, bytes]]) -> tuple[str, Any, bytes]:
        return await asyncio.get_running_loop().run_in_executor(self._worker.executors["default"], action)

    def _load(
        self, key: str, deck: ArrayDeck, packed: bytes, states: Array | None, limit_s: float
    ) -> tuple[str, Any, bytes]:
        if key in self._ended:
            return "died", "the ngspice process was ended", b""
        try:
            folder = self._folder / key
            folder.mkdir()
            arrived = folder / "arrived.inc"
            arrived.write_bytes(zlib.decompress(packed))
            process = ArrayProcess(replace(deck, include=arrived), folder, states)
            held = self._held[key] = _Held(process)
            arrived.unlink()
            process.limit_s = limit_s
            with held.busy:
                if key in self._ended:
                    raise WorkerDied("the ngspice process was ended")
                process.wait_ready()
            return "found", (process.pid, process.version, process.states), held.news()
        except WorkerDied as died:
            return "died", str(died), self._held[key].news() if key in self._held else b""
        except HvaeMnnError as error:
            return "ours", error, b""

    def _read(self, key: str, volts: Array) -> tuple[str, Any, bytes]:
        held = self._held.get(key)
        if held is None:
            return "died", "the ngspice process was ended", b""
        try:
            with held.busy:
                held.process.send(volts)
                found, states = held.process.receive(len(volts))
            return "found", (found, np.array(states), held.process.seconds), held.news()
        except WorkerDied as died:
            return "died", str(died), held.news()
        except HvaeMnnError as error:
            return "ours", error, b""


class RemoteArray:
    """An `ArrayProcess` that lives on a worker of a cluster; raises `WorkerDied` also when that worker does."""

    limit_s = READ_LIMIT_S

    def __init__(self, deck: ArrayDeck, folder: Path, states: Array | None, workers: Workers) -> None:
        """As `ArrayProcess`; `folder` gets a copy of the array's file and of the log."""
        self.deck = deck
        self.states = np.empty(deck.shape if deck.moving else (0, 0))
        self.log = folder / f"{deck.name}.log"
        self.log.touch()
        self.seconds = 0.0
        self.version = "unknown"
        self.pid: int | None = None
        """Process number of the ngspice process, on its machine; None until it is ready."""
        packed = zlib.compress((folder / place_array(deck, folder)).read_bytes(), 1)
        self._workers = workers
        self._seconds_before = 0.0
        self._key = f"{deck.name}-{uuid.uuid4().hex}"
        self._coming: deque[Any] = deque()
        self._lost: str | None = None
        self._open = True
        self._address = workers.place(deck.name)
        with contextlib.suppress(WorkerDied):  # told when it is waited for
            # The path means nothing there.
            self._ask("load", replace(deck, include=Path(f"{deck.name}.inc")), packed, states, self.limit_s)

    def wait_ready(self) -> None:
        """See `ArrayProcess.wait_ready`."""
        self.pid, self.version, self.states = self._answer()

    def send(self, volts: Array) -> None:
        """See `ArrayProcess.send`."""
        self._ask("read", np.ascontiguousarray(volts))

    def receive(self, reads: int) -> tuple[Array, list[Array]]:
        """See `ArrayProcess.receive`."""
        currents, states, seconds = self._answer()
        self.seconds += seconds - self._seconds_before
        self._seconds_before = seconds
        after = [np.array(one) for one in states]  # no views, which would keep the whole answer
        if after:
            self.states = after[-1]
        return np.array(currents), after

    def close(self) -> None:
        """See `ArrayProcess.close`; what a lost worker held ends with it."""
        if not self._open:
            return
        self._open = False
        self._workers.leave(self._address, self.deck.name if self._lost else None)
        with contextlib.suppress(Exception):  # the worker or the whole cluster went first
            ending = self._workers.actor(Station, self._address).end(self._key)
            if self._lost is None:
                ending.result(timeout=_CLOSING_S)

    def _ask(self, action: str, *arguments: Any) -> None:
        if self._lost is not None:
            raise WorkerDied(self._lost)
        try:
            station = self._workers.actor(Station, self._address)
            self._coming.append(getattr(station, action)(self._key, *arguments))
        except WorkerGone as gone:
            self._lost = str(gone)
        except (RuntimeError, OSError) as error:  # the station was lost since it was used last
            self._lost = f"the worker at {self._address} was lost ({error})"
        if self._lost is not None:
            raise WorkerDied(self._lost)

    def _answer(self) -> Any:
        if self._lost is not None:
            raise WorkerDied(self._lost)
        try:
            kind, found, news = self._workers.wait_for(self._coming.popleft(), self._address)
        except WorkerGone as gone:
            self._lost = str(gone)
            raise WorkerDied(self._lost) from None
        if news:
            with self.log.open("ab") as log:
                log.write(news)
        if kind == "ours":
            raise found
        if kind == "died":
            self._lost = str(found)
            raise WorkerDied(self._lost)
        return found
