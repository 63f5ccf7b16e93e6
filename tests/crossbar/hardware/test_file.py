from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvae_mnn.crossbar.hardware.file import hardware_from_dict, hardware_to_dict, hardware_to_toml, read_hardware
from hvae_mnn.crossbar.hardware.presets import HARDWARE_PRESETS, preset_summary, preset_text
from hvae_mnn.crossbar.hardware.schema import hardware_schema
from hvae_mnn.crossbar.hardware.spec import Amplifier, Cells, ConverterSpec, Hardware, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.devices.presets import AIST, HP_TIO2, PRESETS
from hvae_mnn.errors import HardwareError

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def read(tmp_path):
    """Hardware from the text of a file chip.toml."""

    def from_text(text):
        path = tmp_path / "chip.toml"
        path.write_text(text, encoding="utf-8")
        return read_hardware(path)

    return from_text


@pytest.fixture
def problems(read):
    """The lines of what is wrong with a text, without the file's name and their number."""

    def of_text(text):
        with pytest.raises(HardwareError) as caught:
            read(text)
        first, *lines = str(caught.value).splitlines()
        if not lines:
            return [re.search(r"chip\.toml: (.*)", first)[1]]
        assert first.endswith(f"chip.toml: {len(lines)} problems")
        assert all(line.startswith("  ") for line in lines)
        return [line[2:] for line in lines]

    return of_text


# --- what is right


def test_the_presets_are_the_files_in_the_package():
    folder = files("hvae_mnn.crossbar.hardware") / "preset_files"
    assert {entry.name for entry in folder.iterdir()} == {f"{name}.toml" for name in HARDWARE_PRESETS}


@pytest.mark.parametrize("name", HARDWARE_PRESETS)
def test_a_preset_is_named_as_its_file_and_says_what_it_is(name):
    hardware = read_hardware(name)
    assert hardware.name == name
    assert hardware.source
    assert len(preset_summary(name)) > 20
    for line in preset_text(name).splitlines():  # every number has a comment, or stands under one
        if re.match(r"(bits|word_ohm|bit_ohm|read_voltage|feedback_ohm|gain|swing_v|rows|output_ohm) =", line):
            assert "#" in line


def test_paper_is_what_the_dataclasses_default_to():
    paper = read_hardware("paper")
    plain = Hardware(paper.name, paper.source, AIST)
    assert paper == plain
    assert paper.device.read_v == 0.05


def test_tile64_and_pulse64():
    tile = read_hardware("tile64")
    assert tile.cells.scheme == "reference_column"
    assert (tile.wires.word_ohm, tile.wires.bit_ohm) == (1, 1)
    assert tile.tiling == Tiling(64, 64, "before_adc")
    pulse = read_hardware("pulse64")
    assert pulse == replace(tile, name="pulse64", source=pulse.source, coding="pulse_width")


def test_pair128_has_the_resistance_of_its_geometry():
    pair = read_hardware("pair128")
    assert pair.cells.scheme == "differential_pair"
    assert pair.tiling == Tiling(128, 128, "after_adc")
    assert pair.wires.word_ohm == pytest.approx(2.2e-8 * 350e-9 / (175e-9 * 280e-9), rel=1e-12)
    assert "NeuroSim" in pair.wires_source
    assert pair.amplifier.input_ohm == pytest.approx(1e3 / 10_001)


def test_a_word_lines_segment_spans_the_pitch_of_bit_lines(read):
    hardware = read(
        '[wires.metal]\nmetal = "Cu"\nresistivity_ohm_m = 2e-8\nwidth_m = 1e-7\nthickness_m = 2e-7\n'
        "word_pitch_m = 3e-7\nbit_pitch_m = 5e-7"
    )
    assert hardware.wires.word_ohm == pytest.approx(0.5, rel=1e-12)  # 1 Ohm per um, 0.5 um
    assert hardware.wires.bit_ohm == pytest.approx(0.3, rel=1e-12)
    assert "word lines every 300 nm, bit lines every 500 nm" in hardware.wires_source


def test_an_empty_file_is_the_paper_under_its_own_name(read):
    assert read("") == replace(read_hardware("paper"), name="chip", source="chip.toml")
    assert read('base = "tile64"').source == "chip.toml, from tile64"


def test_windows_line_ends_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_bytes(b'\xef\xbb\xbfname = "a"\r\n[dac]\r\nbits = 5\r\n')
    assert read_hardware(str(path)).dac.bits == 5


