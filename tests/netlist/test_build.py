from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.mapping import map_layer
from hvae_mnn.crossbar.network import LayerExport
from hvae_mnn.errors import ManifestError, MappingError
from hvae_mnn.files import seal, sha256
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.netlist.build import write_netlists
from hvae_mnn.netlist.folder import read_manifest

PAPER = read_hardware("paper")


def exports(module=None, name="net", **options):
    torch.manual_seed(3)
    return [LayerExport(layer, **options) for layer in recurrent_layers(module or nn.LSTM(4, 3), name)]


def test_every_value_reads_back_as_the_same_float(tmp_path):
    module = nn.LSTM(4, 3)
    (export,) = exports(module)
    write_netlists(tmp_path / "net", [export], PAPER, {})
    for array in map_layer(export.layer, PAPER):
        lines = (tmp_path / "net" / f"{array.name}.inc").read_text().splitlines()
        ohms = {}
        for line in lines:
            if match := re.fullmatch(rf"Rm{array.unit}(\d+)_(\d+) (\S+)n bl{array.unit}(\d+) (\S+)", line):
                row, column = int(match[1]), int(match[2])
                assert match[3] == array.word_lines[row]
                assert int(match[4]) == column
                ohms[row, column] = float(match[5])
        assert len(ohms) == array.conductance.size
        for cell, ohm in ohms.items():
            assert ohm == 1 / array.conductance[cell]
        stored = load_file(tmp_path / "net" / "conductances.safetensors")
        np.testing.assert_array_equal(stored[f"{array.name}.conductance"], array.conductance)


def test_the_manifest_says_what_was_mapped(tmp_path):
    ranges = {"x": 2.5, "z": 4.0, "h": 1.0}
    write_netlists(
        tmp_path / "net",
        exports(latent_size=1, input_range=ranges, preactivation_range={"i": 6.0}),
        PAPER,
        {"checkpoint": "x.pt"},
    )
    manifest = read_manifest(tmp_path / "net")
    layer = manifest.layer("net")
    assert (layer.cell, layer.input_size, layer.hidden_size, layer.peepholes) == ("lstm", 4, 3, False)
    assert layer.weights == layer.paper_weights == 4 * (4 + 3 + 1) * 3
    assert layer.input_range == ranges
    # The widest input, z, takes the whole read voltage of 50 mV.
    assert layer.volts_per_unit == pytest.approx(0.05 / 4)
    assert [(group.role, group.size) for group in layer.unit("o").rows] == [("x", 3), ("z", 1), ("h", 3), ("b", 1)]
    assert layer.unit("i").adc_range == (6.0,)
    assert layer.unit("f").adc_range is None
    assert manifest.source == {"checkpoint": "x.pt"}


def test_the_bias_never_exceeds_the_read_voltage(tmp_path):
    write_netlists(tmp_path / "net", exports(input_range={"x": 0.1, "h": 0.2}), PAPER, {})
    assert read_manifest(tmp_path / "net").layer("net").volts_per_unit == pytest.approx(0.05)


def test_a_gru_counts_three_gates_in_four_arrays(tmp_path):
    write_netlists(tmp_path / "net", exports(nn.GRU(4, 3)), PAPER, {})
    layer = read_manifest(tmp_path / "net").layer("net")
    assert layer.paper_weights == 3 * (4 + 3 + 1) * 3
    assert layer.weights == layer.paper_weights + 3  # the candidate has two biases
    assert [unit.row_count for unit in layer.units] == [8, 8, 5, 4]


def test_a_build_that_fails_leaves_nothing_and_the_old_one_alone(tmp_path):
    folder = tmp_path / "net"
    write_netlists(folder, exports(), PAPER, {"first": True})
    before = sorted(path.name for path in tmp_path.iterdir())

    def fail(array, cells):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_netlists(folder, exports(), PAPER, {"first": False}, progress=fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert read_manifest(folder).source == {"first": True}
    write_netlists(folder, exports(nn.RNN(2, 2)), PAPER, {"first": False})
    assert read_manifest(folder).source == {"first": False}
    assert not (folder / "net_f.inc").exists()


def test_a_folder_with_something_else_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ManifestError, match="exists and holds something other than netlists"):
        write_netlists(tmp_path, exports(), PAPER, {})
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("foreign", ["thesis.tex", "manifest.json"])
def test_a_folder_that_only_looks_like_ours_is_not_touched(tmp_path, foreign):
    folder = tmp_path / "net"
    write_netlists(folder, exports(), PAPER, {})
    (folder / foreign).write_text('{"name": "my web app"}')
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ManifestError, match="exists and holds something other than netlists"):
        write_netlists(folder, exports(), PAPER, {})
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_layer_name_that_ngspice_would_not_read_is_refused(tmp_path):
    with pytest.raises(MappingError, match="layer name 'my net'"):
        write_netlists(tmp_path / "net", exports(name="my net"), PAPER, {})


def test_two_layers_of_one_name_are_refused(tmp_path):
    with pytest.raises(MappingError, match="two layers have one name"):
        write_netlists(tmp_path / "net", [*exports(), *exports()], PAPER, {})


