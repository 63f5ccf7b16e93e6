"""Next words right on drawn chips: which rows, the same figures as a sweep's, resumed, never trained for."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hvae_mnn import reproduce
from hvae_mnn.cosim.chip import draw_chip
from hvae_mnn.cosim.export import map_checkpoint
from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.crossbar.hardware.file import hardware_to_dict, read_hardware
from hvae_mnn.crossbar.nonidealities.file import nonidealities_from_dict, nonidealities_to_dict
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities, Programming
from hvae_mnn.errors import InputError
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.stepwise import Stepper, encode_batch, forced_states
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.reproduction.hardware import chip_seeds, chosen_rows, run_hardware, without_stale
from hvae_mnn.reproduction.hardware_plan import HardwarePlan
from hvae_mnn.reproduction.layout import blocks_of, latex, markdown
from hvae_mnn.reproduction.output import write_outputs
from hvae_mnn.reproduction.plan import plan_path, read_plan
from hvae_mnn.reproduction.record import RECORD, read_record, write_record
from hvae_mnn.reproduction.run import run_tasks
from hvae_mnn.reproduction.task import corpus_of, make_tasks
from hvae_mnn.sweeps.point import run_task
from hvae_mnn.sweeps.sentences import choose_text
from hvae_mnn.sweeps.task import ModelChoice
from hvae_mnn.sweeps.task import Task as Point
from hvae_mnn.tables import read_table
from tests.reproduction.conftest import PLAN
from tests.reproduction.test_layout import PLAN as PRINTED
from tests.reproduction.test_layout import record

HERE = Cluster.here()
SECTION = """
[hardware]
description = "small.toml"
noise = { programming = { error = "lognormal", sigma = 0.05 } }
chips = 2
sentences = 12
"""
AT = ("[profiles.cpu]\n", f"{SECTION}\n[profiles.cpu]\n")
ROWS = '["hsr-lstm-lstm", "hsr-gru-gru", "hsr-lstm-lstm-last"]'
EVERY_KIND = '["lm", "sa-vae", "sri-vae", "bn-vae", "twr-gru", "hsr-lstm-lstm-per-step"]'
MARKED = SECTION.replace("chips = 2", "best = 1\nchips = 2")


def measured(plan, corpora, out, cluster=HERE, **more):
    tasks = make_tasks(plan, corpora)
    records, _ = run_tasks(tasks, out, HERE)
    return tasks, run_hardware(plan, tasks, records, out, cluster, **more)


def figures(records):
    return {
        str(place): {key: value for key, value in one.hardware.items() if key != "seconds"}
        for place, one in records.items()
    }


SMALL = 'base = "tile64"\nname = "small"\n[tiles]\nrows = 8\ncolumns = 8\n'
"""Tiles that are no larger than the arrays of small models."""


@pytest.fixture(autouse=True)
def small(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
    return tmp_path / "small.toml"


GRU = (ROWS, '["hsr-gru-gru"]'), ("rows.hsr-lstm-lstm]", "rows.hsr-gru-gru]")


@pytest.fixture
def plan(plan_file):
    """One row with two seeds."""
    return read_plan("table2", plan_file(AT, *GRU))


@pytest.fixture(scope="module")
def trained_once(corpora, tmp_path_factory):
    """The tasks of `plan`, trained; not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    text = PLAN
    for old, new in GRU:
        text = text.replace(old, new)
    (folder / "plan.toml").write_text(text, encoding="utf-8")
    run_tasks(make_tasks(read_plan("table2", folder / "plan.toml"), corpora), folder / "out", HERE)
    return folder / "out"


@pytest.fixture
def out(trained_once, tmp_path):
    """A folder of results with the tasks of `plan`, trained, and without figures on hardware."""
    return Path(shutil.copytree(trained_once, tmp_path / "out"))


