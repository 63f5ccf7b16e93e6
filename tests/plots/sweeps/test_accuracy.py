"""Figures of sweeps show what the tables hold."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from hvae_mnn.cli.main import main
from hvae_mnn.plots.files import COLORS
from hvae_mnn.plots.sweeps.accuracy import accuracy_figure, save_accuracy_figures
from hvae_mnn.plots.sweeps.axis import AxisPositions
from hvae_mnn.plots.sweeps.heat_map import heat_map_figure
from hvae_mnn.plots.sweeps.names import axis_name
from hvae_mnn.sweeps.curves import band, relative_to_digital
from hvae_mnn.sweeps.gather import all_curves
from hvae_mnn.sweeps.results import read_sweeps
from hvae_mnn.sweeps.table import FORMAT
from hvae_mnn.tables import write_table

SIGMA, SCHEME, BITS, OHM = (
    "noise.programming.sigma",
    "hardware.array.scheme",
    "hardware.adc.bits",
    "hardware.wires.word_ohm",
)
TEXT = ("sweep", "grid", "kind", "model", "task", "status", "reason", "settings", SCHEME)
LOGNORMAL = '{"noise.programming.error": "lognormal"}'


def write(folder, rows):
    folder.mkdir(parents=True)
    usual = dict.fromkeys(TEXT[:-1], "") | {"sweep": "s", "kind": "point", "model": "m", "status": "done"}
    usual |= {"settings": "{}", "seed": None, "sentences": 7, "tokens": 40}
    rows = [usual | own for own in rows]
    names = dict.fromkeys(name for own in rows for name in own)
    kinds = dict.fromkeys(TEXT, pa.string()) | dict.fromkeys(("seed", "sentences", "tokens"), pa.int64())
    table = pa.table({name: pa.array([own.get(name) for own in rows], kinds.get(name, pa.float64())) for name in names})
    write_table(folder / "results.parquet", table.replace_schema_metadata({b"format": FORMAT.encode()}))
    (folder / "sweep.json").write_text("{}")
    return folder


def baselines(grid):
    return [
        {"grid": grid, "kind": "digital", "top1": 0.25, "ppl": 100.0},
        {"grid": grid, "kind": "unigram", "top1": 0.05, "ppl": 700.0},
    ]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)

    def met(loss):
        return {
            "top1": 0.25 - 0.1 * loss + 0.002 * rng.normal(),
            "ppl": 100 * np.exp(3 * loss + 0.05 * rng.normal()),
        }

    seeds = range(5)
    rows = [*baselines("spread"), *baselines("bits"), *baselines("both")]
    for seed in seeds:
        for scheme in ("reference_column", "differential_pair"):
            for sigma in (0.0, 0.02, 0.1, 0.5):
                axes = {SIGMA: sigma, SCHEME: scheme}
                rows.append({"grid": "spread", "seed": seed, "settings": LOGNORMAL, **axes, **met(2 * sigma)})
        for bits in (0.0, 4.0, 6.0):
            rows.append({"grid": "bits", "seed": seed, BITS: bits, **met(1 / (1 + bits))})
            for ohm in (0.0, 1.0, 10.0, 30.0):
                rows.append({"grid": "both", "seed": seed, BITS: bits + 2, OHM: ohm, **met(ohm / 40)})
    rows[6] |= {"status": "failed", "reason": "NaN", "top1": None, "ppl": None}
    return write(tmp_path / "runs" / "demo", rows)


def drawn(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_lines_are_means_bands_are_bands_and_baselines_are_named(folder):
    curves = all_curves(read_sweeps([folder]), "spread")[0]
    figure = accuracy_figure(curves, ["top1", "ppl"])
    accuracy, perplexity = figure.axes
    assert (accuracy.get_xscale(), accuracy.get_yscale(), perplexity.get_yscale()) == ("log", "linear", "log")
    assert accuracy.get_xlabel() == "programming spread σ of ln G"
    assert (accuracy.get_ylabel(), perplexity.get_ylabel()) == ("next-word top-1 accuracy (%)", "perplexity (ELBO)")
    assert [tick.get_text() for tick in accuracy.get_xticklabels()] == ["0", "0.02", "0.1", "0.5"]
    for axes, metric, factor in ((accuracy, "top1", 100), (perplexity, "ppl", 1)):
        lines = drawn(axes)
        assert list(lines) == ["reference column", "differential pair"]
        for curve, line in zip(curves.curves, lines.values(), strict=True):
            found = band(curve, metric)
            np.testing.assert_array_equal(line.get_xdata(), [0.02, 0.1, 0.5])  # 0 stands beside the axis
            np.testing.assert_allclose(line.get_ydata(), factor * found.mean[1:])
        shades = [shade for shade in axes.collections if isinstance(shade, PolyCollection)]
        assert len(shades) == 2
        edge = shades[0].get_paths()[0].vertices[:, 1]
        found = band(curves.curves[0], metric)
        assert (edge.min(), edge.max()) == pytest.approx((factor * found.low[1:].min(), factor * found.high[1:].max()))
        assert [text.get_text() for text in axes.texts] == (
            ["unigram", "digital"] if metric == "top1" else ["digital", "unigram"]
        )
        levels = [
            line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1 and line.get_zorder() < 2
        ]
        assert levels == pytest.approx([5.0, 25.0] if metric == "top1" else [100.0, 700.0])
    first, second = drawn(accuracy).values()
    assert [to_hex(line.get_color()).upper() for line in (first, second)] == list(COLORS[:2])
    assert (first.get_marker(), first.get_linestyle()) != (second.get_marker(), second.get_linestyle())
    assert "mean over 4 to 5 seeds" in figure.get_supxlabel()
    assert "1 of 40 runs failed and are left out" in figure.get_supxlabel().replace("\n", " ")


def test_bits_have_whole_ticks_and_no_converter_stands_apart(folder):
    (axes,) = accuracy_figure(all_curves(read_sweeps([folder]), "bits")[0], ["top1"]).axes
    assert axes.get_xscale() == "linear"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "6", "none"]
    assert list(axes.get_xticks()) == [4.0, 6.0, 8.0]
    (line,) = (line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "o")
    np.testing.assert_array_equal(line.get_xdata(), [4.0, 6.0])


def test_the_map_has_the_means_in_its_cells(folder):
    curves = all_curves(read_sweeps([folder]), "both")[0]
    figure = heat_map_figure(curves, ["top1"])
    axes, bar = figure.axes
    image = np.asarray(axes.images[0].get_array())
    means = np.array([100 * band(curve, "top1").mean for curve in curves.curves])
    np.testing.assert_allclose(image, means)
    assert image.shape == (4, 3)
    assert [text.get_text() for text in axes.texts] == [f"{mean:.1f}" for mean in means.ravel()]
    assert {text.get_color() for text in axes.texts} == {"white", "black"}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0", "1", "10", "30"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "6", "8"]
    assert bar.get_ylabel() == "next-word top-1 accuracy (%)"
    assert axes.get_title() == "digital 25.0; unigram 5.0"
    lines = accuracy_figure(curves, ["top1"]).axes[0]
    assert list(drawn(lines)) == ["word line 0 Ω", "word line 1 Ω", "word line 10 Ω", "word line 30 Ω"]


def test_relative_values_are_per_cent_of_the_digital_models(folder):
    curves = all_curves(read_sweeps([folder]), "spread")[0]
    (axes,) = accuracy_figure(relative_to_digital(curves, ["top1"]), ["top1"]).axes
    line = next(iter(drawn(axes).values()))
    np.testing.assert_allclose(line.get_ydata(), 100 * band(curves.curves[0], "top1").mean[1:] / 0.25)
    assert axes.get_ylabel().endswith("relative to the digital model (%)")


def test_one_seed_has_no_band_and_words_have_bars(tmp_path):
    names = ("reference_column", "differential_pair")
    one = [{"grid": "one", "seed": 0, SIGMA: sigma, "top1": 0.2 - sigma} for sigma in (0.01, 0.02)]
    words = [
        {"grid": "words", "seed": seed, SCHEME: name, "top1": 0.1 + 0.01 * seed} for name in names for seed in (0, 1, 2)
    ]
    single, schemes = all_curves(read_sweeps([write(tmp_path / "sweep", one + words)]))
    figure = accuracy_figure(single, ["top1"])
    assert not figure.axes[0].collections
    assert "one seed" in figure.get_supxlabel()
    assert "bands" not in figure.get_supxlabel()
    (axes,) = accuracy_figure(schemes, ["top1"]).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["reference\ncolumn", "differential\npair"]
    assert len(axes.collections) == 1  # bars


def test_a_setting_without_a_name_is_called_by_its_path(folder):
    curves = all_curves(read_sweeps([folder]), "spread")[0]
    assert axis_name(curves, "noise.new.thing").label == "noise.new.thing"
    assert axis_name(curves, BITS).label == "ADC resolution (bits)"


def test_ticks_do_not_run_into_each_other(folder):
    name = axis_name(all_curves(read_sweeps([folder]), "bits")[0], SIGMA)
    labels = AxisPositions([1e-4 * 1.3**step for step in range(20)], name)
    assert labels.log
    figure_axes = accuracy_figure(all_curves(read_sweeps([folder]), "bits")[0], ["top1"]).axes[0]
    labels.shape(figure_axes)
    texts = [tick.get_text() for tick in figure_axes.get_xticklabels()]
    assert len(texts) == 20
    assert 2 <= sum(map(bool, texts)) <= 8


def test_the_command_writes_figures_and_numbers(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parents[1])
    main(["plot", "accuracy-vs-noise"])
    said = capsys.readouterr().out
    assert "spread: 40 runs; 1 of 40 runs failed and are left out" in said
    assert "accuracy-both-map (.png, .svg)" in said
    for name in ("accuracy-spread", "accuracy-bits", "accuracy-both"):
        for ending in ("png", "svg", "parquet", "json"):
            assert (folder / f"{name}.{ending}").stat().st_size > 1000
    main(
        [
            "plot",
            "accuracy-vs-noise",
            str(folder),
            "--grid",
            "bits",
            "--metric",
            "ppl",
            "--relative",
            "--out",
            "figures",
        ]
    )
    assert {path.name for path in (folder.parents[1] / "figures").iterdir()} == {
        f"accuracy-bits-ppl-relative.{ending}" for ending in ("png", "svg", "parquet", "json")
    }
    for arguments, words in (
        (["nowhere"], "nowhere is not a folder"),
        (["--grid", "x"], "unknown grid 'x'; allowed: spread, bits, both"),
        (["--metric", "x"], "unknown metric 'x'; allowed: top1, ppl"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["plot", "accuracy-vs-noise", *arguments])
        assert stopped.value.code == 2
        assert words in capsys.readouterr().err


def test_saved_numbers_are_those_that_are_drawn(folder, tmp_path):
    curves = all_curves(read_sweeps([folder]), "bits")[0]
    save_accuracy_figures(curves, ["top1"], tmp_path / "out")
    stored = pq.read_table(tmp_path / "out" / "accuracy-bits.parquet", filters=[("kind", "=", "point")])
    np.testing.assert_array_equal(stored["x"].to_numpy(), [0.0, 4.0, 6.0])
    np.testing.assert_array_equal(stored["mean"].to_numpy(), band(curves.curves[0], "top1").mean)


@pytest.mark.parametrize(("step", "names"), [(0.001, ["unigram", "digital, all models"]), (0.02, None)])
def test_digital_models_that_cannot_be_told_apart_have_one_name(tmp_path, step, names):
    rows = [{"grid": "g", "kind": "unigram", "model": "a", "top1": 0.05}]
    for number, model in enumerate("abc"):
        rows.append({"grid": "g", "kind": "digital", "model": model, "top1": 0.25 + step * number})
        for sigma in (0.1, 0.2):
            rows += [{"grid": "g", "seed": seed, "model": model, SIGMA: sigma, "top1": 0.2} for seed in range(2)]
    (axes,) = accuracy_figure(all_curves(read_sweeps([write(tmp_path / "sweep", rows)]))[0], ["top1"]).axes
    found = [text.get_text() for text in axes.texts]
    assert found == (names or ["unigram", "digital, a", "digital, b", "digital, c"])
    levels = [line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1 and line.get_zorder() < 2]
    assert levels == pytest.approx([5, 25, 25 + 100 * step, 25 + 200 * step])
