"""Wired tiles in every scheme: the exact engine, ngspice step after step, and nodal analysis agree."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from hvae_mnn.cosim.pulses import pulse_reads
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import SCHEMES, Amplifier, Cells, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.mapping import GateArray, RowGroup, to_conductance
from hvae_mnn.crossbar.network import LayerExport
from hvae_mnn.crossbar.nodal import nodal_transfer
from hvae_mnn.engines.array_process import ArrayDeck
from hvae_mnn.engines.exact import ExactEngine
from hvae_mnn.engines.ngspice import NgspiceEngine, array_decks
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.netlist.arrays import array_lines
from hvae_mnn.netlist.build import write_netlists
from hvae_mnn.netlist.decks import TIA_LIBRARY, pulse_deck
from hvae_mnn.netlist.device_lines import model_file
from hvae_mnn.netlist.folder import read_manifest

pytestmark = pytest.mark.spice

PAPER = read_hardware("paper")
WIRED = Wires(word_ohm=120.0, bit_ohm=250.0, driver_ohm=400.0)
LIMITED = Amplifier("transimpedance", feedback_ohm=1e4, gain=300.0, offset_v=2e-4)


def an_array(hardware, rows, columns, seed=0):
    """A gate array of random weights."""
    rng = np.random.default_rng(seed)
    conductance, scale = to_conductance(rng.normal(size=(rows, columns)), hardware.device, hardware.cells)
    return GateArray("net", "f", (RowGroup("x", rows),), conductance, hardware, scale)


def three_answers(array, tmp_path, volts):
    """Currents (B, outputs) by ngspice's persistent transient and by the exact engine."""
    include = tmp_path / "array.inc"
    include.write_text("".join(array_lines(array)))
    deck = ArrayDeck("array", array.unit, tuple(array.word_lines), array.layout, include)
    engine = NgspiceEngine([deck])
    try:
        spice = engine.currents({"array": volts})["array"]
    finally:
        engine.close()
    exact = ExactEngine({"array": array.conductance}, {"array": array.layout}).currents({"array": volts})["array"]
    return spice, exact


def nodal(array, volts):
    """Currents of an array behind ideal ammeters, tile by tile."""
    layout = array.layout
    parts = []
    for tile in layout.tiles:
        transfer = nodal_transfer(layout.cells(tile, array.conductance), layout.hardware.wires)
        driven = transfer[0] - transfer[1] if len(transfer) == 2 else transfer[0]
        parts.append(volts[:, tile.rows.start : tile.rows.stop] @ driven)
    return layout.read_out(np.concatenate(parts, axis=1))


def agree(first, second, tolerance=1e-9):
    np.testing.assert_allclose(first, second, rtol=0, atol=tolerance * np.abs(second).max())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("wires", "tiling"),
    [
        (Wires(), Tiling()),
        (WIRED, Tiling()),
        (Wires(word_ohm=90.0), Tiling(4, 3)),
        (Wires(bit_ohm=80.0), Tiling(4, 3, "after_adc")),
        (Wires(driver_ohm=700.0), Tiling(5, 2)),
        (WIRED, Tiling(4, 3, "after_adc")),  # 9 x 7 is cut short at both edges
    ],
)
def test_three_answers_for_every_scheme_and_topology(scheme, wires, tiling, tmp_path):
    hardware = replace(PAPER, cells=Cells(scheme, scale="column"), wires=wires, tiling=tiling)
    array = an_array(hardware, 9, 7)
    volts = np.random.default_rng(1).uniform(-0.05, 0.05, (3, 9))
    spice, exact = three_answers(array, tmp_path, volts)
    assert spice.shape == (3, array.layout.outputs)
    agree(exact, spice)
    agree(exact, nodal(array, volts), 1e-11)
    if wires == Wires():
        sums = exact.reshape(3, -1, 7).sum(axis=1)
        agree(sums, volts @ (array.weights / array.weight_scale), 1e-12)
    else:
        assert np.abs(exact.reshape(3, -1, 7).sum(axis=1) - volts @ (array.weights / array.weight_scale)).max() > 1e-9


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (128, 128)])
def test_the_limits_of_an_array(scheme, shape, tmp_path):
    hardware = replace(PAPER, cells=Cells(scheme), wires=Wires(1.0, 2.0, 3.0))
    array = an_array(hardware, *shape)
    volts = np.random.default_rng(2).uniform(-0.05, 0.05, (2, shape[0]))
    spice, exact = three_answers(array, tmp_path, volts)
    agree(exact, spice)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_open_and_shorted_cells(scheme, tmp_path):
    array = an_array(replace(PAPER, cells=Cells(scheme), wires=Wires(1.0, 2.0, 3.0)), 6, 5)
    broken = array.conductance.copy()
    broken[1, 2] = broken[4, :] = 0.0
    broken[3, 1] = 1e3  # what ngspice makes of 0 Ohm
    array = replace(array, conductance=broken)
    text = "".join(array_lines(array))
    column = "1p" if scheme == "differential_pair" else "2"  # the third memristor of a row
    assert f"Rmf1_{column} " not in text
    assert f"Rmf0_{column} " in text
    assert "Rmf4_" not in text
    assert "inf" not in text
    volts = np.random.default_rng(3).uniform(-0.05, 0.05, (2, 6))
    spice, exact = three_answers(array, tmp_path, volts)
    agree(exact, spice)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("swing", [float("inf"), 0.01])