def test_the_figures_are_those_of_a_sweep(plan, corpora, small, tmp_path):
    """The same chips through a sweep's point, on the whole corpus: short sentences are a plan's, not a sweep's."""
    whole = replace(plan, entries=tuple(replace(e, corpus=replace(e.corpus, longest=None)) for e in plan.entries))
    tasks, records = measured(whole, corpora, tmp_path / "out")
    for task in tasks:
        stored = records[task.place].hardware
        path = tmp_path / "out" / task.place / "best.pt"
        checkpoint = load_checkpoint(path)
        text = choose_text(checkpoint, corpora / "toy", "test", 12)
        model = ModelChoice("", str(path), records[task.place].checkpoint["sha256"])
        noise = nonidealities_to_dict(Nonidealities(programming=Programming(error="lognormal", sigma=0.05)))
        hardware = hardware_to_dict(read_hardware(small))
        values = [
            run_task(Point("point", model, text, ("top1",), seed, hardware, noise)).metrics["top1"]
            for seed in chip_seeds(task.seed, 2)
        ]
        assert stored["chips"] == values
        assert stored["digital"] == run_task(Point("digital", model, text, ("top1",))).metrics["top1"]
        assert stored["mean"] == pytest.approx(sum(values) / 2)
        assert stored["sentences"] == 12
        assert "tiles of 8 rows and 8 columns, wires of 1 and 1 ohm" in stored["description"]
        assert "programming.sigma 0.05" in stored["description"]
    assert chip_seeds(0, 3)[:2] == chip_seeds(0, 2)
    assert len({*chip_seeds(0, 5), *chip_seeds(1, 5)}) == 10


def test_every_kind_of_row_has_them_and_feels_the_noise(plan_file, corpora, tmp_path):
    path = plan_file(AT, (ROWS, EVERY_KIND), ("rows.hsr-lstm-lstm]\nseeds = 2", "rows.lm]\nseeds = 1"))
    plan = read_plan("table2", path)
    assert plan.hardware is not None
    tasks, records = measured(plan, corpora, tmp_path / "out")
    assert [sorted(one.hardware)[:1] for one in records.values()] == [["asked"]] * 6
    assert not any("reason" in one.hardware for one in records.values())
    noise = nonidealities_from_dict(plan.hardware.noise, "noise")
    for task in tasks:  # top1 of small models may agree by chance; states do not
        checkpoint = load_checkpoint(tmp_path / "out" / task.place / "best.pt")
        sentences = [checkpoint.vocabulary.encode_sentence(corpus_of(task.text).test[0])]
        chip = draw_chip(map_checkpoint(checkpoint, plan.hardware.built()), noise, chip_seeds(task.seed, 1)[0])
        source = chip.source(chip.exact_engine())
        states = []
        steppers = (Stepper(checkpoint.model), HardwareStepper(checkpoint.model, source))
        with torch.inference_mode():
            for stepper in steppers:
                z, _ = stepper.posterior(encode_batch(stepper, sentences), sentences)
                states.append(torch.cat([state.hidden for state in forced_states(stepper, sentences, z)]))
        assert 1e-5 < (states[0] - states[1]).abs().max() < 0.5


def test_workers_and_interruptions_change_nothing_and_nothing_is_trained(plan, corpora, out, trained_once, tmp_path):
    tasks, here = measured(plan, corpora, out)
    assert len(tasks) == 2
    times = {path: path.stat().st_mtime_ns for path in (out).rglob("best.pt")}
    shutil.copytree(trained_once, tmp_path / "there")
    with Cluster.local(2) as cluster:
        _, there = measured(plan, corpora, tmp_path / "there", cluster)
    assert figures(there) == figures(here)
    path = out / tasks[0].place
    stored = read_record(path)
    assert stored is not None
    kept = (out / tasks[1].place / RECORD).read_bytes()
    write_record(path, replace(stored, hardware={}))  # as a run that was stopped, or an earlier version's, leaves it
    seen = []
    _, again = measured(plan, corpora, out, progress=lambda *counts: seen.append(counts), done=6)
    assert seen == [(6, 7), (7, 7)]
    assert figures(again) == figures(here)
    assert {path: path.stat().st_mtime_ns for path in (out).rglob("best.pt")} == times
    assert (out / tasks[1].place / RECORD).read_bytes() == kept