def test_every_key_arrives(read):
    hardware = read(
        """
        name = "x-1"
        source = "me"
        [device]
        preset = "hp_tio2"
        read_voltage = 0.25
        [array]
        scheme = "reference_column"
        scale = "column"
        g_min_siemens = 8e-5
        g_max_siemens = 4e-4
        levels = 17
        read_law = "ohmic"
        [wires]
        word_ohm = 0.5
        bit_ohm = 0.75
        source = "measured"
        [drivers]
        output_ohm = 2
        [sense]
        kind = "transimpedance"
        feedback_ohm = 4e3
        gain = 1e5
        offset_v = -1e-4
        swing_v = 1.2
        [input]
        coding = "pulse_width"
        [dac]
        bits = 0
        range = "max"
        [adc]
        bits = 12
        range = "fixed"
        full_scale = 1e-3
        noise_lsb = 0.5
        inl_lsb = 1.5
        [tiles]
        rows = 33
        columns = 65
        partial_sums = "after_adc"
        [gates]
        where = "software"
        """
    )
    assert hardware == Hardware(
        "x-1",
        "me",
        replace(HP_TIO2, g_min=8e-5, g_max=4e-4, read_v=0.25),
        Cells("reference_column", "column", 17),
        Wires(0.5, 0.75, 2.0),
        "measured",
        Amplifier("transimpedance", 4e3, 1e5, -1e-4, 1.2),
        "pulse_width",
        ConverterSpec(0, "max"),
        ConverterSpec(12, "fixed", 1e-3, 0.5, 1.5),
        Tiling(33, 65, "after_adc"),
        "software",
    )


def test_a_devices_file_lies_beside_the_hardwares(read, tmp_path):
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "own.toml").write_text('base = "aist"\nr_on_ohm = 4000.0')
    hardware = read('[device]\nfile = "devices/own.toml"\n[array]\ng_max_siemens = 2.4e-4')
    assert hardware.device == replace(AIST, name="own", source="own.toml, from aist", r_on_ohm=4000.0, g_max=2.4e-4)


def test_the_read_voltage_may_lie_above_the_threshold(read):
    assert read("[device]\nread_voltage = 0.3").device.read_v == 0.3


@pytest.mark.parametrize("text", ["[dac]\nbits = 0", '[sense]\nswing_v = inf\n[adc]\nrange = "max"'])
def test_allowed_though_odd(read, text):
    read(f'[input]\ncoding = "pulse_width"\n[array]\nread_law = "sinh"\nsinh_per_volt = 2\n{text}')


# --- bases


def test_a_base_stands_where_the_file_says_nothing(read):
    base, hardware = read_hardware("pair128"), read('base = "pair128"\nname = "n"\nsource = "s"\n[adc]\nbits = 7')
    assert hardware == replace(base, name="n", source="s", adc=ConverterSpec(7))


def test_values_of_the_base_go_with_the_choice_they_belong_to(read):
    hardware = read('base = "pair128"\n[sense]\nkind = "ideal"\n[wires]\nword_ohm = 3\n[device]\npreset = "hp_tio2"')
    base = read_hardware("pair128")
    assert hardware.amplifier == Amplifier()
    assert hardware.wires == Wires(3.0, base.wires.bit_ohm, 1.0)
    assert hardware.wires_source == ""
    assert hardware.device == HP_TIO2
    metal = (
        '[wires.metal]\nmetal = "W"\nresistivity_ohm_m = 1e-7\nwidth_m = 1e-7\nthickness_m = 1e-7\n'
        "word_pitch_m = 2e-7\nbit_pitch_m = 2e-7"
    )
    assert read(f'base = "tile64"\n{metal}').wires.word_ohm == pytest.approx(2)
    # The same choice again changes nothing.
    assert read('base = "pair128"\n[sense]\nkind = "transimpedance"').amplifier == base.amplifier


# --- round trips


def goes_together(hardware):
    """The two pairs that the strategies below may draw, and a file may not hold."""
    clipped_sinh = hardware.cells.read_law == "sinh" and math.isfinite(hardware.amplifier.swing_v)
    return not clipped_sinh and not (hardware.gates == "circuit" and hardware.adc.range == "fixed")


