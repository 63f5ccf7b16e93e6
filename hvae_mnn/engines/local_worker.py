"""What a worker process of this machine does first; Dask loads it by name."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave signals that a terminal or a supervisor sends to all its processes to the one that started this."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
