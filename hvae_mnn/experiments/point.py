"""Runs one task of a sweep: draws the hardware, solves it, runs the text, and measures."""

from __future__ import annotations

from hvae_mnn.experiments.task import Outcome, Task


def run_task(task: Task) -> Outcome:
    """Run it, on one thread, so that the bits of a result do not depend on how many tasks run beside it.

    Raises `HvaeMnnError` for a point that cannot be built or run.
    """
    raise NotImplementedError(task.kind)
