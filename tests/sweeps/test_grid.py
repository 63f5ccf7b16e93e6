"""Expansion of a sweep's file into tasks, against grids expanded by hand, and equality of tasks."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hvae_mnn
from hvae_mnn.crossbar.hardware.file import hardware_from_dict, hardware_to_dict, read_hardware
from hvae_mnn.crossbar.nonidealities.file import nonidealities_to_dict
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.sweeps.axes import PATHS, Grid, spaced
from hvae_mnn.sweeps.file import read_sweep
from hvae_mnn.sweeps.grid import converters_only, make_plan

HEAD = 'name = "s"\nseeds = 2\nsentences = 3\nmetrics = ["top1", "mean_error"]\n'


@pytest.fixture
def plan(tmp_path, make_checkpoint):
    """The plan of a file with this text below its head."""
    shutil.copy(make_checkpoint("rnn"), tmp_path / "net.pt")

    def make(text, head=HEAD + 'models = { net = "net.pt" }\n'):
        path = tmp_path / "sweep.toml"
        path.write_text(head + text, encoding="utf-8")
        return make_plan(read_sweep(path))

    return make


def points(plan, grid="g"):
    return [row for row in plan.rows if row.grid == grid and row.kind == "point"]


def along(plan, grid="g"):
    """Values of the points' axes, once per point."""
    return [tuple(row.along.values()) for row in points(plan, grid) if row.seed == 0]


def hardware_of(plan, row):
    return hardware_from_dict(plan.tasks[row.task].hardware)


def test_axes_multiply_and_the_last_is_fastest(plan):
    made = plan('[[grid]]\nname = "g"\naxes = { "hardware.adc.bits" = [6, 4], "noise.stuck.on" = [0.1, 0, 0.2] }\n')
    assert along(made) == [(6, 0.1), (6, 0), (6, 0.2), (4, 0.1), (4, 0), (4, 0.2)]
    assert [(row.seed, tuple(row.along.values())) for row in points(made)[:3]] == [
        (0, (6, 0.1)),
        (1, (6, 0.1)),
        (0, (6, 0)),
    ]
    assert made.axes == ("hardware.adc.bits", "noise.stuck.on")
    row = points(made)[-1]
    task = made.tasks[row.task]
    assert (task.kind, task.seed, task.hardware["adc"]["bits"], task.noise["stuck"]) == (
        "point",
        1,
        4,
        {"on": 0.2, "off": 0.0},
    )
    assert json.loads(json.dumps(task.hardware)) == task.hardware


def test_dots_outside_quotes_are_the_same(plan):
    quoted = plan('[[grid]]\nname = "g"\nset = { "noise.stuck.off" = 0.1 }\naxes = { "noise.stuck.on" = [0.1, 0.2] }\n')
    tables = plan('[[grid]]\nname = "g"\nset.noise.stuck.off = 0.1\n[grid.axes.noise.stuck]\non = [0.1, 0.2]\n')
    assert quoted.rows == tables.rows


def test_zipped_axes_advance_together(plan):
    made = plan(
        '[[grid]]\nname = "g"\nzip = [["hardware.tiles.rows", "hardware.tiles.columns"]]\n[grid.axes]\n'
        '"hardware.tiles.rows" = [4, 8, "all"]\n"noise.stuck.on" = [0, 0.5]\n"hardware.tiles.columns" = [5, 9, 3]\n'
    )
    assert along(made) == [(4, 0, 5), (4, 0.5, 5), (8, 0, 9), (8, 0.5, 9), ("all", 0, 3), ("all", 0.5, 3)]


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), max_size=2, unique=True),
)
def test_count_is_how_many_points_there_are(lengths, zipped):
    group = [index for index in zipped if index < len(lengths)]
    for index in group:
        lengths[index] = lengths[group[0]]
    axes = {f"a{index}": tuple(range(length)) for index, length in enumerate(lengths)}
    grid = Grid("g", axes, zipped=(tuple(f"a{index}" for index in group),) if group else ())
    points = list(grid.points())
    assert len(points) == grid.count == len({tuple(point.values()) for point in points})
    for point in points:
        assert tuple(point) == tuple(axes)
        assert len({point[f"a{index}"] for index in group}) <= 1