def hardwares():
    positive = st.floats(1e-6, 1e6)
    inl = st.floats(0, 0.3)
    converter = st.one_of(
        st.builds(ConverterSpec, st.integers(2, 24), st.sampled_from(["calibrated", "max"]), st.none(), positive, inl),
        st.builds(ConverterSpec, st.integers(2, 24), st.just("fixed"), positive, positive, inl),
        st.builds(ConverterSpec, st.just(0)),
    )
    size = st.one_of(st.none(), st.integers(1, 10_000))
    return st.builds(
        Hardware,
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.one_of(
            st.sampled_from(list(PRESETS.values())),
            st.builds(
                lambda low, high, read: replace(AIST, g_min=low, g_max=high, read_v=read),
                st.floats(1e-5, 9e-5),
                st.floats(1e-4, 2e-4),
                st.floats(1e-5, 50),
            ),
        ),
        st.one_of(
            st.builds(
                Cells,
                st.sampled_from(["fixed_resistor_per_cell", "reference_column", "differential_pair"]),
                st.sampled_from(["network", "array", "column"]),
                st.one_of(st.just(0), st.integers(2, 4096)),
            ),
            st.builds(Cells, read_law=st.just("sinh"), sinh_per_volt=st.floats(1e-3, 100)),
        ),
        st.builds(Wires, positive, positive, positive),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.one_of(
            st.just(Amplifier()),
            st.builds(
                Amplifier,
                st.just("transimpedance"),
                positive,
                positive,
                st.floats(-1, 1),
                st.one_of(st.just(math.inf), positive),
            ),
        ),
        st.sampled_from(["amplitude", "pulse_width"]),
        converter,
        converter,
        st.builds(Tiling, size, size, st.just("before_adc")),
        st.sampled_from(["software", "circuit"]),
    )


@given(hardwares().filter(goes_together))
def test_round_trips_are_exact(hardware):
    table = hardware_to_dict(hardware)
    assert hardware_from_dict(table) == hardware
    stored = json.loads(json.dumps(table, allow_nan=False))
    assert stored == table
    assert hardware_from_dict(stored) == hardware
    text = hardware_to_toml(hardware)
    assert tomllib.loads(text) == table
    assert hardware_from_dict(tomllib.loads(text)) == hardware
    assert hardware_to_dict(hardware_from_dict(table)) == table


def test_none_stands_for_an_absent_key():
    table = hardware_to_dict(read_hardware("pair128"))
    table["sense"]["swing_v"] = None
    table["adc"]["full_scale"] = None
    assert hardware_from_dict(table).amplifier.swing_v == math.inf


@pytest.mark.parametrize("name", HARDWARE_PRESETS)
def test_the_dict_says_all_of_it(name):
    table = hardware_to_dict(read_hardware(name))
    schema = hardware_schema()
    for section, part in schema["properties"].items():
        if "$ref" in part:
            known = set(schema["$defs"][part["$ref"].rpartition("/")[2]]["properties"])
            absent = {"metal", "preset", "file", "full_scale", "swing_v"}
            assert known - absent <= set(table[section]) <= known
    assert set(table["device"]["spec"]) == {field.name for field in fields(AIST)} | {"law"}


# --- what is wrong


