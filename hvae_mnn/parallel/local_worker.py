"""What a worker process of this machine does first; Dask loads it by name."""

from __future__ import annotations

import signal
import warnings
from typing import Any

from hvae_mnn.errors import Note


def dask_setup(worker: Any) -> None:
    """Leave signals that a terminal or a supervisor sends to all its processes, and notes, to the one that started
    this."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore", Note)  # whoever started this says it once
