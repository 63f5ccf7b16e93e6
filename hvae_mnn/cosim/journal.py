"""A journal of an engine's answers, so that an interrupted run goes on where it stopped, bit for bit.

Everything but the engine is a function of the run's options: with the answers at hand, a resumed run repeats the
software side and asks the engine only for what is not written yet. Every answer carries a checksum of what was asked.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.engines.protocol import Engine
from hvae_mnn.errors import RunError
from hvae_mnn.files import disk_errors

Array = NDArray[np.float64]
_HEAD = struct.Struct("<4sIIQ")  # magic, CRC-32 of names and voltages, CRC-32 of the currents, their bytes
_MAGIC = b"HVJ1"


class JournalEngine:
    """An engine that writes down every answer, and begins with those of an earlier journal at `path`."""

    def __init__(self, engine: Engine, path: Path, columns: Mapping[str, int]) -> None:
        """`columns`: array name -> C, which tells how to cut an answer into arrays."""
        self.name = engine.name
        self.engine = engine
        self._columns = columns
        self.seconds = 0.0
        """Time spent in `engine`, without the answers from the journal."""
        self.replayed = 0
        """Answers taken from the journal so far."""
        self._path = path
        with disk_errors(path):
            self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.currents`; raises `RunError` when the journal answers another question."""
        asked = _checksum(volts)
        stored = self._stored(asked, sum(len(value) * self._columns[name] for name, value in volts.items()))
        if stored is not None:
            self.replayed += 1
            return self._cut(stored, volts)
        start = time.perf_counter()
        found = self.engine.currents(volts)
        self.seconds += time.perf_counter() - start
        payload = b"".join(np.ascontiguousarray(found[name]).tobytes() for name in volts)
        with disk_errors(self._path):
            self._file.write(_HEAD.pack(_MAGIC, asked, zlib.crc32(payload), len(payload)) + payload)
            self._file.flush()
        return found

    def _stored(self, asked: int, count: int) -> bytes | None:
        """The next written answer of `count` values; None at the end. A half-written one is cut off."""
        place = self._file.tell()
        head = self._file.read(_HEAD.size)
        if len(head) == _HEAD.size:
            magic, question, checksum, length = _HEAD.unpack(head)
            payload = self._file.read(length) if magic == _MAGIC and length == 8 * count else b""
            if payload and len(payload) == length and zlib.crc32(payload) == checksum:
                if question != asked:
                    raise RunError(
                        f"{self._path} answers other voltages than this run asks for: its options or the software"
                        " changed since; start the run again"
                    )
                return payload
        with disk_errors(self._path):
            self._file.seek(place)
            self._file.truncate()
        return None

    def _cut(self, payload: bytes, volts: Mapping[str, Array]) -> dict[str, Array]:
        values = np.frombuffer(payload)
        found, place = {}, 0
        for name, value in volts.items():
            count = len(value) * self._columns[name]
            found[name] = values[place : place + count].reshape(len(value), -1).copy()
            place += count
        return found

    def close(self) -> None:
        """Close the journal, which stays on disk; the engine is closed by whoever started it."""
        with disk_errors(self._path):
            self._file.close()

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`."""
        return {**self.engine.facts(), "answers_from_journal": self.replayed}


def _checksum(volts: Mapping[str, Array]) -> int:
    found = 0
    for name, value in volts.items():
        found = zlib.crc32(np.ascontiguousarray(value).tobytes(), zlib.crc32(name.encode(), found))
    return found
