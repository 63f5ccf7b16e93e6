from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hvae_mnn.cli.main import main
from hvae_mnn.crossbar.hardware.file import hardware_to_dict, read_hardware
from hvae_mnn.crossbar.hardware.presets import HARDWARE_PRESETS


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def run(capsys):
    def typed(*arguments, code=0):
        try:
            main(["hardware", *arguments])
            found = 0
        except SystemExit as done:
            found = done.code
        printed = capsys.readouterr()
        assert found == code, printed.err
        assert "Traceback" not in printed.err
        return printed.err if code else printed.out

    return typed


def test_presets_are_a_line_each(run):
    lines = run("presets").splitlines()
    assert [line.split()[0] for line in lines] == list(HARDWARE_PRESETS)


@pytest.mark.parametrize("command", [[], ["show"], ["check"], ["presets"]])
def test_help_has_examples(run, command):
    assert "Examples:" in run(*command, "--help")


def rows(printed):
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    found, section = {}, ""
    for name, what, value, unit in cells:
        section = name or section
        found[section, what] = f"{value} {unit}".strip()
    return found


def test_show_has_every_value_with_its_unit_and_what_follows(run):
    printed = run("show", "pair128")
    found = rows(printed)
    assert found["device", "read_voltage"] == "0.05 V"
    assert found["wires", "word_ohm"] == "0.157143 ohm per segment"
    assert found["sense", "-> input resistance R_in"] == "0.09999 ohm"
    assert found["sense", "-> largest current"] == "0.001 A"
    assert found["dac", "-> codes"] == "-127 ... 127"
    assert found["tiles", "partial_sums"] == "after_adc"
    assert "Cu of 2.2e-08 ohm m, 175 nm wide" in printed
    assert {section for section, _ in found} == {
        "device", "array", "wires", "drivers", "sense", "input", "dac", "adc", "tiles", "gates"
    }  # fmt: skip


def test_show_of_a_file_of_ones_own(run, tmp_path):
    (tmp_path / "chip.toml").write_text(
        'source = "[/red] not markup"\n[array]\nlevels = 10\nread_law = "sinh"\nsinh_per_volt = 2\n'
        '[adc]\nbits = 3\nrange = "fixed"\nfull_scale = 6e-4\n[dac]\nbits = 0\n'
    )
    printed = run("show", "chip.toml")
    found = rows(printed)
    assert "chip: [/red] not markup" in printed
    assert found["array", "-> between levels"] == "1e-05 S"
    assert found["array", "-> fixed resistor"] == "18181.8 ohm"
    assert found["array", "-> current over G V when reading"] == "1.002"  # sinh(0.1) / 0.1
    assert found["adc", "-> step"] == "0.0002 A"
    assert found["dac", "bits"] == "0: none bits"
    assert ("dac", "-> step") not in found


def test_show_prints_the_paper_by_default(run):
    assert run("show").splitlines()[0].startswith("paper: paper eq. 12")


def test_json_is_all_of_it(run):
    assert json.loads(run("show", "tile64", "--json")) == hardware_to_dict(read_hardware("tile64"))


@pytest.mark.parametrize("name", HARDWARE_PRESETS)
def test_toml_is_a_file_to_start_from(run, tmp_path, name):
    (tmp_path / "chip.toml").write_text(run("show", name, "--toml"))
    assert read_hardware("chip.toml") == read_hardware(name)
    again = run("show", "chip.toml", "--toml")
    assert tomllib.loads(again) == hardware_to_dict(read_hardware(name))


def test_schema(run):
    stored = Path(__file__).parents[2] / "docs" / "hardware.schema.json"
    assert json.loads(run("show", "--schema")) == json.loads(stored.read_text(encoding="utf-8"))


def test_only_one_form_at_a_time(run):
    assert "give one of them" in run("show", "--json", "--toml", code=2)


def test_check_says_ok_or_everything(run, tmp_path, capsys):
    (tmp_path / "good.toml").write_text('base = "tile64"')
    assert run("check", "good.toml", "pair128").splitlines() == ["good.toml: ok (good)", "pair128: ok (pair128)"]
    (tmp_path / "bad.toml").write_text("[adc]\nbits = 1\n[tiles]\ncolums = 3\n")
    (tmp_path / "[bold]x.toml").write_text("x = [")
    with pytest.raises(SystemExit) as caught:
        main(["hardware", "check", "bad.toml", "good.toml", "[bold]x.toml", "none.toml"])
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["good.toml: ok (good)"]
    lines = printed.err.splitlines()
    assert lines[:3] == [
        "error: bad.toml: 2 problems",
        "  adc.bits is 1; allowed: a whole number from 0 to 24 other than 1 (bits)",
        "  unknown key of a hardware file 'tiles.colums'; did you mean 'tiles.columns'? allowed: rows, columns,"
        " partial_sums",
    ]
    assert lines[3].startswith("error: [bold]x.toml cannot be read as TOML")
    assert lines[4].startswith("error: no hardware file at none.toml; name a TOML file, or a preset: paper,")
    assert len(lines) == 5


def test_show_of_a_bad_file_fails_with_all_of_it(run, tmp_path):
    (tmp_path / "bad.toml").write_text("[adc]\nbits = 1\n[dac]\nbits = 1\n")
    assert run("show", "bad.toml", code=2).splitlines()[0] == "error: bad.toml: 2 problems"


def test_neither_torch_nor_pyspice_is_needed():
    code = (
        "import sys; from hvae_mnn.cli.main import main\n"
        "for arguments in (['presets'], ['show', 'pair128'], ['show', '--schema'], ['check', 'paper']):\n"
        "    main(['hardware', *arguments])\n"
        "found = {'torch', 'PySpice', 'matplotlib', 'scipy', 'pyarrow'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
