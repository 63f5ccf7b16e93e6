"""Progress of long work: the one place that draws bars, for the command line and for notebooks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
_Callback = TypeVar("_Callback", bound=Callable[..., None])


class Bar:
    """One bar: what is being done, how much of it, time gone, time left. It is erased at its end."""

    def __init__(self, console: Console, speed_over_s: float) -> None:
        """`speed_over_s`: seconds over which the speed is measured that gives the time left."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._live = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=speed_over_s,
            transient=True,
            redirect_stdout=False,  # it may be a pipe, whose reader wants what is printed
        )
        self._task: TaskID | None = None
        self._done = 0
        self._total: int | None = None

    def __enter__(self) -> Bar:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Erase the bar."""
        self._live.stop()

    def show(self, what: str, done: int, total: int | None) -> None:
        """Draw `done` of `total` (None: not known). A count that begins anew is another stage, with its own speed."""
        if self._task is not None and (done < self._done or total != self._total):
            self._live.remove_task(self._task)
            self._task = None
        if self._task is None:  # what was done before tells nothing of the speed
            self._task = self._live.add_task(what, completed=done, total=total)
        self._live.update(self._task, description=what, completed=done)
        self._done, self._total = done, total

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Erase the bar while something else is printed."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()


def watching_console() -> Console | None:
    """The console on stderr where a person watches it, in a terminal or a notebook; None in pipes and in CI."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter:  # as text, since rich's own bars need ipywidgets there
        return Console(stderr=True, force_jupyter=False, force_terminal=True, force_interactive=True, width=100)
    return console if console.is_interactive else None


@contextlib.contextmanager
def watched(
    progress: bool | _Callback, draw: Callable[[Bar], _Callback], *, speed_over_s: float = 30.0
) -> Iterator[_Callback | None]:
    """What long work calls with its progress: `progress` itself where it is a function; with True, what `draw` makes of
    a new bar, if a person watches; else None."""
    console = watching_console() if progress is True else None
    if callable(progress):
        yield progress
    elif console is None:
        yield None
    else:
        with Bar(console, speed_over_s) as bar:
            yield draw(bar)
