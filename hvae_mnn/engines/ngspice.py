"""The ngspice engine: a worker process per array, each with its deck loaded once and a transient that goes on."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.engines import frames
from hvae_mnn.engines.drift import drift_of
from hvae_mnn.engines.osdi import osdi_library
from hvae_mnn.engines.probe import probe
from hvae_mnn.engines.shared_library import library_name
from hvae_mnn.engines.worker import WINDOWS_PER_RUN
from hvae_mnn.errors import EnvironmentProblem, SimulatorError
from hvae_mnn.netlist.decks import unit_deck
from hvae_mnn.netlist.device_lines import OSDI_FILE, MovingDevices, device_header, library, model_file
from hvae_mnn.netlist.manifest import Manifest

Array = NDArray[np.float64]


OLDEST_NGSPICE = 42
"""The first with KLU. Version 39 dies in its first transient with external sources."""

_POINTS_BYTES = 128 * 2**20
"""Memory that the points of a transient with moving memristors may take, per process."""
_POINTS_PER_READ = 6
"""Time points that ngspice takes for a read of memristors that move: five, and a few more while states race."""

SPARSE_CELLS = 65_536
"""Largest array for Sparse 1.3: 257 x 128 takes it 0.2 s to factor, 769 x 256 takes 24 s (KLU: 0.7 s), measured."""


@dataclass(frozen=True)
class ArrayDeck:
    """An array as the engine needs it."""

    name: str
    """Array's name, unique."""
    unit: str
    """Gate unit, which is part of the element names."""
    word_lines: tuple[str, ...]
    """Names of the R word lines."""
    columns: int
    """Number of bit lines C."""
    include: Path
    """File with the array's elements."""
    moving: MovingDevices | None = None
    """How its memristors move; None where they are resistors."""

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C)."""
        return len(self.word_lines), self.columns

    @property
    def reads_per_transient(self) -> int:
        """After how many reads the memristors are loaded anew, since ngspice keeps every point in memory."""
        values = self.columns * (len(self.word_lines) + 1)
        return max(8, min(WINDOWS_PER_RUN, _POINTS_BYTES // (8 * _POINTS_PER_READ * values)))


def array_decks(manifest: Manifest, layer: str | None = None) -> list[ArrayDeck]:
    """All arrays of a build, or those of one layer."""
    return [
        ArrayDeck(
            unit.array,
            unit.name,
            tuple(unit.word_lines),
            unit.columns,
            manifest.folder / unit.include,
            manifest.moving,
        )
        for entry, unit in manifest.units()
        if layer in (None, entry.name)
    ]


class WorkerDied(Exception):
    """A worker ended or could not go on; the argument says why."""


def _link(deck: ArrayDeck, folder: Path) -> str:
    """Name by which a deck in `folder` includes the array: ngspice takes no spaces and no foreign letters in a path.

    The models of moving memristors are our own, never those that lie beside the array.
    """
    files = {f"{deck.name}.inc": deck.include.resolve()}
    if deck.moving is not None:
        spec, backend = deck.moving.spec, deck.moving.backend
        files |= (
            {OSDI_FILE: osdi_library(spec.law)} if backend == "osdi" else {library(spec): model_file(library(spec))}
        )
    for name, target in files.items():
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(target)
    return f"{deck.name}.inc"


class _History:
    """What a worker has to be given to repeat its answers: the states its transient began with, and the reads since.

    Arrays that cannot move need none, and keep none.
    """

    def __init__(self, deck: ArrayDeck) -> None:
        self.deck = deck
        self.states: Array | None = None
        """(R, C) at the beginning of the transient; None: those in the array's file."""
        self.reads: list[Array] = []
        """(R,) each."""

    def extend(self, volts: Array, states: Sequence[Array]) -> None:
        """Take in reads (B, R) and the states after each."""
        if self.deck.moving is None:
            return
        for read, after in zip(volts, states, strict=True):
            self.reads.append(read.copy())
            if len(self.reads) == self.deck.reads_per_transient:
                self.states, self.reads = after, []

    def as_reads(self) -> Array:
        """(n, R)."""
        return np.array(self.reads).reshape(-1, len(self.deck.word_lines))