def test_all_problems_come_at_once(problems):
    lines = problems(
        """
        base = "pair128"
        nmae = "x"
        bits = 3
        sense = 7
        [adc]
        bits = 1
        bts = 3
        noise_lsb = -1
        [dac]
        bits = 0
        noise_lsb = 0.5
        range = "fixd"
        [tiles]
        rows = "all"
        columns = 0
        [array]
        g_min_siemens = 1e-9
        levels = 1
        [wires]
        word_ohm = 1
        [wires.metal]
        metal = "Cu"
        width_m = 40
        [gates]
        where = "circuit"
        [device]
        preset = "aits"
        file = "x.toml"
        """
    )
    sections = ", ".join(hardware_schema()["properties"])
    expected = [
        "unknown device.preset 'aits'; did you mean 'aist'? allowed: aist, aist_literal, hp_tio2, hp",
        "array.levels is 1; allowed: a whole number from 0 to 4,096 other than 1",
        "wires.metal.resistivity_ohm_m is missing; allowed: a number from 1e-09 to 0.001 (ohm m)",
        "wires.metal.width_m is 40; allowed: a number from 1e-10 to 0.01 (m)",
        "wires.metal.thickness_m is missing; allowed: a number from 1e-10 to 0.01 (m)",
        "wires.metal.word_pitch_m is missing; allowed: a number from 1e-10 to 0.01 (m)",
        "wires.metal.bit_pitch_m is missing; allowed: a number from 1e-10 to 0.01 (m)",
        "sense is 7; allowed: a table of kind, feedback_ohm, gain, offset_v, swing_v",
        "unknown dac.range 'fixd'; did you mean 'fixed'? allowed: fixed, calibrated, max",
        "adc.bits is 1; allowed: a whole number from 0 to 24 other than 1 (bits)",
        "adc.noise_lsb is -1; allowed: a number from 0 to 1e+06 (steps)",
        "unknown key of a hardware file 'adc.bts'; did you mean 'adc.bits'? allowed: bits, range, full_scale,"
        " noise_lsb, inl_lsb",
        'tiles.columns is 0; allowed: "all" or a whole number from 1 to 1,000,000',
        f"unknown key of a hardware file 'nmae'; did you mean 'name'? allowed: {sections}",
        f"unknown key of a hardware file 'bits'; did you mean 'dac.bits' or 'adc.bits'? allowed: {sections}",
        "device.preset and device.file each name a device; keep one of them",
        "wires.word_ohm and wires.metal both give a resistance; keep one of them",
        "dac.bits is 0 and dac.noise_lsb is 0.5; no converter has no steps: leave out noise_lsb, or give bits",
        'tiles.partial_sums is "after_adc" (from base pair128) and tiles.rows is "all"; there is nothing to add: give'
        ' tiles.rows, or partial_sums = "before_adc"',
        'tiles.partial_sums is "after_adc" (from base pair128) and gates.where is "circuit"; numbers cannot feed an'
        ' analog gate: give partial_sums = "before_adc", or gates in software',
    ]
    assert lines == expected


@pytest.mark.parametrize(
    ("text", "paths", "needed"),
    [
        ('[dac]\nrange = "fixed"', ["dac.range", "dac.full_scale"], "give a full_scale"),
        ("[adc]\nfull_scale = 1e-4", ["adc.range", "adc.full_scale"], 'give range = "fixed"'),
        ("[adc]\nbits = 0\nnoise_lsb = 0.1", ["adc.bits", "adc.noise_lsb"], "leave out noise_lsb"),
        ("[dac]\nbits = 0\ninl_lsb = 0.1", ["dac.bits", "dac.inl_lsb"], "leave out inl_lsb"),
        ("[dac]\nbits = 3\ninl_lsb = 0.96", ["dac.bits", "dac.inl_lsb"], "allowed: below 0.9549 steps"),
        ("[dac]\nbits = -3", ["dac.bits"], "from 0 to 24"),
        ("[dac]\nbits = 25", ["dac.bits"], "from 0 to 24"),
        ("[dac]\nbits = 8.0", ["dac.bits"], "whole number"),
        ("[dac]\nbits = true", ["dac.bits is true"], "whole number"),
        ("[array]\nlevels = 5000", ["array.levels"], "to 4,096"),
        (
            "[array]\ng_min_siemens = 1e-4",
            ["array.g_min_siemens"],
            "g_min is 0.0001 and g_max is 0.0001 S; allowed: g_min < g_max",
        ),
        (
            "[array]\ng_min_siemens = 9e-5\ng_max_siemens = 8e-5",
            ["array.g_min_siemens", "array.g_max_siemens"],
            "g_min < g_max",
        ),
        ("[array]\ng_max_siemens = 3e-4", ["array.g_max_siemens"], "allowed: 1e-05 to 0.0002 S"),
        ("[array]\ng_min_siemens = 9e-6", ["array.g_min_siemens"], "allowed: 1e-05 to 0.0002 S"),
        ('[array]\nread_law = "sinh"', ["array.read_law", "array.sinh_per_volt"], "above 0"),
        ("[array]\nsinh_per_volt = 2", ["array.read_law", "array.sinh_per_volt"], 'read_law = "sinh"'),
        ("[sense]\ngain = 10", ["sense.kind", "sense.gain"], 'kind = "transimpedance"'),
        (
            '[array]\nread_law = "sinh"\nsinh_per_volt = 2\n'
            '[sense]\nkind = "transimpedance"\nfeedback_ohm = 1e4\ngain = 1e3\nswing_v = 1.0',
            ["array.read_law", "sense.swing_v"],
            "outputs that do not clip",
        ),
        (
            '[gates]\nwhere = "circuit"\n[adc]\nrange = "fixed"\nfull_scale = 1e-5',
            ["gates.where", "adc.range"],
            "converts hidden states",
        ),
        ("[sense]\nswing_v = 1.0", ["sense.kind", "sense.swing_v"], "leave out swing_v"),
        ('[sense]\nkind = "transimpedance"\ngain = 9', ["sense.kind", "sense.feedback_ohm"], "a feedback_ohm above 0"),
        ('[tiles]\npartial_sums = "after_adc"', ["tiles.partial_sums", "tiles.rows"], "nothing to add"),
        (
            '[tiles]\nrows = 8\npartial_sums = "after_adc"\n[adc]\nbits = 0',
            ["tiles.partial_sums", "adc.bits"],
            "numbers need an ADC",
        ),
        (
            '[tiles]\nrows = 8\npartial_sums = "after_adc"\n[gates]\nwhere = "circuit"',
            ["tiles.partial_sums", "gates.where"],
            "cannot feed an analog gate",
        ),
        ('[tiles]\nrows = "some"', ["tiles.rows"], '"all" or a whole number'),
        ("[device]\nread_voltage = 0", ["device.read_voltage"], "above 0 (V)"),
        ("[wires]\nword_ohm = nan", ["wires.word_ohm is nan"], "from 0 to 1e+09 (ohm)"),
        ("[wires]\nbit_ohm = -1", ["wires.bit_ohm"], "from 0 to 1e+09 (ohm)"),
        ("[[adc]]\nbits = 8", ["adc is an array"], "a table of bits, range"),
        ("[adc]\nrange = 1979-05-27", ["adc.range is 1979-05-27"], '"fixed" or "calibrated"'),
        ('base = "papr"\n[adc]\nrange = "fixed"', ["unknown base 'papr'"], "did you mean 'paper'?"),
        ("base = 3", ["base is 3"], '"paper" or'),
        ('name = "../x"', ["name"], "letters, digits"),
        ('[device]\nspec = { law = "aist" }', ["device.spec"], "name is missing"),
        ('[device]\nfile = "none.toml"', ["device.file", "none.toml does not exist"], "TOML file"),
        ("[tiles.rows]\nx = 1", ["tiles.rows is a table"], '"all" or'),
        ('"weird\\u0007 key" = 1', ["unknown key of a hardware file 'weird\\x07 key'"], "allowed: base, name"),
    ],
)
def test_one_problem(problems, text, paths, needed):
    (line,) = problems(text)
    for path in paths:
        assert path in line
    assert needed in line