@pytest.fixture
def built(tmp_path):
    folder = tmp_path / "net"
    write_netlists(folder, exports(), PAPER, {})
    return folder


def change(folder, edit):
    """Edit the manifest and renew its fingerprint."""
    path = folder / "manifest.json"
    stored = json.loads(path.read_text())
    edit(stored)
    stored["sha256"] = seal(stored)
    path.write_text(json.dumps(stored))


def test_a_changed_file_is_named(built):
    with (built / "net_g.inc").open("a") as file:
        file.write("Rextra x0 blg0 1\n")
    with pytest.raises(ManifestError, match=r"net_g\.inc: SHA-256 is .* the manifest says"):
        read_manifest(built)
    read_manifest(built, verify=False)


def test_a_missing_file_is_named(built):
    (built / "net_o.cir").unlink()
    with pytest.raises(ManifestError, match=r"no file at .*net_o\.cir"):
        read_manifest(built)


@pytest.mark.parametrize(
    "line",
    [
        ".control\nshell touch pwned\n.endc",
        "*#shell touch pwned",
        "* comment\r.control",
        "R1 x0 0 r='1k'",
        "Rmi0_0 x0n bli0 {1k}",
        "V1 x0 0 1",
        "+ 3",
        "*",
    ],
)
def test_a_line_that_is_no_resistor_is_not_run_even_with_the_right_hashes(built, line):
    path = built / "net_i.inc"
    path.write_text(path.read_text() + line + "\n", newline="")
    change(built, lambda stored: stored["files"].update({"net_i.inc": sha256(path)}))
    with pytest.raises(ManifestError, match="is not an element of an array; not run"):
        read_manifest(built)


def test_an_edited_value_is_noticed_by_the_checksum(built):
    path = built / "manifest.json"
    stored = json.loads(path.read_text())
    stored["layers"][0]["units"][0]["weight_scale"] *= -1
    path.write_text(json.dumps(stored))
    with pytest.raises(ManifestError, match="checksum"):
        read_manifest(built)


def layer_edit(**values):
    return lambda stored: stored["layers"][0].update(values)


def unit_edit(**values):
    return lambda stored: stored["layers"][0]["units"][0].update(values)


def row_edit(**values):
    return lambda stored: stored["layers"][0]["units"][0]["rows"][0].update(values)


@pytest.mark.parametrize(
    "edit",
    [
        unit_edit(include="../net_i.inc"),
        unit_edit(include="net_f.inc"),
        unit_edit(include="/etc/passwd"),
        unit_edit(array="net_f"),
        unit_edit(name="i\n.control"),
        unit_edit(columns=2),
        unit_edit(columns=True),
        unit_edit(columns="3"),
        unit_edit(weight_scale=-1.0),
        unit_edit(weight_scale="4"),
        unit_edit(weight_scale=float("inf")),
        unit_edit(weight_scale=[1.0, 1.0]),
        unit_edit(adc_range=0.0),
        unit_edit(adc_range=[0.0]),
        unit_edit(adc_range=[1.0, 1.0]),
        row_edit(role="x0\n.control"),
        row_edit(role="h"),
        row_edit(size=3),
        row_edit(size=-1),
        layer_edit(name="a b"),
        layer_edit(weights=97),
        layer_edit(input_size=10**13),
        layer_edit(cell="transformer"),
        layer_edit(volts_per_unit=0),
        layer_edit(volts_per_unit=-0.05),
        layer_edit(volts_per_unit=50),
        layer_edit(volts_per_unit="0.05"),
        layer_edit(input_range={"x": 1.0}),
        layer_edit(input_range={"x": 1.0, "h": -1.0}),
        layer_edit(input_range=[1.0]),
        layer_edit(peepholes=True),
        layer_edit(units=[]),
        lambda stored: stored.update(fixed_siemens=-1),
        lambda stored: stored.update(layers=[]),
        lambda stored: stored.update(layers=stored["layers"] * 2),
        lambda stored: stored["hardware"]["device"].update(read_voltage=-0.2),
        lambda stored: stored["hardware"]["device"]["spec"].update(r_on_ohm="5000 ohm"),
        lambda stored: stored["files"].pop("net_i.inc"),
        lambda stored: stored["files"].update({".hidden": "00"}),
        lambda stored: stored.pop("source"),
        lambda stored: stored.update(name="../../elsewhere"),
        lambda stored: stored.update(name=".."),
        lambda stored: stored.update(name="x" * 256),
        lambda stored: stored.update(name="a\0b"),
    ],
)
def test_impossible_values_are_refused_in_one_line(built, edit):
    change(built, edit)
    with pytest.raises(ManifestError, match=r"manifest\.json.*build the netlists again") as caught:
        read_manifest(built, verify=False)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "other/1"}'])
def test_a_damaged_manifest_is_one_line(built, content):
    (built / "manifest.json").write_text(content)
    with pytest.raises(ManifestError, match=r"manifest\.json.*build the netlists again"):
        read_manifest(built)


def test_a_folder_without_manifest_says_what_to_do(tmp_path):
    with pytest.raises(ManifestError, match="make one with hvae-mnn build-netlist"):
        read_manifest(tmp_path)
