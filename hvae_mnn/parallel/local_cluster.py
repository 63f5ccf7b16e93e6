"""Worker processes of this machine: Dask's local cluster, which nobody on another machine can reach."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import Any

from hvae_mnn.errors import EnvironmentProblem
from hvae_mnn.parallel.dask_client import distributed

_LOOPBACK = "127.0.0.1"
_PER_CORE = 16
"""Most workers for a core: many more keep a machine from answering."""
_FILES, _THREADS = (20, 10), (5, 7)
"""Open files of this process, and threads of this user, that a cluster takes, and that each of its workers does."""
_SETTINGS = {
    # Dask gives a worker up that does not come back within 15 s; a busy machine may need longer to start it.
    "distributed.deploy.lost-worker-timeout": "10000 days",
    # Every process has a web server, which shows state and logs to whoever asks: it has nothing to show.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


def start_local(workers: int, folder: str, until: contextlib.ExitStack) -> tuple[Any, Any]:
    """Start `workers` processes of one thread each, which end when `until` is closed; `folder` is for their files.

    Returns Dask's cluster and a client of it. Everything that listens does so on the loopback address. Raises
    `EnvironmentProblem` when the machine does not let them start.
    """
    import dask.config

    most = _PER_CORE * (os.cpu_count() or 1)
    if not 1 <= workers <= most:
        raise EnvironmentProblem(f"{workers} workers were asked for; allowed on this machine: 1 to {most}")
    _require_room(workers)
    settings = {**_SETTINGS, "temporary-directory": folder}  # its own would have a name that others can know
    try:
        until.enter_context(dask.config.set(settings))
        processes = until.enter_context(
            distributed().LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host=_LOOPBACK,
                dashboard_address=f"{_LOOPBACK}:0",  # None would ask for one port, and warn when another has it
                scheduler_kwargs={"dashboard": False},
                memory_limit=None,  # Dask would count, and kill for, what belongs to ngspice
                local_directory=folder,
                preload="hvae_mnn.parallel.local_worker",
                silence_logs=logging.CRITICAL,
            )
        )
        return processes, until.enter_context(
            distributed().Client(processes, direct_to_workers=True, set_as_default=False)
        )
    except Exception as error:
        raise _cannot_start(workers, error) from None


def _require_room(workers: int) -> None:
    """Take what a cluster will need for a moment: where it runs out half-way, Dask neither ends nor stays quiet."""
    with contextlib.ExitStack() as stack:
        try:
            for _ in range(_FILES[0] + _FILES[1] * workers):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
            released = threading.Event()
            for _ in range(_THREADS[0] + _THREADS[1] * workers):
                thread = threading.Thread(target=released.wait, daemon=True)
                thread.start()
                stack.callback(thread.join)
                stack.callback(released.set)
        except (OSError, RuntimeError) as error:
            raise _cannot_start(workers, error) from None


def _cannot_start(workers: int, error: Exception) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"{workers} worker process{'es' * (workers > 1)} cannot be started ({_reason(error)}); use fewer workers, or"
        " raise the limits of open files (ulimit -n) and processes (ulimit -u)"
    )


def _reason(error: BaseException) -> str:
    """What an error goes back to: Dask wraps it several times."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    text = error.strerror if isinstance(error, OSError) else None
    return " ".join((text or str(error)).split()) or type(error).__name__
