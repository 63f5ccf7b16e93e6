"""Nonlinear read law with wires, against full Newton written out densely and against ngspice's sources."""

from __future__ import annotations

import shutil
import subprocess
from itertools import product

import numpy as np
import pytest

from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.nodal import nodal_potentials
from hvae_mnn.crossbar.nonlinear import NonlinearTile
from hvae_mnn.errors import RunError

WIRES = Wires(word_ohm=20.0, bit_ohm=30.0, driver_ohm=100.0, sense_ohm=15.0)
ALL_WIRES = [Wires(*ohms) for ohms in product((0, 20.0), (0, 30.0), (0, 100.0), (0, 15.0))]


def task(shape=(2, 4, 3), reads=5, volt=0.5, seed=0):
    generator = np.random.default_rng(seed)
    conductance = generator.uniform(1e-5, 1e-3, shape)
    return conductance, generator.uniform(-volt, volt, (reads, *shape[:2]))


def close(found, expected, part):
    np.testing.assert_allclose(found, expected, rtol=0, atol=part * np.abs(expected).max())


def dense_newton(conductance, wires, law, volts):
    """Currents (N,) of one read (W, M): Newton's method with a dense Jacobian on a tile with all kinds of wires."""
    lines, rows, columns = conductance.shape
    word = np.arange(conductance.size).reshape(conductance.shape)
    bit = conductance.size + np.arange(rows * columns).reshape(rows, columns)
    linear, drive = np.zeros((bit[-1, -1] + 1,) * 2), np.zeros(bit[-1, -1] + 1)

    def stamp(matrix, here, there, siemens):
        matrix[here, here] += siemens
        matrix[there, there] += siemens
        matrix[here, there] -= siemens
        matrix[there, here] -= siemens

    for k, i in np.ndindex(lines, rows):
        first = 1 / (wires.word_ohm + wires.driver_ohm)
        linear[word[k, i, 0], word[k, i, 0]] += first
        drive[word[k, i, 0]] += first * volts[k, i]
        for j in range(1, columns):
            stamp(linear, word[k, i, j - 1], word[k, i, j], 1 / wires.word_ohm)
    end = 1 / (wires.bit_ohm + wires.sense_ohm)
    for j in range(columns):
        linear[bit[-1, j], bit[-1, j]] += end
        for i in range(1, rows):
            stamp(linear, bit[i - 1, j], bit[i, j], 1 / wires.bit_ohm)
    found = np.zeros(len(drive))
    for _ in range(100):
        jacobian, left = linear.copy(), linear @ found - drive
        for k, i, j in np.ndindex(conductance.shape):
            a, g = law[k, i, j], conductance[k, i, j]
            across = found[word[k, i, j]] - found[bit[i, j]]
            stamp(jacobian, word[k, i, j], bit[i, j], g * np.cosh(a * across))
            current = g * np.sinh(a * across) / a if a else g * across
            left[word[k, i, j]] += current
            left[bit[i, j]] -= current
        step = np.linalg.solve(jacobian, left)
        found -= step
        if np.abs(step).max() < 1e-15:
            break
    return end * found[bit[-1]]


@pytest.mark.parametrize("law", [0.5, 3.0, 10.0])
def test_full_newton_agrees(law):
    conductance, volts = task()
    laws = np.full(conductance.shape, law)
    laws[0, :, 1] = 0  # resistors among memristors
    found = NonlinearTile(conductance, WIRES, laws).currents(volts)
    close(found, np.array([dense_newton(conductance, WIRES, laws, read) for read in volts]), 1e-12)


def test_where_chords_do_not_converge_newton_takes_over():
    conductance, volts = task(volt=1.5)
    laws = np.full(conductance.shape, 6.0)
    found = NonlinearTile(conductance, WIRES, 6.0).currents(volts)
    close(found, np.array([dense_newton(conductance, WIRES, laws, read) for read in volts]), 1e-12)


@pytest.mark.parametrize("wires", ALL_WIRES, ids=str)
def test_ideal_connections_are_limits_of_small_resistances(wires):
    conductance, volts = task()
    small = Wires(*(ohm or 1e-6 for ohm in (wires.word_ohm, wires.bit_ohm, wires.driver_ohm, wires.sense_ohm)))
    found = NonlinearTile(conductance, wires, 3.0).currents(volts)
    close(found, NonlinearTile(conductance, small, 3.0).currents(volts), 1e-6)


