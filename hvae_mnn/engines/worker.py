"""A worker process: one libngspice, one deck, a transient that goes on from step to step.

`python -m hvae_mnn.engines.worker` speaks `frames` on its standard streams. The word-line sources are `external`:
ngspice asks for their voltages at every Newton iteration. Time is cut in windows, one read each. The first request in
a new window hands the finished window's column currents over and blocks until the next voltages arrive, so the deck
is loaded once, the circuit keeps its state, and a step costs its solves and nothing else. After `WINDOWS_PER_RUN`
reads, and after a restart, a transient begins anew: arrays of resistors have no state to lose; devices that move would
have to hand theirs over.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from hvae_mnn.engines import frames
from hvae_mnn.engines.shared_library import SharedLibrary, library_name
from hvae_mnn.errors import EnvironmentProblem, HvaeMnnError
from hvae_mnn.netlist.arrays import sense_source
from hvae_mnn.netlist.decks import KLU, driver_lines, sense_lines

WINDOW_S = 1e-3
"""Length of one read in seconds; without reactive elements it only spaces the time points."""
WINDOWS_PER_RUN = 2048
"""ngspice keeps every point of a run in memory, so a transient is ended and begun again after this many reads."""
_SLACK = 1e-9
"""Part of a window by which rounding may miss its edge."""


def running_deck(unit: str, word_lines: Sequence[str], columns: int, include: str, windows: int) -> list[str]:
    """Lines of a deck whose word lines are driven from outside, one window per read."""
    saved = " ".join(f"i({sense_source(unit, k)})" for k in range(columns))
    return [
        f"hvae-mnn worker {unit}",
        KLU,
        f".include {include}",
        *driver_lines(word_lines, ["DC 0 external"] * len(word_lines)),
        *sense_lines(unit, columns),
        f".save {saved}",
        f".tran {WINDOW_S!r} {windows * WINDOW_S!r} 0 {WINDOW_S!r}",
        ".end",
    ]


def _to_log(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _load_library() -> SharedLibrary:
    try:
        return SharedLibrary()
    except HvaeMnnError:
        raise
    except Exception as error:  # whatever a library that is no libngspice, or half of one, makes of it
        raise EnvironmentProblem(
            f"{library_name()} cannot be used as libngspice ({error}); install it: make system"
        ) from error


class Worker:
    """Answers reads of one array until its input closes."""

    def __init__(self, setup: dict[str, Any], inbox: BinaryIO, outbox: BinaryIO) -> None:
        """`setup`: unit, word_lines, columns, include (path of the array's elements)."""
        self._inbox, self._outbox = inbox, outbox
        self._columns: int = setup["columns"]
        self._unit: str = setup["unit"]
        # ngspice passes the source's name in lower case.
        self._sources = [f"v{line}".lower().encode() for line in setup["word_lines"]]
        self._idle = dict.fromkeys(self._sources, 0.0)
        self._queue: deque[list[float]] = deque()
        self._before: Mapping[bytes, float] = self._idle
        self._places: list[int] = []
        self._answer: np.ndarray[Any, np.dtype[np.float64]] | None = None
        self._pending = self._announced = False
        self._started = time.perf_counter()
        self._library = _load_library()
        self._library.echo = _to_log
        self._library.on_other_time, self._library.on_point = self._other_time, self._point
        self._library.command("set num_threads=1")
        lines = running_deck(self._unit, setup["word_lines"], self._columns, setup["include"], WINDOWS_PER_RUN)
        self._library.load(lines)
        self._check("loading")
        self._say(frames.LOADED, json.dumps({"ngspice": str(self._library.ngspice_version)}).encode())

    def run(self) -> None:
        """Run transient after transient; returns never (the input's end ends the process)."""
        while True:
            self._before = self._library.voltages = self._idle
            self._library.voltages_from, self._library.voltages_until = -1.0, WINDOW_S * (1 + _SLACK)
            self._library.command("run")
            self._check("running")
            self._deliver()
            self._library.command("destroy all")

    def _check(self, doing: str) -> None:
        if self._library.errors:
            raise RuntimeError(f"{doing}: {self._library.errors[0].strip()}")

    def _other_time(self, now: float) -> Mapping[bytes, float]:
        if now <= self._library.voltages_from:
            return self._before  # a rejected time point steps back into the window before
        self._deliver()
        if not self._announced:
            self._announced = True
            self._say(frames.READY, b"")
        self._before = self._library.voltages
        self._library.voltages = dict(zip(self._sources, self._read(), strict=True))
        self._pending, self._answer = True, None
        whole = np.floor(now / WINDOW_S - _SLACK)
        # Plain floats, which the library compares faster than numpy's, at every request.
        self._library.voltages_from = float((whole + _SLACK) * WINDOW_S)
        self._library.voltages_until = float((whole + 1 + _SLACK) * WINDOW_S)
        self._started = time.perf_counter()
        return self._library.voltages

    def _read(self) -> list[float]:
        if not self._queue:
            try:
                _, payload = frames.receive(self._inbox)
            except EOFError:
                os._exit(0)  # inside a callback of the library: there is no other way out
            self._queue.extend(np.frombuffer(payload).reshape(-1, len(self._sources)).tolist())
        return self._queue.popleft()

    def _point(self, vectors: Any, count: int) -> None:
        if not self._places:
            place_of = {name: place for place, name in enumerate(self._library.vector_names(vectors, count))}
            self._places = [place_of[f"{sense_source(self._unit, k).lower()}#branch"] for k in range(self._columns)]
        table = vectors.vecsa
        self._answer = np.array([table[place].creal for place in self._places])

    def _deliver(self) -> None:
        if self._pending:
            if self._answer is None or not np.isfinite(self._answer).all():
                raise RuntimeError("running: ngspice gave no currents for a read")
            busy = np.array([time.perf_counter() - self._started])
            self._say(frames.CURRENTS, busy.tobytes() + self._answer.tobytes())
            self._pending = False

    def _say(self, kind: bytes, payload: bytes) -> None:
        frames.send(self._outbox, kind, payload)


def main() -> None:
    """Serve one array on the standard streams; what ngspice prints goes to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the orchestrator's to handle
    # ngspice and Python may print to stdout; the answers go where nobody prints.
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
