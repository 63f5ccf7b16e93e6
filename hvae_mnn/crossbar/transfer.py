"""Exact currents of wired tiles as matrices: a block recursion over rows, batched over tiles.

A tile of M rows and N bit lines with W word lines per row is a linear circuit. With V on the drivers and v behind the
resistances at the sense ends, the currents out of the sense ends are `I = V @ T - Y @ v`.

Word lines. Cell a of a word line sees, looking left along it, the conductance l_a, and looking right, r_a; past one
more cell g and one more segment of R ohm, x = l + g becomes x / (1 + R x). Between word line and bit lines stands
A = chain + diag(g), with A^-1_aa = 1 / (l_a + g_a + r_a), and the voltage falls from cell b - 1 to cell b by the factor
1 / (1 + R (r_b + g_b)) when the current comes from the left: with c_b the product of these factors, A^-1_ab is
A^-1_aa c_b / c_a for a <= b. Eliminating the nodes of row i's word lines leaves on the row's N bit-line nodes the
matrix S, a sum over word lines, S_aa = g_a (l_a + r_a) / (l_a + g_a + r_a), S_ab = -g_a A^-1_ab g_b, and, for 1 V at a
driver of conductance d, the current g_a A^-1_0a d. No step of it subtracts, so that a shorted cell
(1e3 S) costs no digits next to wires of ohms; next to drivers or wires of kilohms it costs five.

Bit lines. With segments of R ohm, Q_0 = R S_0 + 1, Q_i = R S_i + 2 - Q_{i-1}^-1, and in the last row q, the conductance
to the sense end times R, stands in place of one of the ones. Sources y (W i, N) of the rows so far go down as
y_i = [y_{i-1} Q_{i-1}^-1, the row's own]; T = q y Q_{M-1}^-1 and Y = q / R (1 - q Q_{M-1}^-1). Q is symmetric and
positive definite, so Cholesky: batched LU in torch 2.13's CPU build fails on some matrices. Only its lower triangle is
ever made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.errors import MappingError

_SMALLEST_FALL = 1e-60
"""If the voltage along a word line falls by more, S is computed with logarithms, because 1 / c would overflow."""
_LEAF = 64
"""Largest matrix that Cholesky inverts directly; larger ones are split in four, because products run faster."""
_CHUNK = {"cpu": 2**17}
"""Matrix elements processed together, by device type: on a CPU, as many as its cache holds."""
_CHUNK_ELSEWHERE = 2**25
_WORTH_THREADS = 256
"""Smallest size at which matrix products gain from more than one thread; smaller ones lose, much on a busy machine."""


def tile_transfer(conductance: Float64[Tensor, "B W M N"], wires: Wires) -> Float64[Tensor, "B W M N"]:
    """T (B, W, M, N) in siemens, float64: current into the sense node of bit line j for 1 V on word line k of row i.

    `conductance` (B, W, M, N) in siemens, float64, on CPU or GPU; each 0 (an open cell) or above.
    """
    return tile_network(conductance, wires)[0]


def tile_network(
    conductance: Float64[Tensor, "B W M N"], wires: Wires
) -> tuple[Float64[Tensor, "B W M N"], Float64[Tensor, "B N N"]]:
    """T (B, W, M, N) as in `tile_transfer`, and Y (B, N, N), both in siemens.

    Y is the admittance of the bit lines behind `sense_ohm`, drivers at 0 V: currents into the sense ends are
    `V @ T - Y @ v` when these are at v (N,) volts.
    """
    batch, lines, rows, columns = conductance.shape
    transfer = torch.empty_like(conductance, memory_format=torch.contiguous_format)
    admittance = conductance.new_empty(batch, columns, columns)
    chunk = max(1, _CHUNK.get(conductance.device.type, _CHUNK_ELSEWHERE) // max(columns, rows * lines) ** 2)
    with threads(torch.get_num_threads() if columns >= _WORTH_THREADS else 1):
        for start in range(0, batch, chunk):
            part = slice(start, start + chunk)
            transfer[part], admittance[part] = _solve(conductance[part], wires)
    return transfer, admittance


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run with `count` torch threads. The last bits of sums depend on this number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _solve(conductance: Tensor, wires: Wires) -> tuple[Tensor, Tensor]:
    if not wires.word_ohm + wires.driver_ohm:
        return _ideal_word_lines(conductance, wires)
    rows = word_lines(conductance, wires)
    return _wired_bit_lines(rows, wires) if wires.bit_ohm else ideal_bit_lines(rows, wires.sense_ohm)


def _sights(shunts: Tensor, segment_ohm: float, end: Tensor) -> Tensor:
    """Conductance (N, ...) seen from each cell along the line towards its beginning, which ends in `end` (...,)
    siemens.

    `shunts` (N, ...) are connected to the line, with N - 1 segments between them.
    """
    seen = torch.empty_like(shunts)
    seen[0] = end
    for index in range(1, len(shunts)):
        past = seen[index - 1] + shunts[index - 1]
        torch.div(past, (past * segment_ohm).add_(1), out=seen[index])
    return seen


def _falls(shunts: Tensor, right: Tensor, segment_ohm: float) -> Tensor:
    """Voltage at cell b relative to that at cell b - 1, (N, ...); 1 at the first cell."""
    falls = 1 / (1 + segment_ohm * (right + shunts))
    falls[0] = 1
    return falls


def _ideal_word_lines(conductance: Tensor, wires: Wires) -> tuple[Tensor, Tensor]:
    """T and Y if every cell has its word line's voltage: every bit line is then a separate ladder.

    The network is reciprocal: 1 V at a source gives the same current at the sense end as 1 V there gives at the source.
    """
    shunts = conductance.sum(1).flip(1).transpose(0, 1).contiguous()  # (M, B, N), from the sense end upwards
    upwards = _sights(shunts.flip(0), wires.bit_ohm, torch.zeros_like(shunts[0])).flip(0)
    end_ohm = wires.bit_ohm + wires.sense_ohm
    whole = upwards[0] + shunts[0]
    volts = _falls(shunts, upwards, wires.bit_ohm).cumprod(0) / (1 + end_ohm * whole)
    transfer = conductance * volts.transpose(0, 1).flip(1)[:, None]
    return transfer, torch.diag_embed(whole / (1 + end_ohm * whole))


@dataclass(frozen=True)
class Rows:
    """Every row after elimination of its word lines: S = diag(`diagonal`) - `far` `near`^T below the diagonal."""

    diagonal: Tensor
    """(M, B, N) siemens."""
    far: Tensor
    """(M, B, N, W): c_a g_a."""
    near: Tensor
    """(M, B, W, N): g_b A^-1_bb / c_b."""
    drive: Tensor
    """(M, B, W, N) siemens: current into a bit line held at 0 V for 1 V at the driver."""
    logarithms: dict[int, tuple[Tensor, Tensor, Tensor]]
    """For rows with too small a c: g, g A^-1_aa and log c, each (B, W, N)."""

    def subtract_coupling(self, row: int, matrix: Tensor, weight: float) -> Tensor:
        """`weight` S - `matrix` (B, N, N), valid in the lower triangle."""
        if row not in self.logarithms:
            return torch.baddbmm(matrix, self.far[row], self.near[row], beta=-1, alpha=-weight)
        far, near, logarithm = self.logarithms[row]
        falls = (logarithm[..., :, None] - logarithm[..., None, :]).tril_().exp_()
        return -matrix - weight * (far[..., :, None] * falls * near[..., None, :]).sum(1)


def word_lines(conductance: Tensor, wires: Wires) -> Rows:
    """Eliminate the word lines of tiles (B, W, M, N) siemens; with resistance in them, or in their drivers."""
    cells = conductance.permute(3, 2, 0, 1).contiguous()  # (N, M, B, W)
    driver = 1 / (wires.word_ohm + wires.driver_ohm)
    from_ends = torch.stack([cells, cells.flip(0)], 1)
    ends = torch.zeros_like(from_ends[0])
    ends[0] = driver
    left, right = _sights(from_ends, wires.word_ohm, ends).unbind(1)
    right = right.flip(0)
    around = left + right
    inverse = 1 / (around + cells)  # A^-1_aa
    falls = _falls(cells, right, wires.word_ohm)
    product = falls.cumprod(0)
    drive = cells * product * (driver * inverse[0])
    steep = torch.nonzero((product[-1] < _SMALLEST_FALL).any(-1).any(-1)).flatten().tolist()
    logarithms = {
        row: (
            cells[:, row].movedim(0, -1),
            (cells[:, row] * inverse[:, row]).movedim(0, -1),
            falls[:, row].log().cumsum(0).movedim(0, -1),
        )
        for row in steep
    }
    return Rows(
        (cells * around * inverse).sum(-1).movedim(0, -1).contiguous(),
        (cells * product).movedim(0, 2).contiguous(),
        (cells * inverse / product).movedim(0, -1).contiguous(),
        drive.movedim(0, -1).contiguous(),
        logarithms,
    )


def ideal_bit_lines(rows: Rows, sense_ohm: float) -> tuple[Tensor, Tensor]:
    """T (B, W, M, N) and Y (B, N, N) if every bit line is one node."""
    count, batch, lines, columns = rows.drive.shape
    admittance = rows.drive.new_zeros(batch, columns, columns)
    for row in range(count):
        admittance = rows.subtract_coupling(row, -admittance, 1)
        admittance.diagonal(dim1=-2, dim2=-1).zero_()
    admittance.diagonal(dim1=-2, dim2=-1).copy_(rows.diagonal.sum(0))
    admittance = admittance.tril() + admittance.tril(-1).mT
    transfer = rows.drive.transpose(0, 1).reshape(batch, -1, columns)
    if sense_ohm:
        behind = sense_ohm * admittance
        behind.diagonal(dim1=-2, dim2=-1).add_(1)
        inverse = cholesky_inverse(behind)
        transfer, admittance = transfer @ inverse, admittance @ inverse
    return _by_line(transfer, lines), admittance


def _by_line(sources: Tensor, lines: int) -> Tensor:
    """Reorder sources (B, M W, N) to (B, W, M, N)."""
    batch, count, columns = sources.shape
    return sources.reshape(batch, count // lines, lines, columns).transpose(1, 2)


def _wired_bit_lines(rows: Rows, wires: Wires) -> tuple[Tensor, Tensor]:
    count, batch, lines, columns = rows.drive.shape
    end = wires.bit_ohm / (wires.bit_ohm + wires.sense_ohm)
    sources = rows.drive.new_empty(batch, count * lines, columns)
    moved = torch.empty_like(sources)
    for row, above in enumerate(bit_line_inverses(rows, wires)):
        here = (row + 1) * lines
        sources[:, here - lines : here] = rows.drive[row]
        torch.bmm(sources[:, :here], above, out=moved[:, :here])
        sources, moved = moved, sources
    admittance = above * (-end * end / wires.bit_ohm)
    admittance.diagonal(dim1=-2, dim2=-1).add_(end / wires.bit_ohm)
    return _by_line(sources * end, lines), admittance


def bit_line_inverses(rows: Rows, wires: Wires) -> Iterator[Tensor]:
    """Q_i^-1 (B, N, N), row after row of wired bit lines."""
    count, batch, _, columns = rows.drive.shape
    end = wires.bit_ohm / (wires.bit_ohm + wires.sense_ohm)
    above = rows.drive.new_zeros(batch, columns, columns)
    for row in range(count):
        matrix = rows.subtract_coupling(row, above, wires.bit_ohm)
        neighbours = (row > 0) + (1.0 if row < count - 1 else end)
        diagonal = rows.diagonal[row] * wires.bit_ohm + neighbours - above.diagonal(dim1=-2, dim2=-1)
        matrix.diagonal(dim1=-2, dim2=-1).copy_(diagonal)
        above = cholesky_inverse(matrix)
        yield above


def cholesky_inverse(matrix: Tensor) -> Tensor:
    """Inverse (B, N, N) of symmetric positive definite matrices, given their lower triangles."""
    size = matrix.shape[-1]
    if size <= _LEAF:
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if bool(failed.any()):
            raise MappingError(
                "a tile's matrix is singular to working precision: its conductances and wires are too far apart"
            )
        return torch.cholesky_inverse(factor)
    half = size // 2
    below = matrix[:, half:, :half]
    first = cholesky_inverse(matrix[:, :half, :half])
    onto = below @ first
    second = cholesky_inverse(torch.baddbmm(matrix[:, half:, half:], onto, below.mT, alpha=-1))
    inverse = torch.empty_like(matrix)
    inverse[:, half:, half:] = second
    corner = torch.bmm(second, onto).neg_()
    inverse[:, half:, :half] = corner
    inverse[:, :half, half:] = corner.mT
    torch.baddbmm(first, onto.mT, corner, alpha=-1, out=inverse[:, :half, :half])
    return inverse
