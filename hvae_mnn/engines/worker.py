"""A worker process: one libngspice, one deck, and one transient that persists from step to step.

`python -m hvae_mnn.engines.worker` exchanges `frames` on its standard streams. The word-line sources are `external`:
ngspice requests their voltages at every Newton iteration. Time is divided into windows, one per read. At the first
request in a new window the worker sends the column currents of the finished window, and waits for the next voltages.
The deck is thus loaded once, the circuit keeps its state, and a step costs only its solves.

ngspice keeps every point in memory, so a transient ends after a number of reads, and another one begins. Resistors have
no state to lose. Moving memristors are loaded again with their last states: the currents of a read depend only on the
states at the beginning of its transient and on the reads since.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.engines import frames
from hvae_mnn.errors import EnvironmentProblem, HvaeMnnError
from hvae_mnn.netlist.arrays import with_states
from hvae_mnn.netlist.device_lines import OSDI_FILE
from hvae_mnn.spice.library import SharedLibrary, library_name
from hvae_mnn.spice.tied import end_at_hangup

Array = NDArray[np.float64]

_END = 1e-3
"""Fraction of a window, before its end, that contains no time point but the last."""
_SLACK = 1e-9
"""Fraction of a window by which rounding may miss its end."""


def _to_log(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _load_library() -> SharedLibrary:
    try:
        return SharedLibrary()
    except HvaeMnnError:
        raise
    except Exception as error:  # a damaged library, or one that is not libngspice, may raise anything
        raise EnvironmentProblem(
            f"{library_name()} cannot be used as libngspice ({error}); install it: make system"
        ) from error


class Worker:
    """Answers the reads of one array until its input closes."""

    def __init__(self, setup: dict[str, Any], inbox: BinaryIO, outbox: BinaryIO) -> None:
        """Load the deck of `setup`, which has the keys deck (lines), sources (names of the word lines' sources), sensed
        (names of the vectors to send) and window_s.

        For moving memristors it also has the key moving, with the keys osdi (whether to load the compiled device),
        include (the deck's file with their states), nodes (of the states, in the file's order), and states (in the
        same order; None: those in the file). Raises `EnvironmentProblem` if libngspice cannot be used, `RuntimeError`
        for errors in ngspice.
        """
        self._inbox, self._outbox = inbox, outbox
        self._setup = setup
        self._moving: dict[str, Any] | None = setup.get("moving")
        self._window_s: float = setup["window_s"]
        # ngspice passes the source's name in lower case.
        self._sources = [name.lower().encode() for name in setup["sources"]]
        self._idle = dict.fromkeys(self._sources, 0.0)
        self._queue: deque[list[float]] = deque()
        self._before: Mapping[bytes, float] = self._idle
        self._indices: list[int] = []
        self._answer: Array | None = None
        self._states: Array = np.array([] if self._moving is None else self._moving["states"] or [])
        self._pending = self._announced = False
        self._started = time.perf_counter()
        self._library = _load_library()
        self._library.echo = _to_log
        self._library.on_other_time, self._library.on_point = self._other_time, self._point
        self._library.command("set num_threads=1")
        if self._moving and self._moving["osdi"]:
            self._library.command(f"osdi {OSDI_FILE}")
            self._check("loading the compiled device")
        self._load()
        self._send(frames.LOADED, json.dumps({"ngspice": str(self._library.ngspice_version)}).encode())

    def run(self) -> None:
        """Run transient after transient, without end: the process ends with its input."""
        while True:
            self._before = self._library.voltages = self._idle
            self._library.voltages_from, self._library.voltages_until = -1.0, self._window_s * (1 + _SLACK)
            self._library.command("run")
            self._check("running")
            self._deliver()
            self._library.command("destroy all")
            if self._moving:
                self._library.command("remcirc")
                self._load()

    def _load(self) -> None:
        """Load the circuit; moving memristors begin with their last states."""
        lines = self._setup["deck"]
        if self._moving is not None and self._states.size:
            include = self._moving["include"]
            elements = with_states(Path(include).read_text(encoding="ascii"), np.clip(self._states, 0, 1).tolist())
            Path(f"{include}.now").write_text(elements, encoding="ascii")
            lines = [f"{line}.now" if line == f".include {include}" else line for line in lines]
        self._library.load(lines)
        self._check("loading")

    def _check(self, doing: str) -> None:
        if self._library.errors:
            raise RuntimeError(f"{doing}: {self._library.errors[0].strip()}")

    def _other_time(self, now: float) -> Mapping[bytes, float]:
        if now <= self._library.voltages_from:
            return self._before  # after a rejected time point, ngspice steps back into the previous window
        self._deliver()
        if not self._announced:
            self._announced = True
            self._send(frames.READY, self._states.tobytes())
        self._before = self._library.voltages
        self._library.voltages = dict(zip(self._sources, self._read(), strict=True))
        self._pending, self._answer = True, None
        whole = np.floor(now / self._window_s - _SLACK)
        # Plain floats: the library compares them at every request, faster than numpy's.
        self._library.voltages_from = float((whole + _SLACK) * self._window_s)
        self._library.voltages_until = float((whole + 1 + _SLACK) * self._window_s)
        self._started = time.perf_counter()
        return self._library.voltages

    def _read(self) -> list[float]:
        while not self._queue:
            try:
                _, payload = frames.receive(self._inbox)
            except EOFError:
                os._exit(0)  # the only way to end the process within a callback of the library
            self._queue.extend(np.frombuffer(payload).reshape(-1, len(self._sources)).tolist())
        return self._queue.popleft()

    def _point(self, vectors: Any, count: int) -> None:
        if not self._indices:
            self._find_indices(self._library.vector_names(vectors, count))
        table = vectors.vecsa
        if self._moving:
            if table[self._time_index].creal < self._library.voltages_until - _END * self._window_s:
                return  # within a window
            self._states = np.array([table[index].creal for index in self._state_indices])
        self._answer = np.array([table[index].creal for index in self._indices])

    def _find_indices(self, names: list[str]) -> None:
        index_of = {name: index for index, name in enumerate(names)}
        self._indices = [index_of[name] for name in self._setup["sensed"]]
        if self._moving:
            self._time_index = index_of["time"]
            self._state_indices = [index_of[name] for name in self._moving["nodes"]]

    def _deliver(self) -> None:
        if self._pending:
            if self._answer is None or not np.isfinite(self._answer).all():
                raise RuntimeError("running: ngspice gave no currents for a read")
            busy = np.array([time.perf_counter() - self._started])
            self._send(frames.CURRENTS, busy.tobytes() + self._answer.tobytes() + self._states.tobytes())
            self._pending = False

    def _send(self, kind: bytes, payload: bytes) -> None:
        frames.send(self._outbox, kind, payload)


def main() -> None:
    """Serve one array on the standard streams; ngspice's own output goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the orchestrator handles Ctrl-C
    end_at_hangup(0)  # even within the library, where a deck may take minutes
    # ngspice and Python may print to stdout, so answers use a copy of it, and prints go to stderr.
    outbox = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    inbox = os.fdopen(os.dup(0), "rb")
    try:
        _, payload = frames.receive(inbox)
        Worker(json.loads(payload), inbox, outbox).run()
    except EOFError:
        return
    except EnvironmentProblem as error:
        frames.send(outbox, frames.UNUSABLE, str(error).encode())
        sys.exit(1)
    except Exception as error:
        frames.send(outbox, frames.FAILED, str(error).encode())
        sys.exit(1)


if __name__ == "__main__":
    main()
