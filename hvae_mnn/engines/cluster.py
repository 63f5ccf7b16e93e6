"""Where work runs: in this process, in worker processes of this machine, or on a Dask cluster.

Two kinds of work share a cluster: pure functions (`map`), and objects that live on one worker (`actor`), which hold
ngspice processes. What comes out never depends on how many workers there are. A worker that dies, or is not heard from
any more, loses its work to another one, once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import tempfile
import time
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from hvae_mnn.errors import EnvironmentProblem, HvaeMnnError, InputError, RunError

T = TypeVar("T")
R = TypeVar("R")

LIMIT_S = 600.0
"""Longest time that an item of `map` may take."""
CONNECT_S = 10.0
"""Longest wait for a scheduler's answer."""
_SILENCE_S = 120.0
"""A worker whose heartbeat (0.5 s) stays away for longer counts as dead."""
_REVIVAL_S = 30.0
"""Longest wait for a worker when all have died; those that are watched over come back within seconds."""
_POLL_S = 1.0
"""How often the workers are looked at while nothing else happens."""
_AHEAD = 2
"""Items handed to a worker per thread, so that it need not wait for the next."""


class WorkerGone(Exception):
    """The worker that was to answer is dead or silent; the argument says which."""


@dataclass(eq=False)
class _Task:
    """An item of `map` on its way."""

    index: int
    future: Any
    started: float | None = None
    """Since when it is a worker's turn to run it."""


