"""What a worker process of this machine does first; Dask loads it by name."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C, which a terminal sends to all its processes, to the one that started this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
