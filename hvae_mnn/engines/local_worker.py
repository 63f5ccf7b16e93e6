"""What a worker process of this machine does first; Dask loads it by name."""

from __future__ import annotations

import signal
import warnings
from typing import Any

from hvae_mnn.errors import Note


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C, which a terminal sends to all its processes, and notes to the one that started this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore", Note)  # whoever started this says it once
