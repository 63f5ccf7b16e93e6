"""The worker process of an array: its deck, its files, its messages, and the history that reproduces its answers."""

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
"""First version with KLU. Version 39 dies in its first transient with external sources."""

READ_LIMIT_S, LOAD_LIMIT_S = 600.0, 3600.0
"""Longest wait, in seconds, for the answer to a read, and for loading a deck or solving its operating point."""
_PIPE_BYTES = 2**16
"""Capacity of a pipe."""
_POINTS_BYTES = 128 * 2**20
"""Memory limit for the points of a transient, per process."""
_POINTS_PER_READ = 6
"""ngspice's time points per read of moving memristors: five, and a few more while states change quickly."""


@dataclass(frozen=True)
class ArrayDeck:
    """An array as an engine of ngspice reads it."""

    name: str
    """Unique name of the array."""
    unit: str
    """Name of the gate unit, which is part of the element names."""
    word_lines: tuple[str, ...]
    """Names of the R word lines."""
    layout: ArrayLayout
    """Tiles and hardware of the array."""
    include: Path
    """File with the array's elements."""
    moving: MovingDevices | None = None
    """Simulation of moving memristors; None for resistors."""
    sha256: str | None = None
    """Expected hash of the file, from its manifest; None: not checked."""

    @property
    def shape(self) -> tuple[int, int]:
        """(R, D) of the memristors."""
        return self.layout.rows, self.layout.memristors

    @property
    def reads_per_transient(self) -> int:
        """Number of reads per transient, which is limited because ngspice keeps every point in memory."""
        values = self.layout.sensed
        if self.moving is not None:
            values = _POINTS_PER_READ * (values + self.layout.rows * self.layout.memristors)
        return max(8, min(WINDOWS_PER_RUN - 1, _POINTS_BYTES // (8 * values)))


def array_decks(manifest: Manifest, layer: str | None = None) -> list[ArrayDeck]:
    """All arrays of a build, or those of one `layer`."""
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
    """A worker ended or failed; the argument gives the reason."""


class _Pipe:
    """A worker's two pipes as one stream for `frames`, which raises `TimeoutError` after `limit_s` without progress.

    Python's own streams would wait for ever.
    """

    def __init__(self, outgoing: IO[bytes], incoming: IO[bytes], limit_s: float) -> None:
        self.limit_s = limit_s
        """Longest wait for the next bytes, seconds."""
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
        """Do nothing: `write` has no buffer."""

    def read(self, size: int) -> bytes:
        """`size` bytes; fewer only at the end of the stream."""
        parts, count = [self._ahead], len(self._ahead)
        while count < size:
            self._wait(self._readable)
            part = os.read(self._in, max(size - count, _PIPE_BYTES))
            if not part:
                break
            parts.append(part)
            count += len(part)
        data = b"".join(parts)
        self._ahead = data[size:]
        return data[:size]

    def _wait(self, ready: Any) -> None:
        if not ready.poll(1000 * self.limit_s):
            raise TimeoutError


def copy_array(deck: ArrayDeck, folder: Path) -> str:
    """Copy a deck's array into `folder`, once; returns the copy's name, for an include.

    ngspice reads the copy that was checked, even if the netlist folder changes later, and a path without spaces and
    non-ASCII letters, which it cannot read. Raises `ManifestError` if the file's hash is not that of its manifest.
    """
    copy = folder / f"{deck.name}.inc"
    if not copy.exists():
        with disk_errors(copy):
            shutil.copyfile(deck.include, copy)
        if deck.sha256 is not None and sha256(copy) != deck.sha256:
            copy.unlink()
            raise ManifestError(f"{deck.include} was changed since it was checked; build the netlists again")
    return copy.name


def copy_files(deck: ArrayDeck, folder: Path) -> str:
    """Copy a deck's array (`copy_array`) and models into `folder`; returns the array's name, for an include.

    The models are this package's own, never the files beside the array. Raises as `copy_array`.
    """
    include = copy_array(deck, folder)
    for name, source in _models(deck).items():
        if not (folder / name).exists():
            with disk_errors(folder / name):
                shutil.copyfile(source, folder / name)
    return include


def _models(deck: ArrayDeck) -> dict[str, Path]:
    """Paths of the model files that the deck includes, by name."""
    models = {}
    if deck.layout.hardware.amplifier.kind != "ideal":
        models[TIA_LIBRARY] = model_file(TIA_LIBRARY)
    if deck.moving is not None:
        spec = deck.moving.spec
        if deck.moving.backend == "behavioural":
            models[library(spec)] = model_file(library(spec))
        else:
            models[OSDI_FILE] = osdi_library(spec.law)
    return models


class History:
    """Input that reproduces a worker's answers: the states at the beginning of its transient, and the reads since.

    It stays empty for memristors that cannot move.
    """

    def __init__(self, deck: ArrayDeck) -> None:
        self.deck = deck
        self.states: Array | None = None
        """States (R, D) at the beginning of the transient; None: those in the array's file."""
        self.reads: list[Array] = []
        """Word-line voltages (R,) of every read since."""
        self.last: Array | None = None
        """States (R, D) after the last read."""

    def extend(self, volts: Array, states: Sequence[Array]) -> None:
        """Add reads `volts` (B, R) and the `states` (R, D) after each."""
        if self.deck.moving is None:
            return
        for read, after in zip(volts, states, strict=True):
            self.reads.append(read.copy())
            self.last = after
            if len(self.reads) == self.deck.reads_per_transient:
                self.states, self.reads = after, []

    def as_reads(self) -> Array:
        """The voltages (n, R) of the reads of this transient."""
        return np.array(self.reads).reshape(-1, len(self.deck.word_lines))


def _setup(deck: ArrayDeck, include: str, states: Array | None) -> dict[str, Any]:
    """The message `frames.SETUP` to the worker process; `states` (R, D) as in `ArrayProcess`."""
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
            "nodes": [nodes[index] for index in order],
            "states": None if states is None else states.ravel()[order].tolist(),
        }
    return setup


class ArrayProcess:
    """One worker process and its pipes. All methods raise `WorkerDied` if the process ends, fails or hangs."""

    limit_s = READ_LIMIT_S
    """Longest wait for the answer to a read, seconds; a process that takes longer is ended and counts as dead."""

    def __init__(self, deck: ArrayDeck, folder: Path, states: Array | None) -> None:
        """Start the process with its files in `folder`; `states` (R, D) are the initial states of moving memristors,
        None for those in the array's file."""
        self.deck = deck
        self.states = np.empty(deck.shape if deck.moving else (0, 0))
        """(R, D) after the last read; (0, 0) for memristors that cannot move."""
        include = copy_files(deck, folder)
        self.log = folder / f"{deck.name}.log"
        self.seconds = 0.0
        self.version = "unknown"
        with self.log.open("ab") as log:
            # In a session of its own, because Ctrl-C is for the orchestrator alone; in a folder without a .spiceinit.
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
        """Process number."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until the deck is loaded and its operating point is solved, so that no read takes that time. Raises
        `EnvironmentProblem` for an ngspice that is too old or cannot be used."""
        self.version = str(json.loads(self._receive(frames.LOADED))["ngspice"])
        if self.version.isdecimal() and int(self.version) < OLDEST_NGSPICE:  # it would die in the transient
            raise EnvironmentProblem(
                f"libngspice is version {self.version}; allowed: {OLDEST_NGSPICE} or later; install it: make system"
            )
        self._take_states(np.frombuffer(self._receive(frames.READY)))
        self._pipe.limit_s = self.limit_s

    def send(self, volts: Array) -> None:
        """Send B reads, `volts` (B, R)."""
        self._send(frames.VOLTS, np.ascontiguousarray(volts).tobytes())

    def receive(self, reads: int) -> tuple[Array, list[Array]]:
        """Currents (B, outputs) in amperes of the B `reads` sent before, and the states (R, D) after each."""
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