class Cluster:
    """Workers to run things on; made by `here`, `local` or `at`, and closed after use (or a context manager)."""

    silence_s = _SILENCE_S

    def __init__(self, name: str, client: Any = None, processes: Any = None) -> None:
        """`client` of Dask, None for this process; `processes`: the local cluster that belongs to it."""
        self.name = name
        """What a person calls it."""
        self._client = client
        self._processes = processes
        self._on_close = contextlib.ExitStack()
        self._heard: dict[str, tuple[float, float]] = {}
        self._given_up: set[str] = set()
        self._actors: dict[tuple[type, str], Any] = {}
        self._load: Counter[str] = Counter()
        self._failed_on: dict[str, str] = {}

    @classmethod
    def here(cls) -> Cluster:
        """This process."""
        return cls("this process")

    @classmethod
    def local(cls, workers: int) -> Cluster:
        """`workers` processes of this machine, one thread each."""
        if workers < 1:
            raise EnvironmentProblem(f"{workers} workers were asked for; allowed is 1 or more")
        import dask.config

        with contextlib.ExitStack() as stack:
            stack.enter_context(_quiet())
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="hvae-mnn-workers-", ignore_cleanup_errors=True)
            )
            # Dask gives a worker up that does not come back within 15 s; a busy machine may need longer to start it.
            stack.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": "10000 days"}))
            processes = stack.enter_context(
                _dask().LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=":0",  # None would ask for one port, and warn when another has it
                    memory_limit=None,  # Dask would count, and kill for, what belongs to ngspice
                    local_directory=folder,
                    silence_logs=logging.CRITICAL,
                )
            )
            client = stack.enter_context(_dask().Client(processes, direct_to_workers=True, set_as_default=False))
            made = cls(f"{workers} local worker{'s' * (workers > 1)}", client, processes)
            made._on_close = stack.pop_all()
        return made

    @classmethod
    def at(cls, address: str) -> Cluster:
        """The Dask cluster whose scheduler listens at `address`, as `tcp://host:port`.

        Raises `EnvironmentProblem` when it does not answer, has no workers, or they run other versions than this
        process.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(_quiet())
            client = stack.enter_context(_connect(address))
            made = cls(address, client)
            made._require_same_versions()
            made._on_close = stack.pop_all()
        return made

    @property
    def is_here(self) -> bool:
        """Whether there is nothing but this process."""
        return self._client is None

    @property
    def workers(self) -> int:
        """How many workers there are now."""
        return 1 if self._client is None else len(self.alive())

    def describe(self) -> str:
        """For a summary."""
        return f"{self.workers} at {self.name}" if self._client is not None and self._processes is None else self.name

    def __enter__(self) -> Self:
        """Closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """End what was started; an existing cluster stays, without what was put there."""
        self._actors.clear()
        with contextlib.suppress(Exception):  # of a scheduler that went first
            self._on_close.close()

    def alive(self) -> dict[str, int]:
        """Number of threads by address of the workers that are heard from.

        Raises `RunError` when the scheduler itself is gone.
        """
        try:
            self._require_connection()
            found = self._client.scheduler_info(n_workers=-1)["workers"]
            self._require_connection()  # or the list is an old one
        except Exception as error:
            raise RunError(
                f"the Dask scheduler of {self.name} does not answer any more ({_one_line(error)}); start it again, then"
                " run the command again (a simulation goes on with --resume)"
            ) from None
        now, threads = time.monotonic(), {}
        for address, worker in sorted(found.items()):
            # Compared on this clock: the scheduler's may be another one.
            seen, since = self._heard.get(address, (0.0, now))
            if seen != worker["last_seen"]:
                seen, since = worker["last_seen"], now
            self._heard[address] = (seen, since)
            if address not in self._given_up and now - since < self.silence_s:
                threads[address] = int(worker["nthreads"])
        return threads

    def _require_connection(self) -> None:
        if self._client.status != "running":
            raise ConnectionError("the connection was lost")

    def _some_alive(self) -> dict[str, int]:
        """As `alive`, but waits a while when there is none."""
        until = time.monotonic() + _REVIVAL_S
        while not (found := self.alive()):
            if time.monotonic() > until:
                raise RunError(
                    f"no worker of {self.name} is left; start some (dask worker ADDRESS), then run the"
                    " command again (a simulation goes on with --resume)"
                )
            time.sleep(0.1)
        return found

    def map(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        *,
        progress: Callable[[int, int], None] | None = None,
        limit_s: float = LIMIT_S,
    ) -> list[R]:
        """`function(item)` of every item, in their order; `progress(done, of)` is called as they come.

        The function is pure, and pickled with its items. Errors of ours that it raises pass through; any other is a
        `RunError`, and so is an item whose worker died, or that took longer than `limit_s`, for the second time.
        """
        todo = list(items)
        what = getattr(function, "__name__", type(function).__name__)
        if self._client is not None:
            return _Mapping(self, function, todo, what, limit_s).run(progress)
        found = []
        for index, item in enumerate(todo):
            found.append(_value(_guarded(function, item), what, index, len(todo)))
            if progress is not None:
                progress(index + 1, len(todo))
        return found

    def submit(self, address: str, function: Callable[..., Any], *args: Any, actor: bool = False) -> Any:
        """Dask's future of a call that runs on that worker and on no other."""
        import dask.config

        key = f"hvae-mnn-{getattr(function, '__name__', 'call')}-{uuid.uuid4().hex}"
        # Whoever needs it, sends it: a tile is no large graph.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            return self._client.submit(
                function,
                *args,
                key=key,
                pure=False,
                retries=0,
                workers=[address],
                allow_other_workers=False,
                actor=actor,
            )

    def wait_for(self, future: Any, address: str) -> Any:
        """The result of a call to that worker; raises `WorkerGone` when the worker is, `RunError` when it cannot."""
        while True:
            try:
                return future.result(timeout=_POLL_S)
            except TimeoutError:
                if address not in self.alive():
                    self.give_up(address)
                    raise WorkerGone(f"the worker at {address} died or fell silent") from None
                if any(
                    where == address and actor._future.status == "error" for (_, where), actor in self._actors.items()
                ):
                    raise WorkerGone(f"the worker at {address} lost what it held") from None
            except _failures() as error:
                if _is_loss(error):
                    raise WorkerGone(f"the worker at {address} was lost ({_one_line(error)})") from None
                raise RunError(
                    f"the worker at {address} cannot do its part: {_one_line(error)}; start it from the same"
                    " environment as this process"
                ) from None

    def wait(self, futures: list[Any], seconds: float, condition: str) -> None:
        """Wait for `ALL_COMPLETED` or `FIRST_COMPLETED`, at most so long."""
        with contextlib.suppress(TimeoutError), self._client.as_current():
            _dask().wait(futures, timeout=seconds, return_when=condition)

    def actor(self, kind: type, address: str) -> Any:
        """The object of that class that lives on that worker: made when first asked for, gone when this is closed."""
        if (kind, address) not in self._actors:
            future = self.submit(address, kind, actor=True)
            found = self._actors[kind, address] = self.wait_for(future, address)
            # Left alone, Dask 2024 to 2026 takes whatever client this process has made its default, or none.
            found._client, found._future = self._client, future
        return self._actors[kind, address]

    def place(self, name: str) -> str:
        """Address of the worker that has least to hold, and is not the one on which `name` failed last."""
        threads = self._some_alive()
        others = [address for address in threads if address != self._failed_on.get(name)]
        chosen = min(others or threads, key=lambda address: self._load[address] / threads[address])
        self._load[chosen] += 1
        return chosen

    def leave(self, address: str, failed: str | None = None) -> None:
        """What was placed there is there no more; `failed`: its name, when it failed there."""
        self._load[address] -= 1
        if failed is not None:
            self._failed_on[failed] = address

    def give_up(self, address: str) -> None:
        """Give a worker no more work; one of our own is ended, and another takes its place."""
        self._given_up.add(address)
        if self._processes is not None:
            for watcher in list(self._processes.workers.values()):
                if watcher.worker_address == address and watcher.pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(watcher.pid, signal.SIGKILL)

    def _require_same_versions(self) -> None:
        addresses = list(self.alive())
        if not addresses:
            raise EnvironmentProblem(
                f"the Dask scheduler at {self.name} has no workers; start some: dask worker {self.name}"
            )

        def versions() -> str:
            # Within a function, it travels by value: a worker that cannot import what it is sent, dies.
            import platform

            try:
                import numpy

                import hvae_mnn
            except ImportError as error:
                return f"without hvae-mnn ({error})"
            return f"hvae-mnn {hvae_mnn.__version__}, Python {platform.python_version()}, numpy {numpy.__version__}"

        here, futures = versions(), {address: self.submit(address, versions) for address in addresses}
        self.wait(list(futures.values()), CONNECT_S, "ALL_COMPLETED")  # a worker that is busy then, is let in
        alive = self.alive()
        for address, future in futures.items():
            there = here
            if address not in alive:
                there = "something else (it died of the question)"
            elif future.status != "pending":
                with contextlib.suppress(WorkerGone):
                    there = self.wait_for(future, address)
            if there != here:
                raise EnvironmentProblem(
                    f"worker {address} of {self.name} runs {there}, this process {here}; start its workers from the"
                    " same environment as this process"
                )


