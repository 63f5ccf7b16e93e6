"""Power of a read of wired tiles in closed form: a quadratic form of the rows' voltages.

A tile's sources are its word-line drivers, at +V (and at -V on the inverted lines of `fixed_resistor_per_cell`), and
the ends of its bit lines, at e volts behind `sense_ohm`. The network is linear and reciprocal, so with T and Y of
`crossbar.transfer` and the drivers' own admittance matrix,

    drivers deliver    P = V^T Q V - e V^T T 1,   Q = sum over line pairs of sign sign' Y_drivers,
    ends take          I = V @ T - e Y 1.

The elimination that gives T also gives Q. With every bit line held at 0 V, the driver of a line delivers, for 1 V, the
current `drive` of its cells into the bit lines. Bit lines are not at 0 V, which reduces this current: with r_i the
currents of row i's drivers into grounded bit lines, P = sum_i V_i sum r_i - r^T B r, where B is the inverse of the bit
lines' block-tridiagonal matrix; its block LDL^T factors Q_i^-1 of the recursion give B's form row by row:
z_i = r_i + Q_{i-1}^-1 z_{i-1}, r^T B r = R sum_i z_i^T Q_i^-1 z_i. Without wires all of it is sum V^2 G.

A transimpedance amplifier (`crossbar.sensing`) takes I of every bit line into its output, which stands at
u = A / (1 + A) (V_os - R_f I), so its output stage delivers -u I. Nearly all of it heats R_f. Its bit lines end at
e = V_os A / (1 + A) behind R_f / (1 + A). The amplifiers' own supply is not part of the circuit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray
from torch import Tensor

from hvae_mnn.crossbar.hardware.spec import Amplifier
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.transfer import Rows, bit_line_inverses, cholesky_inverse, ideal_bit_lines, word_lines

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PowerForm:
    """Matrices of the power of reads, for B tiles of one shape."""

    drivers: Array
    """Q (B, M, M) in siemens: with the sense ends at 0 V, the drivers deliver V^T Q V."""
    transfer: Array
    """T (B, M, N) in siemens: currents into the sense ends for 1 V on a row."""
    ends: Array
    """Y 1 (B, N) in siemens: currents out of the sense ends with 1 V behind each."""


@dataclass(frozen=True)
class ReadPower:
    """Power of S reads of B tiles."""

    drivers: Array
    """Power (B, S) of the word-line drivers, watts, including the power in their output resistance."""
    amplifiers: Array
    """Power (B, S) of the amplifiers' outputs through their feedback resistors, watts; 0 with ideal ammeters."""
    largest_output_v: float
    """Largest magnitude of an amplifier's output without its limit, volts."""


def tile_power(conductance: Float64[Tensor, "B W M N"], wires: Wires, signs: Sequence[int]) -> PowerForm:
    """The form of tiles (B, W, M, N) siemens whose word line k of a row carries `signs[k]` times the row's voltage.

    `wires.sense_ohm` is the resistance at the end of the bit lines. float64, on a CPU.
    """
    rows = word_lines(conductance, wires) if wires.word_ohm + wires.driver_ohm else _driven(conductance)
    sign = torch.tensor(signs, dtype=conductance.dtype)
    own = rows.drive.sum((-1, -2)).T  # (B, M): every line's sign enters twice
    sources = torch.einsum("mbwn,w->bmn", rows.drive, sign).contiguous()
    if wires.bit_ohm:
        lost, transfer, ends = _wired(rows, wires, sources)
    else:
        lost, transfer, ends = _one_node(rows, wires.sense_ohm, sources)
    return PowerForm((torch.diag_embed(own) - lost).numpy(), transfer.numpy(), ends.numpy())


def _driven(conductance: Tensor) -> Rows:
    """Rows whose word lines hold every cell at the driver's voltage: columns do not influence each other."""
    cells = conductance.permute(2, 0, 1, 3).contiguous()  # (M, B, W, N)
    rows, batch, _, columns = cells.shape
    return Rows(
        cells.sum(2), cells.new_zeros(rows, batch, columns, 0), cells.new_zeros(rows, batch, 0, columns), cells, {}
    )


def _wired(rows: Rows, wires: Wires, sources: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The reduction by the bit lines (B, M, M), T (B, M, N), Y 1 (B, N)."""
    batch, count, _ = sources.shape
    end = wires.bit_ohm / (wires.bit_ohm + wires.sense_ohm)
    lost = sources.new_zeros(batch, count, count)
    coming = torch.empty_like(sources)
    moved = torch.empty_like(sources)
    for row, inverse in enumerate(bit_line_inverses(rows, wires)):
        here = slice(0, row + 1)
        coming[:, :row] = moved[:, :row]
        coming[:, row] = sources[:, row]
        moved[:, here] = coming[:, here] @ inverse
        lost[:, here, here] += coming[:, here] @ moved[:, here].mT
    ends = (1 - end * inverse.sum(-1)) * (end / wires.bit_ohm)
    return lost * wires.bit_ohm, moved * end, ends


def _one_node(rows: Rows, sense_ohm: float, sources: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same matrices if a bit line is one node."""
    _, admittance = ideal_bit_lines(rows, 0.0)
    behind = sense_ohm * admittance
    behind.diagonal(dim1=-2, dim2=-1).add_(1)
    inverse = cholesky_inverse(behind)
    transfer = sources @ inverse
    return sense_ohm * (transfer @ sources.mT), transfer, (inverse @ admittance.sum(-1, keepdim=True))[..., 0]


def read_power(form: PowerForm, volts: Float64[Array, "S M"], amplifier: Amplifier) -> ReadPower:
    """Power of reads with `volts` (S, M) on the rows, for every tile; valid while no amplifier clips."""
    gain = 0.0 if amplifier.kind == "ideal" else amplifier.gain / (1 + amplifier.gain)
    end_v = gain * amplifier.offset_v
    drivers = np.einsum("bsm,sm->bs", volts @ form.drivers, volts)
    drivers -= end_v * (form.transfer.sum(-1) @ volts.T)
    if amplifier.kind == "ideal":
        return ReadPower(drivers, np.zeros_like(drivers), 0.0)
    currents = volts @ form.transfer - end_v * form.ends[:, np.newaxis]  # (B, S, N)
    output = end_v - gain * amplifier.feedback_ohm * currents
    return ReadPower(drivers, -(output * currents).sum(-1), float(np.abs(output).max(initial=0.0)))
