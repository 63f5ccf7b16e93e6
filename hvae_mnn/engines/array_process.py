"""An array's worker process: what it is given, how it is spoken to, and what it takes to repeat its answers."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.devices.moving import MovingDevices
from hvae_mnn.engines import frames
from hvae_mnn.errors import EnvironmentProblem, ManifestError
from hvae_mnn.files import disk_errors, sha256
from hvae_mnn.netlist.arrays import state_nodes
from hvae_mnn.netlist.decks import TIA_LIBRARY, amperes_per_sensed
from hvae_mnn.netlist.device_lines import OSDI_FILE, library, model_file
from hvae_mnn.netlist.file_names import elements_file
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.netlist.running import WINDOW_S, WINDOWS_PER_RUN, running_deck, sensed_vectors
from hvae_mnn.spice.osdi import osdi_library

Array = NDArray[np.float64]

OLDEST_NGSPICE = 42
"""The first with KLU. Version 39 dies in its first transient with external sources."""

READ_LIMIT_S, LOAD_LIMIT_S = 600.0, 3600.0
"""Longest wait for a read's answer, and for a deck to be loaded or its operating point to be found."""
_PIPE_BYTES = 2**16
"""What a pipe holds."""
_POINTS_BYTES = 128 * 2**20
"""Memory that the points of a transient may take, per process."""
_POINTS_PER_READ = 6
"""Time points that ngspice takes for a read of memristors that move: five, and a few more while states race."""


@dataclass(frozen=True)
class ArrayDeck:
    """An array as the engine needs it."""

    name: str
    """Array's name, unique."""
    unit: str
    """Gate unit, which is part of the element names."""
    word_lines: tuple[str, ...]
    """Names of the R word lines."""
    layout: ArrayLayout
    """Its tiles, and the hardware they are built on."""
    include: Path
    """File with the array's elements."""
    moving: MovingDevices | None = None
    """How its memristors move; None where they are resistors."""
    sha256: str | None = None
    """What the file has to be, as its manifest says; None: whatever it is."""

    @property
    def shape(self) -> tuple[int, int]:
        """(R, D) memristors."""
        return self.layout.rows, self.layout.memristors

    @property
    def reads_per_transient(self) -> int:
        """After how many reads a new transient begins, since ngspice keeps every point in memory."""
        values = self.layout.sensed
        if self.moving is not None:
            values = _POINTS_PER_READ * (values + self.layout.rows * self.layout.memristors)
        return max(8, min(WINDOWS_PER_RUN - 1, _POINTS_BYTES // (8 * values)))


def array_decks(manifest: Manifest, layer: str | None = None) -> list[ArrayDeck]:
    """All arrays of a build, or those of one layer."""
    return [
        ArrayDeck(
            unit.array,
            unit.name,
            tuple(unit.word_lines),
            manifest.layout(unit),
            manifest.folder / elements_file(unit),
            manifest.moving,
            manifest.files[elements_file(unit)],
        )
        for entry, unit in manifest.units()
        if layer in (None, entry.name)
    ]


class WorkerDied(Exception):
    """A worker ended or could not go on; the argument says why."""


class _Pipe:
    """Both ends of a worker's pipes as one stream for `frames`; raises `TimeoutError` when the worker keeps it waiting.

    Python's own streams wait for ever.
    """

    def __init__(self, outgoing: IO[bytes], incoming: IO[bytes], limit_s: float) -> None:
        self.limit_s = limit_s
        """Longest time between two signs of life."""
        self._out, self._in = outgoing.fileno(), incoming.fileno()
        os.set_blocking(self._out, False)
        self._writable, self._readable = select.poll(), select.poll()
        self._writable.register(self._out, select.POLLOUT)
        self._readable.register(self._in, select.POLLIN)
        self._ahead = b""

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._writable)
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._out, left) :]

    def flush(self) -> None:
        """Nothing is held back."""

    def read(self, size: int) -> bytes:
        """`size` bytes; fewer only at the end."""
        parts, found = [self._ahead], len(self._ahead)
        while found < size:
            self._wait(self._readable)
            part = os.read(self._in, max(size - found, _PIPE_BYTES))
            if not part:
                break
            parts.append(part)
            found += len(part)
        data = b"".join(parts)
        self._ahead = data[size:]
        return data[:size]

    def _wait(self, ready: Any) -> None:
        if not ready.poll(1000 * self.limit_s):
            raise TimeoutError


def place_array(deck: ArrayDeck, folder: Path) -> str:
    """Put a copy of a deck's array into `folder`; returns the name by which it is included.

    It is made once: what was checked is what runs, whatever becomes of the netlist folder. (And ngspice takes no spaces
    and no foreign letters in a path.) Raises `ManifestError` when the file is not the one that its manifest lists.
    """
    copy = folder / f"{deck.name}.inc"
    if not copy.exists():
        with disk_errors(copy):
            shutil.copyfile(deck.include, copy)
        if deck.sha256 is not None and sha256(copy) != deck.sha256:
            copy.unlink()
            raise ManifestError(f"{deck.include} was changed since it was checked; build the netlists again")
    return copy.name


def place_files(deck: ArrayDeck, folder: Path) -> str:
    """Put what a deck needs into `folder`, the array as `place_array` does; returns the name by which it is included.

    The models of moving memristors are our own, never those that lie beside the array.
    """
    include = place_array(deck, folder)
    for name, source in _models(deck).items():
        if not (folder / name).exists():
            with disk_errors(folder / name):
                shutil.copyfile(source, folder / name)
    return include


