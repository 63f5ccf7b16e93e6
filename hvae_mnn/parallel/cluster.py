"""Where work runs: in this process, in worker processes of this machine, or on a Dask cluster.

Two kinds of work share a cluster: pure functions (`map`), and objects that live on one worker (`actor`), which hold
ngspice processes. What comes out never depends on how many workers there are. A worker that dies, or is not heard from
any more, loses its work to another one, once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from hvae_mnn.errors import EnvironmentProblem, HvaeMnnError, InputError, RunError
from hvae_mnn.owned import temporary_folder
from hvae_mnn.parallel.dask_client import CONNECT_S, connect, distributed, failures, is_loss, one_line, quiet
from hvae_mnn.parallel.local_cluster import start_local
from hvae_mnn.parallel.map import POLL_S, ItemError, Mapping, WorkerGone, guarded

T = TypeVar("T")
R = TypeVar("R")

LIMIT_S = 600.0
"""Longest time that an item of `map` may take."""
_SILENCE_S = 120.0
"""A worker whose heartbeat (0.5 s) stays away for longer counts as dead."""
_SETTLE_S = 5.0
"""Longest wait for another worker than the one on which something has just failed."""
_REVIVAL_S = 30.0
"""Longest wait for a worker when all have died; those that are watched over come back within seconds."""


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
        with contextlib.ExitStack() as stack:
            stack.enter_context(quiet())
            folder = stack.enter_context(temporary_folder())
            processes, client = start_local(workers, str(folder), stack)
            made = cls(f"{workers} local worker{'s' * (workers > 1)}", client, processes)
            made._on_close = stack.pop_all()
        return made

    @classmethod
    def at(cls, address: str) -> Cluster:
        """The Dask cluster whose scheduler listens at `address`, as `tcp://host:port` or `tls://host:port`.

        It must be trusted: Dask sends pickled objects both ways, and whoever can reach a scheduler without TLS can have
        code run by its workers and clients.

        Raises `EnvironmentProblem` when it does not answer, has no workers, or they run other versions than this
        process.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(quiet())
            client = stack.enter_context(connect(address))
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
                f"the Dask scheduler of {self.name} does not answer any more ({one_line(error)}); start it again, then"
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
        values: dict[int, R] = {}

        def fail(index: int, error: HvaeMnnError) -> None:
            if isinstance(error, ItemError):
                raise RunError(f"{what}, part {index + 1} of {len(todo)}, {error}")
            raise error

        self.each(function, todo, values.__setitem__, fail, progress=progress, limit_s=limit_s)
        return [values[index] for index in range(len(todo))]

    def each(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        found: Callable[[int, R], None],
        failed: Callable[[int, HvaeMnnError], None],
        *,
        progress: Callable[[int, int], None] | None = None,
        limit_s: float = LIMIT_S,
    ) -> None:
        """As `map`, but every item is told in this process as soon as it is settled, in any order: `found(index,
        value)`, or `failed(index, error)` for one that raised an error or was lost twice, and the others go on.

        Raises `RunError` when the cluster itself is lost, and whatever the two functions raise.
        """

        def tell(index: int, answer: Any) -> None:
            if isinstance(answer, HvaeMnnError):
                failed(index, answer)
            else:
                found(index, answer)

        if self._client is not None:
            Mapping(self, function, items, tell, limit_s).run(progress)
            return
        for index, item in enumerate(items):
            tell(index, guarded(function, item))
            if progress is not None:
                progress(index + 1, len(items))

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
                return future.result(timeout=POLL_S)
            except TimeoutError:
                if address not in self.alive():
                    self.give_up(address)
                    raise WorkerGone(f"the worker at {address} died or fell silent") from None
                if any(
                    where == address and actor._future.status == "error" for (_, where), actor in self._actors.items()
                ):
                    raise WorkerGone(f"the worker at {address} lost what it held") from None
            except failures() as error:
                if is_loss(error):
                    raise WorkerGone(f"the worker at {address} was lost ({one_line(error)})") from None
                raise RunError(
                    f"the worker at {address} cannot do its part: {one_line(error)}; start it from the same"
                    " environment as this process"
                ) from None

    def wait(self, futures: list[Any], seconds: float, condition: str) -> None:
        """Wait for `ALL_COMPLETED` or `FIRST_COMPLETED`, at most so long; `RunError` when the scheduler is lost."""
        try:
            with contextlib.suppress(TimeoutError), self._client.as_current():
                distributed().wait(futures, timeout=seconds, return_when=condition)
        except Exception as error:
            if not is_loss(error):
                raise
            self.alive()

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
        until = time.monotonic() + _SETTLE_S
        while True:
            threads = self._some_alive()
            others = [address for address in threads if address != self._failed_on.get(name)]
            # One that has just died may still be on the scheduler's list.
            if others or time.monotonic() > until:
                break
            time.sleep(0.1)
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
