"""libngspice through PySpice 1.5, with the additions that current ngspice needs.

PySpice 1.5 supports ngspice up to 34. Overridden here, each with its symptom:

- the library's name: Debian installs `libngspice.so.0`, PySpice looks for `libngspice.so` of the -dev package;
- `Unsupported Ngspice version 46`: one log line, filtered;
- every line on stderr counts as an error (`NgSpiceCommandError` after a run that converged): notes are separated
from errors;
- the output callback builds a dict of complex numbers for every time point: the column currents are read directly;
- the source callback passes through three functions for every source at every Newton iteration, here through one;
- ngspice runs the user's `.spiceinit`, and dies of signal 11 for a user without a passwd entry: it gets an empty one.

libngspice keeps global state: one instance per process.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import logging
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PySpice.Spice.NgSpice.Shared import NgSpiceShared, ffi

from hvae_mnn.errors import EnvironmentProblem
from hvae_mnn.files import disk_errors
from hvae_mnn.owned import temporary_folder
from hvae_mnn.reading import is_file

_NOTES = (
    "note:",
    "warning:",
    "trying gmin",
    "using ",
    "supplies reduced",
    "source stepping",
    "gmin step",
    "dynamic gmin",
    "true gmin",
    "reducing trtol",
    "starting ",
)

_string = ffi.string


def library_name() -> str:
    """Name or path of libngspice for the dynamic loader; `NGSPICE_LIBRARY_PATH` overrides the search.

    Raises `EnvironmentProblem` if there is none.
    """
    given = os.environ.get("NGSPICE_LIBRARY_PATH")
    if given:
        if not is_file(Path(given)):
            raise EnvironmentProblem(f"NGSPICE_LIBRARY_PATH names {given}, which does not exist; correct or unset it")
        return given
    name = ctypes.util.find_library("ngspice")
    if name is None:
        raise EnvironmentProblem(
            "libngspice was not found; install it: make system, or Debian's libngspice0 (42 or later)"
        )
    return name


def _not_about_versions(record: logging.LogRecord) -> bool:
    return "Unsupported Ngspice version" not in record.getMessage()


@contextlib.contextmanager
def _empty_spiceinit() -> Iterator[None]:
    """A working folder with an empty `.spiceinit`.

    `ngSpice_Init` runs the `.spiceinit` of the working folder, and only where there is none that of the home in the
    user's passwd entry; without an entry it dereferences a null pointer (ngspice 46 and older). Its own switch,
    `ngSpice_nospiceinit`, sets a variable in tables that `ngSpice_Init` makes: signal 11 before, too late after.
    """
    with _signals_held_back(), temporary_folder() as folder:
        with disk_errors(folder):
            (folder / ".spiceinit").touch()
        with contextlib.chdir(folder):
            yield


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """A signal that ends the process acts after the block: one within it would leave a folder behind.

    A mask would not do, since the system hands a process's signal to any of its threads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers belong to the main thread
        return
    held: list[int] = []
    ends = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    ]
    before = {number: signal.signal(number, lambda came, _: held.append(came)) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for came in held:
            os.kill(os.getpid(), came)


def _die() -> None:
    """End the process: an exception cannot pass through the library, and to continue would give wrong results."""
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(70)


class SharedLibrary(NgSpiceShared):  # type: ignore[misc]
    """One libngspice. Set `on_other_time` and `on_point` before a run with external sources."""

    def __init__(self) -> None:
        """Load and initialise the library."""
        type(self).LIBRARY_PATH = library_name()
        self.log: deque[str] = deque(maxlen=400)
        """The last lines that ngspice printed."""
        self.errors: list[str] = []
        """Error lines since the last `load`."""
        self.echo: Callable[[str], None] | None = None
        """Called with every line that ngspice prints."""
        self.voltages: Mapping[bytes, float] = {}
        """Volts of the external sources, by name in lower case, within (`voltages_from`, `voltages_until`]."""
        self.voltages_from, self.voltages_until = 0.0, -1.0
        """Times in s."""
        self.on_other_time: Callable[[float], Mapping[bytes, float]] | None = None
        """Function from time in s to volts at that time, called when `voltages` do not cover it; may replace
        `voltages`."""
        self.on_point: Callable[[Any, int], None] | None = None
        """(vectors, their number) after every accepted point."""
        logging.getLogger("PySpice.Spice.NgSpice.Shared.NgSpiceShared").addFilter(_not_about_versions)
        super().__init__(send_data=True)

    def _init_ngspice(self, send_data: bool) -> None:
        with _empty_spiceinit():
            super()._init_ngspice(send_data)

    @staticmethod
    def _send_char(message_c: Any, ngspice_id: int, user_data: Any) -> int:
        self: SharedLibrary = ffi.from_handle(user_data)
        stream, _, text = ffi.string(message_c).decode("utf-8", "replace").partition(" ")
        self.log.append(text)
        if self.echo is not None:
            self.echo(text)
        if stream != "stderr":
            self._stdout.append(text)
        else:
            self._stderr.append(text)
            if text.strip() and not text.strip().lower().startswith(_NOTES):
                self.errors.append(text)
        return 0

    @staticmethod
    def _send_data(vectors: Any, count: int, ngspice_id: int, user_data: Any) -> int:
        self: SharedLibrary = ffi.from_handle(user_data)
        if self.on_point is not None:
            try:
                self.on_point(vectors, count)
            except Exception:
                _die()
        return 0

    def _get_vsrc_data(self, voltage: Any, time: float, node: Any, ngspice_id: int, user_data: Any) -> int:
        # Called for every source at every Newton iteration: one flat function, bound to its object
        # instead of a look-up by its handle.
        try:
            if self.voltages_from < time <= self.voltages_until:
                voltage[0] = self.voltages[_string(node)]
            else:
                assert self.on_other_time is not None, "external sources need on_other_time"
                voltage[0] = self.on_other_time(time)[_string(node)]
        except Exception:
            _die()
        return 0

    @staticmethod
    def vector_names(vectors: Any, count: int) -> list[str]:
        """Lower-case names of the vectors that `on_point` received."""
        return [ffi.string(vectors.vecsa[index].name).decode().lower() for index in range(count)]

    def load(self, lines: Sequence[str]) -> None:
        """Load a circuit from its lines; problems are in `errors` afterwards."""
        self.errors.clear()
        encoded = [ffi.new("char[]", line.encode("ascii")) for line in lines]
        if self._ngspice_shared.ngSpice_Circ(ffi.new("char *[]", [*encoded, ffi.NULL])):
            self.errors.append("ngspice refused the circuit")

    def command(self, text: str) -> list[str]:
        """Run one ngspice command and return its stdout lines. Errors are added to `errors`."""
        self.clear_output()
        if self._ngspice_shared.ngSpice_Command(text.encode("utf-8")):
            self.errors.append(f"ngspice command {text!r} failed")
        return list(self._stdout)
