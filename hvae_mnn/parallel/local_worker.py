"""Start-up of a worker process on this machine; Dask loads this module by name."""

from __future__ import annotations

import signal
import warnings
from typing import Any

from hvae_mnn.errors import Note


def dask_setup(worker: Any) -> None:
    """Ignore signals that a terminal or supervisor sends to all its processes, and silence notes: the parent process
    handles both."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore", Note)  # the parent process reports it once
