"""Conductances of a build are checked even where they agree with the manifest's hashes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.mapping import map_layer
from hvae_mnn.crossbar.network import LayerExport
from hvae_mnn.engines.start import start_engine
from hvae_mnn.errors import ManifestError
from hvae_mnn.files import seal, sha256
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.netlist.build import write_netlists
from hvae_mnn.netlist.conductances import read_conductances
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.studies.inspection import inspect_tile
from hvae_mnn.studies.programming.targets import find_targets

NAME = "conductances.safetensors"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    exports = [LayerExport(layer) for layer in recurrent_layers(nn.RNN(4, 3), "net")]
    write_netlists(tmp_path / "net", exports, read_hardware("paper"), {})
    return tmp_path / "net"


def with_right_hashes(folder: Path, data: bytes) -> Manifest:
    """The folder with another file of conductances and with matching hashes."""
    (folder / NAME).write_bytes(data)
    path = folder / "manifest.json"
    stored = json.loads(path.read_text())
    stored["files"][NAME] = sha256(folder / NAME)
    path.write_text(json.dumps(stored | {"sha256": seal(stored)}))
    return read_manifest(folder)


def changed(folder: Path, change: Change) -> Manifest:
    tensors = load_file(folder / NAME)
    change(tensors)
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / NAME)
    return with_right_hashes(folder, (folder / NAME).read_bytes())


def test_what_was_mapped_is_read(folder: Path) -> None:
    torch.manual_seed(3)
    (layer,) = recurrent_layers(nn.RNN(4, 3), "net")
    (array,) = map_layer(layer, read_hardware("paper"))
    (stored,) = read_conductances(read_manifest(folder)).values()
    np.testing.assert_array_equal(stored.conductance, array.conductance)
    ideal = stored.test_volts @ array.layout.without_wires(array.conductance)
    np.testing.assert_allclose(stored.ideal_currents, ideal, rtol=1e-12)


def spoil(name: str, value: float) -> Change:
    def do(tensors: dict[str, Any]) -> None:
        tensors[f"net_h.{name}"].flat[2] = value

    return do


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            spoil("conductance", np.nan),
            "net_h.conductance has 1 impossible values, nan the first; allowed: finite numbers",
        ),
        (spoil("conductance", np.inf), "inf the first; allowed: finite numbers, 0 or above; build"),
        (spoil("conductance", -1e-5), "-1e-05 the first"),
        (spoil("test_volts", np.nan), "net_h.test_volts has 1 impossible values"),
        (spoil("ideal_currents", -np.inf), "net_h.ideal_currents has 1 impossible values"),
        (lambda t: t.pop("net_h.conductance"), "has no tensor 'net_h.conductance'"),
        (lambda t: t.update(more=np.zeros(1)), "has an unknown tensor 'more'"),
        (
            lambda t: t.update({"net_h.conductance": t["net_h.conductance"].T}),
            "net_h.conductance is float64 of shape (3, 8), the manifest's is float64 of shape (8, 3)",
        ),
        (
            lambda t: t.update({"net_h.test_volts": np.zeros(8, np.float32)}),
            "is float32 of shape (8,)",
        ),
        (lambda t: t.update({"net_h.ideal_currents": np.zeros((3, 1))}), "is float64 of shape (3, 1)"),
    ],
)
def test_a_folder_that_agrees_with_itself_is_refused_for_what_is_no_array(
    folder: Path, change: Change, message: str
) -> None:
    manifest = changed(folder, change)
    for read in (
        lambda: start_engine("exact", manifest),
        lambda: start_engine("ideal", manifest),
        lambda: find_targets(folder, None, None, 0),
        lambda: inspect_tile(manifest),
    ):
        with pytest.raises(ManifestError) as caught:
            read()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_device_that_is_stuck_open_is_allowed(folder: Path) -> None:
    manifest = changed(folder, spoil("conductance", 0.0))
    assert read_conductances(manifest)["net_h"].conductance.flat[2] == 0


@pytest.mark.parametrize("data", [b"", b"hello", bytes(8), (2**62).to_bytes(8, "little") + b"{}", bytes(2**21)])
def test_what_is_no_file_of_tensors(folder: Path, data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"conductances\.safetensors"):
        read_conductances(with_right_hashes(folder, data))


def test_a_change_after_the_manifest_was_read_is_noticed(folder: Path) -> None:
    manifest = read_manifest(folder)
    data = (folder / NAME).read_bytes()
    (folder / NAME).write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    with pytest.raises(ManifestError, match="was changed since it was checked"):
        read_conductances(manifest)
    (folder / NAME).unlink()
    with pytest.raises(ManifestError, match="no file of conductances at"):
        read_conductances(manifest)
