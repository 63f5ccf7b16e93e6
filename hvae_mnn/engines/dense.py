"""Products of read voltages and a matrix, with bits that repeat."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout

Array = NDArray[np.float64]
Product = Callable[[Array, Array], Array]


def aligned(values: Array) -> Array:
    """A row-major copy that begins at a multiple of 64 bytes.

    BLAS sums in an order that depends on where its operands lie, and a resumed run is to give the same bits.
    """
    buffer = np.empty(values.size + 8)
    start = -buffer.ctypes.data % 64 // 8
    found = buffer[start : start + values.size].reshape(values.shape)
    found[...] = values
    return found


def row_by_row(volts: Float64[Array, "B R"], matrix: Float64[Array, "R C"]) -> Float64[Array, "B C"]:
    """Volts (B, R) times matrix (R, C), every read alone: its currents do not depend on what else is in the batch."""
    return np.stack([aligned(row) @ matrix for row in volts])


def at_once(volts: Float64[Array, "B R"], matrix: Float64[Array, "R C"]) -> Float64[Array, "B C"]:
    """Volts (B, R) times matrix (R, C) as one product.

    In torch, as the network around it: numpy's BLAS has threads of its own, which go on spinning after a product, and
    on two cores everything that torch does next takes several times as long.
    """
    if len(volts) == 1:
        return row_by_row(volts, matrix)
    found: Array = (torch.from_numpy(volts) @ torch.from_numpy(matrix)).numpy()
    return found


def in_blocks(layout: ArrayLayout, matrix: Array, volts: Array, product: Product) -> Array:
    """Currents (B, outputs) of an array whose signed conductances are `matrix` (R, C), for volts (B, R): one sum per
    column, or one per row block."""
    if layout.sums == 1:
        return product(volts, matrix)
    parts = [product(volts[:, rows.start : rows.stop], matrix[rows.start : rows.stop]) for rows in layout.row_blocks]
    return np.concatenate(parts, axis=1)
