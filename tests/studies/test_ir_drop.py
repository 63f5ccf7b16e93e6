"""Error from wire resistance: known cases, and ngspice against the exact solution."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hvae_mnn.cli.main import main
from hvae_mnn.crossbar.hardware.spec import SCHEMES
from hvae_mnn.devices.presets import AIST
from hvae_mnn.errors import InputError
from hvae_mnn.plots.ir_drop import error_figure, scheme_figure
from hvae_mnn.studies.ir_drop.run import (
    AGREEMENT,
    ErrorNorms,
    IrDropSettings,
    RandomTile,
    exact_currents,
    ideal_currents,
    ir_drop,
    largest_deviation,
    means,
    ngspice_currents,
    tile_hardware,
    write_study,
)

SMALL = IrDropSettings(
    sizes=(1, 5, 9), ohms=(0.0, 1.0, 40.0), spice_sizes=(), tiles=3, reads=2, scheme="reference_column"
)
SWEEP = IrDropSettings(sizes=(2, 5), ohms=(0.0, 1.0, 10.0), spice_sizes=(), tiles=3, reads=4, seed=1)


def test_one_cell_behind_wires_is_a_voltage_divider():
    tile = RandomTile.draw(SMALL, 1, 0, 0.05)
    pair = tile.array(tile_hardware(AIST, "differential_pair", 40.0))
    plus, minus = pair.conductance[0]
    # Word line: 40 ohm to the first cell, 40 more to the second; each bit line: 40 ohm to its sense end.
    first, second = 1 / (1 / plus + 40), 1 / (1 / minus + 40)
    behind = 1 / (40 + 1 / second)
    at_first = (1 / 40) / (1 / 40 + first + behind)
    at_second = at_first * (1 / 40) / (1 / 40 + second)
    expected = tile.volts[:, 0] * (at_first * first - at_second * second)
    np.testing.assert_allclose(exact_currents([pair], tile.volts[None])[0][:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_resistance_there_is_no_error_and_more_is_worse(scheme):
    rows = ir_drop(replace(SMALL, scheme=scheme))
    errors = means(rows, scheme)
    assert all(errors[size, 0.0] < 1e-14 for size in SMALL.sizes)
    assert errors[9, 40.0] > errors[9, 1.0] > errors[5, 1.0] > 0
    assert largest_deviation(rows) is None


def test_the_error_by_hand():
    error = ErrorNorms.of(np.array([[1.0, 2.0]]), np.array([[1.5, -2.5]]))
    assert error.max == pytest.approx(4.5 / 2.5)
    assert error.rms == pytest.approx(np.sqrt((0.25 + 20.25) / (2.25 + 6.25)))


def test_a_tile_does_not_depend_on_what_else_is_swept():
    one, other = RandomTile.draw(SMALL, 5, 2, 0.05), RandomTile.draw(replace(SMALL, sizes=(5,)), 5, 2, 0.05)
    np.testing.assert_array_equal(one.weights, other.weights)
    array = one.array(tile_hardware(AIST, "reference_column", 0.0))
    np.testing.assert_allclose(
        exact_currents([array], one.volts[None])[0], ideal_currents(array, one.volts), rtol=0, atol=1e-18
    )


@pytest.mark.spice
def test_the_command_draws_and_ngspice_agrees(tmp_path, capsys):
    folder = tmp_path / "drop"
    main(
        ["ir-drop", "--sizes", "4,8", "--ohms", "0,1,20", "--spice-sizes", "4,8", "--tiles", "2", "--out", str(folder)]
    )
    printed = capsys.readouterr().out
    match = re.search(r"ngspice at 6 points: at most (\S+) of full scale", printed)
    assert match
    assert float(match[1]) < 1e-9
    table = pq.read_table(folder / "ir_drop.parquet").to_pydict()
    assert table["source"].count("ngspice") == 6
    assert json.loads((folder / "ir_drop.json").read_text())["ngspice_largest_deviation"] < 1e-9
    for name in ("ir_drop", "ir_drop_schemes"):
        assert (folder / f"{name}.png").stat().st_size > 20_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (0,)}, "--sizes has 0; allowed: whole numbers from 1 to 512"),
        ({"sizes": ()}, "--sizes or --ohms has no value"),
        ({"ohms": (-1.0,)}, "--ohms is -1"),
        ({"sizes": (4,), "spice_sizes": (8,)}, "--spice-sizes has 8"),
        ({"tiles": 0}, "--tiles is 0"),
        ({"scheme": "offset"}, "unknown scheme 'offset'; allowed: "),
    ],
)
def test_impossible_sweeps_are_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        IrDropSettings(**({"spice_sizes": ()} | options))


def test_ngspice_checks_the_sizes_that_it_can_unless_others_are_named():
    assert IrDropSettings().compared == (16, 32, 64)
    assert IrDropSettings(sizes=(16,)).compared == (16,)
    assert IrDropSettings(sizes=(8, 65, 64)).compared == (8, 64)
    assert IrDropSettings(sizes=(128,)).compared == ()
    assert IrDropSettings(sizes=(8, 128), spice_sizes=(128,)).compared == (128,)
    assert IrDropSettings(spice_sizes=()).compared == ()


def test_a_cell_and_its_fixed_resistor_are_a_voltage_divider():
    ohm = 100.0
    tile = RandomTile(np.array([[1.7]]), np.array([[0.03], [-0.01]]))
    array = tile.array(tile_hardware(AIST, "fixed_resistor_per_cell", ohm))
    memristor = array.conductance[0, 0]
    # Each line's segment is in series with its cell; both cells meet before the bit line's segment.
    plain, inverted = (1 / (1 / siemens + ohm) for siemens in (AIST.g_mid, memristor))
    wired = tile.volts * (plain - inverted) / (1 + ohm * (plain + inverted))
    ideal = tile.volts * (AIST.g_mid - memristor)
    np.testing.assert_allclose(exact_currents([array], tile.volts[np.newaxis])[0], wired, rtol=1e-12)
    np.testing.assert_allclose(ideal_currents(array, tile.volts), ideal, rtol=1e-12)
    wanted = abs(wired[0, 0] / ideal[0, 0] - 1)
    error = ErrorNorms.of(wired, ideal)
    assert (error.rms, error.max) == (pytest.approx(wanted), pytest.approx(wanted))
    assert error.full_scale == pytest.approx(0.03 * abs(AIST.g_mid - memristor))


def test_ideal_wires_have_no_error_and_longer_ones_have_more():
    rows = ir_drop(SWEEP)
    assert len(rows) == 3 * (2 * 3 + 2 * 2)  # tiles times the sweep and the other two schemes at 1 ohm
    errors = means(rows, SWEEP.scheme)
    for size in SWEEP.sizes:
        assert errors[size, 0.0] < 1e-14
        assert 1e-5 < errors[size, 1.0] < errors[size, 10.0] < 0.1
        assert errors[size, 10.0] / errors[size, 1.0] == pytest.approx(10, rel=0.1)  # small losses add up
    assert errors[5, 1.0] > errors[2, 1.0]
    assert set(means(rows, "differential_pair")) == {(2, 1.0), (5, 1.0)}


def test_curves_and_bands_are_the_table(tmp_path):
    rows = ir_drop(SWEEP)
    write_study(tmp_path, SWEEP, rows, 1.0)
    assert pq.read_table(tmp_path / "ir_drop.parquet").to_pylist() == [row | {"tile": row["tile"]} for row in rows]
    errors = means(rows, SWEEP.scheme)
    left, right = error_figure(tmp_path).axes[:2]
    lines = {line.get_label(): line for line in left.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["1 Ω", "10 Ω"]  # ideal wires have no position on a logarithmic axis
    np.testing.assert_array_equal(lines["1 Ω"].get_xdata(), [2, 5])
    np.testing.assert_allclose(lines["1 Ω"].get_ydata(), [errors[2, 1.0], errors[5, 1.0]])
    lines = {line.get_label(): line for line in right.lines}
    np.testing.assert_allclose(lines["5 × 5"].get_ydata(), [errors[5, 1.0], errors[5, 10.0]])
    band = right.collections[1].get_paths()[0].vertices[:, 1]
    tiles = [row["rms_error"] for row in rows if (row["scheme"], row["size"]) == (SWEEP.scheme, 5) and row["ohm"]]
    assert (band.min(), band.max()) == (pytest.approx(min(tiles)), pytest.approx(max(tiles)))
    schemes = scheme_figure(tmp_path).axes[0].lines
    for scheme, line in zip(SCHEMES, schemes, strict=True):
        np.testing.assert_allclose(line.get_ydata(), [means(rows, scheme)[size, 1.0] for size in (2, 5)])


@pytest.mark.spice
@pytest.mark.parametrize("scheme", SCHEMES)
def test_ngspice_gives_the_exact_currents(scheme):
    tile = RandomTile.draw(SWEEP, 7, 0, AIST.read_v)
    array = tile.array(tile_hardware(AIST, scheme, 20.0))
    exact = exact_currents([array], tile.volts[np.newaxis])[0]
    assert np.abs(ngspice_currents(array, tile.volts) - exact).max() < 1e-12 * np.abs(exact).max()
    assert np.abs(ideal_currents(array, tile.volts) - exact).max() > 1e-3 * np.abs(exact).max()


@pytest.mark.spice
def test_points_of_ngspice_lie_on_the_curves():
    rows = ir_drop(replace(SWEEP, spice_sizes=(2, 5)))
    judged = [row for row in rows if row["source"] == "ngspice"]
    assert len(judged) == 6
    assert largest_deviation(rows) < AGREEMENT
    for row in judged:
        same = {key: row[key] for key in ("size", "ohm", "tile", "scheme")} | {"source": "exact"}
        exact = next(other for other in rows if other | same == other)
        assert row["rms_error"] == pytest.approx(exact["rms_error"], abs=1e-11)
    assert largest_deviation(ir_drop(SWEEP)) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "a"], "--sizes is 'a'; allowed: whole numbers with commas"),
        (["--ohms", "1,,2"], "--ohms is '1,,2'; allowed: numbers with commas"),
        (["--device", "gold"], "unknown device preset 'gold'; allowed: aist"),
        (["--sizes", "4,8", "--spice-sizes", "16"], "--spice-sizes has 16, which --sizes has not; ngspice is"),
        (["--sizes", "4,4"], "--sizes has 4 twice; allowed: whole numbers from 1 to 512, each once"),
    ],
)
def test_mistakes_give_one_line_and_leave_no_folder(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["ir-drop", *arguments, "--out", str(tmp_path / "study")])
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert message in line
    assert len(line.splitlines()) == 1
    assert not (tmp_path / "study").exists()


@pytest.mark.spice
def test_decks_of_a_failed_ngspice_stay_and_run_again_as_printed(tmp_path, monkeypatch, capsys):
    """A real ngspice that may not write any file fails; the printed command, run without that limit, does not."""
    ngspice = shutil.which("ngspice")
    limited = tmp_path / "bin" / "ngspice"
    limited.parent.mkdir()
    limited.write_text(f'#!/bin/sh\nulimit -f 0\nexec {ngspice} "$@"\n', encoding="utf-8")
    limited.chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{limited.parent}{os.pathsep}{path}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        main(["ir-drop", "--sizes", "3", "--ohms", "1", "--tiles", "1", "--out", str(tmp_path / "study")])
    assert stop.value.code == 1
    command = re.search(r"ngspice failed on .*; run it again: (cd .* && ngspice -n -b \S+)", capsys.readouterr().err)[1]
    monkeypatch.setenv("PATH", path)
    folder = Path(shlex.split(command)[1])
    assert (folder / "tile.cir").is_file()
    assert not list(folder.glob("*.raw"))
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    assert list(folder.glob("*.raw"))
    assert not (tmp_path / "study").exists()