class _Process:
    """One worker process and its pipes."""

    def __init__(self, deck: ArrayDeck, folder: Path, states: Array | None) -> None:
        """`states` (R, C) that moving memristors begin with; None for those in the array's file."""
        self.deck = deck
        self.states = np.empty(deck.shape if deck.moving else (0, 0))
        """(R, C): after the last read; (0, 0) where they cannot move."""
        self.log = folder / f"{deck.name}.log"
        self.seconds = 0.0
        self.version = "unknown"
        with self.log.open("ab") as log:
            # Its own session, so that Ctrl-C reaches the orchestrator alone; an empty folder, so that no .spiceinit
            # is run.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hvae_mnn.engines.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        include = _link(deck, folder)
        setup = {"unit": deck.unit, "word_lines": deck.word_lines, "columns": deck.columns, "include": include}
        if deck.moving is not None:
            setup["moving"] = {
                "header": device_header(deck.moving.spec, deck.moving.backend),
                "osdi": deck.moving.backend == "osdi",
                "window_s": deck.moving.read_s,
                "windows": deck.reads_per_transient + 1,
                "states": None if states is None else states.ravel().tolist(),
            }
        self._send(frames.SETUP, json.dumps(setup).encode())

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Block until the deck is loaded and its first operating point is found, so that no read pays for it."""
        self.version = str(json.loads(self._receive(frames.LOADED))["ngspice"])
        if self.version.isdecimal() and int(self.version) < OLDEST_NGSPICE:  # it would die in what comes next
            raise EnvironmentProblem(
                f"libngspice is version {self.version}; allowed is {OLDEST_NGSPICE} or later: make system installs it"
            )
        found = np.frombuffer(self._receive(frames.READY))
        self.states = found.reshape(self.states.shape)

    def send(self, volts: Array) -> None:
        """Hand over B reads, (B, R)."""
        self._send(frames.VOLTS, np.ascontiguousarray(volts).tobytes())

    def receive(self, reads: int) -> tuple[Array, list[Array]]:
        """Column currents (B, C) of the reads handed over, and the states (R, C) after each."""
        found = np.empty((reads, self.deck.columns))
        states = []
        for row in found:
            values = np.frombuffer(self._receive(frames.CURRENTS))
            self.seconds += float(values[0])
            row[:] = values[1 : self.deck.columns + 1]
            self.states = values[self.deck.columns + 1 :].reshape(self.states.shape)
            states.append(self.states)
        return found, states

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._to, self._from):
            with contextlib.suppress(OSError):
                stream.close()

    def _send(self, kind: bytes, payload: bytes) -> None:
        try:
            frames.send(self._to, kind, payload)
        except OSError:
            raise WorkerDied(self._why()) from None

    def _receive(self, expected: bytes) -> bytes:
        try:
            kind, payload = frames.receive(self._from)
        except EOFError:
            raise WorkerDied(self._why()) from None
        if kind == frames.UNUSABLE:
            raise EnvironmentProblem(payload.decode("utf-8", "replace"))
        if kind != expected:
            raise WorkerDied(payload.decode("utf-8", "replace"))
        return payload

    def _why(self) -> str:
        code = self._process.wait()
        return (
            f"the ngspice process was ended by signal {-code}"
            if code < 0
            else f"the ngspice process ended with exit code {code}"
        )


def _require_klu(decks: Sequence[ArrayDeck]) -> None:
    """Refuse arrays on which Sparse 1.3 would take minutes for its first factorisation."""
    largest = max(decks, key=lambda deck: len(deck.word_lines) * deck.columns)
    cells = len(largest.word_lines) * largest.columns
    if cells <= SPARSE_CELLS:
        return
    solver = probe().solver
    if solver != "KLU":
        raise EnvironmentProblem(
            f"array {largest.name} has {cells} cells and this ngspice solves with {solver or 'Sparse 1.3'}; allowed"
            f" without KLU are {SPARSE_CELLS} cells: install ngspice 42 or later (make system; see hvae-mnn doctor)"
        )


class NgspiceEngine:
    """Reads arrays in ngspice.

    A process per array keeps every array's result independent of how many run at once. A process that dies is started
    again once and the reads repeated; the second time in a row a `SimulatorError` carries the deck, the log's last
    lines and the command to run it again.
    """

    name = "ngspice"

    def __init__(self, decks: Sequence[ArrayDeck], progress: Callable[[str], None] | None = None) -> None:
        """Start a worker per deck and wait until all are loaded; `progress(array)` is called as each one is."""
        library_name()  # a missing library is told here, in one line, and not by every worker
        _require_klu(decks)
        self._folder = tempfile.TemporaryDirectory(prefix="hvae-mnn-")
        self._decks = {deck.name: deck for deck in decks}
        self._processes: dict[str, _Process] = {}
        self._histories: dict[str, _History] = {}
        self._initial: dict[str, Array] = {}
        self.seconds = 0.0
        self.restarts = 0
        start = time.perf_counter()
        try:
            for deck in decks:
                self._histories[deck.name] = _History(deck)
                self._processes[deck.name] = _Process(deck, Path(self._folder.name), None)
            for deck in decks:
                self._ready(deck)
                if progress is not None:
                    progress(deck.name)
        except BaseException:
            self.close()
            raise
        self.seconds_loading = time.perf_counter() - start

    def _ready(self, deck: ArrayDeck) -> None:
        try:
            self._processes[deck.name].wait_ready()
        except WorkerDied:
            self._again(deck, None)
        self._initial[deck.name] = self._processes[deck.name].states

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.currents`; the named arrays are solved at the same time."""
        start = time.perf_counter()
        for name, value in volts.items():
            with contextlib.suppress(WorkerDied):  # noticed below, when its answer does not come
                self._processes[name].send(value)
        found = {}
        for name, value in volts.items():
            try:
                found[name], states = self._processes[name].receive(len(value))
            except WorkerDied:
                found[name], states = self._again(self._decks[name], value)
            self._histories[name].extend(value, states)
        self.seconds += time.perf_counter() - start
        return found

    def _again(self, deck: ArrayDeck, volts: Array | None) -> tuple[Array, list[Array]]:
        """Start the array's process again and repeat its reads, if it had any; moving memristors repeat their
        history before."""
        died_once = self._processes[deck.name]
        died_once.close()
        self.restarts += 1
        reads = np.empty((0, len(deck.word_lines))) if volts is None else volts
        try:
            process = self._start(deck)
            process.seconds += died_once.seconds
            process.send(reads)
            return process.receive(len(reads))
        except WorkerDied as died:
            raise self._failure(deck, reads[0] if len(reads) else np.zeros(reads.shape[1]), died) from None

    def _start(self, deck: ArrayDeck) -> _Process:
        """A process that has lived through the array's history."""
        history = self._histories[deck.name]
        process = self._processes[deck.name] = _Process(deck, Path(self._folder.name), history.states)
        process.wait_ready()
        process.send(history.as_reads())
        process.receive(len(history.reads))
        return process

    def drift(self, name: str) -> Array | None:
        """See `Engine.drift`."""
        if self._decks[name].moving is None:
            return None
        return drift_of(self._processes[name].states, self._initial[name])

    def position(self) -> dict[str, Array]:
        """See `Engine.position`: the histories, and what drift counts from."""
        found: dict[str, Array] = {}
        for name, history in self._histories.items():
            if history.deck.moving is not None:
                found |= {f"{name}.initial": self._initial[name], f"{name}.reads": history.as_reads()}
                if history.states is not None:
                    found[f"{name}.states"] = history.states
        return found

    def restore(self, position: Mapping[str, Array]) -> None:
        """See `Engine.restore`."""
        for name, history in self._histories.items():
            if history.deck.moving is not None:
                self._initial[name] = position[f"{name}.initial"]
                history.states = position.get(f"{name}.states")
                history.reads = list(position[f"{name}.reads"])
                self._processes[name].close()
                try:
                    self._start(history.deck)
                except WorkerDied:
                    self._again(history.deck, None)

    def _failure(self, deck: ArrayDeck, volts: Array, died: WorkerDied) -> SimulatorError:
        """The error that lets a person see for themselves: deck, log and command."""
        folder = Path(tempfile.mkdtemp(prefix="hvae-mnn-failed-"))
        path = folder / f"{deck.name}.cir"
        text = unit_deck(deck.name, deck.unit, deck.word_lines, deck.columns, _link(deck, folder), volts, deck.moving)
        path.write_text(text, encoding="ascii")
        log = self._processes[deck.name].log.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n  ".join(line for line in log[-12:] if line.strip()) or "(empty)"
        return SimulatorError(
            f"ngspice failed twice on array {deck.name}: {died}; deck: {path}; run it again: ngspice -b {path}\n"
            f"last lines of the log:\n  {tail}"
        )

    def close(self) -> None:
        """End all workers and remove their folder."""
        for process in self._processes.values():
            process.close()
        self._processes.clear()
        self._folder.cleanup()

    def pids(self) -> dict[str, int]:
        """Process number by array."""
        return {name: process.pid for name, process in self._processes.items()}

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`: `seconds_solving` is the time ngspice itself worked, summed over processes."""
        return {
            "solver": self._solver(),
            "ngspice": " and ".join(sorted({process.version for process in self._processes.values()})),
            "processes": len(self._processes),
            "seconds_loading": round(self.seconds_loading, 3),
            "seconds_solving": round(sum(process.seconds for process in self._processes.values()), 3),
            "restarts": self.restarts,
        }

    def _solver(self) -> str:
        """Which direct solver the workers' logs name."""
        named = set()
        for process in self._processes.values():
            for line in process.log.read_text(encoding="utf-8", errors="replace").splitlines():
                if "Direct Linear Solver" in line and line.startswith("Using"):
                    named.add(line.removeprefix("Using ").removesuffix(" as Direct Linear Solver").strip())
        return " and ".join(sorted(named)) or "unknown"
