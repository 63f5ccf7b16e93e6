"""Stuck cells: each cell is, independently, at 1/R_on with probability `on` and at 1/R_off with probability `off`.

Stuck cells are at the ends of the device's own range, which may be wider than the g_min to g_max that weights use. The
probabilities are assumptions: no source gives a yield for the AIST memristor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.nonidealities.spec import StuckCells
from hvae_mnn.devices.memristor import MemristorSpec

Array = NDArray[np.float64]


def with_stuck_cells(
    conductances: Array, spec: StuckCells, device: MemristorSpec, rng: np.random.Generator
) -> tuple[Array, int, int]:
    """Conductances, siemens of any shape, and the numbers of cells stuck at 1/R_on and at 1/R_off."""
    if not spec.on and not spec.off:
        return conductances, 0, 0
    where = rng.random(conductances.shape)
    on = where < spec.on
    off = ~on & (where < spec.on + spec.off)
    values = np.where(on, 1 / device.r_on_ohm, np.where(off, 1 / device.r_off_ohm, conductances))
    return values, int(on.sum()), int(off.sum())