def test_other_hardware_is_measured_anew_and_stale_figures_are_not_shown(plan, corpora, out):
    tasks, before = measured(plan, corpora, out)
    other = replace(plan, hardware=replace(plan.hardware, chips=1))
    assert not any(one.hardware for one in without_stale(other, before).values())
    assert not any(one.hardware for one in without_stale(replace(plan, hardware=None), before).values())
    assert without_stale(plan, before) == before
    _, after = measured(other, corpora, out)
    place = tasks[0].place
    assert after[place].hardware["chips"] == before[place].hardware["chips"][:1]
    assert after[place].hardware["deviation"] is None


def test_a_model_that_the_hardware_cannot_hold_keeps_its_other_figures(plan, corpora, out):
    tasks, records = measured(plan, corpora, out)
    path = out / tasks[0].place / "best.pt"
    whole = path.read_bytes()
    path.write_bytes(b"no checkpoint")
    other = replace(plan, hardware=replace(plan.hardware, chips=1))
    _, after = measured(other, corpora, out)
    assert "best.pt" in after[tasks[0].place].hardware["reason"]
    assert after[tasks[0].place].proper == records[tasks[0].place].proper
    summaries, _ = write_outputs(other, list(after.values()), out)
    assert "GRU + GRU on short, hardware: " in markdown(other, summaries)
    path.write_bytes(whole)
    _, kept = measured(other, corpora, out)
    assert figures(kept) == figures(after)
    _, retried = measured(other, corpora, out, retry_failed=True)
    assert "mean" in retried[tasks[0].place].hardware


def test_the_best_rows_are_those_with_the_lowest_nll():
    def of(row, seed, nll):
        return record(row, seed, nll=nll)

    records = [of("lm", 0, 60.0), of("sri-vae", 0, 61.0), of("bn-vae", 0, 64.0), of("bn-vae", 1, 58.0)]
    records.append(record("hsr-lstm-lstm", 0, status="failed", reason="the loss is nan"))
    hardware = HardwarePlan(hardware_to_dict(read_hardware("tile64")), {}, 1, None, best=2)

    def chosen(**changes):
        plan = replace(PRINTED, hardware=replace(hardware, **changes))
        return {row for _, row in chosen_rows(plan, records)}

    # ELBO 70 of the language model; importance-weighted 69 and, in the mean over seeds, 69
    assert chosen() == {"bn-vae", "sri-vae"}
    assert chosen(best=3) == chosen(best=None) == {"bn-vae", "sri-vae", "lm"}
    assert chosen(rows=("lm", "sri-vae"), best=1) == {"sri-vae"}
    assert chosen_rows(PRINTED, records) == set()