@pytest.mark.parametrize(
    ("given_range", "expected"),
    [
        ((0.001, 1, 4, "log"), (0.001, 0.01, 0.1, 1.0)),
        ((0.1, 0.7, 7, "linear"), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
        ((4, 10, 4, "linear"), (4, 6, 8, 10)),
        ((4, 10, 3, "linear"), (4, 7, 10)),
        ((4, 9, 3, "linear"), (4.0, 6.5, 9.0)),
        ((8, 1, 4, "log"), (8, 4, 2, 1)),
        ((3.0, 1.0, 3, "linear"), (3.0, 2.0, 1.0)),
    ],
)
def test_ranges_by_hand(given_range, expected):
    values = spaced(*given_range)
    assert values == expected
    assert list(map(type, values)) == list(map(type, expected))


def test_ranges_in_a_file(plan):
    made = plan(
        '[[grid]]\nname = "g"\n[grid.axes]\n"hardware.adc.bits" = { from = 4, to = 8, points = 3 }\n'
        '"noise.stuck.on" = { from = 1e-3, to = 1e-1, points = 3, scale = "log" }\n'
    )
    assert along(made)[:4] == [(4, 0.001), (4, 0.01), (4, 0.1), (6, 0.001)]


def test_what_a_setting_takes_with_it(plan):
    made = plan(
        'hardware = "tile64"\n[set]\n"hardware.adc.noise_lsb" = 0.5\n"noise.programming.error" = "lognormal"\n'
        '"noise.programming.sigma" = 0.3\n'
        '[[grid]]\nname = "g"\naxes = { "hardware.adc.bits" = [0, 8] }\n'
        '[[grid]]\nname = "e"\naxes = { "noise.programming.error" = ["none", "gaussian", "pulses"] }\n'
        '[[grid]]\nname = "d"\naxes = { "hardware.device.preset" = ["hp_tio2"] }\n'
        '[[grid]]\nname = "r"\nset = { "hardware.adc.range" = "fixed" }\n'
        'axes = { "hardware.adc.full_scale" = [1e-4] }\n'
    )
    without, with_noise = (hardware_of(made, row) for row in points(made)[::2])
    assert (without.adc.bits, without.adc.noise_lsb) == (0, 0)
    assert (with_noise.adc.bits, with_noise.adc.noise_lsb) == (8, 0.5)
    assert with_noise.wires == read_hardware("tile64").wires
    sigmas = {row.along["noise.programming.error"]: made.tasks[row.task].noise for row in points(made, "e")}
    assert {error: noise["programming"]["sigma"] for error, noise in sigmas.items()} == {
        "none": 0,
        "gaussian": 0.3,
        "pulses": 0,
    }
    device = hardware_of(made, points(made, "d")[0]).device
    assert device.name == "hp_tio2"
    assert (device.g_min, device.g_max, device.read_v) != (with_noise.device.g_min, with_noise.device.g_max, 0.05)
    assert hardware_of(made, points(made, "r")[0]).adc.full_scale == 1e-4


def test_hardware_is_a_preset_or_a_file_beside_the_sweep(plan, tmp_path):
    (tmp_path / "chip.toml").write_text('base = "tile64"\n[adc]\nbits = 7\n', encoding="utf-8")
    made = plan('[[grid]]\nname = "g"\naxes = { hardware = ["chip.toml", "paper"] }\n')
    assert along(made) == [("chip.toml",), ("paper",)]
    assert [hardware_of(made, row).adc.bits for row in points(made)] == [7, 7, 10, 10]
    assert [hardware_of(made, row).wires.word_ohm for row in points(made)] == [1, 1, 0, 0]


def test_baselines_stand_beside_every_grid_and_are_run_once(plan):
    made = plan(
        '[baseline]\nname = "clean"\n'
        '[[grid]]\nname = "g"\naxes = { "hardware.adc.bits" = [10, 0, 6], "hardware.dac.bits" = [8, 0] }\n'
        '[[grid]]\nname = "h"\nset = { "hardware.adc.inl_lsb" = 0.1 }\naxes = { "noise.stuck.on" = [0, 0.1] }\n'
    )
    rows = {
        grid: [row for row in made.rows if row.grid == grid and row.kind != "point"] for grid in ("clean", "g", "h")
    }
    assert [row.kind for row in rows["h"]] == ["digital", "unigram", "digital_bits"]
    assert {row.task for row in rows["h"]} == {row.task for row in rows["clean"]} <= {row.task for row in rows["g"]}
    assert all(row.seed is None for own in rows.values() for row in own)
    bits = [row for row in rows["g"] if row.kind == "digital_bits"]
    assert [tuple(row.along.values()) for row in bits] == [(10, 8), (10, 0), (0, 8), (6, 8), (6, 0)]
    assert len(points(made, "clean")) == 2
    assert points(made, "clean")[0].along == {}
    # 5 of converters, digital, unigram; 6 points of g, 2 of h, and the baseline's, which is g's first one.
    assert len(made.tasks) == 5 + 2 + 2 * (6 + 2)
    assert points(made, "clean")[0].task == points(made, "g")[0].task
    kinds = [task.kind for task in made.tasks.values()]
    assert set(kinds[:2]) == {"digital", "unigram"}


def test_converters_only():
    chip = read_hardware("pair128")
    chip = replace(
        chip,
        adc=replace(chip.adc, bits=6, noise_lsb=0.3, inl_lsb=0.2),
        cells=replace(chip.cells, levels=16, scale="column"),
    )
    converters = converters_only(chip)
    assert (converters.cells.scheme, converters.cells.scale, converters.cells.levels) == (
        "differential_pair",
        "column",
        0,
    )
    assert (converters.adc.bits, converters.adc.noise_lsb, converters.adc.inl_lsb) == (6, 0, 0)
    assert (converters.dac, converters.device) == (chip.dac, chip.device)
    assert (converters.wires.word_ohm, converters.wires.bit_ohm, converters.wires.driver_ohm) == (0, 0, 0)
    assert (converters.amplifier.kind, converters.tiling.rows, converters.tiling.partial_sums) == (
        "ideal",
        None,
        "before_adc",
    )
    assert hardware_from_dict(hardware_to_dict(converters)) == converters


def test_several_models(plan, make_checkpoint, tmp_path):
    shutil.copy(make_checkpoint("gru"), tmp_path / "other.pt")
    head = HEAD + 'models = { net = "net.pt", other = "other.pt" }\n'
    made = plan('[[grid]]\nname = "g"\naxes = { "noise.stuck.on" = [0, 0.1] }\n', head)
    assert [(row.model, row.seed) for row in points(made)] == [
        ("net", 0), ("net", 1), ("net", 0), ("net", 1), ("other", 0), ("other", 1), ("other", 0), ("other", 1)
    ]  # fmt: skip
    assert made.file.count(made.file.grids[0]) == 8 == len(points(made))
    made = plan('[set]\nmodel = "other"\n[[grid]]\nname = "g"\naxes = { "noise.stuck.on" = [0, 0.1] }\n', head)
    assert {row.model for row in made.rows} == {"other"}
    made = plan('[[grid]]\nname = "g"\naxes = { model = ["other", "net"] }\n', head)
    assert [row.model for row in points(made)] == ["other", "other", "net", "net"]
    assert made.file.count(made.file.grids[0]) == 4


GRID = '[[grid]]\nname = "g"\naxes = { "hardware.wires.word_ohm" = [1, 2] }\n'


def keys(made):
    return set(made.tasks)


def test_what_does_not_change_a_task(plan, tmp_path):
    before = keys(plan(GRID))
    assert keys(plan(GRID.replace("[1, 2]", "[2.0, 1.0]"))) == before
    assert keys(plan(GRID.replace('"g"', '"another"'))) == before
    assert keys(plan('hardware = "paper"\n[set]\n"noise.stuck.on" = 0.0\n' + GRID)) == before
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "net.pt", tmp_path / "elsewhere" / "best.pt")
    head = 'sentences = 3\nseeds = [0, 1]\nmetrics = ["mean_error", "top1"]\n'
    assert keys(plan(GRID, head + 'models = { m = "elsewhere/best.pt" }\n')) == before
    # The same wires from a hardware file that says where they come from.
    (tmp_path / "wires.toml").write_text('base = "paper"\n[wires]\nword_ohm = 1\nsource = "me"\n', encoding="utf-8")
    assert keys(plan('hardware = "wires.toml"\n' + GRID)) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[1, 2]", "[1, 3]"),
        ("seeds = 2", "seeds = [0, 2]"),
        ("sentences = 3", "sentences = 4"),
        ('"top1"', '"top5"'),
        ('name = "s"', 'calibration = "p99"'),
        ('name = "s"', 'hardware = "tile64"'),
        ('name = "s"', 'split = "valid"'),
        ('name = "g"', 'name = "g"\nset = { "noise.drift.exponent" = 0.1 }'),
    ],
)
def test_what_changes_tasks(plan, old, new):
    text = HEAD + 'models = { net = "net.pt" }\n'
    before = keys(plan(GRID, text))
    after = keys(plan(GRID.replace(old, new), text.replace(old, new)))
    changed = {plan_key for plan_key in after if plan_key not in before}
    assert changed
    assert len(after) == len(before)


