"""The interface of all engines: word-line voltages of arrays in, column currents out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

Array = NDArray[np.float64]


@runtime_checkable
class Engine(Protocol):
    """Reads crossbar arrays, each known by its name; an engine knows nothing of recurrent cells."""

    name: str
    """Name of the engine, as in `--engine`."""
    seconds: float
    """Wall-clock time spent in `currents` so far."""
    seconds_loading: float
    """Wall-clock time for loading all arrays in ngspice, or for solving their tiles."""

    def currents(self, volts: Mapping[str, Float64[Array, "B _"]]) -> dict[str, Float64[Array, "B _"]]:
        """Currents in amperes, array name -> (B, outputs), from word-line voltages in volts, array name -> (B, R).

        Currents are those of signed weights: reference columns are subtracted, tiles are added (`ArrayLayout.outputs`).
        The B rows are B consecutive reads. The arrays named in one call are read at the same time.

        Raises `SimulatorError` if a simulator fails.
        """
        ...

    def drift(self, name: str) -> Float64[Array, " 3"] | None:
        """Drift (3,) of the array's states since the beginning (`devices.moving.FIELDS`); None for fixed states."""
        ...

    def position(self) -> dict[str, Array]:
        """Tensors that determine all further answers, given the voltages; empty for fixed states."""
        ...

    def restore(self, position: Mapping[str, Array]) -> None:
        """Continue from a `position`: all further answers equal, bit for bit, those of the engine that gave it."""
        ...

    def close(self) -> None:
        """Release processes and files; the engine cannot be used afterwards."""
        ...

    def facts(self) -> dict[str, object]:
        """Facts for a run's summary: solver, versions, times."""
        ...
