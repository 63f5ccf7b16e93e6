"""Products of read voltages and a matrix, reproducible to the bit."""

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
    """A row-major copy at an address that is a multiple of 64 bytes.

    The order in which BLAS sums depends on the addresses of its operands, and a resumed run must give the same bits.
    """
    buffer = np.empty(values.size + 8)
    start = -buffer.ctypes.data % 64 // 8
    copy = buffer[start : start + values.size].reshape(values.shape)
    copy[...] = values
    return copy


def row_by_row(volts: Float64[Array, "B R"], matrix: Float64[Array, "R C"]) -> Float64[Array, "B C"]:
    """Volts (B, R) times matrix (R, C), each read alone: its currents do not depend on the rest of the batch."""
    return np.stack([aligned(row) @ matrix for row in volts])


def at_once(volts: Float64[Array, "B R"], matrix: Float64[Array, "R C"]) -> Float64[Array, "B C"]:
    """Volts (B, R) times matrix (R, C) as one product.

    The product runs in torch, like the rest of the network: numpy's BLAS has threads of its own, which keep spinning
    after a product and, on two cores, slow torch down several times.
    """
    if len(volts) == 1:
        return row_by_row(volts, matrix)
    currents: Array = (torch.from_numpy(volts) @ torch.from_numpy(matrix)).numpy()
    return currents


def in_blocks(layout: ArrayLayout, matrix: Array, volts: Array, product: Product) -> Array:
    """Currents (B, outputs) for `volts` (B, R) of an array with the signed conductances `matrix` (R, C).

    Outputs are one sum per column, or one per column and row block. Amperes, volts and siemens.
    """
    if layout.sums == 1:
        return product(volts, matrix)
    parts = [product(volts[:, rows.start : rows.stop], matrix[rows.start : rows.stop]) for rows in layout.row_blocks]
    return np.concatenate(parts, axis=1)
