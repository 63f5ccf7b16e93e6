"""`hvae-mnn program` as a person types it."""

from __future__ import annotations

import json

import pytest

from hvae_mnn.cli.program import command
from hvae_mnn.errors import HvaeMnnError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def run(*arguments):
    command.main([str(argument) for argument in arguments], prog_name="hvae-mnn program", standalone_mode=False)


def test_help_names_every_option_and_calls_the_spread_assumed(capsys):
    run("--help")
    printed = capsys.readouterr().out
    assert "Spread (assumed; no source gives values)" in printed
    assert "Examples:" in printed
    for option in command.params:
        assert option.name == "targets" or option.opts[0] in printed


def test_a_run_prints_its_figures_and_leaves_what_it_promises(tmp_path, capsys):
    run("--random", 12, 9, "--scheme", "V/2", "--amplitude", 0.18, "--threshold-sigma", 0.1, "--seed", 3)
    printed = capsys.readouterr().out
    folder = tmp_path / "runs" / "program-random-12x9"
    network = json.loads((folder / "summary.json").read_text())["network"]
    assert "12 x 9" in printed
    assert f"108 devices, {network['pulses_mean']:.2f} pulses each" in printed
    assert f"{network['failed']} failed (0 stuck), {network['disturbed']} disturbed" in printed
    assert "half-selected cells moved: a smaller --amplitude" in printed
    assert "assumed spread (log speed per device, per pulse; threshold): 0.05, 0.02, 0.1" in printed
    figures = ("pulses_to_tolerance", "error_before_after", "target_achieved", "disturbed_cells")
    expected = {f"{name}.{ending}" for name in figures for ending in ("png", "svg")}
    assert {path.name for path in folder.iterdir()} == expected | {"summary.json", "devices.parquet", "rounds.parquet"}


@pytest.mark.spice
def test_a_wired_array_is_reported(tmp_path, capsys):
    (tmp_path / "targets.csv").write_text("2e-5,3e-5\n8e-5,5e-5\n6e-5,4e-5\n")
    run("targets.csv", "--ngspice", "behavioural", "--wire-ohm", 3, "--scheme", "1T1R", "--out", "wired")
    printed = capsys.readouterr().out
    assert "ngspice (behavioural devices): 3 x 2 of targets, wires of 3 ohm per cell: 6 of 6 read back" in printed
    assert (tmp_path / "wired" / "wired.parquet").exists()


def test_open_loop_is_one_pulse_per_device(tmp_path, capsys):
    run("--random", 4, 5, "--open-loop", "--device", "hp_tio2", "--scheme", "1T1R", "--out", "run")
    assert "hp_tio2, open loop at 0.15 V, scheme 1T1R" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["network"]["pulses_total"] == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a netlist folder or file"),
        (["--random", 2, 2, "--amplitude", "0.09"], "0.09 V does not move it; choose an amplitude above 0.1 V to SET"),
        (["--random", 2, 2, "--tolerance", "2"], "tolerance is 2.0; allowed: above 0 and below 1"),
        (["--random", 2, 2, "--cycle-sigma", "-1"], "the spread cycle_speed is -1"),
        (
            ["nowhere"],
            "nowhere is not a netlist folder; allowed: a netlist folder, or a file that ends in .npy or .csv",
        ),
        (["high.csv"], "scale the targets, or widen g_min and g_max in a device TOML"),
        (["--random", 20, 20, "--ngspice", "behavioural", "--corner", 20, 20], "choose a smaller --corner, e.g. 16 16"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(tmp_path, arguments, message):
    (tmp_path / "high.csv").write_text("2e-5,3e-4\n")
    with pytest.raises(HvaeMnnError) as caught:
        run(*arguments)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["high.csv"]
