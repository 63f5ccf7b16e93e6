"""The progress bar that every command uses."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar(console: Console, speed_over_s: float = 30.0) -> Progress:
    """A bar on `console`: what, how much of it, time gone, time left; none without a terminal.

    The time left is told from the speed of the last `speed_over_s` seconds.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=speed_over_s,
        transient=True,
        disable=not console.is_terminal,
    )
