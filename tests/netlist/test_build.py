from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from hvae_mnn.crossbar.mapping import map_layer
from hvae_mnn.devices.memristor import AIST
from hvae_mnn.errors import ManifestError, MappingError
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.netlist.build import LayerExport, write_netlists
from hvae_mnn.netlist.manifest import read_manifest


def exports(module=None, name="net", **options):
    torch.manual_seed(3)
    return [LayerExport(layer, **options) for layer in recurrent_layers(module or nn.LSTM(4, 3), name)]


def test_every_value_reads_back_as_the_same_float(tmp_path):
    module = nn.LSTM(4, 3)
    (export,) = exports(module)
    write_netlists(tmp_path / "net", [export], AIST, {})
    for array in map_layer(export.layer, AIST):
        lines = (tmp_path / "net" / f"{array.name}.inc").read_text().splitlines()
        found = {}
        for line in lines:
            if match := re.fullmatch(rf"Rm{array.unit}(\d+)_(\d+) (\S+)n bl{array.unit}(\d+) (\S+)", line):
                row, column = int(match[1]), int(match[2])
                assert match[3] == array.word_lines[row]
                assert int(match[4]) == column
                found[row, column] = float(match[5])
        assert len(found) == array.conductance.size
        for place, ohm in found.items():
            assert ohm == 1 / array.conductance[place]
        stored = load_file(tmp_path / "net" / "conductances.safetensors")
        np.testing.assert_array_equal(stored[f"{array.name}.conductance"], array.conductance)


def test_the_manifest_says_what_was_mapped(tmp_path):
    ranges = {"x": 2.5, "z": 4.0, "h": 1.0}
    write_netlists(
        tmp_path / "net",
        exports(latent_size=1, input_range=ranges, preactivation_range={"i": 6.0}),
        AIST,
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
    assert layer.unit("i").preactivation_range == 6.0
    assert layer.unit("f").preactivation_range is None
    assert manifest.source == {"checkpoint": "x.pt"}


def test_the_bias_never_exceeds_the_read_voltage(tmp_path):
    write_netlists(tmp_path / "net", exports(input_range={"x": 0.1, "h": 0.2}), AIST, {})
    assert read_manifest(tmp_path / "net").layer("net").volts_per_unit == pytest.approx(0.05)


def test_a_gru_counts_three_gates_in_four_arrays(tmp_path):
    write_netlists(tmp_path / "net", exports(nn.GRU(4, 3)), AIST, {})
    layer = read_manifest(tmp_path / "net").layer("net")
    assert layer.paper_weights == 3 * (4 + 3 + 1) * 3
    assert layer.weights == layer.paper_weights + 3  # the candidate has two biases
    assert [unit.row_count for unit in layer.units] == [8, 8, 5, 4]


def test_a_build_that_fails_leaves_nothing_and_the_old_one_alone(tmp_path):
    folder = tmp_path / "net"
    write_netlists(folder, exports(), AIST, {"first": True})
    before = sorted(path.name for path in tmp_path.iterdir())

    def fail(array, cells):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_netlists(folder, exports(), AIST, {"first": False}, progress=fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert read_manifest(folder).source == {"first": True}
    write_netlists(folder, exports(nn.RNN(2, 2)), AIST, {"first": False})
    assert read_manifest(folder).source == {"first": False}
    assert not (folder / "net_f.inc").exists()


def test_a_folder_with_something_else_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ManifestError, match="exists and is no netlist folder"):
        write_netlists(tmp_path, exports(), AIST, {})
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_two_layers_of_one_name_are_refused(tmp_path):
    with pytest.raises(MappingError, match="two layers have one name"):
        write_netlists(tmp_path / "net", [*exports(), *exports()], AIST, {})


@pytest.fixture
def built(tmp_path):
    folder = tmp_path / "net"
    write_netlists(folder, exports(), AIST, {})
    return folder


def change(folder, **values):
    path = folder / "manifest.json"
    stored = json.loads(path.read_text())
    stored.update(values)
    path.write_text(json.dumps(stored))


def test_a_changed_file_is_named(built):
    with (built / "net_g.inc").open("a") as file:
        file.write("Rextra x0 blg0 1\n")
    with pytest.raises(ManifestError, match=r"net_g\.inc: SHA-256 is .* the manifest says"):
        read_manifest(built)
    read_manifest(built, verify=False)


def test_a_missing_file_is_named(built):
    (built / "net_o.cir").unlink()
    with pytest.raises(ManifestError, match=r"net_o\.cir: No such file"):
        read_manifest(built)


def test_a_control_line_is_not_run_even_with_the_right_hash(built):
    from hvae_mnn.files import sha256

    path = built / "net_i.inc"
    path.write_text(path.read_text() + ".control\nshell touch pwned\n.endc\n")
    stored = json.loads((built / "manifest.json").read_text())
    stored["files"]["net_i.inc"] = sha256(path)
    change(built, files=stored["files"])
    with pytest.raises(ManifestError, match="is no resistor; not run"):
        read_manifest(built)


@pytest.mark.parametrize("name", ["../net_i.inc", "/etc/passwd", "a/b.inc", ".hidden", "a;b"])
def test_file_names_stay_inside_the_folder(built, name):
    stored = json.loads((built / "manifest.json").read_text())
    stored["layers"][0]["units"][0]["include"] = name
    change(built, layers=stored["layers"])
    with pytest.raises(ManifestError, match="plain names inside the folder"):
        read_manifest(built)


@pytest.mark.parametrize("name", ["i\n.control", "../x", "a b"])
def test_gate_units_are_those_of_the_cell(built, name):
    stored = json.loads((built / "manifest.json").read_text())
    stored["layers"][0]["units"][0]["name"] = name
    change(built, layers=stored["layers"])
    with pytest.raises(ManifestError, match="gate units"):
        read_manifest(built)


@pytest.mark.parametrize("role", ["x0\n.control", "q"])
def test_roles_are_those_that_exist(built, role):
    stored = json.loads((built / "manifest.json").read_text())
    stored["layers"][0]["units"][0]["rows"][0]["role"] = role
    change(built, layers=stored["layers"])
    with pytest.raises(ManifestError, match="role"):
        read_manifest(built)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": "other/1"}'])
def test_a_damaged_manifest_is_one_line(built, content):
    (built / "manifest.json").write_text(content)
    with pytest.raises(ManifestError, match=r"manifest\.json.*build the netlists again"):
        read_manifest(built)


def test_a_folder_without_manifest_says_what_to_do(tmp_path):
    with pytest.raises(ManifestError, match="make one with hvae-mnn build-netlist"):
        read_manifest(tmp_path)