@pytest.mark.parametrize("wires", ALL_WIRES, ids=str)
def test_a_law_of_zero_is_ohms(wires):
    conductance, volts = task()
    found = NonlinearTile(conductance, wires, 0.0).currents(volts)
    close(found, nodal_potentials(conductance, wires, volts)[2], 1e-13)


def test_without_wires_currents_are_the_law_itself():
    conductance, volts = task()
    expected = (conductance * np.sinh(2.0 * volts[..., None]) / 2.0).sum((1, 2))
    close(NonlinearTile(conductance, Wires(), 2.0).currents(volts), expected, 1e-14)


def test_reads_do_not_depend_on_each_other():
    conductance, volts = task(reads=8)
    tile = NonlinearTile(conductance, WIRES, 4.0)
    together = tile.currents(volts)
    close(np.concatenate([tile.currents(read[None]) for read in volts]), together, 1e-13)
    np.testing.assert_allclose(tile.currents(-volts), -together, rtol=1e-10)
    np.testing.assert_array_equal(tile.currents(0 * volts), 0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (1, 4, 1)])
def test_small_tiles(shape):
    conductance, volts = task(shape)
    laws = np.full(shape, 3.0)
    found = NonlinearTile(conductance, WIRES, 3.0).currents(volts)
    close(found, np.array([dense_newton(conductance, WIRES, laws, read) for read in volts]), 1e-12)


def test_open_cells_carry_nothing():
    conductance, volts = task()
    conductance[:, :, 1] = 0
    found = NonlinearTile(conductance, WIRES, 3.0).currents(volts)
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-14 * np.abs(found).max())


def test_what_does_not_converge_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr("hvae_mnn.crossbar.nonlinear._CHORDS", 1)
    monkeypatch.setattr("hvae_mnn.crossbar.nonlinear._NEWTONS", 1)
    conductance, volts = task(volt=2.0)
    with pytest.raises(RunError, match="did not converge in 1 steps") as caught:
        NonlinearTile(conductance, WIRES, 8.0).currents(volts)
    assert "\n" not in str(caught.value)


@pytest.mark.spice
@pytest.mark.parametrize("law", [1.0, 6.0])
def test_ngspice_agrees(tmp_path, law):
    command = shutil.which("ngspice")
    assert command, "the ngspice command is part of the set-up: make system"
    conductance, volts = task((1, 7, 6), reads=1)
    _, rows, columns = conductance.shape
    lines = ["* sinh cells", ".options klu reltol=1e-10 abstol=1e-18 vntol=1e-15 itl1=200"]
    for i in range(rows):
        lines += [f"V{i} d{i} 0 {float(volts[0, 0, i])!r}", f"Rd{i} d{i} w{i}_0 {WIRES.driver_ohm + WIRES.word_ohm!r}"]
        lines += [f"Rw{i}_{j} w{i}_{j - 1} w{i}_{j} {WIRES.word_ohm!r}" for j in range(1, columns)]
        for j in range(columns):
            factor = float(conductance[0, i, j] / law)
            lines.append(f"B{i}_{j} w{i}_{j} b{i}_{j} I={factor!r}*sinh({law!r}*V(w{i}_{j},b{i}_{j}))")
            below = f"b{i + 1}_{j}" if i + 1 < rows else f"e{j}"
            ohm = WIRES.bit_ohm + (0 if i + 1 < rows else WIRES.sense_ohm)
            lines.append(f"Rb{i}_{j} b{i}_{j} {below} {ohm!r}")
    lines += [f"Vs{j} e{j} 0 0" for j in range(columns)]
    lines += [".control", "set numdgt=17", "op", *(f"print i(vs{j})" for j in range(columns)), "quit", ".endc", ".end"]
    (tmp_path / "tile.cir").write_text("\n".join([*lines, ""]), encoding="ascii")
    done = subprocess.run([command, "-n", "-b", "tile.cir"], cwd=tmp_path, capture_output=True, text=True, check=False)
    expected = [float(line.rpartition("=")[2]) for line in done.stdout.splitlines() if line.startswith("i(vs")]
    assert len(expected) == columns, done.stdout + done.stderr
    close(NonlinearTile(conductance, WIRES, law).currents(volts)[0], np.array(expected), 1e-9)