def test_amplifiers_with_gain_offset_and_swing(scheme, swing, tmp_path):
    amplifier = replace(LIMITED, swing_v=swing)
    hardware = replace(PAPER, cells=Cells(scheme), wires=WIRED, amplifier=amplifier, tiling=Tiling(4, 3))
    array = an_array(hardware, 9, 7)
    volts = np.random.default_rng(4).uniform(-0.05, 0.05, (4, 9))
    spice, exact = three_answers(array, tmp_path, volts)
    agree(exact, spice)
    ideal = ExactEngine(
        {"array": array.conductance},
        {"array": replace(array, hardware=replace(hardware, amplifier=Amplifier())).layout},
    ).currents({"array": volts})["array"]
    assert np.abs(exact - ideal).max() > 1e-3 * np.abs(ideal).max()
    if np.isfinite(swing):
        free = replace(array, hardware=replace(hardware, amplifier=LIMITED))
        unlimited = ExactEngine({"array": free.conductance}, {"array": free.layout}).currents({"array": volts})["array"]
        assert np.abs(exact - unlimited).max() > 0.01 * np.abs(unlimited).max()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("amplifier", [Amplifier(), LIMITED])
def test_a_nonlinear_read_law_with_wires(scheme, amplifier, tmp_path):
    cells = Cells(scheme, read_law="sinh", sinh_per_volt=25.0)
    hardware = replace(PAPER, cells=cells, wires=WIRED, amplifier=amplifier, tiling=Tiling(4, 3))
    array = an_array(hardware, 6, 5)
    volts = np.random.default_rng(5).uniform(-0.05, 0.05, (3, 6))
    spice, exact = three_answers(array, tmp_path, volts)
    agree(exact, spice)
    linear = replace(array, hardware=replace(hardware, cells=Cells(scheme)))
    other = ExactEngine({"array": linear.conductance}, {"array": linear.layout}).currents({"array": volts})["array"]
    assert np.abs(exact - other).max() > 0.01 * np.abs(other).max()


