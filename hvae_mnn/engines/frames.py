"""Messages between the orchestrator and a worker process: one kind byte, a length, and that many bytes."""

from __future__ import annotations

import struct
from typing import BinaryIO

_HEAD = struct.Struct("<cQ")

SETUP, VOLTS, LOADED, READY, CURRENTS, FAILED, UNUSABLE = b"S", b"V", b"L", b"R", b"C", b"F", b"U"
"""In: the deck, then reads. Out: the deck is loaded (with ngspice's version), its first operating point is found; then
a read's currents, or why there will be no more (`UNUSABLE`: because of this
machine's ngspice)."""


def send(stream: BinaryIO, kind: bytes, payload: bytes) -> None:
    """Write one message."""
    stream.write(_HEAD.pack(kind, len(payload)) + payload)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[bytes, bytes]:
    """Read one message; raises `EOFError` when the other side is gone."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError("the other side closed the pipe")
    kind, length = _HEAD.unpack(head)
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError("the other side closed the pipe within a message")
    return kind, payload
