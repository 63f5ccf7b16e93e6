"""A journal of an engine's answers, so that an interrupted run goes on where it stopped, bit for bit.

Everything but the engine is a function of the run's options: with the answers at hand, a resumed run repeats the
software side and asks the engine only for what is not written yet.
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
from hvae_mnn.files import disk_errors

Array = NDArray[np.float64]
_HEAD = struct.Struct("<QId")  # bytes of currents, their CRC-32, seconds that the engine took


class JournalEngine:
    """An engine that writes down every answer, and begins with those of an earlier journal at `path`."""

    def __init__(self, engine: Engine, path: Path, columns: Mapping[str, int]) -> None:
        """`columns`: array name -> C, which tells how to cut an answer into arrays."""
        self.name = engine.name
        self.engine = engine
        self._columns = columns
        self.seconds = 0.0
        self.replayed = 0
        """Answers taken from the journal so far."""
        self._path = path
        self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.currents`."""
        stored = self._stored()
        if stored is not None:
            self.replayed += 1
            return self._cut(stored, volts)
        start = time.perf_counter()
        found = self.engine.currents(volts)
        seconds = time.perf_counter() - start
        self.seconds += seconds
        payload = b"".join(np.ascontiguousarray(found[name]).tobytes() for name in volts)
        with disk_errors(self._path):
            self._file.write(_HEAD.pack(len(payload), zlib.crc32(payload), seconds) + payload)
            self._file.flush()
        return found

    def _stored(self) -> bytes | None:
        """The next written answer; None at the end. A half-written one is cut off."""
        place = self._file.tell()
        head = self._file.read(_HEAD.size)
        if len(head) == _HEAD.size:
            length, checksum, seconds = _HEAD.unpack(head)
            payload = self._file.read(length)
            if len(payload) == length and zlib.crc32(payload) == checksum:
                self.seconds += seconds
                return payload
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
        """Close the journal and the engine; the journal stays on disk."""
        try:
            with disk_errors(self._path):
                self._file.close()
        finally:
            self.engine.close()

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`."""
        return {**self.engine.facts(), "answers_from_journal": self.replayed}
