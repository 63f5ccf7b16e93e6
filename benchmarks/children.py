"""Programs that need a process of their own, because libngspice keeps global state: one simulator per process.

`python -m benchmarks.children KIND` reads one line of JSON (what to load), answers `ready`, and then, for every line
`go`, does its one thing and answers the seconds it took. `Child` is the other side.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.engines import frames
from hvae_mnn.engines.ngspice import ArrayDeck
from hvae_mnn.engines.worker import Worker
from hvae_mnn.netlist.running import WINDOW_S, WINDOWS_PER_RUN, running_deck, sensed_vectors
from hvae_mnn.spice.library import SharedLibrary

Array = NDArray[np.float64]

READS_PER_GO = 10
"""Reads between two answers of `callbacks` and `constant`: few enough to take turns, enough to time."""
TOLERANCE = 1e-9
"""Of the largest current: every way of solving has to give the same answer before its time counts."""


class Child:
    """A program of this module and the pipe to it; a context."""

    def __init__(self, kind: str, deck: ArrayDeck, volts: Array, expected: Array) -> None:
        """`volts` (R,) on the word lines of `deck` should give the column currents `expected` (C,)."""
        spec = {
            "unit": deck.unit,
            "word_lines": deck.word_lines,
            "columns": deck.layout.columns,
            "include": str(deck.include.resolve()),
            # What a worker is told.
            "deck": running_deck(
                deck.unit, deck.word_lines, deck.layout, str(deck.include.resolve()), WINDOWS_PER_RUN, None
            ),
            "sources": [f"V{line}" for line in deck.word_lines],
            "sensed": sensed_vectors(deck.layout, deck.unit),
            "window_s": WINDOW_S,
            "volts": volts.tolist(),
            "expected": expected.tolist(),
        }
        root = Path(__file__).resolve().parent.parent
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.children", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=deck.include.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
            text=True,
        )
        self._send(json.dumps(spec))

    def wait_ready(self) -> Child:
        """Block until the circuit is loaded."""
        if self._receive() != "ready":
            raise RuntimeError("a benchmark's child process did not load its circuit")
        return self

    def start(self) -> None:
        """Let it do its thing; `finish` waits for the answer."""
        self._send("go")

    def finish(self) -> float:
        """Seconds that it says it took."""
        return float(self._receive())

    def go(self) -> float:
        """Let it do its thing once; seconds that it says it took."""
        self.start()
        return self.finish()

    def __enter__(self) -> Child:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _receive(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line or line.startswith("failed"):
            raise RuntimeError(f"a benchmark's child process ended: {line or 'no reason given'}")
        return line


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _wait_for_go() -> None:
    if not sys.stdin.readline():
        os._exit(0)  # possibly inside a callback of the library: there is no other way out


def _check(found: Sequence[float], expected: Sequence[float]) -> None:
    error = np.abs(np.subtract(found, expected)).max() / np.abs(expected).max()
    if not error <= TOLERANCE:
        raise RuntimeError(f"currents are off by {error:.1e} of the largest")


def _constant_lines(spec: dict[str, Any]) -> list[str]:
    """The worker's own deck with fixed voltages in place of external sources."""
    values = iter(spec["volts"])
    return [
        line.replace("DC 0 external", f"DC {next(values)!r}") if "external" in line else line for line in spec["deck"]
    ]


def _currents(spec: dict[str, Any], library: SharedLibrary, vectors: Any, count: int) -> list[float]:
    value_of = {name: vectors.vecsa[place].creal for place, name in enumerate(library.vector_names(vectors, count))}
    return [value_of[name] for name in spec["sensed"]]


def _operating_point(spec: dict[str, Any]) -> None:
    """Wall time of one `op` of the loaded deck, its sources fixed."""
    library = SharedLibrary()
    library.command("set num_threads=1")
    library.load([line for line in _constant_lines(spec) if not line.startswith(".tran")])
    library.on_point = lambda vectors, count: _check(_currents(spec, library, vectors, count), spec["expected"])
    library.command("op")
    library.on_point = None
    _say("ready")
    while True:
        _wait_for_go()
        start = time.perf_counter()
        library.command("op")
        _say(time.perf_counter() - start)
        library.command("destroy all")


