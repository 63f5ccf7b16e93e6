"""The ideal engine: eq. 12 as a dense product in float64, without a circuit; states move by their equation."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.devices.moving import MovingDevices, drift_of
from hvae_mnn.devices.stepping import advance
from hvae_mnn.engines.dense import aligned, in_blocks, row_by_row

Array = NDArray[np.float64]


class IdealEngine:
    """I = V (1/R_s - G), or V (G+ - G-): arrays without wires, amplifiers and a nonlinear read law."""

    name = "ideal"

    def __init__(
        self,
        conductances: Mapping[str, Array],
        layouts: Mapping[str, ArrayLayout],
        moving: MovingDevices | None = None,
    ) -> None:
        """`conductances` are the memristors (R, D) in siemens by array, `layouts` the tiles by array; `moving` says how
        their states move, None: they are fixed."""
        start = time.perf_counter()
        self._layouts, self._moving = dict(layouts), moving
        self._transfer = {name: aligned(self._layouts[name].without_wires(g)) for name, g in conductances.items()}
        self._initial = {} if moving is None else {name: moving.spec.state(g) for name, g in conductances.items()}
        self._states = dict(self._initial)
        self.seconds = 0.0
        self.seconds_loading = time.perf_counter() - start

    def currents(self, volts: Mapping[str, Float64[Array, "B _"]]) -> dict[str, Float64[Array, "B _"]]:
        """See `Engine.currents`."""
        start = time.perf_counter()
        # One read at a time, so that a sentence's currents do not depend on the rest of the batch.
        currents = {name: np.stack([self._read(name, row) for row in value]) for name, value in volts.items()}
        self.seconds += time.perf_counter() - start
        return currents

    def _read(self, name: str, volts: Array) -> Array:
        """Currents (outputs,) at the end of a read."""
        layout = self._layouts[name]
        if self._moving is not None:
            across = layout.memristor_sign * volts
            if self._moving.spec.moves(across).any():
                spec = self._moving.spec
                states = advance(spec, self._states[name], across[:, np.newaxis], self._moving.read_s)
                self._set(name, states)
        currents: Array = in_blocks(layout, self._transfer[name], volts[np.newaxis], row_by_row)[0]
        return currents

    def _set(self, name: str, states: Array) -> None:
        assert self._moving is not None
        self._states[name] = states
        self._transfer[name] = aligned(self._layouts[name].without_wires(self._moving.spec.conductance(states)))

    def drift(self, name: str) -> Float64[Array, " 3"] | None:
        """See `Engine.drift`."""
        return None if self._moving is None else drift_of(self._states[name], self._initial[name])

    def position(self) -> dict[str, Array]:
        """See `Engine.position`: the states."""
        return dict(self._states)

    def restore(self, position: Mapping[str, Array]) -> None:
        """See `Engine.restore`."""
        for name, states in position.items():
            if not np.array_equal(states, self._states[name]):  # G -> x -> G changes the last bit of G
                self._set(name, states)

    def close(self) -> None:
        """See `Engine.close`: there is nothing to release."""

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`."""
        return {"solver": "numpy dense product"}
