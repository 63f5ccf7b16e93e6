from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hvae_mnn.devices.presets import AIST
from hvae_mnn.devices.programming import WriteVerify
from hvae_mnn.devices.spread import Spread
from hvae_mnn.files import write_sealed
from hvae_mnn.plots.programming import (
    disturbed_figure,
    error_figure,
    pulses_figure,
    save_programming_figures,
    target_figure,
)
from hvae_mnn.studies.programming.records import ProgrammingRecords
from hvae_mnn.studies.programming.run import program
from hvae_mnn.studies.programming.wired import WiredProgrammed


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("programmed") / "run"
    spread, settings = Spread(0.05, 0.02, 0.1), WriteVerify(amplitude_v=0.18, tolerance=0.02)
    program(random=(14, 22), scheme="V/2", spread=spread, settings=settings, out=folder)
    return folder


def test_the_line_is_the_fraction_within_tolerance_after_each_round(run):
    (axes,) = pulses_figure(run).axes
    within = pq.read_table(run / "rounds.parquet")["within"].to_numpy()
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 100 * within)
    assert axes.get_ylabel() == "devices within ±2 % of their target, %"
    assert "aist, write-verify at 0.18 V, V/2" in axes.get_title()


def test_every_device_is_in_the_histograms_before_and_after(run):
    (axes,) = error_figure(run).axes
    filled, outline = axes.containers[0], axes.patches[-1]
    assert sum(bar.get_height() for bar in filled) == 14 * 22
    table = pq.read_table(run / "devices.parquet")
    error = np.abs(table["conductance_s"].to_numpy() / table["target_s"].to_numpy() - 1)
    assert axes.get_xlim()[1] >= error.max()
    assert outline.get_xy()[:, 1].max() <= 14 * 22


def test_the_map_shows_the_disturbed_cells_where_they_are(run):
    axes, colours = disturbed_figure(run).axes
    image = axes.images[-1].get_array()
    table = pq.read_table(run / "devices.parquet")
    moved = np.zeros((14, 22))
    moved[table["row"].to_numpy(), table["column"].to_numpy()] = table["disturbed_dx"].to_numpy()
    np.testing.assert_array_equal(np.ma.filled(image, 0), moved)
    assert f"{(moved > 0).sum()} of 308" in axes.get_title()
    assert "90 mV" in axes.get_title()
    assert "others' pulses" in colours.get_ylabel()


def test_devices_within_and_beyond_the_tolerance_are_told_apart(run):
    (axes,) = target_figure(run).axes
    counts = [len(points.get_offsets()) for points in axes.collections]
    failed = json.loads((run / "summary.json").read_text())["network"]["failed"]
    assert counts == [308 - failed, failed]
    assert failed > 0


def test_with_ngspice_and_without_disturbed_cells(tmp_path):
    program(random=(3, 4), out=tmp_path / "run", spread=Spread(0, 0, 0))
    (axes,) = disturbed_figure(tmp_path / "run").axes
    assert [text.get_text() for text in axes.texts] == ["no cell was disturbed"]
    target = np.full((2, 2), 5e-5)
    ones = np.ones((2, 2), dtype=np.int64)
    wired = WiredProgrammed(
        target, 1.1 * target, 1.002 * target, AIST.state(target), ones, ones > 0, (0.0, 0.5, 1.0), 1.0, 1.0
    )
    with ProgrammingRecords(tmp_path / "run") as records:
        records.wired(wired, AIST)
    # The run's own rounds beside those of ngspice.
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    summary["wired"] = {"rows": 2, "columns": 2, "wire_ohm": 3.0}
    write_sealed(tmp_path / "run" / "summary.json", summary)
    assert len(error_figure(tmp_path / "run").axes) == 2
    assert len(target_figure(tmp_path / "run").axes[0].collections[-1].get_offsets()) == 4


def test_the_figures_are_saved(run):
    paths = save_programming_figures(run)
    assert len(paths) == 8
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG") or b"</svg>" in path.read_bytes()
