"""What every engine is: arrays' word-line voltages in, column currents out. Engines know arrays, not recurrent
cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

Array = NDArray[np.float64]


@runtime_checkable
class Engine(Protocol):
    """Solves crossbar arrays, each known by its name."""

    name: str
    """As given to `--engine`."""
    seconds: float
    """Wall-clock time spent in `currents` so far."""
    seconds_loading: float
    """Wall-clock time until the arrays could be read: ngspice had loaded them, or their tiles were solved."""

    def currents(self, volts: Mapping[str, Float64[Array, "B _"]]) -> dict[str, Float64[Array, "B _"]]:
        """Currents in amperes, array name -> (B, outputs), from word-line voltages in volts, array name -> (B, R).

        They stand for signed weights: a reference column is subtracted, tiles are added (`ArrayLayout.outputs`).

        The B rows are B reads, one after the other. The arrays named in one call are read at the same time.
        """
        ...

    def drift(self, name: str) -> Float64[Array, " 3"] | None:
        """How far the array's states have moved since the beginning (`drift.FIELDS`); None for devices that cannot."""
        ...

    def position(self) -> dict[str, Array]:
        """What the next answers depend on besides the voltages asked: empty for devices that cannot move."""
        ...

    def restore(self, position: Mapping[str, Array]) -> None:
        """Go on from a `position`; the answers that follow are those of the engine it was taken from, bit for bit."""
        ...

    def close(self) -> None:
        """Release processes and files; the engine is not used afterwards."""
        ...

    def facts(self) -> dict[str, object]:
        """What a summary should say of the engine: solver, versions, times."""
        ...
