"""Signals that end a command: SIGTERM and SIGHUP work as Ctrl-C does, so that nothing is left behind."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

import rich_click as click
from rich.console import Console

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REPEATED_S = 0.5
"""A terminal that closes sends SIGHUP itself and through the shell: within this time it is one signal."""

_AGAIN_S = 0.02


@dataclass
class Ended:
    """How a command was ended, if it was."""

    number: int = signal.SIGINT
    """Of the signal that ended it; of Ctrl-C also where a question was answered with no."""
    since: float | None = None
    """When the signal came, on the monotonic clock; None: none came."""

    @property
    def code(self) -> int:
        """Exit code, as a shell has it for that signal: 130, 143 or 129."""
        return 128 + self.number

    def __str__(self) -> str:
        """For the last line."""
        return "interrupted" if self.number == signal.SIGINT else f"ended by {signal.Signals(self.number).name}"


@contextlib.contextmanager
def ending_in_order() -> Iterator[Ended]:
    """Within the block, each of the signals raises `KeyboardInterrupt`; a second one ends the process at once.

    What the process ignores (SIGHUP under nohup) stays ignored, and handlers of whoever embeds this stay theirs.
    """
    ended = Ended()

    def end(number: int, frame: FrameType | None) -> None:
        if ended.since is None:
            ended.number, ended.since = number, time.monotonic()
            raise KeyboardInterrupt
        if number != ended.number or time.monotonic() - ended.since > _REPEATED_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number in _ENDING if (handler := signal.getsignal(number)) in usual}
    try:
        with contextlib.suppress(ValueError):  # not in the main thread, which alone gets signals
            for number in before:
                signal.signal(number, end)
        with _never_swallowed(ended):
            yield ended
    finally:
        with contextlib.suppress(ValueError):
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _never_swallowed(ended: Ended) -> Iterator[None]:
    """A signal may come while an object is finalized, where Python reports any exception and forgets it: such a signal
    is sent again."""
    before = sys.unraisablehook

    def again(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            ended.since = None
            # By another thread: sent from here, it would come before this function is left.
            threading.Timer(_AGAIN_S, os.kill, (os.getpid(), ended.number)).start()
        else:
            before(unraisable)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def leave_with_code(ended: Ended) -> None:
    """Let this process exit with the signal's code, when one has come, once everything else is done.

    Python ends itself by SIGINT where `KeyboardInterrupt` has passed through an `exec` of text, as dataclasses have it.
    """

    def leave() -> None:
        if ended.since is not None:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(ended.code)

    atexit.register(leave)  # before anything else is: it is called last


@contextlib.contextmanager
def resumable(how: Callable[[], str | None]) -> Iterator[None]:
    """When a signal ends the block, print the line that `how` returns, if any: how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        line = how()
        if line:
            Console(stderr=True).print(line, highlight=False, soft_wrap=True, markup=False)
        raise click.Abort from None
