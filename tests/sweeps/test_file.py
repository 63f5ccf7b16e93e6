"""Mistakes in a sweep's file: all problems are reported at once, and nothing is begun."""

from __future__ import annotations

import shutil

import pytest

from hvae_mnn.cli.main import main
from hvae_mnn.errors import HardwareError, InputError
from hvae_mnn.parallel import dask_client
from hvae_mnn.sweeps.file import read_sweep
from hvae_mnn.sweeps.grid import make_plan

GRID = '[[grid]]\nname = "g"\naxes = { "noise.stuck.on" = [0, 0.1] }\n'
HEAD = 'models = { net = "net.pt" }\n'


@pytest.fixture
def folder(tmp_path, monkeypatch, make_checkpoint):
    """The working folder, with a checkpoint in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copy(make_checkpoint("rnn"), tmp_path / "net.pt")
    return tmp_path


@pytest.fixture
def message(folder):
    """The message for a file with this text."""

    def read(text):
        path = folder / "s.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            make_plan(read_sweep(path))
        return str(caught.value)

    return read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            HEAD + GRID.replace("noise.stuck.on", "noise.stuc.on"),
            "grid g: unknown path of a setting 'noise.stuc.on'; did you mean 'noise.stuck.on'? allowed: model,",
        ),
        (
            HEAD + GRID.replace("noise.stuck.on", "hardware.bits"),
            "grid g: unknown path of a setting 'hardware.bits'; did you mean 'hardware.dac.bits'?",
        ),
        (
            HEAD + GRID.replace("noise.stuck.on", "weather"),
            "unknown path of a setting 'weather'; allowed: model, hardw",
        ),
        (
            HEAD + 'metrics = ["top1", "bleue"]\n' + GRID,
            "unknown metric 'bleue'; did you mean 'bleu'? allowed: ",
        ),
        (HEAD, "the grid is empty: there is no [[grid]] and no [baseline]"),
        (HEAD + '[[grid]]\nname = "g"\n', "grid g is empty: it has no axes"),
        (HEAD + GRID.replace("[0, 0.1]", "[]"), "grid g: noise.stuck.on is an empty list; give at least one value"),
        (HEAD + GRID.replace("[0, 0.1]", "3"), "noise.stuck.on is 3; allowed: a list of values, or {from, to"),
        (HEAD + GRID.replace("[0, 0.1]", "[0.1, 1, 1.0]"), "grid g: noise.stuck.on holds 1.0 twice"),
        (HEAD + GRID.replace("[0, 0.1]", "[[1], 2]"), "grid g: noise.stuck.on is an array; allowed: a number"),
        (HEAD + GRID.replace("[0, 0.1]", "[nan]"), "grid g: noise.stuck.on is nan; allowed: a number"),
        (
            HEAD + GRID.replace("[0, 0.1]", '{ from = 0, to = 1, points = 3, scale = "log" }'),
            "a log scale from 0 to 1; allowed: ends above 0",
        ),
        (HEAD + GRID.replace("[0, 0.1]", "{ from = 1, to = 1, points = 3 }"), "the range begins and ends at 1"),
        (
            HEAD + GRID.replace("[0, 0.1]", "{ from = 0, to = 1, points = 1 }"),
            "noise.stuck.on.points is 1; allowed: a whole number from 2 to 10,000",
        ),
        (
            HEAD + GRID + 'zip = [["noise.stuck.on", "noise.stuck.off"]]\n',
            "grid g: zip: unknown axis 'noise.stuck.off'; did you mean 'noise.stuck.on'? allowed: noise.stuck.on",
        ),
        (
            HEAD
            + '[[grid]]\nname = "g"\nzip = [["noise.stuck.on", "noise.stuck.off"]]\n'
            + 'axes = { "noise.stuck.on" = [0, 0.1], "noise.stuck.off" = [0] }\n',
            "need equal numbers of values; they have noise.stuck.on 2, noise.stuck.off 1",
        ),
        (HEAD + GRID + 'set = { "noise.stuck.on" = 0 }\n', "noise.stuck.on is set and is an axis"),
        (HEAD + GRID + GRID, 'the grids\' name "g" occurs 2 times'),
        (HEAD + GRID + "axs = {}\n", "unknown key of a sweep file 'grid[1].axs'; did you mean 'axes'? allowed: name, "),
        (HEAD + "seed = 3\n" + GRID, "unknown key of a sweep file 'seed'; did you mean 'seeds'? allowed: "),
        (HEAD + "seeds = 0\n" + GRID, "seeds is 0; allowed: 1 to 10,000, or a list of whole numbers"),
        (HEAD + "seeds = [1, -1]\n" + GRID, "seeds holds a number that is not a seed; allowed: 0 to 2^63 - 1"),
        (HEAD + 'seeds = ["a"]\n' + GRID, 'seeds[1] is "a"; allowed: a number of seeds'),
        (HEAD + 'split = "tset"\n' + GRID, "unknown split 'tset'; did you mean 'test'? allowed: train, valid, test"),
        (HEAD + 'calibration = "most"\n' + GRID, "unknown calibration 'most'; allowed: max, p99.99"),
        (HEAD + "sentences = 1\n" + GRID, "sentences is 1; allowed: a whole number from 2 on"),
        (HEAD + "sentences = 100000\n" + GRID, "sentences is 100000; allowed: 2 to "),
        (
            HEAD + 'hardware = "tile65"\n' + GRID,
            "hardware: unknown hardware preset 'tile65'; did you mean 'tile64'? allowed: paper, tile64, pair128,",
        ),
        (GRID, "models is missing; allowed: a table of at least one label"),
        ("models = {}\n" + GRID, "models is a table; allowed: a table of at least one label"),
        ('models = { net = "nets.pt" }\n' + GRID, "models.net: no checkpoint at /"),
        (
            HEAD + '[[grid]]\nname = "g"\naxes = { model = ["net", "nett"] }\n',
            "unknown model 'nett'; did you mean 'net'? allowed: net",
        ),
        (
            HEAD + '[[grid]]\nname = "g"\naxes = { "hardware.adc.bits" = [8, 1] }\n',
            "grid g at hardware.adc.bits = 1: adc.bits is 1; allowed: a whole number from 0 to 24 other than 1",
        ),
        (
            HEAD + '[[grid]]\nname = "g"\naxes = { "hardware.sense.gain" = [10] }\n',
            'sense.kind is "ideal" and sense.gain is 10.0; leave out gain',
        ),
        (
            HEAD + GRID.replace("0.1", "1.5"),
            "grid g at noise.stuck.on = 1.5: stuck.on is 1.5; allowed: a number",
        ),
        ("models = \n", "cannot be read as TOML"),
    ],
)
def test_one_problem_is_one_line(message, text, expected):
    line = message(text)
    assert line.startswith("s.toml: ") or "/s.toml: " in line or "sentences is" in line or "TOML" in line
    assert expected in line
    assert len(line.splitlines()) == 1


def test_all_problems_at_once(message):
    lines = message(
        'models = { net = "none.pt" }\nmetrics = ["top1", "topp"]\nsplit = "dev"\n[set]\n"noise.x.y" = 3\n' + GRID
    )
    assert lines.splitlines()[0].endswith("s.toml: 4 problems")
    for part in (
        "unknown split 'dev'",
        "models.net: no checkpoint",
        "unknown metric 'topp'; did you mean 'top",
        "set: unknown path of a setting 'noise.x.y'",
    ):
        assert part in lines


def test_problems_of_points_are_counted_beyond_twenty(message):
    values = ", ".join(f"{number}.5" for number in range(30))
    lines = message(HEAD + f'[[grid]]\nname = "g"\naxes = {{ "hardware.adc.bits" = [{values}] }}\n').splitlines()
    assert lines[0].endswith("30 problems")
    assert lines[-1] == "  and 10 more"


def test_a_hardware_file_that_is_wrong(message, folder):
    (folder / "chip.toml").write_text("[adc]\nbits = 1\n", encoding="utf-8")
    assert "adc.bits is 1; allowed: a whole number" in message(HEAD + 'hardware = "chip.toml"\n' + GRID)
    assert issubclass(HardwareError, InputError)


@pytest.fixture
def fails(folder, capsys):
    """Run a command that must fail and leave no file; returns its message."""

    def run(*arguments, code=2):
        before = sorted(folder.rglob("*"))
        with pytest.raises(SystemExit) as caught:
            main(["sweep", *map(str, arguments)])
        printed = capsys.readouterr()
        assert caught.value.code == code, printed.err
        assert "Traceback" not in printed.err
        assert sorted(folder.rglob("*")) == before
        return printed.err.strip()

    return run


def test_files_that_are_none(fails, folder):
    assert "no sweep file at none.toml; name a TOML file" in fails("none.toml")
    assert "is a folder" in fails(folder)
    (folder / "bytes.toml").write_bytes(b'name = "\xff"\n')
    assert "bytes.toml, line 1: byte 0xff at position 9 is not UTF-8" in fails("bytes.toml")


def test_an_exploding_grid_is_shown_and_refused_without_yes(fails, folder, capsys):
    axes = ", ".join(f'"noise.{path}" = {{ from = 0, to = 0.4, points = 10000 }}' for path in ("stuck.on", "stuck.off"))
    (folder / "s.toml").write_text(HEAD + f'[[grid]]\nname = "huge"\naxes = {{ {axes} }}\n' + GRID, encoding="utf-8")
    message = fails("s.toml")
    assert "s.toml has 500,000,010 tasks (points times seeds: huge 500,000,000, g 10)" in message
    assert "above 10,000 say so with --yes, or make the grid smaller" in message
    main(["sweep", "s.toml", "--dry-run"])
    assert "500,000,000" in capsys.readouterr().out


def test_options_out_of_range(fails, folder, monkeypatch):
    monkeypatch.setattr(dask_client, "CONNECT_S", 1.0)
    (folder / "s.toml").write_text(HEAD + GRID, encoding="utf-8")
    assert "--seeds is 0; allowed: a whole number from 1 to 10,000" in fails("s.toml", "--seeds", 0)
    assert "--sentences is 1; allowed: a whole number from 2" in fails("s.toml", "--sentences", 1)
    assert "--workers is 0; allowed: a whole number from 1" in fails("s.toml", "--workers", 0)
    assert "--task-limit is 0; allowed: above 0" in fails("s.toml", "--task-limit", 0)
    assert "exclude each other" in fails("s.toml", "--workers", 1, "--scheduler", "tcp://127.0.0.1:1")
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in fails("s.toml", "--scheduler", "tcp://127.0.0.1:1")
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("keep")
    assert "mine exists and is not a sweep's folder; choose another --out" in fails("s.toml", "--out", "mine")
    assert "mine exists and is not a sweep's folder" in fails("s.toml", "--out", "mine", "--fresh")
    assert "nowhere does not exist; give a folder with train.txt" in fails("s.toml", "--data-dir", "nowhere")


def test_a_dry_run_shows_the_grid_and_leaves_nothing(folder, capsys):
    (folder / "s.toml").write_text(
        HEAD + 'name = "small"\nsentences = 3\n[baseline]\nname = "clean"\n' + GRID, encoding="utf-8"
    )
    before = sorted(folder.rglob("*"))
    main(["sweep", "s.toml", "--dry-run", "--seeds", "3"])
    printed = capsys.readouterr().out
    for part in ("noise.stuck.on", "0, 0.1", "clean", "9 tasks, 3 of them baselines; 15 rows in the table"):
        assert part in printed
    assert "runs/small/: 0 are finished, 9 are left" in printed
    assert sorted(folder.rglob("*")) == before


def test_lengths_of_axes_that_advance_together_stand_with_their_names(message):
    told = message(
        HEAD
        + '[[grid]]\nname = "g"\nzip = [["noise.stuck.of", "noise.stuck.on", "noise.stuck.off"]]\n'
        + 'axes = { "noise.stuck.on" = [0, 0.1, 0.2], "noise.stuck.off" = [0] }\n'
    )
    assert "unknown axis 'noise.stuck.of'" in told
    assert "they have noise.stuck.on 3, noise.stuck.off 1" in told
