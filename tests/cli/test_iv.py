"""`hvae-mnn iv`: files, figures, numbers, and mistakes told in one line."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.integrate import trapezoid

from hvae_mnn.cli.main import main
from hvae_mnn.devices.presets import AIST
from hvae_mnn.errors import EnvironmentProblem, RunError
from hvae_mnn.plots.iv import save_iv_figures
from hvae_mnn.spice import osdi
from hvae_mnn.spice.batch import read_raw
from hvae_mnn.studies.iv.drive import Drive
from hvae_mnn.studies.iv.run import iv

pytestmark = pytest.mark.spice


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("iv") / "run"
    drive = Drive(0.5, (10.0, 50.0, 250.0), cycles=2)
    return iv(AIST, backend="behavioural", drive=drive, out=folder, draw=save_iv_figures)


def test_the_command_says_what_it_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["iv", "--frequency", "20", "--cycles", "1", "--backend", "behavioural"])
    printed = capsys.readouterr().out
    assert "behavioural" in printed
    assert "circuit-friendly" in printed
    assert "SET slows as the voltage rises" in printed
    assert (tmp_path / "runs/iv-aist/summary.json").is_file()


def test_every_number_of_the_run_is_in_its_files(run):
    assert {path.name for path in run.folder.iterdir()} == {
        "summary.json",
        "iv.parquet",
        "pulse_train.parquet",
        "switching.parquet",
        "ngspice",
        *(
            f"{name}.{ending}"
            for name in ("iv_loops", "state_and_resistance", "switching_time", "potentiation_depression")
            for ending in ("png", "svg")
        ),
    }
    summary = json.loads((run.folder / "summary.json").read_text())
    assert [found["frequency_hz"] for found in summary["runs"]] == [10, 50, 250]
    for found in summary["runs"]:
        assert 0 < found["behavioural"]["max_dx"] < 3e-3
    lobes = [found["lobe_area_va"] for found in summary["runs"]]
    assert lobes[0] > lobes[1] > lobes[2] > 0
    assert summary["switching_largest_error"]["behavioural"] < 1e-4


def test_the_area_of_a_loop_is_that_of_one_period(tmp_path):
    areas = [
        iv("hp_tio2", backend="reference", drive=Drive(1.0, (2.0,), cycles=cycles), out=tmp_path / str(cycles)).summary[
            "runs"
        ][0]["lobe_area_va"]
        for cycles in (1, 3)
    ]
    assert areas[0] == pytest.approx(areas[1], rel=1e-3)
    # i dv of both polarities, by the trapezoidal rule over the second period of the table
    table = pq.read_table(tmp_path / "3" / "iv.parquet").to_pydict()
    time, volts, amperes = (np.array(table[key]) for key in ("time_s", "volts", "amperes"))
    period = (time >= 0.5) & (time <= 1.0)
    half = period & (time <= 0.75)
    assert areas[1] == pytest.approx(2 * abs(trapezoid(amperes[half], volts[half])), rel=1e-3)


def test_what_an_amplitude_below_threshold_does_not_give_is_not_promised(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["iv", "--amplitude", "0.05", "--frequency", "20", "--backend", "reference", "--out", "run"])
    printed = capsys.readouterr().out
    assert "no pulse train: this amplitude does not switch both ways" in printed
    assert "potentiation_depression" not in printed
    assert "ngspice/" not in printed


def test_pulses_enclose_no_area(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["iv", "--waveform", "pulses", "--frequency", "100", "--backend", "reference", "--out", "run"])
    assert "loop area" not in capsys.readouterr().out
    assert json.loads((tmp_path / "run/summary.json").read_text())["runs"][0]["lobe_area_va"] is None


def test_help_says_what_the_numbers_are(capsys):
    main(["iv", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "one secondary source and were chosen for circuits, not measured" in said
    assert "SET slows as the voltage rises" in said


def test_raw_files_hold_what_the_table_holds(run):
    raw = read_raw(run.folder / "ngspice" / "behavioural-50hz.raw")
    table = pq.read_table(
        run.folder / "iv.parquet", filters=[("backend", "=", "behavioural"), ("frequency_hz", "=", 50)]
    )
    np.testing.assert_array_equal(table["x"].to_numpy(), raw["v(x)"])
    np.testing.assert_array_equal(table["amperes"].to_numpy(), -raw["i(vdrive)"])
    np.testing.assert_allclose(table["ohm"].to_numpy(), AIST.resistance(raw["v(x)"]))


def test_loops_are_pinched(run):
    table = pq.read_table(run.folder / "iv.parquet").to_pydict()
    volts, amperes = np.array(table["volts"]), np.array(table["amperes"])
    assert np.abs(amperes[np.abs(volts) < 1e-6]).max() < 1e-9
    np.testing.assert_allclose(amperes * np.array(table["ohm"]), volts, atol=1e-6)


def test_trains_raise_and_lower_the_conductance(run):
    table = pq.read_table(run.folder / "pulse_train.parquet").to_pydict()
    for who in ("behavioural", "reference"):
        siemens = np.array([g for g, name in zip(table["siemens"], table["backend"], strict=True) if name == who])
        assert siemens.size == 31
        assert (np.diff(siemens[:16]) > 0).all()
        assert (np.diff(siemens[15:]) < 0).all()


def test_set_slows_and_reset_speeds_up_with_voltage(run):
    table = pq.read_table(run.folder / "switching.parquet", filters=[("backend", "=", "reference")]).to_pydict()
    volts, seconds = np.array(table["volts"]), np.array(table["seconds"])
    assert (np.diff(seconds[volts > 0]) > 0).all()
    assert (np.diff(seconds[volts < 0]) > 0).all()  # volts ascend towards 0


@pytest.mark.parametrize("waveform", ["triangle", "pulses"])
def test_other_waveforms_follow_the_reference(tmp_path, waveform):
    result = iv("hp_tio2", backend="behavioural", drive=Drive(1.0, (5.0,), waveform), out=tmp_path / "run")
    assert result.summary["runs"][0]["behavioural"]["max_dx"] < 1e-3
    assert result.summary["missing"] == {}


def test_the_reference_alone_needs_no_ngspice(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = iv(
        "aist", backend="reference", drive=Drive(0.3, (20.0,), x0=0.4), out=tmp_path / "run", draw=save_iv_figures
    )
    assert result.summary["back_ends"] == []
    assert not (result.folder / "ngspice").exists()
    assert (result.folder / "iv_loops.png").stat().st_size > 10_000
    assert pq.read_table(result.folder / "iv.parquet")["x"][0].as_py() == 0.4


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.delenv(osdi.READY_MADE, raising=False)
    osdi.osdi_library.cache_clear()
    yield
    osdi.osdi_library.cache_clear()


def test_without_a_compiler_all_runs_the_rest_and_says_why(tmp_path, no_compiler, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["iv", "--frequency", "50", "--cycles", "1"])
    assert "not run: osdi: no C compiler" in capsys.readouterr().out
    with pytest.raises(EnvironmentProblem, match="no C compiler"):
        iv("aist", backend="osdi", out=tmp_path / "osdi")
    assert not (tmp_path / "osdi").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--preset", "aits"],
            "unknown device preset 'aits'; did you mean 'aist'? allowed: aist, aist_literal, hp_tio2, hp, or a file",
        ),
        (["--preset", "mine.toml"], "mine.toml does not exist"),
        (
            ["--device", "hp", "--preset", "aist"],
            "--device hp and --preset aist name two memristors; leave out one of them",
        ),
        (["--amplitude", "-1"], "--amplitude is -1 V"),
        (["--amplitude", "nan"], "--amplitude is nan; allowed: a finite number"),
        (["--frequency", "0"], "--frequency is 0; allowed: 0.001 to 1e9 Hz"),
        (["--frequency", "10", "--frequency", "10"], "--frequency names 10, 10 Hz; allowed: each once"),
        (["--frequency", "10", "--frequency", "10.0000001"], "--frequency names 10, 10 Hz; allowed: each once"),
        (["--cycles", "0"], "--cycles is 0"),
        (["--cycles", "1000000"], "a whole number from 1 to 500"),
        (["--amplitude", "1e6"], "100 V at most"),
        (["--frequency", "1e-9"], "--frequency is 1e-09; allowed: 0.001 to 1e9 Hz"),
        (["--x0", "1.5"], "--x0 is 1.5; allowed: 0 to 1"),
        (["--out", "taken"], "taken exists and is not empty"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "something").touch()
    with pytest.raises(SystemExit) as ended:
        main(["iv", *arguments])
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_taken_is_left_alone(run):
    with pytest.raises(RunError, match="not empty; choose another --out"):
        iv("aist", out=run.folder)
