"""A quiet Dask client, and the meaning of its errors."""

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
"""Longest wait for a scheduler's answer, seconds."""


def distributed() -> Any:
    """The module `distributed`, imported on first use because it takes 0.4 s."""
    return importlib.import_module("distributed")


def one_line(error: BaseException) -> str:
    """The text of an error on one line of bounded length."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200].rstrip(": ")


def failures() -> tuple[type[BaseException], ...]:
    """Errors that Dask raises for a call; errors of the called function are not among them."""
    import asyncio
    from concurrent.futures import CancelledError

    return (Exception, asyncio.CancelledError, CancelledError)


def is_loss(error: BaseException) -> bool:
    """Whether the worker caused the error, and not its work."""
    from distributed.scheduler import KilledWorker

    return isinstance(error, (KilledWorker, OSError)) or "Cancelled" in type(error).__name__


def connect(address: str) -> Any:
    """Dask's client, with the TLS settings of Dask's own configuration. Raises `EnvironmentProblem` without an
    answer."""
    import asyncio

    async def knock(**arguments: Any) -> None:
        # Dask's own time limit does not cover the initial handshake.
        comm = await asyncio.wait_for(
            distributed().comm.connect(address, timeout=CONNECT_S, **arguments), 1.2 * CONNECT_S
        )
        comm.abort()

    try:
        security = distributed().Security()
        arguments = security.get_connection_args("client")
        with ThreadPoolExecutor(1) as thread:  # this thread may have an event loop
            thread.submit(lambda: asyncio.run(knock(**arguments))).result()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about versions: the relevant ones are compared later
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
    """Silence Dask's loggers: this package's own errors carry the necessary information."""
    distributed()  # the import configures the loggers
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    # asyncio reports Dask's unfinished calls to dead workers, possibly as late as the end of the process.
    logging.getLogger("asyncio").addFilter(_not_of_dask)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