def _elements(spec: dict[str, Any]) -> Any:
    """The array as a PySpice circuit, an object per element."""
    from PySpice.Spice.Netlist import Circuit

    circuit = Circuit(f"array {spec['unit']}")
    for line, volts in zip(spec["word_lines"], spec["volts"], strict=True):
        circuit.V(line, line, circuit.gnd, volts)
        circuit.VCVS(line, f"{line}n", circuit.gnd, line, circuit.gnd, -1)
    for k in range(spec["columns"]):
        circuit.V(f"s{spec['unit']}{k}", f"bl{spec['unit']}{k}", circuit.gnd, 0)
    for text in Path(spec["include"]).read_text(encoding="ascii").splitlines():
        if text.startswith("R"):
            name, plus, minus, ohm = text.split()
            circuit.R(name[1:], plus, minus, float(ohm))
    return circuit


def _fresh_simulator(spec: dict[str, Any], rebuild: bool) -> None:
    """Wall time of PySpice's own way: a simulator per step from a circuit of element objects, and its operating
    point."""
    library = SharedLibrary()
    library.command("set num_threads=1")
    circuit = _elements(spec)

    def step() -> Any:
        simulator = (_elements(spec) if rebuild else circuit).simulator(ngspice_shared=library)
        simulator.options("klu")
        return simulator.operating_point()

    analysis = step()
    # The analysis holds what ngspice sent, so only its values are taken, at the border.
    found = [float(np.asarray(analysis.branches[f"vs{spec['unit']}{k}"])[0]) for k in range(spec["columns"])]
    _check(found, spec["expected"])
    _say("ready")
    while True:
        _wait_for_go()
        start = time.perf_counter()
        step()
        _say(time.perf_counter() - start)
        library.command("remcirc")  # PySpice frees no circuit


class _Feeder:
    """Stands in for the worker's input pipe: hands over reads at every `go`, and tells the CPU time they took."""

    def __init__(self, volts: Array) -> None:
        payload = np.tile(volts, (READS_PER_GO, 1)).tobytes()
        self._message = struct.pack("<cQ", frames.VOLTS, len(payload)) + payload
        self._place = len(self._message)
        self._start: float | None = None

    def read(self, count: int) -> bytes:
        """See `BinaryIO.read`."""
        if self._place == len(self._message):
            _say("ready" if self._start is None else (time.process_time() - self._start) / READS_PER_GO)
            _wait_for_go()
            self._start = time.process_time()
            self._place = 0
        self._place += count
        return self._message[self._place - count : self._place]


class _Checker:
    """Stands in for the worker's output pipe: looks at the currents."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._expected = spec["expected"]

    def write(self, message: bytes) -> int:
        """See `BinaryIO.write`."""
        if message.startswith(frames.CURRENTS):
            _check(np.frombuffer(message[struct.calcsize("<cQ") :])[1:], self._expected)  # type: ignore[arg-type]
        return len(message)

    def flush(self) -> None:
        """See `BinaryIO.flush`."""


def _worker_with_callbacks(spec: dict[str, Any]) -> None:
    """CPU time per read of the engine's worker as it is, but for its pipes."""
    feeder, checker = _Feeder(np.array(spec["volts"])), _Checker(spec)
    Worker(spec, cast(BinaryIO, feeder), cast(BinaryIO, checker)).run()


def _worker_without_callbacks(spec: dict[str, Any]) -> None:
    """CPU time per time point of the same transient with fixed sources: ngspice alone."""
    library = SharedLibrary()
    library.command("set num_threads=1")
    points, start = 0, 0.0

    def on_point(vectors: Any, count: int) -> None:
        nonlocal points, start
        if points == 0:
            _check(_currents(spec, library, vectors, count), spec["expected"])
        if points % READS_PER_GO == 0:
            _say((time.process_time() - start) / READS_PER_GO if points else "ready")
            _wait_for_go()
            start = time.process_time()
        points += 1

    library.on_point = on_point
    library.load(_constant_lines(spec))
    while True:
        library.command("run")
        library.command("destroy all")


KINDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "op": _operating_point,
    "fresh": lambda spec: _fresh_simulator(spec, rebuild=False),
    "fresh-rebuilt": lambda spec: _fresh_simulator(spec, rebuild=True),
    "callbacks": _worker_with_callbacks,
    "constant": _worker_without_callbacks,
}

if __name__ == "__main__":
    try:
        KINDS[sys.argv[1]](json.loads(sys.stdin.readline()))
    except Exception as error:
        _say(f"failed: {type(error).__name__}: {error}")
        raise
