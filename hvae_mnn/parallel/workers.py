"""The workers of a Dask cluster: which are alive, and calls and objects on one of them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from hvae_mnn.errors import EnvironmentProblem, RunError
from hvae_mnn.parallel.dask_client import CONNECT_S, distributed, failures, is_loss, one_line

POLL_S = 1.0
"""Seconds between checks of the workers while nothing else happens."""
_SILENCE_S = 120.0
"""Seconds without a heartbeat (one every 0.5 s) after which a worker counts as dead."""
_SETTLE_S = 5.0
"""Longest wait, in seconds, for another worker after a failure."""
_REVIVAL_S = 30.0
"""Longest wait, in seconds, for a worker after all have died; supervised workers restart within seconds."""


class WorkerGone(Exception):
    """The worker is dead or silent; the argument says which."""


class Workers:
    """The workers of a Dask client."""

    silence_s = _SILENCE_S

    def __init__(self, name: str, client: Any, processes: Any = None) -> None:
        """`client` of Dask; `processes`: the local cluster, if this package started it; `name` for messages."""
        self.name = name
        self._client = client
        self._processes = processes
        self._heard: dict[str, tuple[float, float]] = {}
        self._given_up: set[str] = set()
        self._actors: dict[tuple[type, str], Any] = {}
        self._load: Counter[str] = Counter()
        self._failed_on: dict[str, str] = {}

    def alive(self) -> dict[str, int]:
        """Number of threads by address of all live workers.

        Raises `RunError` if the scheduler is lost.
        """
        try:
            self._require_connection()
            workers = self._client.scheduler_info(n_workers=-1)["workers"]
            self._require_connection()  # else the list is outdated
        except Exception as error:
            raise RunError(
                f"the Dask scheduler of {self.name} does not answer any more ({one_line(error)}); start it again, then"
                " run the command again (resume a simulation with --resume)"
            ) from None
        now, threads = time.monotonic(), {}
        for address, worker in sorted(workers.items()):
            # Compared on this machine's clock: the scheduler's may differ.
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

    def some_alive(self) -> dict[str, int]:
        """As `alive`, but waits a while if there is none. Raises `RunError` if none returns."""
        until = time.monotonic() + _REVIVAL_S
        while not (threads := self.alive()):
            if time.monotonic() > until:
                raise RunError(
                    f"no worker of {self.name} is left; start some (dask worker ADDRESS), then run the"
                    " command again (resume a simulation with --resume)"
                )
            time.sleep(0.1)
        return threads

    def submit(self, address: str, function: Callable[..., Any], *args: Any, actor: bool = False) -> Any:
        """Dask's future of a call that runs on exactly this worker."""
        import dask.config

        key = f"hvae-mnn-{getattr(function, '__name__', 'call')}-{uuid.uuid4().hex}"
        # A large argument is sent with the call on purpose: a tile is not a large graph.
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
        """The result of a call to this worker. Raises `WorkerGone` if the worker is lost, `RunError` if the call
        fails."""
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
        """Wait at most `seconds` for `ALL_COMPLETED` or `FIRST_COMPLETED`. Raises `RunError` if the scheduler is
        lost."""
        try:
            with contextlib.suppress(TimeoutError), self._client.as_current():
                distributed().wait(futures, timeout=seconds, return_when=condition)
        except Exception as error:
            if not is_loss(error):
                raise
            self.alive()

    def actor(self, kind: type, address: str) -> Any:
        """The object of class `kind` on this worker: made on first use, removed on close."""
        if (kind, address) not in self._actors:
            future = self.submit(address, kind, actor=True)
            actor = self._actors[kind, address] = self.wait_for(future, address)
            # By itself, Dask 2024 to 2026 uses the default client of this process, or none.
            actor._client, actor._future = self._client, future
        return self._actors[kind, address]

    def assign(self, name: str) -> str:
        """Address of a worker for the object `name`: the worker with the fewest objects per thread, except the one on
        which `name` failed last. Raises `RunError` if no worker is left."""
        until = time.monotonic() + _SETTLE_S
        while True:
            threads = self.some_alive()
            others = [address for address in threads if address != self._failed_on.get(name)]
            # A worker that has just died may still be on the scheduler's list.
            if others or time.monotonic() > until:
                break
            time.sleep(0.1)
        chosen = min(others or threads, key=lambda address: self._load[address] / threads[address])
        self._load[chosen] += 1
        return chosen

    def release(self, address: str, failed: str | None = None) -> None:
        """End the assignment of an object to this worker; `failed`: its name, if it failed there."""
        self._load[address] -= 1
        if failed is not None:
            self._failed_on[failed] = address

    def give_up(self, address: str) -> None:
        """Give a worker no further work. A worker of this package's own cluster is ended and replaced."""
        self._given_up.add(address)
        if self._processes is not None:
            for watcher in list(self._processes.workers.values()):
                if watcher.worker_address == address and watcher.pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(watcher.pid, signal.SIGKILL)

    def require_same_versions(self) -> None:
        """Raise `EnvironmentProblem` if there are no workers, or one runs other versions than this process."""
        addresses = list(self.alive())
        if not addresses:
            raise EnvironmentProblem(
                f"the Dask scheduler at {self.name} has no workers; start some: dask worker {self.name}"
            )

        def versions() -> str:
            # A nested function travels by value: a worker that cannot import a function it receives dies.
            import platform

            try:
                import numpy

                from hvae_mnn.version import __version__
            except ImportError as error:
                return f"without hvae-mnn ({error})"
            return f"hvae-mnn {__version__}, Python {platform.python_version()}, numpy {numpy.__version__}"

        here, futures = versions(), {address: self.submit(address, versions) for address in addresses}
        self.wait(list(futures.values()), CONNECT_S, "ALL_COMPLETED")  # a worker that is busy then is accepted
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

    def forget_actors(self) -> None:
        """Release, and so end, every object on a worker."""
        self._actors.clear()
