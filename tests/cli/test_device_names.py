"""One way to name a memristor, in every command and file: a preset, `hp` for `hp_tio2`, or a TOML file."""

from __future__ import annotations

import pytest

from hvae_mnn.crossbar.hardware.file import hardware_from_dict, read_hardware
from hvae_mnn.devices.presets import HP_TIO2, find_device
from hvae_mnn.studies.ir_drop.settings import IrDropSettings


@pytest.fixture(autouse=True)
def a_folder_with_a_device_and_a_taken_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    (tmp_path / "mine.toml").write_text('base = "hp"\n')


@pytest.mark.parametrize("name", ["hp", "hp_tio2", "aist", "aist_literal", "mine.toml"])
@pytest.mark.parametrize("command", [["iv"], ["ir-drop"], ["program", "--random", "2", "2", "--amplitude", "0.2"]])
def test_commands_take_every_name_of_a_memristor(fails, command, name):
    assert "taken exists and is not empty" in fails(*command, "--device", name, "--out", "taken")


@pytest.mark.parametrize("name", ["hp", "hp_tio2"])
def test_build_netlist_takes_them_too(fails, make_checkpoint, name):
    assert "device hp_tio2: read voltage 0.05 V, and it has no threshold" in fails(
        "build-netlist", make_checkpoint("rnn"), "--device", name
    )


def test_preset_is_an_alias_of_device_in_iv(fails):
    assert "taken exists" in fails("iv", "--preset", "hp", "--out", "taken")
    assert "taken exists" in fails("iv", "--preset", "hp_tio2", "--device", "hp", "--out", "taken")
    assert "--device aist and --preset hp name two memristors; leave out one of them" in fails(
        "iv", "--preset", "hp", "--device", "aist", "--out", "taken"
    )


def test_hardware_files_take_the_same_names(tmp_path):
    (tmp_path / "chip.toml").write_text('[device]\npreset = "hp"\n')
    assert read_hardware("chip.toml").device == HP_TIO2
    assert hardware_from_dict({"device": {"preset": "hp_tio2"}}).device == HP_TIO2


def test_python_functions_take_them_too():
    assert find_device(IrDropSettings(device="hp").device) == HP_TIO2
