"""Curves from tables of sweeps: leading axis, settings that follow it, omitted runs, refused tables."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hvae_mnn.errors import InputError
from hvae_mnn.plots.sweeps.accuracy import accuracy_figure
from hvae_mnn.sweeps.curve_files import write_curves
from hvae_mnn.sweeps.curves import band, chosen_metrics, relative_to_digital
from hvae_mnn.sweeps.gather import all_curves
from hvae_mnn.sweeps.results import newest_sweep, read_results, read_sweeps
from hvae_mnn.sweeps.table import FORMAT
from hvae_mnn.tables import write_table

SIGMA, SCHEME = "noise.programming.sigma", "hardware.array.scheme"
WORD, BIT, ROWS = "hardware.wires.word_ohm", "hardware.wires.bit_ohm", "hardware.tiles.rows"
TEXT = ("sweep", "grid", "kind", "model", "task", "status", "reason", "settings")


def row(top1, seed=None, axes=None, **known):
    usual = {"sweep": "s", "grid": "g", "kind": "point", "model": "m", "task": "t", "status": "done", "reason": ""}
    metrics = {"top1": top1, "ppl": None if top1 is None else 10 / top1}
    counts = {"settings": "{}", "sentences": 7, "tokens": 40}
    return usual | counts | metrics | {"seed": seed} | (axes or {}) | known


def write(folder, rows, drop=(), version=FORMAT):
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in dict.fromkeys(name for own in rows for name in own) if name not in drop]
    kinds = dict.fromkeys(TEXT, pa.string()) | dict.fromkeys(("seed", "sentences", "tokens"), pa.int64())
    kinds |= dict.fromkeys(("top1", "ppl"), pa.float64())
    columns = {name: pa.array([own.get(name) for own in rows], kinds.get(name)) for name in names}
    table = pa.table(columns).replace_schema_metadata({b"format": version.encode()})
    write_table(folder / "results.parquet", table)
    (folder / "sweep.json").write_text("{}")
    return folder


def curves_of(tmp_path, rows, grid=None):
    return all_curves(read_sweeps([write(tmp_path / "sweep", rows)]), grid)


def test_seeds_of_a_point_are_gathered_by_place_and_scheme(tmp_path):
    rows = [
        row(0.1 * seed + sigma + (0.5 if scheme == "b" else 0), seed, {SIGMA: sigma, SCHEME: scheme})
        for scheme in "ba"
        for sigma in (0.3, 0.1, 0.2)  # in no order
        for seed in (2, 0, 1)
    ]
    (curves,) = curves_of(tmp_path, rows)
    assert (curves.axis, curves.by, curves.runs) == (SIGMA, (SCHEME,), 18)
    assert [dict(curve.group) for curve in curves.curves] == [{SCHEME: "b"}, {SCHEME: "a"}]
    assert [point.x for point in curves.curves[1].points] == [0.1, 0.2, 0.3]
    point = curves.curves[0].points[1]
    assert point.seeds == (0, 1, 2)
    np.testing.assert_allclose(point.values["top1"], [0.7, 0.8, 0.9])
    np.testing.assert_allclose(band(curves.curves[0], "top1").mean, [0.7, 0.8, 0.9])


def test_zipped_axes_are_one_and_two_numbers_are_axis_and_curves(tmp_path):
    rows = [
        row(0.5, seed, {WORD: ohm, BIT: ohm, ROWS: float(size), "hardware.tiles.columns": size / 2})
        for ohm in (0.0, 1.0, 2.0)
        for size in (64, 32)
        for seed in (0, 1)
    ]
    (curves,) = curves_of(tmp_path, rows)
    assert (curves.axis, curves.by) == (WORD, (ROWS,))
    assert curves.equal(WORD) == (BIT,)
    assert curves.together[ROWS] == ("hardware.tiles.columns",)
    assert curves.equal(ROWS) == ()
    assert [curve.group[ROWS] for curve in curves.curves] == [32.0, 64.0]


def test_axes_of_one_value_and_words_alone(tmp_path):
    rows = [row(0.3, seed, {SIGMA: 0.1, SCHEME: scheme}) for scheme in "ab" for seed in (0, 1)]
    (curves,) = curves_of(tmp_path, rows)
    assert (curves.axis, curves.fixed, curves.numeric) == (SCHEME, {SIGMA: 0.1}, False)
    assert curves.values_of(SCHEME) == ["a", "b"]


def test_failed_runs_are_counted_and_left_out(tmp_path):
    rows = [row(0.1 * (seed + 1), seed, {SIGMA: sigma}) for sigma in (0.1, 0.2) for seed in range(3)]
    rows[1] = row(None, 1, {SIGMA: 0.1}, status="failed", reason="no numbers")
    rows[5]["top1"] = float("nan")
    (curves,) = curves_of(tmp_path, rows)
    assert (curves.failed, curves.reasons) == (1, ("no numbers",))
    first, second = curves.curves[0].points
    assert (first.seeds, first.failed) == ((0, 2), 1)
    np.testing.assert_array_equal(first.finite("top1"), [0.1, 0.1 * 3])
    assert band(curves.curves[0], "top1").n.tolist() == [2, 2]
    assert len(second.finite("ppl")) == 3


def test_a_baseline_keeps_its_place_where_every_run_failed(tmp_path):
    rows = [row(0.3, 0, {SCHEME: "a"}), row(0.3, 0, {SCHEME: "b"})]
    rows += [row(0.5, None, {SCHEME: scheme}, kind="digital_bits") for scheme in "abc"]
    (curves,) = curves_of(tmp_path, rows)
    assert curves.values_of(SCHEME) == ["a", "b", "c"]
    assert accuracy_figure(curves, ["top1"]).axes


def test_baselines_are_levels_or_go_along_the_axis(tmp_path):
    bits = "hardware.adc.bits"
    rows = [row(0.3, seed, {bits: float(width)}) for width in (4, 6) for seed in (0, 1)]
    rows += [row(0.5, kind="digital"), row(0.5, kind="digital"), row(0.1, kind="unigram", ppl=None)]
    rows += [row(0.4 + width / 100, None, {bits: float(width)}, kind="digital_bits") for width in (6, 4)]
    rows += [row(0.45, 0, grid="chip"), row(0.55, 1, grid="chip"), row(0.9, kind="digital", grid="other")]
    (curves,) = curves_of(tmp_path, rows)
    known = {curve.kind: curve for curve in curves.baselines}
    assert list(known) == ["digital", "unigram", "digital_bits", "chip"]
    assert len(curves.baselines) == 4
    assert [point.x for point in known["digital_bits"].points] == [4.0, 6.0]
    assert [point.x for point in known["digital"].points] == [None]
    np.testing.assert_array_equal(known["chip"].points[0].values["top1"], [0.45, 0.55])
    assert len(known["unigram"].points[0].finite("ppl")) == 0


def test_relative_values_are_parts_of_the_own_digital_model(tmp_path):
    rows = [row(0.2, 0, {SIGMA: sigma}, model=model) for sigma in (0.1, 0.2) for model in ("m", "n")]
    rows += [row(0.5, kind="digital", model="m"), row(0.25, kind="digital", model="n")]
    (curves,) = curves_of(tmp_path, rows)
    relative = relative_to_digital(curves, ["top1"])
    assert [curve.points[0].values["top1"].tolist() for curve in relative.curves] == [[0.4], [0.8]]
    assert (relative.relative, relative.metrics) == (True, ("top1",))
    (alone,) = curves_of(tmp_path / "alone", rows[:4])
    with pytest.raises(InputError, match="top1 of the digital model 'm' is not a number"):
        relative_to_digital(alone, ["top1"])


def test_sweeps_are_told_apart_by_models_or_names(tmp_path):
    def one(name, model, sweep):
        # Values of the axis differ between the sweeps, which must not make the sweep a part of the axis.
        rows = [row(0.3, 0, {SIGMA: sigma}, model=model, sweep=sweep) for sigma in (0.1, 0.2 if name == "a" else 0.4)]
        return write(tmp_path / name, rows)

    before, after, again = one("a", "before", "x"), one("b", "after", "y"), one("c", "before", "x")
    (curves,) = all_curves(read_sweeps([before, after]))
    assert (curves.by, len(curves.curves)) == (("model",), 2)
    (curves,) = all_curves(read_sweeps([before, again]))
    assert (curves.by, [curve.sweep for curve in curves.curves]) == (("sweep",), ["a", "c"])
    other = write(tmp_path / "d", [row(0.1, 0, {"noise.stuck.on": 0.1}), row(0.1, 0, {"noise.stuck.on": 0.2})])
    with pytest.raises(
        InputError, match=r"has the axes noise\.programming\.sigma, and of .* noise\.stuck\.on; draw them separately"
    ):
        all_curves(read_sweeps([before, other]))
    with pytest.raises(InputError, match="is named twice"):
        read_sweeps([before, before])


def test_files_hold_every_number(tmp_path):
    rows = [row(0.1 * (seed + 1) + sigma, seed, {SIGMA: sigma}) for sigma in (0.0, 0.2) for seed in range(3)]
    rows += [row(0.5, kind="digital")]
    rows[2]["ppl"] = None
    (curves,) = curves_of(tmp_path, rows)
    parquet, text = write_curves(curves, ["top1", "ppl"], tmp_path, "figure", "words")
    stored = pq.read_table(parquet).to_pylist()
    assert stored == json.loads(text.read_text())["points"]
    lines = {(line["kind"], line["metric"], line["x"]): line for line in stored}
    assert len(lines) == len(stored) == 6
    for sigma in (0.0, 0.2):
        line, own = lines["point", "top1", sigma], [known["top1"] for known in rows if known.get(SIGMA) == sigma]
        assert line["values"] == own
        assert line["mean"] == pytest.approx(np.mean(own))
        assert min(own) <= line["low"] < line["mean"] < line["high"] <= max(own)
    assert lines["point", "ppl", 0.0]["values"][2] is None
    assert (lines["point", "ppl", 0.0]["n"], lines["digital", "top1", None]["mean"]) == (2, 0.5)
    assert lines["digital", "top1", None]["low"] is None


def test_what_cannot_be_drawn_is_refused(tmp_path):
    rows = [row(0.2, 0, {SIGMA: 0.1}), row(0.3, 0, {SIGMA: 0.2})]
    with pytest.raises(InputError, match="unknown grid 'x'; allowed: g"):
        curves_of(tmp_path, rows, "x")
    (curves,) = curves_of(tmp_path, rows)
    assert chosen_metrics(curves) == ("top1", "ppl")
    assert chosen_metrics(curves, ["ppl", "ppl"]) == ("ppl",)
    with pytest.raises(InputError, match="unknown metric 'bleu'; allowed: top1, ppl"):
        chosen_metrics(curves, ["bleu"])
    with pytest.raises(InputError, match=r"has two results of seed 0 at 0\.1"):
        curves_of(tmp_path, [*rows, rows[0]])
    failed = [own | {"status": "failed", "reason": "no pivot"} for own in rows]
    with pytest.raises(InputError, match="grid 'g': all 2 runs failed; the first says: no pivot"):
        curves_of(tmp_path, failed)
    with pytest.raises(InputError, match=r"points of grid 'g' have no value of noise\.programming\.sigma"):
        curves_of(tmp_path, [*rows, row(0.1, 1)])
    with pytest.raises(InputError, match=r"no grid has an axis to draw against \(g\)"):
        curves_of(tmp_path, [row(0.1, 1)])


def test_tables_that_are_none(tmp_path):
    rows = [row(0.2, 0, {SIGMA: 0.1})]
    with pytest.raises(InputError, match="is not a folder"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no results\.parquet: no sweep was finished there"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="was written by another version"):
        read_results(write(tmp_path / "old", rows, version="hvae-mnn-sweep/0"))
    with pytest.raises(InputError, match="has no column status: it is from another version"):
        read_results(write(tmp_path / "missing", rows, drop=["status"]))
    with pytest.raises(InputError, match="of kind 'analog' and status 'done', which another version wrote"):
        read_results(write(tmp_path / "kind", [rows[0] | {"kind": "analog"}]))
    with pytest.raises(InputError, match="column colour is string, and neither an axis nor a metric"):
        read_results(write(tmp_path / "colour", [rows[0] | {"colour": "red"}]))
    (tmp_path / "old" / "results.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(
        InputError, match=r"is damaged or not a Parquet table \(.*\); make it again by rerunning the sweep"
    ):
        read_results(tmp_path / "old")


def test_the_newest_sweep_is_a_finished_one(tmp_path):
    with pytest.raises(InputError, match="no finished sweep in"):
        newest_sweep(tmp_path)
    folder = write(tmp_path / "one", [row(0.2, 0, {SIGMA: 0.1})])
    (write(tmp_path / "unfinished", [row(0.2, 0, {SIGMA: 0.1})]) / "sweep.json").unlink()
    assert newest_sweep(tmp_path) == folder
