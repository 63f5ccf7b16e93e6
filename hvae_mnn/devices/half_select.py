"""Cell-by-cell programming of an array, and the disturbance of its half-selected cells.

A pulse on one cell drives its word line and its bit line, so every other cell on these lines gets a part of the
amplitude. With V/2, the other cells of the row and the column get half of it in the same polarity, and the rest none.
With V/3, they get a third, and the rest a third in the opposite polarity. With one transistor per cell (1T1R), no other
cell is exposed. Cells are pulsed row by row, and within a row in the order of the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.spread import Devices, Pulses
from hvae_mnn.errors import DeviceError
from hvae_mnn.names import unknown_name

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

BiasScheme = Literal["V/3", "V/2", "1T1R"]
BIAS_SCHEMES: tuple[BiasScheme, ...] = get_args(BiasScheme)
_PART = {"V/3": 1 / 3, "V/2": 1 / 2, "1T1R": 0.0}
"""Voltage of a half-selected cell, relative to the amplitude."""
_MOST_EXPOSURES = 300_000_000
"""Largest number of exposures of moving cells in one round; more would take minutes."""
_CHUNK = 4096
"""Cells that are computed together: bounds the memory of their exposures."""


@dataclass(frozen=True)
class Disturbance:
    """Effect of half-selection on the R x C cells of an array; arrays have shape (R, C)."""

    scheme: BiasScheme
    exposed_v: float
    """Magnitude of the voltage on half-selected cells, volts."""
    exposures: NDArray[np.int64]
    """Number of half-selections above the cell's own threshold."""
    moved: Array
    """Sum of |dx| during half-selections."""
    after_own_pulse: Array
    """x just after the cell's own last pulse. With the final state it gives the error before and after disturbance."""
    energy_j: float
    """Energy in half-selected cells, joules, with the conductances at the beginning of each round."""

    @property
    def disturbed(self) -> Mask:
        """Cells (R, C) that pulses on other cells moved."""
        return self.moved > 0

    @property
    def count(self) -> int:
        """Number of cells that pulses on other cells moved."""
        return int(self.disturbed.sum())


class SelectedArray:
    """An array (R, C) whose cells are pulsed one after the other, as a `Target` of `program_devices`."""

    def __init__(self, spec: MemristorSpec, amplitude_v: float, scheme: BiasScheme, devices: Devices) -> None:
        """Raises `DeviceError` for an unknown scheme, or devices that do not form an array."""
        if scheme not in BIAS_SCHEMES:
            raise DeviceError(unknown_name("scheme", scheme, BIAS_SCHEMES))
        if len(devices.shape) != 2:
            raise DeviceError(f"half-selection needs an array of rows and columns; the devices are {devices.shape}")
        self.spec, self.scheme = spec, scheme
        self._rows, self._columns = devices.shape
        self._full = Pulses(spec, amplitude_v, devices)
        self._part = Pulses(spec, amplitude_v * _PART[scheme], devices) if _PART[scheme] else None
        moved = self._part.moved.ravel() if self._part else np.zeros(self._rows * self._columns, dtype=bool)
        self._movers: Indices = np.flatnonzero(moved)
        self._exposures = np.zeros(devices.shape, dtype=np.int64)
        self._moved, self._after_own = np.zeros(devices.shape), np.full(devices.shape, spec.x_init)
        self._energy_j = 0.0

    @property
    def disturbance(self) -> Disturbance:
        """The disturbance so far."""
        exposed_v = self._full.amplitude_v * _PART[self.scheme]
        arrays = (self._exposures.copy(), self._moved.copy(), self._after_own.copy())
        return Disturbance(self.scheme, exposed_v, *arrays, self._energy_j)

    def pulse(self, x: Array, seconds: Array, cycle: Array) -> tuple[Array, Array]:
        """States (R, C) after one round in which each cell gets its pulse of signed `seconds`, and joules in the pulsed
        cells. A device's factor in `cycle` holds for the whole round."""
        self._energy_j += self._half_selected_energy(x, np.abs(seconds))
        own = np.flatnonzero(seconds)
        # Most half-selected cells stay below their threshold: only their own pulse counts.
        after, joules = self._full.pulse(x, seconds, cycle)
        self._after_own.ravel()[own] = after.ravel()[own]
        if own.size:
            width = self._columns + self._rows - 1 if self.scheme == "V/2" else own.size
            if self._movers.size * width > _MOST_EXPOSURES:
                raise DeviceError(
                    f"{self._movers.size} of {x.size} cells of memristor {self.spec.name!r} move at"
                    f" {self._full.amplitude_v * _PART[self.scheme]:g} V ({self.scheme}), too many to follow; choose"
                    " 1T1R, a smaller amplitude or a smaller array"
                )
            for start in range(0, self._movers.size, _CHUNK):
                self._follow(self._movers[start : start + _CHUNK], own, x, seconds, cycle, after, joules)
        return after, joules

    def _follow(
        self, movers: Indices, events: Indices, x: Array, seconds: Array, cycle: Array, after: Array, joules: Array
    ) -> None:
        """Compute `movers` (N,) through one round, event by event, all together: they do not influence each other."""
        assert self._part is not None
        full, part = self._full.subset(movers), self._part.subset(movers)
        state, factor = x.ravel()[movers], cycle.ravel()[movers]
        energy, shift = np.zeros(movers.size), np.zeros(movers.size)
        hits, settled = np.zeros(movers.size, dtype=np.int64), self._after_own.ravel()[movers]
        row, column = np.divmod(movers, self._columns)
        pulses = seconds.ravel()
        for event in self._sequence(movers, events).T:
            own = event == movers
            # -1 stands for "no further pulse".
            own_s = np.where(event >= 0, pulses[event], 0.0)
            if own.any():
                state, joule = full.pulse(state, np.where(own, own_s, 0), factor)
                energy += joule
                settled = np.where(own & (own_s != 0), state, settled)
            on_line = (event // self._columns == row) | (event % self._columns == column)
            sign = np.where(own, 0, np.where(on_line, 1, -1 if self.scheme == "V/3" else 0))
            disturbed, _ = part.pulse(state, sign * own_s, factor)
            shift += np.abs(disturbed - state)
            hits += disturbed != state
            state = disturbed
        after.ravel()[movers], joules.ravel()[movers] = state, energy
        self._after_own.ravel()[movers] = settled
        self._moved.ravel()[movers] += shift
        self._exposures.ravel()[movers] += hits

    def _sequence(self, movers: Indices, events: Indices) -> Indices:
        """Flat indices (N, K) of the cells whose pulses reach a mover, in time order, padded with -1."""
        if self.scheme == "V/3":
            return np.broadcast_to(events, (movers.size, events.size))
        row, column = np.divmod(movers[:, np.newaxis], self._columns)
        in_row = row * self._columns + np.arange(self._columns)
        in_column = np.arange(self._rows) * self._columns + column
        # The cell itself is in both.
        in_column = np.where(in_column == movers[:, np.newaxis], np.iinfo(np.intp).max, in_column)
        met = np.sort(np.concatenate([in_row, in_column], axis=1), axis=1)[:, :-1]
        return np.where(np.isin(met, events), met, -1)

    def _half_selected_energy(self, x: Array, width: Array) -> float:
        if self._part is None:
            return 0.0
        siemens = self.spec.conductance(x)
        if self.scheme == "V/2":
            on = siemens.sum(axis=1, keepdims=True) + siemens.sum(axis=0) - 2 * siemens
        else:
            on = siemens.sum() - siemens
        return float((width * on).sum()) * self._part.amplitude_v**2