def test_a_geometry_that_cannot_be(problems):
    metal = '[wires.metal]\nmetal = "Cu"\nresistivity_ohm_m = {}\nwidth_m = {}\nthickness_m = 1e-10\n'
    pitch = "word_pitch_m = 1e-7\nbit_pitch_m = 2e-2"
    assert ["wires.metal.bit_pitch_m is 0.02" in line for line in problems(metal.format(2e-8, 1e-8) + pitch)] == [True]
    pitch = "word_pitch_m = 1e-7\nbit_pitch_m = 3e-7"
    (line,) = problems(metal.format(2e-8, 2e-7) + pitch)
    assert "wires.metal.word_pitch_m is 1e-07 and wires.metal.width_m is 2e-07; lines would touch" in line
    (line,) = problems(metal.format(1e-3, 1e-10) + pitch)
    assert "segments of 3e+10 ohm; allowed: 1e+09 at most" in line
    assert problems(f'[wires]\nsource = "x"\n{metal.format(2e-8, 5e-8)}{pitch}') == [
        "wires.source belongs to word_ohm and bit_ohm; give the source of a geometry in wires.metal.source"
    ]


MONSTERS = [
    ".".join(["a"] * 5000) + " = 1",
    "device.spec." + ".".join(["a"] * 5000) + " = 1",
    'device.spec.law = "aist"\ndevice.spec.name.' + ".".join(["a"] * 5000) + " = 1",
    "[adc]\nbits = 0x" + "f" * 20_000,
    '[device]\nspec = { law = "aist", name = 0x' + "f" * 20_000 + " }",
]


