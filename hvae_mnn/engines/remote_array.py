"""An array's process on a Dask worker, with the methods of a local `ArrayProcess`.

Every Dask worker holds one `Station`, an actor with the processes of all arrays that are assigned to the worker. The
array's file travels with the deck, so no file system need be shared. Reads run on the worker's own threads, whose
number limits how many arrays are solved at the same time.
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

from hvae_mnn.engines.array_process import READ_LIMIT_S, ArrayDeck, ArrayProcess, WorkerDied, copy_array
from hvae_mnn.errors import HvaeMnnError
from hvae_mnn.owned import temporary_folder_of
from hvae_mnn.parallel.workers import WorkerGone, Workers

Array = NDArray[np.float64]

_CLOSING_S = 5.0
"""Longest wait, in seconds, for a worker to end a process; closing the cluster ends it in any case."""


@dataclass(eq=False)
class _Held:
    """An array's process, and the part of its log that was sent."""

    process: ArrayProcess
    busy: threading.Lock = field(default_factory=threading.Lock)
    """Held while a thread uses the process's pipes: if they were closed meanwhile, another process could get their
    numbers."""
    sent: int = 0
    """Bytes of the log that were sent."""

    def end(self) -> None:
        """End the process at once, even if a thread waits for its answer."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        with self.busy:
            self.process.close()

    def news(self) -> bytes:
        """The log's new bytes since the last call."""
        with contextlib.suppress(OSError), self.process.log.open("rb") as log:
            log.seek(self.sent)
            lines = log.read()
            self.sent += len(lines)
            return lines
        return b""


def _end_all(held: dict[str, _Held]) -> None:
    for one in held.values():
        one.process.close()


class Station:
    """An actor on a Dask worker with the processes of that worker's arrays.

    Every answer is ("done", values, new log), ("died", reason, new log) or ("failed", `HvaeMnnError`, b"").
    """

    def __init__(self) -> None:
        from distributed import get_worker

        self._worker = get_worker()
        self._folder, _ = temporary_folder_of(self, Path(self._worker.local_directory))
        self._held: dict[str, _Held] = {}
        self._ended: set[str] = set()
        # For a worker that ends in order; otherwise the processes end because their input does.
        weakref.finalize(self, _end_all, self._held)

    async def load(
        self, key: str, deck: ArrayDeck, packed: bytes, states: Array | None, limit_s: float
    ) -> tuple[str, Any, bytes]:
        """Start a process with the key `key` and wait until it is ready; `packed` is the array's file, compressed.

        The values are the process's number, the version of its ngspice, and its states (R, D).
        """
        return await self._in_turn(partial(self._load, key, deck, packed, states, limit_s))

    async def read(self, key: str, volts: Array) -> tuple[str, Any, bytes]:
        """Currents (B, outputs) of reads `volts` (B, R), the states (B, R, D) after each, and ngspice's seconds."""
        return await self._in_turn(partial(self._read, key, volts))

    async def end(self, key: str) -> None:
        """End the process with the key `key`."""
        self._ended.add(key)  # `load` may not have started it yet
        held = self._held.pop(key, None)
        if held is not None:
            # On another thread: a read that waits for its answer occupies the worker's own.
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
            return "done", (process.pid, process.version, process.states), held.news()
        except WorkerDied as died:
            return "died", str(died), self._held[key].news() if key in self._held else b""
        except HvaeMnnError as error:
            return "failed", error, b""

    def _read(self, key: str, volts: Array) -> tuple[str, Any, bytes]:
        held = self._held.get(key)
        if held is None:
            return "died", "the ngspice process was ended", b""
        try:
            with held.busy:
                held.process.send(volts)
                currents, states = held.process.receive(len(volts))
            return "done", (currents, np.array(states), held.process.seconds), held.news()
        except WorkerDied as died:
            return "died", str(died), held.news()
        except HvaeMnnError as error:
            return "failed", error, b""


class RemoteArray:
    """An `ArrayProcess` on a worker of a cluster. Methods raise `WorkerDied` also if that worker is lost."""

    limit_s = READ_LIMIT_S

    def __init__(self, deck: ArrayDeck, folder: Path, states: Array | None, workers: Workers) -> None:
        """As `ArrayProcess`; `folder`, on this machine, gets a copy of the array's file and of the log."""
        self.deck = deck
        self.states = np.empty(deck.shape if deck.moving else (0, 0))
        self.log = folder / f"{deck.name}.log"
        self.log.touch()
        self.seconds = 0.0
        self.version = "unknown"
        self.pid: int | None = None
        """Process number of the ngspice process, on its machine; None until it is ready."""
        packed = zlib.compress((folder / copy_array(deck, folder)).read_bytes(), 1)
        self._workers = workers
        self._seconds_before = 0.0
        self._key = f"{deck.name}-{uuid.uuid4().hex}"
        self._pending: deque[Any] = deque()
        self._lost: str | None = None
        self._open = True
        self._address = workers.assign(deck.name)
        with contextlib.suppress(WorkerDied):  # raised again by `wait_ready`
            # The local path is of no use on the worker.
            self._call("load", replace(deck, include=Path(f"{deck.name}.inc")), packed, states, self.limit_s)

    def wait_ready(self) -> None:
        """See `ArrayProcess.wait_ready`."""
        self.pid, self.version, self.states = self._answer()

    def send(self, volts: Array) -> None:
        """See `ArrayProcess.send`."""
        self._call("read", np.ascontiguousarray(volts))

    def receive(self, reads: int) -> tuple[Array, list[Array]]:
        """See `ArrayProcess.receive`."""
        currents, states, seconds = self._answer()
        self.seconds += seconds - self._seconds_before
        self._seconds_before = seconds
        after = [np.array(one) for one in states]  # not views, which would keep the whole answer in memory
        if after:
            self.states = after[-1]
        return np.array(currents), after

    def close(self) -> None:
        """See `ArrayProcess.close`; the processes of a lost worker end with it."""
        if not self._open:
            return
        self._open = False
        self._workers.release(self._address, self.deck.name if self._lost else None)
        with contextlib.suppress(Exception):  # the worker or the whole cluster has ended before
            ending = self._workers.actor(Station, self._address).end(self._key)
            if self._lost is None:
                ending.result(timeout=_CLOSING_S)

    def _call(self, action: str, *arguments: Any) -> None:
        if self._lost is not None:
            raise WorkerDied(self._lost)
        try:
            station = self._workers.actor(Station, self._address)
            self._pending.append(getattr(station, action)(self._key, *arguments))
        except WorkerGone as gone:
            self._lost = str(gone)
        except (RuntimeError, OSError) as error:  # the station was lost since its last use
            self._lost = f"the worker at {self._address} was lost ({error})"
        if self._lost is not None:
            raise WorkerDied(self._lost)

    def _answer(self) -> Any:
        if self._lost is not None:
            raise WorkerDied(self._lost)
        try:
            kind, values, news = self._workers.wait_for(self._pending.popleft(), self._address)
        except WorkerGone as gone:
            self._lost = str(gone)
            raise WorkerDied(self._lost) from None
        if news:
            with self.log.open("ab") as log:
                log.write(news)
        if kind == "failed":
            raise values
        if kind == "died":
            self._lost = str(values)
            raise WorkerDied(self._lost)
        return values
