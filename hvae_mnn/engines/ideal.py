"""The ideal engine: eq. 12 as a dense product in float64, no circuit; states move by their equation."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.stepping import advance
from hvae_mnn.engines.drift import drift_of
from hvae_mnn.netlist.device_lines import MovingDevices

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
    """I = V (1/R_s - G): what the circuit gives without wires and converters."""

    name = "ideal"

    def __init__(
        self, conductances: Mapping[str, Array], fixed_siemens: float, moving: MovingDevices | None = None
    ) -> None:
        """`conductances`: array name -> (R, C) siemens; `fixed_siemens` is 1/R_s; `moving` where states may move."""
        self._fixed_siemens, self._moving = fixed_siemens, moving
        self._transfer = {name: _aligned(fixed_siemens - g) for name, g in conductances.items()}
        self._initial = {} if moving is None else {name: moving.spec.state(g) for name, g in conductances.items()}
        self._states = dict(self._initial)
        self.seconds = 0.0

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine.currents`."""
        start = time.perf_counter()
        # One read at a time, so that a sentence's currents do not depend on what else is in the batch.
        found = {name: np.stack([self._read(name, row) for row in value]) for name, value in volts.items()}
        self.seconds += time.perf_counter() - start
        return found

    def _read(self, name: str, volts: Array) -> Array:
        """Currents (C,) at the end of a read; the memristor sees the inverted word line."""
        if self._moving is not None and self._moving.spec.moves(-volts).any():
            spec = self._moving.spec
            states = advance(spec, self._states[name], -volts[:, np.newaxis], self._moving.read_s)
            self._set(name, states)
        return _aligned(volts) @ self._transfer[name]

    def _set(self, name: str, states: Array) -> None:
        assert self._moving is not None
        self._states[name] = states
        self._transfer[name] = _aligned(self._fixed_siemens - self._moving.spec.conductance(states))

    def drift(self, name: str) -> Array | None:
        """See `Engine.drift`."""
        return None if self._moving is None else drift_of(self._states[name], self._initial[name])

    def position(self) -> dict[str, Array]:
        """See `Engine.position`: the states."""
        return dict(self._states)

    def restore(self, position: Mapping[str, Array]) -> None:
        """See `Engine.restore`."""
        for name, states in position.items():
            if not np.array_equal(states, self._states[name]):  # a way through x and back costs G its last bit
                self._set(name, states)

    def close(self) -> None:
        """Nothing to release."""

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`."""
        return {"solver": "numpy dense product"}