@pytest.mark.parametrize("text", MONSTERS)
def test_a_monster_in_a_file_is_one_short_line(tmp_path, text):
    path = tmp_path / "chip.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HardwareError, match=r"chip\.toml (has a key of more than|cannot be read as TOML)") as caught:
        read_hardware(path)
    assert len(str(caught.value)) < 300 + len(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", MONSTERS)
def test_a_monster_in_a_dictionary_is_one_short_problem(text):
    with pytest.raises(HardwareError) as caught:
        hardware_from_dict(tomllib.loads(text), "chip")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("chip: ")
    assert len(line) < 300


def test_of_thousands_of_problems_twenty_are_told(tmp_path):
    path = tmp_path / "chip.toml"
    path.write_text("\n".join(f"key{number} = 1" for number in range(1500)), encoding="utf-8")
    with pytest.raises(HardwareError) as caught:
        read_hardware(path)
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("chip.toml: 1500 problems")
    assert (len(lines), lines[-1]) == (21, "  and 1,480 more")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = ", "cannot be read as TOML: Invalid value"),
        (b"[adc]\nbits = 8\nbits = 9", "cannot be read as TOML: Cannot overwrite a value"),
        (b'name = "\xff"', "line 1: byte 0xff at position 9 is not UTF-8"),
        (b"x = " + b"[" * 5000, "cannot be read as TOML: it nests too deeply"),
        (b"x = " + b"9" * 5000, "cannot be read as TOML: Exceeds the limit"),
        (b"\x00", "a zero byte, which no text in UTF-8 has"),
    ],
)
def test_what_is_no_toml_is_one_line(tmp_path, content, message):
    path = tmp_path / "chip.toml"
    path.write_bytes(content)
    with pytest.raises(HardwareError, match=re.escape(message)) as caught:
        read_hardware(path)
    assert "\n" not in str(caught.value)
    assert "chip.toml" in str(caught.value)


def test_what_is_no_file_is_one_line(tmp_path):
    for name, message in (
        (tmp_path, "is a folder; give the hardware file in it"),
        (tmp_path, "is a folder; give the hardware file in it"),
        ("papr", "unknown hardware preset 'papr'; did you mean 'paper'? allowed: paper, tile64"),
        (tmp_path / "none.toml", "none.toml; name a TOML file, or a preset: paper, tile64"),
        ("a\0b", "cannot read"),
        (tmp_path / ("x" * 300), "cannot read"),
    ):
        with pytest.raises(HardwareError, match=re.escape(message)) as caught:
            read_hardware(name)
        assert "\n" not in str(caught.value)


@given(
    st.recursive(
        st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=5), st.none()),
        lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
        max_leaves=6,
    ),
    st.sampled_from(
        [
            *("base", "name", "source", "device", "wires", "array", "sense", "adc", "tiles", "gates"),
            *("device.spec", "device.file", "wires.metal", "adc.bits", "adc.full_scale", "tiles.rows"),
            *("array.g_min_siemens", "sense.gain"),
        ]
    ),
    st.sampled_from([None, *HARDWARE_PRESETS]),
)
def test_whatever_stands_at_a_key_is_read_or_refused(value, path, base):
    section, _, key = path.partition(".")
    data = {"base": base, section: {key: value} if key else value}
    try:
        hardware = hardware_from_dict(data, "x.toml")
    except HardwareError as error:
        message = str(error)
    else:
        assert hardware_from_dict(hardware_to_dict(hardware)) == hardware
        return
    assert re.match(r"x\.toml: ([1-9]\d* problems\n  |.)", message)


# --- documents


def test_the_schema_in_docs_is_up_to_date():
    stored = json.loads((DOCS / "hardware.schema.json").read_text(encoding="utf-8"))
    assert stored == hardware_schema(), "hvae-mnn hardware show --schema > docs/hardware.schema.json"


def test_every_key_of_the_schema_is_described_there_and_in_the_document():
    schema = hardware_schema()
    text = (DOCS / "hardware.md").read_text(encoding="utf-8")
    for section in [schema, *schema["$defs"].values()]:
        for key, node in section["properties"].items():
            assert key in text if "$ref" in node else f"`{key}`" in text or f"[wires.{key}]" in text, key
            assert "$ref" in node or node["description"], key
            for value in node.get("enum", []):
                assert f"`{value}`" in text, value
            if node.get("type") == "number" and "unit" in node:
                assert node["unit"] in text


def test_the_documents_examples_are_what_they_say(read, problems):
    text = (DOCS / "hardware.md").read_text(encoding="utf-8")
    first, second = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert read(first).tiling.columns == 64
    said = text.rpartition("```\nchip.toml: 3 problems\n")[2].partition("```")[0]
    assert problems(second) == [line.strip() for line in said.splitlines()]