def printed(folder, deck):
    command = shutil.which("ngspice")
    done = subprocess.run(
        [command, "-n", "-b", deck], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    values = dict(re.findall(r"^(\S+) = (\S+)$", done.stdout, re.MULTILINE))
    assert all(len(re.sub(r"e.*|\D", "", value)) >= 17 for value in values.values())  # a whole double
    return {name: float(value) for name, value in values.items()}


@pytest.fixture
def lstm():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = nn.LSTM(4, 3).double()
    (layer,) = recurrent_layers(module, "net")
    return layer


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("amplifier", [Amplifier(), LIMITED])
def test_unit_decks_run_alone_and_print_the_exact_currents(scheme, amplifier, lstm, tmp_path):
    tiling = Tiling(3, 2, "after_adc")
    hardware = replace(PAPER, cells=Cells(scheme), wires=WIRED, amplifier=amplifier, tiling=tiling)
    write_netlists(tmp_path / "net", [LayerExport(lstm)], hardware, {})
    manifest = read_manifest(tmp_path / "net")
    stored = load_file(manifest.folder / "conductances.safetensors")
    for _, unit in manifest.units():
        layout, volts = manifest.layout(unit), stored[f"{unit.array}.test_volts"]
        exact = ExactEngine({"a": stored[f"{unit.array}.conductance"]}, {"a": layout}).currents({"a": volts[None]})["a"]
        values = printed(manifest.folder, manifest.deck(unit).name)
        plain = scheme == "fixed_resistor_per_cell" and amplifier.kind == "ideal"
        names = [f"{k}_{p}" for p in range(layout.sums) for k in range(3)]
        currents = [values[f"i(vs{unit.name}{name})" if plain else f"i{unit.name}{name}"] for name in names]
        agree(np.array(currents), exact[0])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_layer_deck_computes_the_state_from_wired_tiles(scheme, lstm, tmp_path):
    hardware = replace(PAPER, cells=Cells(scheme), wires=WIRED, tiling=Tiling(3, 2))
    write_netlists(tmp_path / "net", [LayerExport(lstm)], hardware, {})
    manifest = read_manifest(tmp_path / "net")
    stored = load_file(manifest.folder / "conductances.safetensors")
    layer = manifest.layers[0]
    values = printed(manifest.folder, manifest.deck(layer).name)
    text = manifest.deck(layer).read_text()
    previous = np.array([float(v) for v in re.findall(r"^Vprevious\d+ \w+ 0 DC (\S+)$", text, re.MULTILINE)])
    p = {}
    for unit in layer.units:
        array, volts = unit.array, stored[f"{unit.array}.test_volts"]
        engine = ExactEngine({array: stored[f"{array}.conductance"]}, {array: manifest.layout(unit)})
        p[unit.name] = engine.currents({array: volts[None]})[array][0] * unit.scale / layer.volts_per_unit
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    memory = sigmoid(p["f"]) * previous + sigmoid(p["i"]) * np.tanh(p["g"])
    agree(np.array([values[f"v(memory{k})"] for k in range(3)]), memory)
    agree(np.array([values[f"v(hidden{k})"] for k in range(3)]), sigmoid(p["o"]) * np.tanh(memory))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pulses_carry_the_charge_of_the_mean_voltage(scheme, lstm, tmp_path):
    hardware = replace(PAPER, cells=Cells(scheme), wires=WIRED, coding="pulse_width")
    write_netlists(tmp_path / "net", [LayerExport(lstm)], hardware, {}, read_s=2e-6)
    manifest = read_manifest(tmp_path / "net")
    stored = load_file(manifest.folder / "conductances.safetensors")
    unit = manifest.layers[0].unit("g")
    volts, layout = stored["net_g.test_volts"], manifest.layout(unit)
    exact = ExactEngine({"a": stored["net_g.conductance"]}, {"a": layout}).currents({"a": volts[None]})["a"][0]
    values = printed(manifest.folder, manifest.deck(unit).name)
    charges = np.array([values[f"qg{k}"] for k in range(3)])
    agree(charges / 2e-6, exact, 1e-12)
    # Phase by phase, as the step loop does it, it is exact.
    reads = pulse_reads(volts[None], manifest.device.read_v)
    assert set(np.round(np.unique(np.abs(reads.volts)), 12)) <= {0.0, 0.05}
    engine = NgspiceEngine([deck for deck in array_decks(manifest) if deck.unit == "g"])
    try:
        currents = engine.currents({"net_g": reads.volts})["net_g"]
    finally:
        engine.close()
    agree(reads.mean(currents)[0], exact)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("law", "amplifier"),
    [
        ("ohmic", Amplifier()),
        ("ohmic", LIMITED),  # its offset is there for the whole read, and not longer
        ("ohmic", replace(LIMITED, swing_v=0.02)),
        ("sinh", Amplifier()),
        ("sinh", LIMITED),
    ],
)
def test_pulse_decks_print_the_charge_of_all_phases(scheme, law, amplifier, tmp_path):
    cells = Cells(scheme, read_law=law, sinh_per_volt=25.0 if law == "sinh" else 0.0)
    array = an_array(replace(PAPER, cells=cells, wires=WIRED, amplifier=amplifier, coding="pulse_width"), 14, 3)
    read_v, read_s = PAPER.device.read_v, 2e-6
    # Pulses that are nothing, all of the read or nearly so, and as good as equal.
    special = [0.0, -0.0, 1.0, -1.0, 1 + 1e-13, 1 - 1e-12, 1e-18, -1e-12, 1e-9, 0.3, 0.3 + 1e-12, -0.3 - 1e-6]
    volts = read_v * np.array([*special, 0.77, -0.41])
    lines = array.word_lines
    text = pulse_deck("array", array.unit, lines, array.layout, "array.inc", volts, read_v, read_s)
    (tmp_path / "pulses.cir").write_text(text)
    (tmp_path / "array.inc").write_text("".join(array_lines(array)))
    shutil.copy(model_file(TIA_LIBRARY), tmp_path)
    values = printed(tmp_path, "pulses.cir")
    phases = pulse_reads(volts[None], read_v)
    engine = ExactEngine({"array": array.conductance}, {"array": array.layout})
    (expected,) = phases.mean(engine.currents({"array": phases.volts})["array"])
    agree(np.array([values[f"q{array.unit}{k}"] for k in range(3)]) / read_s, expected)
