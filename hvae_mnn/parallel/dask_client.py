"""Dask, as far as a cluster needs it: a quiet client, and what its errors mean."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hvae_mnn.errors import EnvironmentProblem

CONNECT_S = 10.0
"""Longest wait for a scheduler's answer."""


def distributed() -> Any:
    """Imported by those alone who use it: it takes 0.4 s."""
    return importlib.import_module("distributed")


def one_line(error: BaseException) -> str:
    """What an error says, on one line that is not too long."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")


def failures() -> tuple[type[BaseException], ...]:
    """What Dask raises for a call; those of the call itself never get here."""
    import asyncio
    from concurrent.futures import CancelledError

    return (Exception, asyncio.CancelledError, CancelledError)


def is_loss(error: BaseException) -> bool:
    """Whether the worker was at fault and not what it was given."""
    from distributed.scheduler import KilledWorker

    return isinstance(error, (KilledWorker, OSError)) or "Cancelled" in type(error).__name__


def connect(address: str) -> Any:
    """Dask's client, with the TLS settings of Dask's own configuration; `EnvironmentProblem` when nobody answers."""
    import asyncio

    async def knock(**arguments: Any) -> None:
        # Dask's own time limit does not cover the first words that are exchanged.
        comm = await asyncio.wait_for(
            distributed().comm.connect(address, timeout=CONNECT_S, **arguments), 1.2 * CONNECT_S
        )
        comm.abort()

    try:
        security = distributed().Security()
        arguments = security.get_connection_args("client")
        with ThreadPoolExecutor(1) as thread:  # there may be a loop in this one
            thread.submit(lambda: asyncio.run(knock(**arguments))).result()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions: those that matter are compared later
            return distributed().Client(address, timeout=CONNECT_S, security=security, set_as_default=False)
    except Exception as error:
        remedy = "start one: dask scheduler"
        if address.startswith("tls://") or "encryption" in str(error):
            remedy = (
                "its TLS settings and Dask's own here (distributed.comm.tls, or the environment variables"
                " DASK_DISTRIBUTED__COMM__TLS__...) must fit together"
            )
        raise EnvironmentProblem(f"no Dask scheduler answers at {address} ({one_line(error)}); {remedy}") from None


def _not_of_dask(record: logging.LogRecord) -> bool:
    return "distributed.client.AllExit" not in logging.Formatter().format(record)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Dask's loggers: what a person has to know is in our errors."""
    distributed()  # which sets them up
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
