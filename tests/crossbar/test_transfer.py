"""The block recursion against nodal analysis, and against exact rational arithmetic where rounding is the question."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hvae_mnn.crossbar import transfer as module
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.nodal import nodal_network
from hvae_mnn.crossbar.transfer import tile_network, tile_transfer

ALL_WIRES = [Wires(*ohms) for ohms in product((0, 2.0), (0, 3.0), (0, 50.0), (0, 20.0))]
SHAPES = [(1, 1, 1), (1, 1, 6), (1, 6, 1), (1, 5, 4), (2, 4, 5), (2, 1, 3), (2, 3, 1), (1, 3, 70), (1, 70, 3)]


def cells(shape, seed=0, kind="ordinary"):
    generator = np.random.default_rng(seed)
    conductance = generator.uniform(1e-6, 1e-4, shape)
    if kind == "open":
        conductance[generator.random(shape) < 0.5] = 0
    elif kind == "shorted":
        conductance[generator.random(shape) < 0.2] = 1e3
    return conductance


def solve(conductance, wires):
    transfer, admittance = tile_network(torch.from_numpy(conductance)[None], wires)
    return transfer[0].numpy(), admittance[0].numpy()


def close(found, expected, part):
    np.testing.assert_allclose(found, expected, rtol=0, atol=part * (np.abs(expected).max() or 1e-6))


@pytest.mark.parametrize("wires", ALL_WIRES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "part"), [("ordinary", 1e-12), ("open", 1e-12), ("shorted", 1e-9)])
def test_nodal_analysis_agrees(wires, shape, kind, part):
    conductance = cells(shape, kind=kind)
    for found, expected in zip(solve(conductance, wires), nodal_network(conductance, wires), strict=True):
        # Nodal analysis loses digits of small elements between large ones, as next to a short.
        close(found, expected, part if expected.shape == shape else max(part, 1e-9))


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 12), st.integers(1, 12)),
    st.lists(st.sampled_from([0.0, 0.3, 1.0, 10.0, 100.0]), min_size=4, max_size=4),
    st.integers(0, 2**32 - 1),
)
@example((1, 11, 12), [0.3, 0.3, 100.0, 100.0], 4)
@settings(max_examples=100, deadline=None)
def test_nodal_analysis_agrees_anywhere(shape, ohms, seed):
    """Each side rounds by itself: with 100 ohm before wires of 0.3 ohm, long double arithmetic finds 4e-13 of the
    largest element in the recursion and 8e-13 in nodal analysis."""
    conductance = cells(shape, seed, ("ordinary", "open")[seed % 2])
    wires = Wires(*ohms)
    close(solve(conductance, wires)[0], nodal_network(conductance, wires)[0], 2e-12)


@pytest.mark.parametrize(("size", "part"), [(64, 1e-12), (129, 1e-12)])
def test_large_tiles_agree(size, part):
    """Beyond the size that Cholesky inverts in one piece, and odd."""
    conductance = cells((1, size, size + 1))
    close(solve(conductance, Wires(1.0, 1.0))[0], nodal_network(conductance, Wires(1.0, 1.0))[0], part)


def exact_transfer(conductance, wires):
    """T (W, M, N) in rational arithmetic, by nodal analysis of a tile with all kinds of wires."""
    lines, rows, columns = conductance.shape
    word = np.arange(lines * rows * columns).reshape(conductance.shape)
    bit = word.size + np.arange(rows * columns).reshape(rows, columns)
    size = word.size + bit.size
    matrix = [[Fraction(0)] * size for _ in range(size)]
    ends = [[Fraction(0)] * columns for _ in range(size)]

    def join(here, there, siemens):
        matrix[here][here] += siemens
        matrix[there][there] += siemens
        matrix[here][there] -= siemens
        matrix[there][here] -= siemens

    driver = 1 / (Fraction(wires.word_ohm) + Fraction(wires.driver_ohm))
    end = 1 / (Fraction(wires.bit_ohm) + Fraction(wires.sense_ohm))
    for k, i, j in np.ndindex(conductance.shape):
        join(word[k, i, j], bit[i, j], Fraction(conductance[k, i, j]))
        if j:
            join(word[k, i, j - 1], word[k, i, j], 1 / Fraction(wires.word_ohm))
        else:
            matrix[word[k, i, 0]][word[k, i, 0]] += driver
    for i, j in np.ndindex(rows, columns):
        if i + 1 < rows:
            join(bit[i, j], bit[i + 1, j], 1 / Fraction(wires.bit_ohm))
        else:
            matrix[bit[i, j]][bit[i, j]] += end
            ends[bit[i, j]][j] = end
    for pivot in range(size):  # positive definite: no exchanges
        for row in range(size):
            factor = matrix[row][pivot] / matrix[pivot][pivot]
            if row != pivot and factor:
                matrix[row] = [a - factor * b for a, b in zip(matrix[row], matrix[pivot], strict=True)]
                ends[row] = [a - factor * b for a, b in zip(ends[row], ends[pivot], strict=True)]
    found = np.empty(conductance.shape)
    for k, i, j in np.ndindex(conductance.shape):
        first = word[k, i, 0]
        found[k, i, j] = driver * ends[first][j] / matrix[first][first]
    return found


@pytest.mark.parametrize("kind", ["ordinary", "open", "shorted"])
@pytest.mark.parametrize("wires", [Wires(1.0, 1.0), Wires(0.5, 2.0, 100.0, 8.0), Wires(30.0, 0.1, 0.0, 1.0)], ids=str)
@pytest.mark.parametrize("shape", [(1, 3, 3), (2, 2, 2)], ids=str)
def test_no_digits_are_lost_even_to_shorts(kind, wires, shape):
    conductance = cells(shape, 1, kind)
    if kind == "shorted":
        conductance[0, 0, 0] = conductance[-1, -1, -1] = 1e3
    close(solve(conductance, wires)[0], exact_transfer(conductance, wires), 1e-13)


@pytest.mark.parametrize("wires", [Wires(40.0, 1.0), Wires(40.0, 0.0, 3.0, 9.0), Wires(40.0)], ids=str)
def test_a_word_line_that_is_shorted_out_needs_no_overflow(wires):
    """The voltage along it falls by a factor of 1e200 and more."""
    conductance = cells((2, 3, 60))
    conductance[0, 1, :] = 1e3
    assert module.word_lines(torch.from_numpy(conductance)[None], wires).logarithms.keys() == {1}
    for found, expected in zip(solve(conductance, wires), nodal_network(conductance, wires), strict=True):
        assert np.isfinite(found).all()
        close(found, expected, 1e-9)


@pytest.mark.parametrize("wires", ALL_WIRES, ids=str)
def test_logarithms_and_products_give_the_same(wires, monkeypatch):
    conductance = cells((2, 5, 7), kind="open")
    expected = solve(conductance, wires)
    monkeypatch.setattr(module, "_SMALLEST_FALL", 2.0)
    for found, answer in zip(solve(conductance, wires), expected, strict=True):
        close(found, answer, 1e-13)


@pytest.mark.parametrize("wires", [Wires(), Wires(2.0, 3.0), Wires(2.0, 0.0, 5.0, 1.0), Wires(0.0, 2.0)], ids=str)
def test_a_batch_is_its_tiles_one_by_one(wires, monkeypatch):
    conductance = np.stack([cells((2, 5, 4), seed) for seed in range(7)])
    monkeypatch.setitem(module._CHUNK, "cpu", 300)  # three tiles at a time
    transfer, admittance = tile_network(torch.from_numpy(conductance), wires)
    assert torch.equal(transfer, tile_transfer(torch.from_numpy(conductance), wires))
    for number, tile in enumerate(conductance):
        alone = solve(tile, wires)
        close(transfer[number].numpy(), alone[0], 1e-14)
        close(admittance[number].numpy(), alone[1], 1e-13)


def test_without_wires_the_transfer_is_the_conductance():
    conductance = cells((2, 5, 3), kind="open")
    transfer, admittance = solve(conductance, Wires())
    np.testing.assert_array_equal(transfer, conductance)
    close(admittance, np.diag(conductance.sum((0, 1))), 1e-15)


def test_no_tiles_and_a_view_of_tiles_are_fine():
    assert tile_transfer(torch.zeros(0, 1, 3, 2, dtype=torch.float64), Wires(1.0, 1.0)).shape == (0, 1, 3, 2)
    conductance = torch.from_numpy(cells((3, 4, 1))).expand(2, 3, 4, 5)[:, 1:]
    found = tile_transfer(conductance, Wires(1.0, 1.0))
    assert torch.equal(found, tile_transfer(conductance.contiguous(), Wires(1.0, 1.0)))
    assert found.is_contiguous()


def test_conductances_are_left_as_they_are():
    conductance = torch.from_numpy(cells((2, 3, 4)))[None]
    before = conductance.clone()
    for wires in ALL_WIRES:
        tile_network(conductance, wires)
    assert torch.equal(conductance, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device; `make test` on a machine with one runs it")
@pytest.mark.parametrize("wires", ALL_WIRES, ids=str)
def test_a_gpu_gives_the_same(wires):
    conductance = torch.from_numpy(np.stack([cells((2, 70, 90), seed, "open") for seed in range(3)]))
    found = tile_network(conductance.cuda(), wires)
    for answer, expected in zip(found, tile_network(conductance, wires), strict=True):
        assert answer.is_cuda
        close(answer.cpu().numpy(), expected.numpy(), 1e-12)
