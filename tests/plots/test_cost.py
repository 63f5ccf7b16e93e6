"""Figures of the cost of a token: bars stand where the numbers say, and numbers read as a person would write them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hvae_mnn.files import write_sealed
from hvae_mnn.plots.cost import cost_figure, multiple, quantity, save_cost_figures, settling_figure
from hvae_mnn.tables import write_table


def layer(name, array, dac, adc):
    return {"layer": name, "array_j": array, "dac_j": dac, "adc_j": adc, "circuit_j": array + dac + adc}


@pytest.fixture
def folder(tmp_path):
    layers = [
        layer("encoder1", 3e-9, 1e-9, 6e-9),
        layer("encoder2", 9e-9, 0.0, 6e-9),
        layer("decoder", 4e-9, 2e-9, 5e-9),
    ]
    summary = {
        "netlist": "net",
        "hardware": "chip",
        "scheme": "reference_column",
        "steps": 7,
        "layers": layers,
        "token": layer("token", 16e-9, 3e-9, 17e-9),
        "baselines": [
            {"name": "8-bit, weights near", "token_j": 3.6e-6},
            {"name": "32-bit, weights far", "token_j": 1.26e-3},
        ],
        "assumptions": [{"name": "read_time", "value": 1e-6}, {"name": "line_capacitance", "value": 1.6e-17}],
        "ngspice": {
            "settling": {
                "array": "encoder1_i",
                "tile": "0,1",
                "tolerance_a": 1e-9,
                "implicit_s": 5e-12,
                "ngspice_s": 5e-12,
            }
        },
    }
    write_sealed(tmp_path / "cost.json", summary)
    return tmp_path


def write_curves(folder):
    times = np.linspace(0, 1e-11, 101)
    points = {"seconds": np.tile(times, 2), "furthest_a": np.tile(1e-5 * np.exp(-times / 5.43e-13), 2)}
    table = pa.table({"source": ["implicit"] * 101 + ["ngspice"] * 101, **points})
    write_table(folder / "settling.parquet", table)


def test_bars_stand_on_each_other(folder):
    left, right = cost_figure(folder).axes
    bars = [(bar.get_y(), bar.get_height()) for container in left.containers for bar in container]
    expected = [
        *((0, value) for value in (3, 9, 4, 16)),
        *((3, 1), (9, 0), (4, 2), (16, 3)),
        *((4, 6), (9, 6), (6, 5), (19, 17)),
    ]
    np.testing.assert_allclose(bars, expected, atol=1e-9)
    assert left.get_ylabel() == "energy of a time step (nJ)"
    texts = [text.get_text() for text in left.get_legend().get_texts()]
    assert texts == ["ADCs", "DACs", "read of the arrays (1 µs)"]
    assert [text.get_text() for text in left.texts] == ["10 nJ", "15 nJ", "11 nJ", "36 nJ"]
    widths = [bar.get_width() for bar in right.containers[0]]
    np.testing.assert_allclose(widths, [36e-9, 3.6e-6, 1.26e-3])
    assert [text.get_text() for text in right.texts] == ["36 nJ", "3.6 µJ  (100 ×)", "1.26 mJ  (35,000 ×)"]


def test_both_answers_are_in_the_settling_figure(folder):
    write_curves(folder)
    (axes,) = settling_figure(folder).axes
    implicit, spice = axes.lines[:2]
    assert implicit.get_xdata()[-1] == pytest.approx(8)  # ps: 1.6 times the settling time
    assert implicit.get_ydata()[0] == spice.get_ydata()[0] == 1e-5
    assert axes.lines[2].get_ydata()[0] == 1e-9
    assert axes.lines[3].get_xdata()[0] == pytest.approx(5)
    assert axes.get_xlabel().endswith("(ps)")


def test_files(folder):
    assert {path.name for path in save_cost_figures(folder)} == {"cost.png", "cost.svg"}  # nothing settles
    write_curves(folder)
    found = {path.name for path in save_cost_figures(folder)}
    assert found == {"cost.png", "cost.svg", "settling.png", "settling.svg"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (33.94e-9, "33.9 nJ"),
        (1e-9, "1 nJ"),
        (999.7e-12, "1000 pJ"),
        (0.0, "0 aJ"),
        (12.0, "12 J"),
        (2.5e-17, "25 aJ"),
        (1.234e-6, "1.23 µJ"),
    ],
)
def test_quantities(value, text):
    assert quantity(value, "J") == text


def test_multiples():
    assert [multiple(value) for value in (0.1234, 82.61, 999.4, 999.6, 34_912.0)] == [
        "0.123",
        "82.6",
        "999",
        "1,000",
        "34,900",
    ]