def test_another_checkpoint_is_another_task(plan, make_checkpoint, tmp_path):
    before = keys(plan(GRID))
    shutil.copy(make_checkpoint("peephole"), tmp_path / "net.pt")
    assert not keys(plan(GRID)) & before


def test_a_point_without_anything_has_the_noise_that_is_none(plan):
    made = plan(GRID)
    assert made.tasks[points(made)[0].task].noise == nonidealities_to_dict(Nonidealities())


def test_the_example_in_the_documents(tmp_path, make_checkpoint):
    text = (Path(hvae_mnn.__file__).parents[1] / "docs" / "sweep.md").read_text(encoding="utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    path = tmp_path / "experiments" / "noise.toml"
    path.parent.mkdir()
    path.write_text(example.replace("sentences = 500", "sentences = 5"), encoding="utf-8")
    checkpoint = tmp_path / "checkpoints" / "ptb-sound" / "best.pt"
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(make_checkpoint("rnn"), checkpoint)
    made = make_plan(read_sweep(path))
    assert [grid.count for grid in made.file.all_grids] == [1, 6, 6]
    documented = set(re.findall(r"`([a-z_0-9]+)`", text.partition("## Paths")[2].partition("## Tasks")[0]))
    assert {known.split(".")[-1] for known in PATHS if known.startswith("noise.")} <= documented
    for key in ("name", "models", "hardware", "split", "sentences", "calibration", "seeds", "metrics"):
        assert f"| `{key}` |" in text
