"""A journal of an engine's answers, from which an interrupted run resumes, bit for bit.

Everything but the engine is a function of the run's options. A resumed run repeats the software side, takes the stored
answers from the journal, and calls the engine only for the rest. Every answer has a checksum of its voltages.

Answers of moving devices depend on their history. Their drift is part of every answer, and the engine's position is
written beside the journal at intervals: a resumed run restores it and repeats the reads since.
"""

from __future__ import annotations

import os
import struct
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.moving import FIELDS
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.errors import MendedWarning, RunError, TensorsError
from hvae_mnn.files import disk_errors, refuse_special
from hvae_mnn.tensors import read_tensors, write_tensors

Array = NDArray[np.float64]
_HEAD = struct.Struct("<4sIIQ")  # magic, CRC-32 of names and voltages, CRC-32 of the currents, their bytes
_MAGIC = b"HVJ1"
_ANSWERS = "answers"
POSITION_EVERY = 64
"""Number of answers between two stored positions of moving devices."""


def _position_of(journal: Path) -> Path:
    return journal.with_suffix(".position")


def remove_journal(path: Path) -> None:
    """Delete a journal and the position beside it, if they exist."""
    path.unlink(missing_ok=True)
    _position_of(path).unlink(missing_ok=True)


class JournalEngine:
    """An engine that stores every answer, and first gives the answers of an earlier journal at `path`."""

    def __init__(self, engine: Engine, path: Path, outputs: Mapping[str, int]) -> None:
        """Open the journal at `path`; `outputs` is the number of currents of a read, by array.

        Raises `RunError` for an unusable position of moving devices, `StorageError` if `path` is not writable.
        """
        self.name = engine.name
        self.engine = engine
        self._outputs = outputs
        self._drifts: dict[str, Array] = {}
        self._answers = 0
        self.seconds = 0.0
        """Wall-clock time spent in `engine`: for answers that the journal did not have, and for restoring the states of
        moving devices."""
        self.seconds_loading = engine.seconds_loading
        self.replayed = 0
        """Number of answers taken from the journal so far."""
        self._path = path
        self._position_path = _position_of(path)
        self._moves = any(engine.drift(name) is not None for name in outputs)
        self._restored_at = self._restore() if self._moves else 0
        refuse_special(path)
        with disk_errors(path):
            self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.currents`. Raises `RunError` if the journal has other voltages or other answers."""
        question = _checksum(volts)
        count = sum(len(value) * self._outputs[name] for name, value in volts.items())
        stored = self._stored(question, count + self._moves * len(FIELDS) * len(volts))
        self._answers += 1
        if stored is not None:
            self.replayed += 1
            if self._moves and self._answers > self._restored_at:
                self._repeat(volts, self._split(stored, volts))
            return self._split(stored, volts)
        if self._answers <= self._restored_at:
            raise RunError(
                f"{self._path} ends before {self._position_path}, which belongs to it: it was cut short; start the run"
                " again"
            )
        with self._timed():
            currents = self.engine.currents(volts)
        parts = [currents[name] for name in volts]
        if self._moves:
            self._drifts |= {name: drift for name in volts if (drift := self.engine.drift(name)) is not None}
            parts += [self._drifts[name] for name in volts]
        payload = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
        with disk_errors(self._path):
            self._file.write(_HEAD.pack(_MAGIC, question, zlib.crc32(payload), len(payload)) + payload)
            self._file.flush()
        if self._moves and self._answers % POSITION_EVERY == 0:
            self._keep_position()
        return currents

    def _repeat(self, volts: Mapping[str, Array], stored: Mapping[str, Array]) -> None:
        """Repeat a read in the engine, which moves its states and must give the `stored` currents."""
        with self._timed():
            currents = self.engine.currents(volts)
        if any(not np.array_equal(currents[name], stored[name]) for name in volts):
            raise RunError(
                f"{self._path} holds other answers than this machine gives: ngspice, the compiler or the software has"
                " changed since; start the run again"
            )

    def drift(self, name: str) -> Array | None:
        """See `Engine.drift`."""
        return self._drifts.get(name)

    def position(self) -> dict[str, Array]:
        """See `Engine.position`."""
        return self.engine.position()

    def restore(self, position: Mapping[str, Array]) -> None:
        """See `Engine.restore`."""
        self.engine.restore(position)

    def _keep_position(self) -> None:
        with disk_errors(self._path):
            os.fsync(self._file.fileno())  # the position is never ahead of the journal
        write_tensors(self._position_path, {**self.engine.position(), _ANSWERS: np.array([self._answers])})

    def _restore(self) -> int:
        """Restore the engine's stored position; returns the number of answers before it."""
        if not self._position_path.exists():
            return 0
        try:
            tensors = read_tensors(self._position_path, "position of devices that move", may_be_unchecked=True)
            answers = int(tensors.pop(_ANSWERS)[0])
            _check_position(tensors, self.engine.position())
        except (TensorsError, LookupError, TypeError, ValueError) as error:
            raise RunError(f"{self._position_path} cannot be used: {error}; start the run again") from None
        with self._timed():
            self.engine.restore(tensors)
        return answers

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start

    def remove(self) -> None:
        """Delete the journal of a finished run."""
        remove_journal(self._path)

    def _stored(self, question: int, count: int) -> bytes | None:
        """The next stored answer, of `count` values, to the voltages with the checksum `question`; None at the end.

        A half-written or damaged answer is removed with all that follow; the engine gives them again.
        """
        offset = self._file.tell()
        head = self._file.read(_HEAD.size)
        if len(head) == _HEAD.size:
            magic, answered, checksum, length = _HEAD.unpack(head)
            payload = self._file.read(length) if magic == _MAGIC and length == 8 * count else b""
            if payload and len(payload) == length and zlib.crc32(payload) == checksum:
                if answered != question:
                    raise RunError(
                        f"{self._path} answers other voltages than this run asks for: its options or the software"
                        " changed since, or it is damaged; start the run again"
                    )
                return payload
        with disk_errors(self._path):
            left = self._file.seek(0, os.SEEK_END) - offset
            if left >= _HEAD.size + 8 * count:  # a kill leaves less than an answer
                warnings.warn(
                    f"{self._path} is damaged: {left:,} bytes of answers are computed again",
                    MendedWarning,
                    stacklevel=2,
                )
            self._file.seek(offset)
            self._file.truncate()
        return None

    def _split(self, payload: bytes, volts: Mapping[str, Array]) -> dict[str, Array]:
        """Currents (B, outputs) by array from the bytes of an answer, whose drifts are kept."""
        values = np.frombuffer(payload)
        currents, offset = {}, 0
        for name, value in volts.items():
            count = len(value) * self._outputs[name]
            currents[name] = values[offset : offset + count].reshape(len(value), -1).copy()
            offset += count
        if self._moves:
            self._drifts |= dict(zip(volts, values[offset:].reshape(-1, len(FIELDS)).copy(), strict=True))
        return currents

    def close(self) -> None:
        """Close the journal, which stays on disk; the engine stays open."""
        with disk_errors(self._path):
            self._file.close()

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`."""
        return {**self.engine.facts(), "answers_from_journal": self.replayed}


def _check_position(stored: Mapping[str, Array], own: Mapping[str, Array]) -> None:
    """Raise `ValueError` unless the `stored` position fits an engine with the position `own`, in finite numbers."""
    states = {name.removesuffix(".initial") + ".states": name for name in own if name.endswith(".initial")}
    for name in {*stored, *own}:
        if name not in stored and name in states:
            continue  # states are missing in the first transient
        expected, value = own[states.get(name, name)], stored[name]
        axis = 1 if name.endswith(".reads") else 0  # the number of reads may differ
        if value.dtype != expected.dtype or value.shape[axis:] != expected.shape[axis:]:
            raise ValueError(f"{name} is {value.dtype} of shape {value.shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} holds values that are NaN or infinite")


def _checksum(volts: Mapping[str, Array]) -> int:
    checksum = 0
    for name, value in volts.items():
        checksum = zlib.crc32(np.ascontiguousarray(value).tobytes(), zlib.crc32(name.encode(), checksum))
    return checksum