def test_columns_stand_beside_the_proper_figures_and_are_empty_where_not_asked(tmp_path):
    hardware = HardwarePlan(hardware_to_dict(read_hardware("tile64")), {}, 2, 12, rows=("lm", "bn-vae"))
    plan = replace(PRINTED, hardware=hardware)
    measured = {"digital": 0.3125, "mean": 0.28125, "deviation": 0.0125}
    records = [replace(record("lm", 0), hardware=measured), record("sri-vae", 0)]
    summaries, paths = write_outputs(plan, records, tmp_path)
    paper, proper = blocks_of(summaries)
    assert proper.headings[-3:] == ("right %, digital", "right %, hardware", "sd of chips")
    assert [row[-3:] for row in proper.rows[:2]] == [("31.2", "28.1", "1.2"), ("–", "–", "–")]
    assert not any("right" in heading for heading in paper.headings)
    text = paths[0].read_text(encoding="utf-8")
    assert "mean over 2 drawn chips" in text
    assert "the first 12 test sentences" in text
    assert r"right \%, hardware" in latex(plan, summaries)
    row = read_table(paths[2]).to_pylist()[0]
    assert (row["digital_next_word"], row["hardware_next_word"], row["hardware_next_word_chips"]) == (
        0.3125,
        0.28125,
        0.0125,
    )
    assert read_table(paths[3]).to_pylist()[1]["hardware_next_word"] is None
    assert "drawn chips" not in markdown(PRINTED, write_outputs(PRINTED, records[1:], tmp_path)[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"small.toml"', '"tile46"', "unknown hardware preset 'tile46'; did you mean 'tile64'"),
        ("sigma", "sgima", "unknown non-ideality 'programming.sgima'; did you mean 'programming.sigma'"),
        ("chips = 2", "chips = 0", "hardware.chips is 0; allowed: a whole number from 1"),
        ("chips = 2", "chip = 2", "unknown key of a plan 'hardware.chip'; did you mean 'chips'"),
        ("chips = 2", 'chips = 2\nrows = ["lm"]', "hardware.rows: unknown row of this plan 'lm'"),
    ],
)
def test_a_wrong_section_is_refused(plan_file, old, new, message):
    with pytest.raises(InputError) as caught:
        read_plan("table2", plan_file(AT, (old, new)))
    assert message in str(caught.value)
    assert "plan.toml" in str(caught.value)


def test_hardware_is_a_preset_or_a_file_beside_the_plan(plan_file):
    file, preset = (
        read_plan("table2", plan_file(AT, ('"small.toml"', f'"{name}"'))) for name in ("small.toml", "tile64")
    )
    assert file.hardware is not None
    assert preset.hardware is not None
    assert file.hardware.text.startswith("small: tiles of 8 rows and 8 columns")
    assert preset.hardware.text.startswith("tile64: tiles of 64 rows and 64 columns")
    assert file.hardware.asked != preset.hardware.asked
    assert file.hardware.asked == json.loads(json.dumps(file.hardware.asked))


def test_table_2_has_the_non_ideality_that_it_states():
    hardware = read_plan("table2", plan_path("table2")).hardware
    assert hardware is not None
    built, noise = hardware.built(), hardware.drawn()
    assert (built.tiling.rows, built.tiling.columns) == (64, 64)
    assert (built.wires.word_ohm, built.wires.bit_ohm) == (1.0, 1.0)
    assert noise == Nonidealities(programming=Programming(error="lognormal", sigma=0.05))
    demo = read_plan("table2", profile="demo").hardware  # its arrays have 48 columns
    assert demo is not None
    assert replace(demo.built(), tiling=built.tiling, name="", source="") == replace(built, name="", source="")
    assert (demo.built().tiling.columns, demo.drawn()) == (16, noise)
    pyproject = plan_path("table2").parents[1] / "pyproject.toml"
    wheel = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["experiments/tile16.toml"] == "hvae_mnn/experiments/tile16.toml"
    assert read_plan("table4").hardware is None


def test_the_command_measures_and_leaves_out(plan_file, corpora, out):
    path = plan_file(("[profiles.cpu]\n", f"{MARKED}\n[profiles.cpu]\n"), *GRU)
    common = {"plan": path, "data_dir": corpora, "out": out, "workers": 1, "progress": False}
    bare = reproduce("table2", hardware=False, **common)
    assert not any(record.hardware for record in bare.records)
    result = reproduce("table2", **common)
    assert result.kept == 2
    with_figures = {record.row for record in result.records if record.hardware}
    assert len(with_figures) == 1
    assert not result.off_hardware
    again = reproduce("table2", hardware=False, **common)
    assert not any("right" in heading for block in blocks_of(again.summaries) for heading in block.headings)
    assert [one.hardware for one in reproduce("table2", **common).records] == [one.hardware for one in result.records]
