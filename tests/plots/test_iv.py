"""Figures of one memristor show what its tables hold."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.colors import to_hex

from hvae_mnn.devices.presets import HP_TIO2
from hvae_mnn.plots.files import COLORS
from hvae_mnn.plots.iv import (
    iv_loops,
    potentiation_depression,
    save_iv_figures,
    state_and_resistance,
    switching_time,
)
from hvae_mnn.studies.iv.drive import Drive
from hvae_mnn.studies.iv.records import SWITCHING, TRACES, TRAINS
from hvae_mnn.studies.iv.run import iv
from hvae_mnn.tables import write_table

FREQUENCIES = (20.0, 100.0)


def made(folder, drive, both=True):
    """A run of the reference; with `both` its rows again under the name of a back end, a little off."""
    run = iv("aist", backend="reference", drive=drive, out=folder).folder
    for name in (TRACES, SWITCHING, TRAINS) if both else ():
        table = pq.read_table(run / name)
        columns = {key: table[key].to_numpy() for key in table.column_names}
        columns["backend"] = np.full(table.num_rows, "behavioural", dtype=object)
        for key in columns.keys() & {"amperes", "siemens", "seconds", "x"}:
            columns[key] = columns[key] * 1.1
        write_table(run / name, pa.concat_tables([pa.table(columns, table.schema), table]))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("iv") / "run", Drive(0.5, FREQUENCIES, cycles=1))


def rows(run, name, **wanted):
    table = pq.read_table(run / name, filters=[(key, "=", value) for key, value in wanted.items()])
    return {key: table[key].to_numpy() for key in table.column_names}


def test_every_frequency_and_back_end_is_a_line_of_the_loops(run):
    figure = iv_loops(run)
    linear, logarithmic = figure.axes
    for panel, current in ((linear, lambda amperes: amperes * 1e6), (logarithmic, np.abs)):
        drawn = iter(panel.lines)
        for frequency, who in itertools.product(FREQUENCIES, ("behavioural", "reference")):
            line, wanted = next(drawn), rows(run, TRACES, frequency_hz=frequency, backend=who)
            np.testing.assert_array_equal(line.get_xdata(), wanted["volts"])
            np.testing.assert_allclose(line.get_ydata(), np.maximum(current(wanted["amperes"]), line.get_ydata().min()))
            assert line.get_linestyle() == ("--" if who == "reference" else "-")
        assert next(drawn, None) is None
    assert (linear.get_xlabel(), linear.get_ylabel()) == ("voltage (V)", "current (µA)")
    assert logarithmic.get_yscale() == "log"
    assert figure.get_suptitle() == "current against voltage of aist, sine of 0.5 V, 1 period"
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["ngspice, behavioural, 20 Hz", "reference (LSODA)", "ngspice, behavioural, 100 Hz"]


def test_state_and_resistance_over_time(run):
    panels = np.array(state_and_resistance(run).axes).reshape(3, 2)
    assert [axes.get_title() for axes in panels[0]] == ["20 Hz", "100 Hz"]
    assert [axes.get_ylabel() for axes in panels[:, 0]] == ["voltage (V)", "state x", "resistance (kΩ)"]
    for column, frequency in enumerate(FREQUENCIES):
        wanted = rows(run, TRACES, frequency_hz=frequency, backend="reference")
        for axes, values in zip(panels[:, column], (wanted["volts"], wanted["x"], wanted["ohm"] / 1e3), strict=True):
            np.testing.assert_allclose(axes.lines[1].get_xdata(), wanted["time_s"] * 1e3)
            np.testing.assert_allclose(axes.lines[1].get_ydata(), values)


def test_time_to_switch_has_logarithmic_axes_and_both_polarities(run):
    (axes,) = switching_time(run).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == [
        "SET, quadrature",
        "SET, ngspice, behavioural",
        "RESET, quadrature",
        "RESET, ngspice, behavioural",
    ]
    assert (np.diff(lines["SET, quadrature"].get_ydata()) > 0).all()  # against all intuition
    reset = lines["RESET, quadrature"]
    assert (np.diff(reset.get_ydata()[np.argsort(reset.get_xdata())]) < 0).all()
    # Where both take the same time, the lower must be seen beneath the upper.
    assert lines["SET, quadrature"].get_linewidth() > 2 * reset.get_linewidth()
    assert reset.get_linestyle() == "--"


def test_trains_show_conductance_against_pulse_number(run):
    (axes,) = potentiation_depression(run).axes
    wanted = rows(run, TRAINS, backend="reference")
    np.testing.assert_array_equal(axes.lines[1].get_xdata(), wanted["pulse"])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), wanted["siemens"] * 1e6)
    assert axes.get_title().startswith("aist: 15 pulses of 0.5 V, then 15 of -0.5 V, ")
    assert axes.get_ylabel() == "conductance (µS)"


def test_a_reference_alone_has_a_colour_per_frequency(tmp_path):
    alone = made(tmp_path / "run", Drive(0.5, FREQUENCIES, cycles=1), both=False)
    figure = iv_loops(alone)
    assert [to_hex(line.get_color()).upper() for line in figure.axes[0].lines] == list(COLORS[:2])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "reference (LSODA), 20 Hz",
        "reference (LSODA), 100 Hz",
    ]


def test_pulses_are_drawn_on_linear_axes_only(tmp_path):
    figure = iv_loops(made(tmp_path / "run", Drive(0.5, (100.0,), "pulses", cycles=3)))
    assert [axes.get_yscale() for axes in figure.axes] == ["linear"]
    assert "pulses: 3 of 0.5 V, then 3 of -0.5 V" in figure.get_suptitle()


def test_files_and_no_figure_of_a_train_that_was_not_run(run, tmp_path):
    names = ["iv_loops", "state_and_resistance", "switching_time", "potentiation_depression"]
    paths = save_iv_figures(run)
    assert [path.name for path in paths] == [f"{name}.{ending}" for name in names for ending in ("png", "svg")]
    assert all(path.stat().st_size > 5000 for path in paths)
    still = made(tmp_path / "still", Drive(0.05, (20.0,), cycles=1))
    assert {path.stem for path in save_iv_figures(still)} == set(names[:3])


def test_a_device_without_threshold_is_drawn_too(tmp_path):
    folder = iv(HP_TIO2, backend="reference", drive=Drive(1.0, (2.0,), cycles=1), out=tmp_path / "hp").folder
    (axes,) = switching_time(folder).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), axes.lines[1].get_ydata()[::-1], rtol=1e-9)