class _Mapping:
    """One `map` on a cluster.

    Every item is handed to one worker and to no other, as its turn comes: so it is known where each one runs and since
    when, and a worker that dies or hangs takes few with it.
    """

    def __init__(
        self, cluster: Cluster, function: Callable[[Any], Any], items: Sequence[Any], what: str, limit_s: float
    ) -> None:
        self._cluster, self._function, self._items, self._what, self._limit_s = cluster, function, items, what, limit_s
        self._todo = deque(range(len(items)))
        self._flying: dict[str, list[_Task]] = {}
        self._threads: dict[str, int] = {}
        self._failed = [0] * len(items)
        self._found: dict[int, Any] = {}

    def run(self, progress: Callable[[int, int], None] | None) -> list[Any]:
        """The values, in order."""
        looked = -_POLL_S
        try:
            while len(self._found) < len(self._items):
                if time.monotonic() - looked >= _POLL_S:
                    self._look_after_workers()
                    looked = time.monotonic()
                self._hand_out()
                flying = [task.future for tasks in self._flying.values() for task in tasks]
                self._cluster.wait(flying, min(_POLL_S, self._limit_s / 4), "FIRST_COMPLETED")
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
                        _Task(index, self._cluster.submit(address, _guarded, self._function, self._items[index]))
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
                    self._found[task.index] = _value(answer, self._what, task.index, len(self._items))


def _dask() -> Any:
    """Imported by those alone who use it: it takes 0.4 s."""
    import distributed

    return distributed


def _guarded(function: Callable[[T], R], item: T) -> tuple[str, Any]:
    """What became of a call: ("value", it), ("ours", the error) or ("error", one line)."""
    try:
        return "value", function(item)
    except HvaeMnnError as error:
        return "ours", error
    except Exception as error:
        return "error", _one_line(error)


def _value(answer: tuple[str, Any], what: str, index: int, of: int) -> Any:
    kind, found = answer
    if kind == "ours":
        raise found
    if kind == "error":
        raise RunError(f"{what}, part {index + 1} of {of}, failed: {found}; this is an error in hvae-mnn, report it")
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")


def _failures() -> tuple[type[BaseException], ...]:
    """What Dask raises for a call; those of the call itself never get here."""
    import asyncio
    from concurrent.futures import CancelledError

    return (Exception, asyncio.CancelledError, CancelledError)


def _is_loss(error: BaseException) -> bool:
    """Whether the worker was at fault and not what it was given."""
    from distributed.scheduler import KilledWorker

    return isinstance(error, (KilledWorker, OSError)) or "Cancelled" in type(error).__name__


def _connect(address: str) -> Any:
    """Dask's client, or `EnvironmentProblem` when nobody answers."""
    import asyncio

    async def knock() -> None:
        # Dask's own time limit does not cover the first words that are exchanged.
        comm = await asyncio.wait_for(_dask().comm.connect(address, timeout=CONNECT_S), 1.2 * CONNECT_S)
        comm.abort()

    try:
        with ThreadPoolExecutor(1) as thread:  # there may be a loop in this one
            thread.submit(lambda: asyncio.run(knock())).result()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions: those that matter are compared later
            return _dask().Client(address, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:
        raise EnvironmentProblem(
            f"no Dask scheduler answers at {address} ({_one_line(error)}); start one: dask scheduler"
        ) from None


def _not_of_dask(record: logging.LogRecord) -> bool:
    return "distributed.client.AllExit" not in logging.Formatter().format(record)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask's loggers: what a person has to know is in our errors."""
    _dask()  # which sets them up
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    # What Dask left unfinished when a worker died is reported by asyncio, as late as at the end of the process.
    logging.getLogger("asyncio").addFilter(_not_of_dask)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def open_cluster(workers: int | None = None, scheduler: str | None = None) -> Cluster:
    """What `--workers` and `--scheduler` ask for; by default this process.

    Raises `InputError` for both at once or fewer than one worker, `EnvironmentProblem` for a scheduler that does not
    answer.
    """
    if workers is not None and scheduler is not None:
        raise InputError("--workers and --scheduler exclude each other; give one of them")
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}; it must be 1 or more")
    if scheduler is not None:
        return Cluster.at(scheduler)
    return Cluster.here() if workers is None else Cluster.local(workers)
