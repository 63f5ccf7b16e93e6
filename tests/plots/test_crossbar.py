"""One tile read once: its numbers, and that every scheme can be drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from hvae_mnn.cli.main import main
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import SCHEMES, Amplifier, Cells, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.network import LayerExport
from hvae_mnn.engines.exact import ExactEngine
from hvae_mnn.errors import InputError
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.netlist.build import write_netlists
from hvae_mnn.plots.crossbar import crossbar_figure
from hvae_mnn.studies.inspection import inspect_tile, write_inspection

PAPER = read_hardware("paper")
WIRED = replace(PAPER, wires=Wires(30.0, 50.0, 20.0), tiling=Tiling(3, 2))


@pytest.fixture
def build(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        (layer,) = recurrent_layers(nn.LSTM(4, 3).double(), "net")

    def make(hardware):
        return write_netlists(tmp_path / "net", [LayerExport(layer)], hardware, {})

    return make


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_shown_is_what_the_exact_engine_reads(build, tmp_path, scheme):
    manifest = build(replace(WIRED, cells=Cells(scheme)))
    found = inspect_tile(manifest, "net_g", "2,1")  # rows 6 and 7, column 2
    assert found.volts.shape == (2,)
    assert found.words.shape == found.cells.shape == (found.layout.lines_per_row, 2, len(found.tile.bit_lines))
    stored = load_file(manifest.folder / "conductances.safetensors")
    engine = ExactEngine({"a": stored["net_g.conductance"]}, {"a": found.layout})
    number = [tile.name for tile in found.layout.tiles].index("2,1")
    expected = engine.tile_currents("a", number, stored["net_g.test_volts"][np.newaxis])[0]
    np.testing.assert_allclose(found.wired, expected, rtol=1e-11)
    own = found.volts @ found.layout.without_wires(stored["net_g.conductance"])[6:8, 2:3]
    np.testing.assert_allclose(found.ideal, own, rtol=1e-12)
    # Every word line has lost something, the more the farther from its driver.
    assert (np.abs(found.words[0][:, 0]) < np.abs(found.volts)).all()
    assert (np.diff(np.abs(found.words[0]), axis=1) <= 0).all()
    write_inspection(found, tmp_path)
    crossings = pq.read_table(tmp_path / "crossings.parquet").to_pydict()
    assert len(crossings["siemens"]) == found.cells.size
    assert set(crossings["row"]) == {6, 7}
    columns = pq.read_table(tmp_path / "column_errors.parquet").to_pydict()
    assert columns["hidden"] == [2]
    assert columns["error_of_largest"] == pytest.approx([(found.wired[0] - found.ideal[0]) / abs(found.ideal[0])])
    # The overview, the tile's conductances and the columns; per word line one map of conductances and one of losses.
    assert len(crossbar_figure(found).axes) >= 3 + 2 * found.layout.lines_per_row


@pytest.mark.parametrize("hardware", [PAPER, replace(PAPER, amplifier=Amplifier("transimpedance", 1e4, 1e3))])
def test_without_wires(build, hardware):
    found = inspect_tile(build(hardware))
    if hardware is PAPER:
        np.testing.assert_allclose(found.error, 0, atol=1e-12)
        assert "nothing is lost" in crossbar_figure(found).get_suptitle()
    else:
        assert 0 < np.abs(found.error).max() < 0.1


def test_behind_amplifiers_with_an_offset(build):
    amplifier = Amplifier("transimpedance", feedback_ohm=1e4, gain=200.0, offset_v=2e-3)
    manifest = build(replace(WIRED, cells=Cells("reference_column"), amplifier=amplifier))
    found = inspect_tile(manifest, "net_g", "1,0")
    stored = load_file(manifest.folder / "conductances.safetensors")
    engine = ExactEngine({"a": stored["net_g.conductance"]}, {"a": found.layout})
    number = [tile.name for tile in found.layout.tiles].index("1,0")
    expected = engine.tile_currents("a", number, stored["net_g.test_volts"][np.newaxis])[0]
    np.testing.assert_allclose(found.wired, expected, rtol=1e-10)
    # Potentials are those of the circuit: currents through the cells of a bit line are what its last segment carries.
    through = (found.cells * (found.words - found.bits)).sum(axis=(0, 1))
    output = amplifier.feedback_ohm * through
    end = found.bits[-1] - through * found.layout.hardware.wires.bit_ohm
    np.testing.assert_allclose(end - output, amplifier.gain * (amplifier.offset_v - end), rtol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_drawn(build, scheme):
    found = inspect_tile(build(replace(WIRED, cells=Cells(scheme))), "net_g", "0,0")
    figure = crossbar_figure(found)
    images = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes if axes.images}
    overview = images["the array: 8 x 3 weights"]
    stored = found.layout.without_wires(found.memristors) * 1e6
    np.testing.assert_allclose(overview, stored)
    lines = [""] if found.layout.lines_per_row == 1 else [" +V", " −V"]
    for number, line in enumerate(lines):
        driven = found.volts[:, np.newaxis] * (1, -1)[number]
        lost = images[f"word lines{line}: lost on the way"]
        np.testing.assert_allclose(lost, (1 - found.words[number] / driven) * 100)
    cells = [image for title, image in images.items() if title.startswith("tile 0,0")]
    np.testing.assert_allclose(cells, found.cells * 1e6)
    np.testing.assert_allclose(images["bit lines: potential"], found.bits * 1e3)
    errors = next(axes for axes in figure.axes if axes.get_ylabel().startswith("(with"))
    np.testing.assert_allclose([bar.get_height() for bar in errors.patches], found.error * 100)
    marked = any(text.get_text().startswith("reference") for axes in figure.axes for text in axes.texts)
    assert marked == (scheme == "reference_column")


def test_rows_that_are_not_driven_are_left_out(build):
    found = inspect_tile(build(WIRED), "net_g", "0,0")
    still = replace(found, volts=found.volts * [0, 1, 1])
    (lost,) = (axes.images[0] for axes in crossbar_figure(still).axes if axes.get_title().startswith("word lines +V"))
    assert np.ma.getmaskarray(np.ma.masked_invalid(lost.get_array()))[:, 0].tolist() == [True, False, False]
    assert np.isfinite(lost.get_clim()).all()


def test_a_seed_changes_the_read(build):
    manifest = build(WIRED)
    assert not np.array_equal(inspect_tile(manifest).volts, inspect_tile(manifest, seed=1).volts)
    np.testing.assert_array_equal(inspect_tile(manifest, seed=1).volts, inspect_tile(manifest, seed=1).volts)


def test_what_is_not_there_is_named(build):
    manifest = build(WIRED)
    with pytest.raises(
        InputError, match=r"unknown array 'net_x'; did you mean 'net_.'\? allowed: net_i, net_f, net_g, net_o"
    ):
        inspect_tile(manifest, "net_x")
    with pytest.raises(InputError, match="no tile '3,0'; allowed: 0,0 to 2,1"):
        inspect_tile(manifest, "net_i", "3,0")
    with pytest.raises(InputError, match="--seed is -1; allowed: 0 or more"):
        inspect_tile(manifest, "net_i", seed=-1)


def test_the_command(build, tmp_path, capsys):
    manifest = build(replace(WIRED, cells=Cells("reference_column")))
    main(["plot", "crossbar", str(manifest.folder), "--array", "net_o", "--out", str(tmp_path / "figure")])
    assert "net_o, tile 0,0: columns are off by up to" in capsys.readouterr().out
    assert (tmp_path / "figure" / "crossbar.png").stat().st_size > 30_000
    assert (tmp_path / "figure" / "crossbar.svg").exists()
