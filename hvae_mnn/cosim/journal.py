"""A journal of an engine's answers, so that an interrupted run goes on where it stopped, bit for bit.

Everything but the engine is a function of the run's options: with the answers at hand, a resumed run repeats the
software side and asks the engine only for what is not written yet. Every answer carries a checksum of what was asked.

Devices that move have a past. Their drift is part of every answer, and now and then the engine's position is written
beside the journal: a resumed run restores it and asks again what was asked since.
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
"""Answers between two positions of devices that move."""


def _position_of(journal: Path) -> Path:
    return journal.with_suffix(".position")


def remove_journal(path: Path) -> None:
    """Delete a journal, and the position beside it, if they are there."""
    path.unlink(missing_ok=True)
    _position_of(path).unlink(missing_ok=True)


class JournalEngine:
    """An engine that writes down every answer, and begins with those of an earlier journal at `path`."""

    def __init__(self, engine: Engine, path: Path, outputs: Mapping[str, int]) -> None:
        """`outputs`: array name -> how many currents a read gives, which tells how to cut an answer into arrays."""
        self.name = engine.name
        self.engine = engine
        self._outputs = outputs
        self._drifts: dict[str, Array] = {}
        self._answers = 0
        self.seconds = 0.0
        """Wall-clock time spent in `engine` since: on answers that the journal did not have, and on bringing devices
        back to where an earlier session had moved them."""
        self.seconds_loading = engine.seconds_loading
        self.replayed = 0
        """Answers taken from the journal so far."""
        self._path = path
        self._position_path = _position_of(path)
        self._moves = any(engine.drift(name) is not None for name in outputs)
        self._restored_at = self._restore() if self._moves else 0
        refuse_special(path)
        with disk_errors(path):
            self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.currents`; raises `RunError` when the journal answers another question."""
        asked = _checksum(volts)
        count = sum(len(value) * self._outputs[name] for name, value in volts.items())
        stored = self._stored(asked, count + self._moves * len(FIELDS) * len(volts))
        self._answers += 1
        if stored is not None:
            self.replayed += 1
            if self._moves and self._answers > self._restored_at:
                self._live_again(volts, self._cut(stored, volts))
            return self._cut(stored, volts)
        if self._answers <= self._restored_at:
            raise RunError(
                f"{self._path} ends before {self._position_path}, which goes with it: it was cut short; start the run"
                " again"
            )
        with self._timed():
            found = self.engine.currents(volts)
        parts = [found[name] for name in volts]
        if self._moves:
            self._drifts |= {name: drift for name in volts if (drift := self.engine.drift(name)) is not None}
            parts += [self._drifts[name] for name in volts]
        payload = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
        with disk_errors(self._path):
            self._file.write(_HEAD.pack(_MAGIC, asked, zlib.crc32(payload), len(payload)) + payload)
            self._file.flush()
        if self._moves and self._answers % POSITION_EVERY == 0:
            self._keep_position()
        return found

    def _live_again(self, volts: Mapping[str, Array], stored: Mapping[str, Array]) -> None:
        """Bring the engine's states to where they were after this answer, which it has to give again."""
        with self._timed():
            found = self.engine.currents(volts)
        if any(not np.array_equal(found[name], stored[name]) for name in volts):
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
        """Bring the engine to the position that was written last; returns after how many answers that was."""
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

    def _stored(self, asked: int, count: int) -> bytes | None:
        """The next written answer of `count` values; None at the end. A half-written one is cut off; so is a damaged
        one with all that follows, which is asked again."""
        place = self._file.tell()
        head = self._file.read(_HEAD.size)
        if len(head) == _HEAD.size:
            magic, question, checksum, length = _HEAD.unpack(head)
            payload = self._file.read(length) if magic == _MAGIC and length == 8 * count else b""
            if payload and len(payload) == length and zlib.crc32(payload) == checksum:
                if question != asked:
                    raise RunError(
                        f"{self._path} answers other voltages than this run asks for: its options or the software"
                        " changed since, or it is damaged; start the run again"
                    )
                return payload
        with disk_errors(self._path):
            left = self._file.seek(0, os.SEEK_END) - place
            if left >= _HEAD.size + 8 * count:  # a kill leaves less than an answer
                warnings.warn(
                    f"{self._path} is damaged: {left:,} bytes of answers are asked again", MendedWarning, stacklevel=2
                )
            self._file.seek(place)
            self._file.truncate()
        return None

    def _cut(self, payload: bytes, volts: Mapping[str, Array]) -> dict[str, Array]:
        values = np.frombuffer(payload)
        found, place = {}, 0
        for name, value in volts.items():
            count = len(value) * self._outputs[name]
            found[name] = values[place : place + count].reshape(len(value), -1).copy()
            place += count
        if self._moves:
            self._drifts |= dict(zip(volts, values[place:].reshape(-1, len(FIELDS)).copy(), strict=True))
        return found

    def close(self) -> None:
        """Close the journal, which stays on disk; the engine is closed by whoever started it."""
        with disk_errors(self._path):
            self._file.close()

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`."""
        return {**self.engine.facts(), "answers_from_journal": self.replayed}


def _check_position(found: Mapping[str, Array], own: Mapping[str, Array]) -> None:
    """Raise `ValueError` for a position that is not of an engine that is at `own` now, or no numbers."""
    states = {name.removesuffix(".initial") + ".states": name for name in own if name.endswith(".initial")}
    for name in {*found, *own}:
        if name not in found and name in states:
            continue  # there are none before the first read
        expected = own[states.get(name, name)]
        cut = 1 if name.endswith(".reads") else 0  # as many as there were
        if found[name].dtype != expected.dtype or found[name].shape[cut:] != expected.shape[cut:]:
            raise ValueError(f"{name} is {found[name].dtype} of shape {found[name].shape}")
        if not np.isfinite(found[name]).all():
            raise ValueError(f"{name} holds values that are NaN or infinite")


def _checksum(volts: Mapping[str, Array]) -> int:
    found = 0
    for name, value in volts.items():
        found = zlib.crc32(np.ascontiguousarray(value).tobytes(), zlib.crc32(name.encode(), found))
    return found
