"""Messages between the orchestrator and a worker process: a byte for the kind, the length, and the payload."""

from __future__ import annotations

import struct
from typing import BinaryIO

_HEAD = struct.Struct("<cQ")

SETUP, VOLTS, LOADED, READY, CURRENTS, FAILED, UNUSABLE = b"S", b"V", b"L", b"R", b"C", b"F", b"U"
"""To the worker: its set-up, then the voltages of reads. From the worker: the deck is loaded (with ngspice's version),
its first operating point is solved; then the currents of each read, or the reason of a failure (`UNUSABLE`: this
machine's ngspice)."""


def send(stream: BinaryIO, kind: bytes, payload: bytes) -> None:
    """Write one message."""
    stream.write(_HEAD.pack(kind, len(payload)) + payload)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[bytes, bytes]:
    """Read one message: its kind and its payload. Raises `EOFError` if the other side has closed the stream."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError("the other side closed the pipe")
    kind, length = _HEAD.unpack(head)
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError("the other side closed the pipe within a message")
    return kind, payload
