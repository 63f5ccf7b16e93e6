"""Where work runs: in this process, in worker processes of this machine, or on a Dask cluster.

Two kinds of work share a cluster: pure functions (`map`), and objects that live on one worker (`actor`), which hold
ngspice processes. What comes out never depends on how many workers there are. A worker that dies, or is not heard from
any more, loses its work to another one, once.
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
"""Longest time that an item of `map` may take."""


class Cluster:
    """Workers to run things on; made by `here`, `local` or `at`, and closed after use (or a context manager)."""

    def __init__(self, name: str, remote: Workers | None = None, processes: Any = None) -> None:
        """`remote`: its workers, None for this process; `processes`: the local cluster that belongs to it."""
        self.name = name
        """What a person calls it."""
        self.remote = remote
        self._processes = processes
        self._on_close = contextlib.ExitStack()

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
            name = f"{workers} local worker{'s' * (workers > 1)}"
            made = cls(name, Workers(name, client, processes), processes)
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
            remote = Workers(address, client)
            remote.require_same_versions()
            made = cls(address, remote)
            made._on_close = stack.pop_all()
        return made

    @property
    def is_here(self) -> bool:
        """Whether there is nothing but this process."""
        return self.remote is None

    @property
    def workers(self) -> int:
        """How many workers there are now."""
        return 1 if self.remote is None else len(self.remote.alive())

    def describe(self) -> str:
        """For a summary."""
        return f"{self.workers} at {self.name}" if self.remote is not None and self._processes is None else self.name

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
        if self.remote is not None:
            self.remote.forget_actors()
        with contextlib.suppress(Exception):  # of a scheduler that went first
            self._on_close.close()

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

        if self.remote is not None:
            Mapping(self.remote, function, items, tell, limit_s).run(progress)
            return
        for index, item in enumerate(items):
            tell(index, guarded(function, item))
            if progress is not None:
                progress(index + 1, len(items))


def open_cluster(workers: int | None = None, scheduler: str | None = None) -> Cluster:
    """What `--workers` and `--scheduler` ask for; by default this process.

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
