"""Cost of a token: closed form against ngspice, counts by hand, whole runs, and refused builds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from hvae_mnn import build_netlist, cost, read_hardware
from hvae_mnn.cli.main import main
from hvae_mnn.cosim.pulses import pulse_reads
from hvae_mnn.crossbar.hardware.file import hardware_from_dict
from hvae_mnn.crossbar.hardware.spec import SCHEMES, Amplifier, Cells, ConverterSpec, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.mapping import GateArray, RowGroup, to_conductance
from hvae_mnn.crossbar.network import LayerExport
from hvae_mnn.engines.start import start_engine
from hvae_mnn.errors import InputError
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.netlist.arrays import tile_lines
from hvae_mnn.netlist.build import write_netlists
from hvae_mnn.netlist.settling_deck import settling_deck
from hvae_mnn.studies.cost import result as module
from hvae_mnn.studies.cost.assumptions import COMPARED, Given, assumptions
from hvae_mnn.studies.cost.power import array_power, ngspice_power, ngspice_settling, tile_settling
from hvae_mnn.studies.cost.run import conversions, multiply_accumulates
from hvae_mnn.studies.referee.cases import text_reads
from hvae_mnn.studies.referee.tile import TileCase

pytestmark = pytest.mark.spice

PAPER = read_hardware("paper")
WIRED = Wires(word_ohm=120.0, bit_ohm=250.0, driver_ohm=400.0)
AMPLIFIER = Amplifier("transimpedance", feedback_ohm=1e4, gain=300.0, offset_v=2e-4)
BUILT = replace(
    PAPER, name="wired", cells=Cells("reference_column"), wires=Wires(40.0, 60.0, 30.0), tiling=Tiling(6, 4)
)


def a_case(hardware, number, rows=9, columns=7):
    """A tile of an array of random weights, with three reads."""
    rng = np.random.default_rng(5)
    conductance, scale = to_conductance(rng.normal(size=(rows, columns)), hardware.device, hardware.cells)
    array = GateArray("net", "f", (RowGroup("x", rows),), conductance, hardware, scale)
    layout, volts = array.layout, rng.uniform(-0.05, 0.05, (3, rows))
    elements = "".join(tile_lines(array, layout.tiles[number]))
    exact = np.zeros((3, len(layout.tiles[number].columns)))
    return TileCase(array.name, "f", layout, number, tuple(array.word_lines), elements, conductance, volts, exact)


def closed(case):
    return array_power({"a": case.memristors}, {"a": case.layout}, {"a": case.volts})["a"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("amplifier", [Amplifier(), AMPLIFIER])
@pytest.mark.parametrize("wires", [Wires(), WIRED, Wires(word_ohm=90.0), Wires(bit_ohm=80.0), Wires(driver_ohm=700.0)])
def test_closed_form_and_ngspices_sources(scheme, amplifier, wires):
    hardware = replace(PAPER, cells=Cells(scheme), wires=wires, amplifier=amplifier, tiling=Tiling(4, 3))
    for number in (1, 8):  # 9 x 7 is cut short at both edges
        case = a_case(hardware, number)
        power, spice = closed(case), ngspice_power(case)
        np.testing.assert_allclose(power.drivers[number], spice.drivers[0], rtol=1e-9)
        np.testing.assert_allclose(
            power.amplifiers[number], spice.amplifiers[0], rtol=1e-9, atol=1e-9 * spice.drivers.max()
        )
        if amplifier.kind == "ideal":
            assert spice.largest_output_v == 0
            assert not spice.amplifiers.any()
        else:
            assert power.largest_output_v >= spice.largest_output_v * (1 - 1e-9) > 0


def test_a_whole_tile_of_64():
    hardware = replace(PAPER, cells=Cells("reference_column"), wires=Wires(1.0, 1.0))
    case = a_case(hardware, 0, 64, 64)
    np.testing.assert_allclose(closed(case).drivers[0], ngspice_power(case).drivers[0], rtol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("amplifier", [Amplifier(), AMPLIFIER])
@pytest.mark.parametrize("wires", [WIRED, Wires(word_ohm=90.0), Wires(bit_ohm=80.0), Wires(driver_ohm=700.0)])
def test_two_ways_to_settle(scheme, amplifier, wires):
    hardware = replace(PAPER, cells=Cells(scheme), wires=wires, amplifier=amplifier, tiling=Tiling(4, 3))
    case = a_case(hardware, 1)
    volts = case.volts[0, :4]
    largest = np.abs(tile_settling(case, volts, 2e-15, 1e-9).left[0]).max()
    tolerance = largest / 500
    implicit = tile_settling(case, volts, 2e-15, tolerance)
    seconds = implicit.seconds(tolerance)
    spice = ngspice_settling(case, volts, 2e-15, seconds)
    assert spice.seconds(tolerance) == pytest.approx(seconds, rel=5e-3)
    np.testing.assert_allclose(spice.left[0], implicit.left[0], rtol=0, atol=1e-9 * largest)


def test_capacitors_of_the_settling_deck():
    def farads(wires):
        case = a_case(replace(PAPER, wires=wires), 0, 2, 3)
        layout = case.layout
        text = settling_deck(
            case.elements, "a", "f", case.word_lines, layout, layout.tiles[0], case.volts[0], 1e-15, 1e-9
        )
        return sorted((line.split()[1], float(line.split()[3])) for line in text.splitlines() if line.startswith("C"))

    # Every cell's node on each of the two word lines and on the bit line: 2 rows x 3 columns x 3.
    assert [value for _, value in farads(WIRED)] == [1e-15] * 18
    # One node per word line with three segments, and bit lines of two.
    assert farads(Wires(driver_ohm=9.0)) == [
        *((f"blf{k}", 2e-15) for k in range(3)),
        *((f"{letter}f{row}_0", pytest.approx(3e-15)) for letter in "vw" for row in range(2)),
    ]
    # What a driver holds needs none.
    assert farads(Wires()) == [(f"blf{k}", 2e-15) for k in range(3)]


@pytest.fixture(scope="module")
def netlist(make_checkpoint, tmp_path_factory):
    made = {}

    def make(hardware, cells="lstm"):
        key = (hardware.name, cells)
        if key not in made:
            folder = tmp_path_factory.mktemp("netlists") / hardware.name
            made[key] = build_netlist(make_checkpoint(cells), folder, hardware=hardware)
        return made[key]

    return make


def test_a_token_of_a_small_network(netlist, tmp_path):
    manifest = netlist(BUILT)
    result = cost(manifest, steps=7, out=tmp_path / "cost", given=Given(read_time=2e-6, adc_area=1e-9, cell_pitch=1e-7))
    assert result.passed
    assert result.worst < 1e-9
    assert {check.layer for check in result.checks} == {"encoder1", "encoder2", "decoder"}  # four tiles, in turn
    assert result.settling.difference < 0.01
    # By nodal analysis' sum over the network, without closed form: what every layer's arrays take.
    reads = text_reads(manifest, start_engine("exact", manifest), 7, np.random.default_rng(0), None, None)
    tensors = load_file(manifest.folder / "conductances.safetensors")
    for layer in result.layers:
        total = 0.0
        for unit in manifest.layer(layer.layer).units:
            layout, memristors = manifest.layout(unit), tensors[f"{unit.array}.conductance"]
            for tile in layout.tiles:
                cells = layout.cells(tile, memristors)
                own = reads.means[unit.array][:, tile.rows.start : tile.rows.stop]
                total += (own**2 @ cells[0].sum(1)).mean() * 2e-6
        assert layer.array_j == pytest.approx(total, rel=0.05)  # wires and drivers take a little
        assert layer.array_j < total
    token = result.token
    assert token.array_j == pytest.approx(sum(layer.array_j for layer in result.layers))
    # 7 embeddings, 3 latents, 5 hidden units, LSTMs: (7 + 5) + (5 + 5) + (7 + 3 + 5) values; 4 gates x 5 outputs each.
    assert [layer.dac_conversions for layer in result.layers] == [12, 10, 15]
    assert [layer.adc_conversions for layer in result.layers] == [20, 20, 20]
    assert [layer.macs for layer in result.layers] == [4 * 5 * 13, 4 * 5 * 11, 4 * 5 * 16]
    assert token.dac_j == pytest.approx(37 * 6.1e-15 * 256)
    assert token.adc_j == pytest.approx(60 * 6.1e-15 * 1024)
    assert token.digital_j == pytest.approx(800 * COMPARED.mac_j)
    assert token.ratio == pytest.approx(token.digital_j / (token.array_j + token.dac_j + token.adc_j))
    # Rows of 13, 11, 16 in 4 arrays each; five columns in tiles of four are 4 + 1 with a reference column each.
    assert token.cell_m2 == pytest.approx(4 * (13 + 11 + 16) * 7 * 1e-14)
    assert token.area_m2 == pytest.approx(token.cell_m2 + 60e-9)
    summary = json.loads((tmp_path / "cost" / "cost.json").read_text())
    assert summary["token"]["circuit_j"] == pytest.approx(token.circuit_j)
    assert {one["name"] for one in summary["assumptions"]} == set(Given.__dataclass_fields__)
    assert all(one["source"] for one in summary["assumptions"])
    table = pq.read_table(tmp_path / "cost" / "cost.parquet").to_pydict()
    assert len(table["tile"]) == token.tiles
    assert sum(table["energy_j"]) == pytest.approx(token.array_j)
    assert {path.name for path in (tmp_path / "cost").iterdir()} == {
        "cost.json",
        "cost.parquet",
        "settling.parquet",
        *(f"{name}.{ending}" for name in ("cost", "settling") for ending in ("png", "svg")),
    }


def test_energy_goes_with_the_read_time_and_not_with_workers(netlist, tmp_path):
    manifest = netlist(BUILT)
    once = cost(manifest, steps=3, tiles=1, out=tmp_path / "once", given=Given(read_time=1e-6))
    twice = cost(manifest, steps=3, tiles=1, out=tmp_path / "twice", given=Given(read_time=2e-6), workers=2)
    assert twice.token.array_j == pytest.approx(2 * once.token.array_j, rel=1e-14)
    assert twice.token.adc_j == once.token.adc_j
    assert twice.checks == once.checks


def test_pulses_take_their_length_at_full_amplitude(netlist, tmp_path):
    hardware = replace(BUILT, name="pulses", coding="pulse_width", wires=Wires())
    manifest = netlist(hardware)
    result = cost(manifest, steps=3, tiles=2, out=tmp_path / "cost")
    assert result.passed
    assert result.settling is None  # no wires
    reads = text_reads(manifest, start_engine("exact", manifest), 3, np.random.default_rng(0), None, None)
    tensors = load_file(manifest.folder / "conductances.safetensors")
    read_v, total = manifest.device.read_v, 0.0
    for _, unit in manifest.units():
        layout, memristors = manifest.layout(unit), tensors[f"{unit.array}.conductance"]
        for tile in layout.tiles:
            own = reads.means[unit.array][:, tile.rows.start : tile.rows.stop]
            # |value| / read_v of the time at read_v: V^2 G t = read_v |value| G read_s
            total += (read_v * np.abs(own) @ layout.cells(tile, memristors)[0].sum(1)).mean() * manifest.read_s
        assert set(reads.applied) == set(reads.means)
        phases = pulse_reads(reads.means[unit.array], read_v)
        np.testing.assert_array_equal(reads.applied[unit.array], phases.volts)
    assert result.token.array_j == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("cells", ["gru", "peephole"])
def test_other_cells(netlist, tmp_path, cells):
    result = cost(netlist(BUILT, cells), steps=3, tiles=3, out=tmp_path / "cost")
    assert result.passed
    layer = result.layers[0]
    if cells == "gru":  # r and z see x and h, the candidate's two parts one of them each
        assert layer.macs == 5 * (2 * (7 + 5 + 1) + (7 + 1) + (5 + 1))
        assert (layer.dac_conversions, layer.adc_conversions) == (12, 20)
    else:  # the memory before for i and f, the new one for o, each a diagonal
        assert layer.macs == 4 * 5 * 13 + 3 * 5
        assert (layer.dac_conversions, layer.adc_conversions) == (12 + 5 + 5, 20)


def test_conversions_follow_the_hardware(netlist):
    def counted(**changes):
        manifest = replace(netlist(BUILT), hardware=replace(BUILT, **changes))
        return conversions(manifest, manifest.layers[0])

    assert counted() == (12, 20)
    # 13 rows in tiles of six are three row blocks, each with ADCs of its own.
    assert counted(tiling=Tiling(6, 4, "after_adc")) == (12, 60)
    assert counted(gates="circuit") == (12, 5)
    assert counted(dac=ConverterSpec(0)) == (0, 20)
    assert counted(adc=ConverterSpec(0)) == (12, 0)
    assert multiply_accumulates(netlist(BUILT).layers[0]) == 260


def test_a_bare_module_is_read_with_random_voltages(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        (layer,) = recurrent_layers(nn.LSTM(4, 3).double(), "net")
    manifest = write_netlists(tmp_path / "net", [LayerExport(layer)], replace(BUILT, tiling=Tiling(5, 2)), {})
    result = cost(manifest, steps=5, tiles=2, out=tmp_path / "cost")
    assert result.passed
    assert result.origin == "random voltages"
    assert result.token.array_j == result.layers[0].array_j > 0


def test_the_pitch_of_metal_lines_is_known(netlist):
    metal = {
        "metal": "Cu",
        "resistivity_ohm_m": 2.2e-8,
        "width_m": 1e-7,
        "thickness_m": 2e-7,
        "word_pitch_m": 2e-7,
        "bit_pitch_m": 8e-7,
    }
    hardware = hardware_from_dict({"base": "tile64", "wires": {"metal": metal}})
    known = assumptions(replace(netlist(BUILT), hardware=hardware), Given())
    assert known["cell_pitch"].value == pytest.approx(4e-7)  # 0.2 x 0.8 um a cell
    assert known["line_capacitance"].value == pytest.approx(8e-17)
    given = assumptions(replace(netlist(BUILT), hardware=hardware), Given(cell_pitch=1e-7))
    assert given["cell_pitch"].source == "given"
    assert given["line_capacitance"].value == pytest.approx(2e-17)


def test_answers_apart_are_no_success(netlist, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "POWER_TOLERANCE", 1e-30)
    with pytest.raises(SystemExit) as ended:
        main(["cost", str(netlist(BUILT).folder), "--steps", "2", "--tiles", "1", "--out", str(tmp_path / "cost")])
    assert ended.value.code == 1
    assert "NOT WITHIN THE TOLERANCE" in capsys.readouterr().out


def test_what_a_person_sees(netlist, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "150")
    main(["cost", str(netlist(BUILT).folder), "--steps", "4", "--adc-fom", "1e-14", "--out", str(tmp_path / "cost")])
    printed = capsys.readouterr().out
    for text in ("encoder1", "encoder2", "decoder", "token", "10 fJ/step", "given", "Horowitz, ISSCC 2014", "205 pJ"):
        assert text in printed
    assert "not counted: " in printed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--steps", "0"], "--steps is 0; allowed: a whole number from 1"),
        (["--tiles", "0"], "--tiles is 0; allowed: a whole number from 1"),
        (["--seed", "-1"], "--seed is -1; allowed: a whole number from 0"),
        (["--adc-fom", "-1"], "--adc-fom is -1; allowed: 1e-24 to 1"),
        (["--line-capacitance", "nan"], "--line-capacitance is nan"),
        (["--read-time", "0"], "--read-time is 0"),
    ],
)
def test_bad_input(netlist, tmp_path, capsys, arguments, told):
    with pytest.raises(SystemExit) as ended:
        main(["cost", str(netlist(BUILT).folder), "--out", str(tmp_path / "cost"), *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "cost").exists()


def test_circuits_without_a_closed_form_are_refused(netlist, make_checkpoint, tmp_path):
    sinh = netlist(replace(BUILT, name="sinh", cells=Cells(read_law="sinh", sinh_per_volt=8.0)))
    with pytest.raises(InputError, match="read law sinh: power is not a quadratic form"):
        cost(sinh, out=tmp_path / "cost")
    moving = build_netlist(make_checkpoint("lstm"), tmp_path / "moving", hardware=PAPER, device_backend="behavioural")
    with pytest.raises(InputError, match="memristors that move"):
        cost(moving, out=tmp_path / "cost")
    clipped = replace(BUILT, name="clipped", amplifier=replace(AMPLIFIER, swing_v=1e-4))
    with pytest.raises(InputError, match=r"clips at 0\.0001 V"):
        cost(netlist(clipped), steps=2, out=tmp_path / "cost")
    assert not (tmp_path / "cost").exists()
