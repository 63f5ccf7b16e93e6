"""The ideal engine: eq. 12 as a dense product in float64, no circuit."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class IdealEngine:
    """I = V (1/R_s - G): what the circuit gives without wires, converters or devices that move."""

    name = "ideal"

    def __init__(self, conductances: Mapping[str, Array], fixed_siemens: float) -> None:
        """`conductances`: array name -> (R, C) siemens; `fixed_siemens` is 1/R_s."""
        self._transfer = {name: fixed_siemens - g for name, g in conductances.items()}
        self.seconds = 0.0

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.currents`."""
        start = time.perf_counter()
        # One read at a time, so that a sentence's currents do not depend on what else is in the batch.
        found = {name: np.stack([row @ self._transfer[name] for row in value]) for name, value in volts.items()}
        self.seconds += time.perf_counter() - start
        return found

    def close(self) -> None:
        """Nothing to release."""

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`."""
        return {"solver": "numpy dense product"}