def _models(deck: ArrayDeck) -> dict[str, Path]:
    """Files that the deck needs beside its array."""
    found = {}
    if deck.layout.hardware.amplifier.kind != "ideal":
        found[TIA_LIBRARY] = model_file(TIA_LIBRARY)
    if deck.moving is not None:
        spec = deck.moving.spec
        if deck.moving.backend == "behavioural":
            found[library(spec)] = model_file(library(spec))
        else:
            found[OSDI_FILE] = osdi_library(spec.law)
    return found


class History:
    """What a worker has to be given to repeat its answers: the states its transient began with, and the reads since.

    Arrays that cannot move need none, and keep none.
    """

    def __init__(self, deck: ArrayDeck) -> None:
        self.deck = deck
        self.states: Array | None = None
        """(R, D) at the beginning of the transient; None: those in the array's file."""
        self.reads: list[Array] = []
        """(R,) each."""
        self.last: Array | None = None
        """(R, D) after the last read."""

    def extend(self, volts: Array, states: Sequence[Array]) -> None:
        """Take in reads (B, R) and the states after each."""
        if self.deck.moving is None:
            return
        for read, after in zip(volts, states, strict=True):
            self.reads.append(read.copy())
            self.last = after
            if len(self.reads) == self.deck.reads_per_transient:
                self.states, self.reads = after, []

    def as_reads(self) -> Array:
        """(n, R)."""
        return np.array(self.reads).reshape(-1, len(self.deck.word_lines))


def _setup(deck: ArrayDeck, include: str, states: Array | None) -> dict[str, Any]:
    """What the worker process has to know; `states` (R, D) as in `ArrayProcess`."""
    layout, moving, order = deck.layout, deck.moving, deck.layout.tile_order
    setup: dict[str, Any] = {
        "deck": running_deck(deck.unit, deck.word_lines, layout, include, deck.reads_per_transient + 1, moving),
        "sources": [f"V{line}" for line in deck.word_lines],
        "sensed": sensed_vectors(layout, deck.unit),
        "window_s": WINDOW_S,
    }
    if moving is not None:
        nodes = state_nodes(layout, deck.unit)
        setup["window_s"] = moving.read_s
        setup["moving"] = {
            "osdi": moving.backend == "osdi",
            "include": include,
            "nodes": [nodes[place] for place in order],
            "states": None if states is None else states.ravel()[order].tolist(),
        }
    return setup


class ArrayProcess:
    """One worker process and its pipes."""

    limit_s = READ_LIMIT_S
    """Longest wait for the answer to a read; a process that takes longer is ended and counts as dead."""

    def __init__(self, deck: ArrayDeck, folder: Path, states: Array | None) -> None:
        """`states` (R, D) that moving memristors begin with; None for those in the array's file."""
        self.deck = deck
        self.states = np.empty(deck.shape if deck.moving else (0, 0))
        """(R, D): after the last read; (0, 0) where they cannot move."""
        include = place_files(deck, folder)
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
        self._pipe = _Pipe(self._process.stdin, self._process.stdout, LOAD_LIMIT_S)
        self._stream = cast(BinaryIO, self._pipe)
        self._send(frames.SETUP, json.dumps(_setup(deck, include, states)).encode())

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
        self._take_states(np.frombuffer(self._receive(frames.READY)))
        self._pipe.limit_s = self.limit_s

    def send(self, volts: Array) -> None:
        """Hand over B reads, (B, R)."""
        self._send(frames.VOLTS, np.ascontiguousarray(volts).tobytes())

    def receive(self, reads: int) -> tuple[Array, list[Array]]:
        """Currents (B, outputs) of the reads handed over, and the states (R, D) after each."""
        sensed = np.empty((reads, self.deck.layout.sensed))
        states = []
        for row in sensed:
            values = np.frombuffer(self._receive(frames.CURRENTS))
            self.seconds += float(values[0])
            row[:] = values[1 : len(row) + 1]
            self._take_states(values[len(row) + 1 :])
            states.append(self.states)
        return self.deck.layout.read_out(sensed * amperes_per_sensed(self.deck.layout)), states

    def _take_states(self, in_tiles: Array) -> None:
        if self.deck.moving is not None:
            self.states = np.empty(self.deck.shape)
            self.states.ravel()[self.deck.layout.tile_order] = in_tiles

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _send(self, kind: bytes, payload: bytes) -> None:
        try:
            frames.send(self._stream, kind, payload)
        except TimeoutError:
            raise self._hung() from None
        except OSError:
            raise WorkerDied(self._why()) from None

    def _receive(self, expected: bytes) -> bytes:
        try:
            kind, payload = frames.receive(self._stream)
        except TimeoutError:
            raise self._hung() from None
        except EOFError:
            raise WorkerDied(self._why()) from None
        if kind == frames.UNUSABLE:
            raise EnvironmentProblem(payload.decode("utf-8", "replace"))
        if kind != expected:
            raise WorkerDied(payload.decode("utf-8", "replace"))
        return payload

    def _hung(self) -> WorkerDied:
        self._process.kill()
        return WorkerDied(f"the ngspice process gave no answer within {self._pipe.limit_s:g} s")

    def _why(self) -> str:
        code = self._process.wait()
        return (
            f"the ngspice process was ended by signal {-code}"
            if code < 0
            else f"the ngspice process ended with exit code {code}"
        )
