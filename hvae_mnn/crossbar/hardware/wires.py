"""What lies between drivers, cells and sense amplifiers of a tile: resistances of wire segments and of the ends."""

from __future__ import annotations

from dataclasses import dataclass

from hvae_mnn.errors import MappingError


@dataclass(frozen=True)
class Wires:
    """Resistances in ohm, each 0 or above; 0 is an ideal connection.

    A word line is driven at its left end, a bit line sensed at its lower end. Between a driver and the nearest cell,
    and between neighbouring cells, lies one segment; between the last row and the sense node, too.
    """

    word_ohm: float = 0.0
    """A segment of a word line."""
    bit_ohm: float = 0.0
    """A segment of a bit line."""
    driver_ohm: float = 0.0
    """Output of a word line's driver."""
    sense_ohm: float = 0.0
    """Input of a bit line's sense amplifier; 0: a virtual ground."""

    def __post_init__(self) -> None:
        """Refuse what no wire has."""
        for name in ("word_ohm", "bit_ohm", "driver_ohm", "sense_ohm"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise MappingError(f"{name} is {value}; allowed: 0 (ideal) or a finite resistance above 0")
