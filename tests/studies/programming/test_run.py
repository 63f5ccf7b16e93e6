"""Sources of target conductances, and files of a run of programming."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from hvae_mnn.cosim.export import build_netlist
from hvae_mnn.devices.presets import AIST, HP_TIO2
from hvae_mnn.devices.programming import WriteVerify
from hvae_mnn.devices.spread import Spread
from hvae_mnn.errors import DeviceError, InputError, ManifestError, RunError, StorageError
from hvae_mnn.files import read_sealed
from hvae_mnn.studies.programming.run import Wired, program
from hvae_mnn.studies.programming.targets import find_targets


@pytest.fixture
def netlist(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build_netlist(nn.GRU(4, 3), tmp_path / "net")


def columns(path):
    table = pq.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def test_every_array_of_a_netlist_is_programmed_into_its_device(netlist, tmp_path):
    result = program(netlist.folder, out=tmp_path / "run", spread=Spread(0, 0, 0))
    stored = load_file(netlist.folder / "conductances.safetensors")
    names = [unit.array for _, unit in netlist.units()]
    assert list(result.summary["arrays"]) == names
    assert result.summary["device"] == "aist"
    table = columns(tmp_path / "run" / "devices.parquet")
    for name in names:
        own, expected = table["array"] == name, stored[f"{name}.conductance"]
        targets = np.empty(expected.shape)
        targets[table["row"][own], table["column"][own]] = table["target_s"][own]
        np.testing.assert_array_equal(targets, expected)
    assert np.abs(table["conductance_s"] / table["target_s"] - 1).max() <= 0.01
    assert result.summary["network"]["devices"] == sum(stored[f"{name}.conductance"].size for name in names)


def test_summary_adds_up_the_tables(tmp_path):
    spread = Spread(0.05, 0.02, 0.1)
    targets = np.random.default_rng(1).uniform(2e-5, 9e-5, (20, 30))
    result = program(targets, settings=WriteVerify(amplitude_v=0.18), scheme="V/2", spread=spread, out=tmp_path / "run")
    summary = read_sealed(tmp_path / "run" / "summary.json", "summary")
    assert summary == result.summary
    table, network = columns(tmp_path / "run" / "devices.parquet"), summary["network"]
    assert network["devices"] == 600 == len(table["row"])
    assert network["failed"] == (~table["within"]).sum() > 0
    assert network["disturbed"] == (table["disturbed_dx"] > 0).sum() > 0
    assert network["disturbances"] == table["disturbances"].sum()
    assert network["pulses_total"] == table["pulses"].sum()
    assert network["serial_s"] == pytest.approx(table["time_s"].sum())
    assert network["energy_per_weight_j"] == pytest.approx(table["energy_j"].mean())
    array = summary["arrays"]["array"]
    assert array["half_selected_v"] == pytest.approx(0.09)
    assert array["error_max"] == pytest.approx(np.abs(table["conductance_s"] / table["target_s"] - 1).max())
    rounds = columns(tmp_path / "run" / "rounds.parquet")
    np.testing.assert_array_equal(rounds["within"], array["within_after_rounds"])
    assert summary["spread_assumed"] == {"device_speed": 0.05, "cycle_speed": 0.02, "threshold": 0.1}


def test_a_run_depends_on_its_seed_only(tmp_path):
    states = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        program(random=(5, 6), seed=seed, out=tmp_path / name)
        states.append(columns(tmp_path / name / "devices.parquet")["state"])
    np.testing.assert_array_equal(states[0], states[1])
    assert (states[0] != states[2]).any()


def test_targets_come_from_files_and_chance(tmp_path):
    values = np.array([[2e-5, 3e-5, 4e-5], [5e-5, 6e-5, 7e-5]])
    np.save(tmp_path / "t.npy", values)
    np.savetxt(tmp_path / "t.csv", values, delimiter=",")
    np.save(tmp_path / "row.npy", values[0])
    for name in ("t.npy", "t.csv"):
        targets = find_targets(tmp_path / name, None, None, 0)
        np.testing.assert_array_equal(targets.arrays["t"], values)
        assert targets.spec == AIST
    assert find_targets(tmp_path / "row.npy", None, "hp_tio2", 0).arrays["row"].shape == (1, 3)
    chance = find_targets(None, (30, 40), HP_TIO2, 5).arrays["random"]
    assert chance.shape == (30, 40)
    assert HP_TIO2.g_min <= chance.min() < chance.max() <= HP_TIO2.g_max
    assert np.ptp(chance) > 0.95 * (HP_TIO2.g_max - HP_TIO2.g_min)


def test_a_runs_folder_gets_a_number_when_its_name_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [str(program(random=(2, 2)).folder) for _ in range(2)]
    assert folders == ["runs/program-random-2x2", "runs/program-random-2x2-2"]


@pytest.mark.spice
def test_a_corner_of_an_array_is_programmed_in_ngspice_too(netlist, tmp_path):
    wired = Wired(wire_ohm=5.0, corner=(3, 2), array="gru_nh")
    seen = []
    result = program(
        netlist.folder, wired=wired, out=tmp_path / "run", progress=lambda what, *numbers: seen.append((what, *numbers))
    )
    stored = load_file(netlist.folder / "conductances.safetensors")["gru_nh.conductance"][:3, :2]
    table = columns(tmp_path / "run" / "wired.parquet")
    np.testing.assert_array_equal(table["target_s"], stored.ravel())
    assert np.abs(table["read_s"] / table["target_s"] - 1).max() <= 0.01
    assert result.summary["wired"]["within"] == 6
    assert (result.summary["wired"]["array"], result.summary["wired"]["wire_ohm"]) == ("gru_nh", 5.0)
    assert (tmp_path / "run" / "ngspice" / "round1.cir").exists()
    assert max(done for what, done, _ in seen if what == "programming") > 3 * 20
    assert {total for what, _, total in seen} == {20, 4 * 20}
    assert ("ngspice", 1, 20) in seen


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"random": None}, InputError, "give either a netlist folder or file with target conductances, or --random"),
        ({"targets": "t.npy"}, InputError, "give either"),
        ({"random": (0, 4)}, InputError, "--random is 0 x 4; allowed: 1 row and column or more"),
        ({"random": (10**5, 10**5)}, InputError, "100,000,000 devices at most"),
        ({"scheme": "V/4"}, InputError, "unknown scheme 'V/4'; did you mean"),
        ({"seed": -1}, InputError, "seed is -1"),
        ({"settings": WriteVerify(amplitude_v=0.1)}, DeviceError, "0.1 V does not move it"),
        ({"device": "ais"}, DeviceError, "unknown device preset 'ais'"),
        ({"wired": Wired(corner=(17, 16))}, InputError, "17 x 16 = 272 moving devices is too large for behavioural"),
        ({"wired": Wired(array="other")}, InputError, "unknown array 'other'; allowed: random"),
        ({"wired": Wired(corner=(0, 1))}, InputError, "--corner is 0 x 1"),
        ({"wired": Wired(wire_ohm=float("nan"))}, InputError, "--wire-ohm is nan"),
        ({"targets": "nowhere.npy", "random": None}, InputError, "nowhere.npy does not exist; give a netlist folder"),
        ({"targets": "text.csv", "random": None}, InputError, "text.csv cannot be read: could not convert"),
        ({"targets": "text.npy", "random": None}, InputError, "text.npy cannot be read"),
        ({"targets": "empty.csv", "random": None}, InputError, "empty.csv holds float64 of shape (0, 1)"),
        (
            {"targets": "text.txt", "random": None},
            InputError,
            "allowed: a netlist folder, or a file that ends in .npy or .csv",
        ),
        ({"targets": "folder", "random": None}, ManifestError, "is not a netlist folder"),
        ({"targets": "large.csv", "random": None}, DeviceError, "at (0, 1), is 0.2 S; allowed: 1e-05 to 0.0001 S"),
    ],
)
def test_wrong_input_is_refused_before_a_folder_is_made(tmp_path, monkeypatch, change, error, message):
    monkeypatch.chdir(tmp_path)
    for name in ("text.csv", "text.npy", "text.txt"):
        (tmp_path / name).write_text("hello")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "large.csv").write_text("2e-5,0.2\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(error) as caught:
        program(**{"random": (20, 20), "out": tmp_path / "run", **change})
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_taken_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(RunError, match="exists and is not empty; choose another --out"):
        program(random=(2, 2), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_full_disk_leaves_no_half_table(tmp_path, largest_file):
    with largest_file(70_000), pytest.raises(StorageError, match=r"(devices|rounds)\.parquet: .*File too large"):
        program(random=(60, 60), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_device_that_moves_at_every_voltage_needs_a_transistor_per_cell(tmp_path):
    # Every half-selected HP device moves: what was programmed is lost again.
    spread, run = Spread(0, 0, 0), tmp_path / "run"
    lost = program(random=(4, 4), device=HP_TIO2, scheme="V/2", spread=spread, out=run).summary["network"]
    kept = program(random=(4, 4), device=HP_TIO2, scheme="1T1R", spread=spread, out=tmp_path / "b").summary["network"]
    assert lost["disturbed"] == 16
    assert lost["failed"] > 8
    assert (kept["disturbed"], kept["failed"]) == (0, 0)


def test_the_tables_place_each_device_where_it_is(tmp_path):
    targets = np.linspace(2e-5, 8e-5, 15).reshape(3, 5)
    program(targets, device=replace(AIST, name="mine"), out=tmp_path / "run", spread=Spread(0.1, 0, 0))
    table = columns(tmp_path / "run" / "devices.parquet")
    np.testing.assert_array_equal(targets[table["row"], table["column"]], table["target_s"])
    np.testing.assert_allclose(AIST.conductance(table["state"]), table["conductance_s"])
