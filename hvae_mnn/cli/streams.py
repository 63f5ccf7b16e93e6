"""The standard streams of a command: every character can be printed, and what cannot be written ends no work."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from hvae_mnn.errors import Note


class GuardedStream:
    """A text stream that takes whatever is written; all else is the underlying stream's own.

    The first write error is reported on stderr, and all later output is dropped: a full disk or a reader that
    went away costs what is printed, and not the results.
    """

    def __init__(self, stream: Any, name: str) -> None:
        """`stream` None: closed by the caller."""
        self._closed = stream is None
        self._stream = open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: SIM115
        self._name = name
        self.lost = False
        """Whether something could not be written."""
        # A stream that another program put in place may know no error handlers.
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, attribute: str) -> Any:
        """Everything but writing."""
        return getattr(self._stream, attribute)

    def write(self, text: str) -> int:
        """Write it, or lose it."""
        with self._guard():
            if self._closed and text:
                raise OSError("it is closed")
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """See `write`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is held back, or lose it."""
        with self._guard():
            self._stream.flush()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._closed = False
            _to_nowhere(self._stream)
            if not self.lost:
                self.lost = True
                show_error(
                    f"{self._name} cannot be written: {error.strerror or error}; what is printed is lost, and files are"
                    " written as usual"
                )


def _to_nowhere(stream: Any) -> None:
    """Let everything else that is written vanish, also what is held back until Python ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def show_error(message: object) -> None:
    """One line on stderr."""
    line = Text.assemble(("error:", "bold red"), f" {message}")
    Console(stderr=True).print(line, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def shown_notes() -> Iterator[None]:
    """Show every `Note` within the block once, as one line on stderr; other warnings go where they went."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            text = " ".join(str(message).split())
            if not issubclass(category, Note):
                usual(message, category, *place, **more)
            elif text not in told:
                told.add(text)
                line = Text.assemble(("note:", "bold"), f" {text}")
                Console(stderr=True).print(line, highlight=False, soft_wrap=True)

        warnings.showwarning = show
        yield


def _fill_closed() -> None:
    """Open what the caller closed of the first three files, or the next ones take their numbers: children would print
    into them."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


@contextlib.contextmanager
def guarded_streams() -> Iterator[GuardedStream]:
    """Guard stdout and stderr within the block; yields stdout."""
    before = sys.stdout, sys.stderr
    _fill_closed()
    sys.stdout, sys.stderr = guarded = GuardedStream(before[0], "stdout"), GuardedStream(before[1], "stderr")
    try:
        yield guarded[0]
    finally:
        sys.stdout, sys.stderr = before
