"""Where a run's files go."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from hvae_mnn.folders import new_folder

RUNS = Path("runs")


def new_run(out: Path | None, name: str, remedy: str = "choose another --out") -> AbstractContextManager[Path]:
    """`folders.new_folder`: `out`, or by default `runs/<name>`."""
    return new_folder(out, RUNS / name, remedy)
