"""Histograms of a run's converters."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from hvae_mnn.cli.main import main
from hvae_mnn.cosim.converters import Converter
from hvae_mnn.cosim.records import Records
from hvae_mnn.errors import RunError
from hvae_mnn.plots.converters import converters_figure
from hvae_mnn.plots.files import COLORS


def write_run(folder, adcs):
    with Records(folder) as records:
        dac = Converter(8, 1.0, kind="dac", keep_histogram=True)
        dac(np.zeros(3))
        records.converters({"dac": {("encoder1", "x"): dac}, "adc": adcs})


def test_bars_are_the_counts_and_titles_say_what_was_clipped(tmp_path):
    adc = Converter(6, 2.0, keep_histogram=True)
    adc(np.array([0.0, 0.1, -1.9, 2.5, 9.0]))
    write_run(tmp_path, {("encoder1", "i"): adc})
    figure = converters_figure(tmp_path)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["x: 8 bits, LSB 0.0079; 0.00% clipped", "i: 6 bits, LSB 0.032; 40.00% clipped"]
    bars = next(axes for axes in figure.axes if axes.get_title().startswith("i:")).patches
    heights = [bar.get_height() for bar in bars if bar.get_width() < 0.1]
    np.testing.assert_array_equal(heights, adc.histogram)
    found = {round(bar.get_x() + bar.get_width() / 2, 2): (bar.get_height(), bar.get_facecolor()) for bar in bars}
    # 0, 0.05, -0.95, 1.25, and what lies far beyond in the outermost bin.
    blue, orange = to_rgba(COLORS[0]), to_rgba(COLORS[1])
    for place, expected in {
        0.0: (1, blue),
        0.05: (1, blue),
        -0.93: (1, blue),
        1.23: (1, orange),
        1.48: (1, orange),
    }.items():
        assert found[place] == expected


def test_without_a_converter_nothing_is_clipped(tmp_path):
    off = Converter(0, 1.0, keep_histogram=True)
    off(np.array([0.5, 1.2, 1.3, -0.2]))
    write_run(tmp_path, {("encoder1", "i"): off})
    assert "i: no converter; 50.00% beyond" in [axes.get_title() for axes in converters_figure(tmp_path).axes]


def test_the_command_writes_into_the_run(tmp_path, capsys):
    write_run(tmp_path, {})
    main(["plot", "converters", str(tmp_path)])
    assert "converters (.png, .svg)" in capsys.readouterr().out
    assert (tmp_path / "converters.png").stat().st_size > 5000
    assert (tmp_path / "converters.svg").stat().st_size > 5000


def test_of_many_converters_those_that_clip_most_are_drawn(tmp_path):
    adcs = {}
    for number in range(9):
        adc = Converter(6, 1.0, keep_histogram=True)
        adc(np.array([0.0] * (20 - number) + [2.0] * number))
        adcs["decoder", f"i_{number}"] = adc
    write_run(tmp_path, adcs)
    titles = [axes.get_title() for axes in converters_figure(tmp_path).axes]
    drawn = [title.partition(":")[0] for title in titles if title.startswith("i_")]
    assert drawn == ["i_8", "i_7", "i_6", "i_5", "i_4", "i_3"]


def test_a_folder_without_the_table_is_told_off(tmp_path):
    with pytest.raises(RunError, match=r"has no converters\.parquet"):
        converters_figure(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["plot", "converters", str(tmp_path)])
    assert stopped.value.code == 2
