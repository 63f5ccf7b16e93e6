"""The ideal engine: eq. 12 as a dense product in float64, no circuit."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _aligned(values: Array) -> Array:
    """A copy that begins at a multiple of 64 bytes.

    BLAS sums in an order that depends on where its operands lie, and a resumed run is to give the same bits.
    """
    buffer = np.empty(values.size + 8)
    start = -buffer.ctypes.data % 64 // 8
    found = buffer[start : start + values.size].reshape(values.shape)
    found[...] = values
    return found


class IdealEngine:
    """I = V (1/R_s - G): what the circuit gives without wires, converters or devices that move."""

    name = "ideal"

    def __init__(self, conductances: Mapping[str, Array], fixed_siemens: float) -> None:
        """`conductances`: array name -> (R, C) siemens; `fixed_siemens` is 1/R_s."""
        self._transfer = {name: _aligned(fixed_siemens - g) for name, g in conductances.items()}
        self.seconds = 0.0

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.currents`."""
        start = time.perf_counter()
        # One read at a time, so that a sentence's currents do not depend on what else is in the batch.
        found = {
            name: np.stack([_aligned(row) @ self._transfer[name] for row in value]) for name, value in volts.items()
        }
        self.seconds += time.perf_counter() - start
        return found

    def close(self) -> None:
        """Nothing to release."""

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`."""
        return {"solver": "numpy dense product"}
