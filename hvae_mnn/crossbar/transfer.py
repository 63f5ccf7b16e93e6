"""The exact transfer matrix of wired tiles: a block recursion over rows, batched over tiles.

A tile of M rows and N bit lines with W word lines per row is a linear circuit, so column currents are `I = V @ T`.
Word line k of row i, with cell conductances g, a driver conductance d and segments of conductance w, has the nodal
matrix A = w L + d e_0 e_0^T + diag(g), where L is the Laplacian of a chain. Eliminating its nodes leaves on the row's
N bit-line nodes the matrix S = sum_k [diag(g) - diag(g) A^-1 diag(g)] and, for 1 V at its driver, the currents
r_k = diag(g) A^-1 e_0 d. The rows are joined by bit-line segments b: a block-tridiagonal system. Going down,
P_0 = S_0 + b, P_i = S_i + 2 b - b^2 P_{i-1}^-1, with the conductance to the sense node s in place of the last b. Going
up from X = s P_{M-1}^-1, the row of T for word line k of row i is X r_k, and X becomes b X P_{i-1}^-1.

A is tridiagonal and its inverse semiseparable: A^-1_ab = u_min(a,b) v_max(a,b), from two recurrences. P is symmetric
and positive definite, so Cholesky: batched LU in torch 2.13's CPU build fails on some matrices.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hvae_mnn.crossbar.wires import Wires


def tile_transfer(conductance: Tensor, wires: Wires) -> Tensor:
    """T (B, W, M, N) in siemens, float64: current into the sense node of bit line j for 1 V on word line k of row i.

    `conductance` (B, W, M, N) in siemens, float64, on CPU or GPU; each 0 (an open cell) or above.
    """
    lines_ohm = wires.word_ohm + wires.driver_ohm
    stiff = _rows(conductance, wires) if lines_ohm else _ideal_rows(conductance)
    if wires.bit_ohm:
        return _wired_bit_lines(conductance, stiff, wires)
    return _ideal_bit_lines(stiff, wires.sense_ohm)


Rows = Iterator[tuple[Tensor, Tensor]]
"""Row by row: S (B, N, N) and r (B, W, N)."""


def _ideal_rows(conductance: Tensor) -> Rows:
    """Word lines without resistance are at their driver's voltage."""
    for row in conductance.unbind(2):
        yield torch.diag_embed(row.sum(1)), row


def _rows(conductance: Tensor, wires: Wires) -> Rows:
    for row in conductance.unbind(2):  # (B, W, N)
        if wires.word_ohm:
            inverse = _chain_inverse(row, 1 / wires.word_ohm, 1 / (wires.word_ohm + wires.driver_ohm))
            drive = inverse[..., 0] / (wires.word_ohm + wires.driver_ohm)
        else:
            # All cells of a line hang on one node.
            driver = 1 / wires.driver_ohm
            drive = (driver / (driver + row.sum(-1, keepdim=True))).expand_as(row)
            inverse = (1 / (driver + row.sum(-1)))[..., None, None].expand(*row.shape, row.shape[-1])
        among = (row[..., :, None] * inverse * row[..., None, :]).sum(1)
        yield torch.diag_embed(row.sum(1)) - among, row * drive


def _chain_inverse(conductance: Tensor, segment: float, driver: float) -> Tensor:
    """A^-1 (..., N, N) of A = segment L + driver e_0 e_0^T + diag(conductance (..., N)).

    Leading and trailing pivots of the elimination from both ends give the diagonal, and their ratios what lies beside
    it: A^-1_ab = A^-1_aa * product of the ratios from a to b.
    """
    size = conductance.shape[-1]
    diagonal = conductance + 2 * segment
    diagonal[..., 0] += driver - segment
    diagonal[..., -1] -= segment
    # Pivots from the left and from the right, each without what lies on the other side.
    left, right = [diagonal[..., 0]], [diagonal[..., -1]]
    for k in range(1, size):
        left.append(diagonal[..., k] - segment**2 / left[-1])
        right.append(diagonal[..., size - 1 - k] - segment**2 / right[-1])
    from_left, from_right = torch.stack(left, -1), torch.stack(right[::-1], -1)
    on_diagonal = 1 / (from_left + from_right - diagonal)
    # The voltage falls by this factor from a node to its right neighbour when the current comes from the left.
    steps = torch.log(segment / from_right[..., 1:])
    fall = torch.cat([torch.zeros_like(diagonal[..., :1]), steps.cumsum(-1)], -1)
    upper = torch.exp(torch.triu(fall[..., None, :] - fall[..., :, None])) * on_diagonal[..., :, None]
    upper = torch.triu(upper)
    return upper + torch.triu(upper, 1).transpose(-1, -2)


def _ideal_bit_lines(rows: Rows, sense_ohm: float) -> Tensor:
    """Every bit line is one node."""
    matrices, sources = zip(*rows, strict=True)
    drive = torch.stack(sources, 2)  # (B, W, M, N)
    if not sense_ohm:
        return drive
    whole = torch.stack(matrices).sum(0)
    whole.diagonal(dim1=-2, dim2=-1).add_(1 / sense_ohm)
    batch, lines, count, columns = drive.shape
    solved = torch.cholesky_solve(drive.reshape(batch, -1, columns).transpose(1, 2), torch.linalg.cholesky(whole))
    return (solved.transpose(1, 2) / sense_ohm).reshape(batch, lines, count, columns)


def _wired_bit_lines(conductance: Tensor, rows: Rows, wires: Wires) -> Tensor:
    segment, sense = 1 / wires.bit_ohm, 1 / (wires.bit_ohm + wires.sense_ohm)
    last = conductance.shape[2] - 1
    inverses: list[Tensor] = []
    sources: list[Tensor] = []
    for number, (matrix, source) in enumerate(rows):
        matrix.diagonal(dim1=-2, dim2=-1).add_((number > 0) * segment + (segment if number < last else sense))
        if inverses:
            matrix = matrix - segment**2 * inverses[-1]
        inverses.append(torch.cholesky_inverse(torch.linalg.cholesky(matrix)))
        sources.append(source)
    found = torch.empty_like(conductance)
    onward = sense * inverses.pop()
    for number in range(last, -1, -1):
        found[:, :, number] = (onward @ sources[number].transpose(1, 2)).transpose(1, 2)
        if number:
            onward = segment * onward @ inverses.pop()
    return found
