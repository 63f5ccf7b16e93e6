"""Worker processes of this machine: Dask's local cluster, unreachable from other machines."""

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
"""Largest number of workers per core: many more make a machine unresponsive."""
_FILES, _THREADS = (20, 10), (5, 7)
"""Open files of this process and threads of this user, each as (for the cluster, for each of its workers)."""
_SETTINGS = {
    # Dask gives up a worker that does not return within 15 s; a busy machine may need longer to start it.
    "distributed.deploy.lost-worker-timeout": "10000 days",
    # Every Dask process has a web server that shows state and logs to anybody: its routes are removed.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


def start_local(workers: int, folder: str, until: contextlib.ExitStack) -> tuple[Any, Any]:
    """Start `workers` processes of one thread each, which end when `until` is closed; `folder` holds their files.

    Returns Dask's cluster and its client. All sockets listen on the loopback address only. Raises
    `EnvironmentProblem` if the machine does not allow them to start.
    """
    import dask.config

    most = _PER_CORE * (os.cpu_count() or 1)
    if not 1 <= workers <= most:
        raise EnvironmentProblem(f"{workers} workers were asked for; allowed on this machine: 1 to {most}")
    _require_room(workers)
    settings = {**_SETTINGS, "temporary-directory": folder}  # Dask's own folder would have a predictable name
    try:
        until.enter_context(dask.config.set(settings))
        processes = until.enter_context(
            distributed().LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host=_LOOPBACK,
                dashboard_address=f"{_LOOPBACK}:0",  # None would request one fixed port, and warn if it is taken
                scheduler_kwargs={"dashboard": False},
                memory_limit=None,  # Dask would count the memory of ngspice, and kill workers for it
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
    """Allocate the cluster's files and threads for a moment: if they run out half-way, Dask neither ends nor stays
    quiet."""
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
    """The original cause of an error, which Dask wraps several times."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    text = error.strerror if isinstance(error, OSError) else None
    return " ".join((text or str(error)).split()) or type(error).__name__
