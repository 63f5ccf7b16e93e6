"""Resistances between drivers, cells and sense amplifiers of a tile."""

from __future__ import annotations

from dataclasses import dataclass

from hvae_mnn.errors import MappingError


@dataclass(frozen=True)
class Wires:
    """Resistances in ohm, each 0 or above; 0 is an ideal connection.

    A word line is driven at its left end, a bit line sensed at its lower end. One segment lies between a
    driver and the nearest cell, between neighbouring cells, and between the last row and the sense node.
    """

    word_ohm: float = 0.0
    """Resistance of a word-line segment."""
    bit_ohm: float = 0.0
    """Resistance of a bit-line segment."""
    driver_ohm: float = 0.0
    """Output resistance of a word-line driver."""
    sense_ohm: float = 0.0
    """Input resistance of a bit line's sense amplifier; 0: a virtual ground."""

    def __post_init__(self) -> None:
        """Raises `MappingError` for a negative or infinite resistance."""
        for name in ("word_ohm", "bit_ohm", "driver_ohm", "sense_ohm"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise MappingError(f"{name} is {value}; allowed: 0 (ideal) or a finite resistance above 0")
