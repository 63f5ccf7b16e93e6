"""What wires cost: known cases, and ngspice on the exact curves."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from hvae_mnn.cli.main import main
from hvae_mnn.crossbar.hardware import SCHEMES
from hvae_mnn.devices.presets import AIST
from hvae_mnn.engines.ir_drop import (
    Error,
    RandomTile,
    Settings,
    exact_currents,
    ideal_currents,
    ir_drop,
    largest_deviation,
    means,
    tile_hardware,
)
from hvae_mnn.errors import InputError

SMALL = Settings(sizes=(1, 5, 9), ohms=(0.0, 1.0, 40.0), spice_sizes=(), tiles=3, reads=2, scheme="reference_column")


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
    found = means(rows, scheme)
    assert all(found[size, 0.0] < 1e-14 for size in SMALL.sizes)
    assert found[9, 40.0] > found[9, 1.0] > found[5, 1.0] > 0
    assert largest_deviation(rows) is None


def test_the_error_by_hand():
    error = Error.of(np.array([[1.0, 2.0]]), np.array([[1.5, -2.5]]))
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
    told = re.search(r"ngspice at 6 points: at most (\S+) of full scale", printed)
    assert told
    assert float(told[1]) < 1e-9
    table = pq.read_table(folder / "ir_drop.parquet").to_pydict()
    assert table["source"].count("ngspice") == 6
    assert json.loads((folder / "ir_drop.json").read_text())["ngspice_largest_deviation"] < 1e-9
    for name in ("ir_drop", "ir_drop_schemes"):
        assert (folder / f"{name}.png").stat().st_size > 20_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (0,)}, "--sizes has 0; allowed are whole numbers from 1 to 512"),
        ({"sizes": ()}, "need a value each"),
        ({"ohms": (-1.0,)}, "--ohms is -1"),
        ({"sizes": (4,), "spice_sizes": (8,)}, "--spice-sizes has 8"),
        ({"tiles": 0}, "--tiles is 0"),
        ({"scheme": "offset"}, "--scheme is 'offset'"),
    ],
)
def test_impossible_sweeps_are_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Settings(**({"spice_sizes": ()} | options))
