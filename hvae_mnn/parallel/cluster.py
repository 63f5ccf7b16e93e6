"""Places to run work: this process, worker processes of this machine, or a Dask cluster.

Two kinds of work share a cluster: pure functions (`map`), and objects that live on one worker (`actor`), which hold
ngspice processes. Results never depend on the number of workers. If a worker dies or falls silent, its work
moves to another worker, once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from hvae_mnn.errors import HvaeMnnError, InputError, RunError
from hvae_mnn.owned import temporary_folder
from hvae_mnn.parallel.dask_client import connect, quiet
from hvae_mnn.parallel.local_cluster import start_local
from hvae_mnn.parallel.map import ItemError, Mapping, guarded
from hvae_mnn.parallel.workers import Workers

T = TypeVar("T")
R = TypeVar("R")

LIMIT_S = 600.0
"""Longest time for an item of `map`, seconds."""


class Cluster:
    """Workers that run functions and objects; made by `here`, `local` or `at`. Close it after use, or use it as a
    context."""

    def __init__(self, name: str, remote: Workers | None = None, processes: Any = None) -> None:
        """`remote`: the workers, None for this process; `processes`: the local cluster, if there is one."""
        self.name = name
        """Name in messages."""
        self.remote = remote
        self._processes = processes
        self._on_close = contextlib.ExitStack()

    @classmethod
    def here(cls) -> Cluster:
        """A cluster that runs everything in this process."""
        return cls("this process")

    @classmethod
    def local(cls, workers: int) -> Cluster:
        """A cluster of `workers` processes on this machine, with one thread each."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(quiet())
            folder = stack.enter_context(temporary_folder())
            processes, client = start_local(workers, str(folder), stack)
            name = f"{workers} local worker{'s' * (workers > 1)}"
            made = cls(name, Workers(name, client, processes), processes)
            made._on_close = stack.pop_all()
        return made

    @classmethod
    def at(cls, address: str) -> Cluster:
        """The Dask cluster whose scheduler listens at `address`, as `tcp://host:port` or `tls://host:port`.

        Name only a scheduler that you trust: Dask sends pickled objects both ways, and anybody who can reach a
        scheduler without TLS can run code on its workers and clients.

        Raises `EnvironmentProblem` if it does not answer, has no workers, or its workers run other versions than this
        process.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(quiet())
            client = stack.enter_context(connect(address))
            remote = Workers(address, client)
            remote.require_same_versions()
            made = cls(address, remote)
            made._on_close = stack.pop_all()
        return made

    @property
    def is_here(self) -> bool:
        """Whether everything runs in this process."""
        return self.remote is None

    @property
    def workers(self) -> int:
        """Current number of workers."""
        return 1 if self.remote is None else len(self.remote.alive())

    def describe(self) -> str:
        """Short description for a summary."""
        return f"{self.workers} at {self.name}" if self.remote is not None and self._processes is None else self.name

    def __enter__(self) -> Self:
        """Return the cluster; the block's end closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """End everything that this object started; an existing Dask cluster stays, without the objects placed on it."""
        if self.remote is not None:
            self.remote.forget_actors()
        with contextlib.suppress(Exception):  # the scheduler has ended before
            self._on_close.close()

    def map(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        *,
        progress: Callable[[int, int], None] | None = None,
        limit_s: float = LIMIT_S,
    ) -> list[R]:
        """Results of `function(item)` for all items, in order; `progress(done, total)` is called after each one.

        The function must be pure; it is pickled with its items. A `HvaeMnnError` that it raises passes through.

        Raises `RunError` for any other error, and for an item whose worker died, or that took longer than `limit_s`,
        for the second time.
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
        succeeded: Callable[[int, R], None],
        failed: Callable[[int, HvaeMnnError], None],
        *,
        progress: Callable[[int, int], None] | None = None,
        limit_s: float = LIMIT_S,
    ) -> None:
        """As `map`, but reports every item in this process as soon as it is settled, in any order: `succeeded(index,
        value)`, or `failed(index, error)` if it raised an error or was lost twice. The other items continue.

        Raises `RunError` if the cluster itself is lost, and any error of the two functions.
        """

        def tell(index: int, answer: Any) -> None:
            if isinstance(answer, HvaeMnnError):
                failed(index, answer)
            else:
                succeeded(index, answer)

        if self.remote is not None:
            Mapping(self.remote, function, items, tell, limit_s).run(progress)
            return
        for index, item in enumerate(items):
            tell(index, guarded(function, item))
            if progress is not None:
                progress(index + 1, len(items))


def open_cluster(workers: int | None = None, scheduler: str | None = None) -> Cluster:
    """The cluster for `--workers` and `--scheduler`; by default this process.

    Raises `InputError` for both at once or fewer than one worker, `EnvironmentProblem` for a scheduler that does not
    answer.
    """
    if workers is not None and scheduler is not None:
        raise InputError("--workers and --scheduler exclude each other; give one of them")
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}; allowed: 1 or more")
    if scheduler is not None:
        return Cluster.at(scheduler)
    return Cluster.here() if workers is None else Cluster.local(workers)
