"""One random draw of an array's memristors: every effect in physical order, with one stream per tile and effect."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.crossbar.nonidealities.device_spread import with_device_spread
from hvae_mnn.crossbar.nonidealities.drift import drifted
from hvae_mnn.crossbar.nonidealities.programming_error import with_programming_error
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.crossbar.nonidealities.stuck import with_stuck_cells

Array = NDArray[np.float64]
_PROGRAMMING, _CHIP, _CYCLE, _STUCK, _DRIFT = range(5)


@dataclass(frozen=True)
class Drawn:
    """One drawn array."""

    conductance: Array
    """Drawn memristors (R, D), siemens."""
    stuck_on: int
    """Number of memristors stuck at 1/R_on."""
    stuck_off: int
    """Number of memristors stuck at 1/R_off."""


def draw_array(name: str, layout: ArrayLayout, targets: Float64[Array, "R D"], spec: Nonidealities, seed: int) -> Drawn:
    """Draw the memristors of the array called `name`, whose `targets` are (R, D) siemens.

    A tile's numbers depend only on the seed, the array's name and the tile's number, not on other arrays or on which
    other effects are on. Raises `DeviceError` for pulses that the device cannot be programmed with.
    """
    conductance, stuck_on, stuck_off = np.empty_like(targets), 0, 0
    device = layout.hardware.device
    where = zlib.crc32(name.encode())
    for number, tile in enumerate(layout.tiles):
        part = (slice(tile.rows.start, tile.rows.stop), slice(tile.memristors.start, tile.memristors.stop))

        def stream(effect: int, number: int = number) -> np.random.Generator:
            return np.random.default_rng(np.random.SeedSequence([seed, where, number, effect]))

        values = with_programming_error(targets[part], spec.programming, device, stream(_PROGRAMMING))
        values = with_device_spread(values, spec.spread, device, stream(_CHIP), stream(_CYCLE))
        values, on, off = with_stuck_cells(values, spec.stuck, device, stream(_STUCK))
        conductance[part] = drifted(values, spec.drift, stream(_DRIFT))
        stuck_on, stuck_off = stuck_on + on, stuck_off + off
    return Drawn(conductance, stuck_on, stuck_off)
