"""Writes a netlist folder: arrays, decks, conductances and manifest, all or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.mapping import GateArray
from hvae_mnn.crossbar.network import (
    READ_S,
    CrossbarLayer,
    CrossbarNetwork,
    CrossbarUnit,
    LayerExport,
    MappedNetwork,
    map_network,
)
from hvae_mnn.devices.moving import DeviceBackend
from hvae_mnn.errors import ManifestError
from hvae_mnn.files import disk_errors, sha256, write_json
from hvae_mnn.gates import Cell
from hvae_mnn.netlist.arrays import array_lines, header
from hvae_mnn.netlist.conductances import stored_tensors
from hvae_mnn.netlist.decks import TIA_LIBRARY, layer_deck, pulse_deck, unit_deck
from hvae_mnn.netlist.device_lines import library, model_file
from hvae_mnn.netlist.file_names import CONDUCTANCES, MANIFEST, deck_file, elements_file
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.netlist.replacement import replacing_folder
from hvae_mnn.reading import shown

Array = NDArray[np.float64]


def write_netlists(
    folder: Path,
    exports: Sequence[LayerExport],
    hardware: Hardware,
    source: Mapping[str, Any],
    attached: Mapping[str, Path] | None = None,
    *,
    backend: DeviceBackend = "static",
    read_s: float = READ_S,
    force: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> Manifest:
    """Write the netlists of `exports` to `folder`, all or nothing; an older build there is replaced.

    `source` describes the origin of the weights; an older build of another source is replaced only with `force`, see
    `_same_source`. With a `backend` other than `static`, the memristors are devices whose states may move, and a read
    takes `read_s` seconds. `attached` files (name in the folder -> path) are copied beside the netlists and hashed with
    them. `progress(array, cells)` is called after every array.

    Raises `ManifestError` if `folder` holds anything else, `RunError` if another process writes it, `StorageError` if
    the disk is full or not writable, and the errors of `map_network`.
    """
    folder = Path(folder)
    _refuse_foreign(folder, source, force)
    mapped = map_network(exports, hardware, backend=backend, read_s=read_s)
    return write_network(mapped, folder, source, attached, progress, force=force)


def write_network(
    mapped: MappedNetwork,
    folder: Path,
    source: Mapping[str, Any],
    attached: Mapping[str, Path] | None = None,
    progress: Callable[[str, int], None] | None = None,
    *,
    force: bool = False,
) -> Manifest:
    """Write the netlists of a mapped network to `folder`; other arguments and errors as in `write_netlists`."""
    network, hardware = mapped.network, mapped.network.hardware
    with replacing_folder(folder) as temporary:
        _refuse_foreign(folder, source, force)
        tensors: dict[str, Array] = {}
        for layer in network.layers:
            arrays = [mapped.arrays[unit.array] for unit in layer.units]
            _write_layer(temporary, network, layer, arrays, tensors, progress)
        (temporary / CONDUCTANCES).write_bytes(save(tensors))
        models = [library(hardware.device)] if network.device_backend == "behavioural" else []
        models += [] if hardware.amplifier.kind == "ideal" else [TIA_LIBRARY]
        for name, path in ({name: model_file(name) for name in models} | dict(attached or {})).items():
            shutil.copyfile(path, temporary / name)
        for path in temporary.iterdir():
            path.chmod(0o644)
        manifest = Manifest(
            **vars(network),
            folder=folder,
            name=folder.name,
            source=dict(source),
            files={path.name: sha256(path) for path in sorted(temporary.iterdir())},
        )
        write_json(temporary / MANIFEST, manifest.to_dict())
        _refuse_foreign(folder, source, force)  # files that appeared meanwhile would be lost
    return manifest


def _refuse_foreign(folder: Path, source: Mapping[str, Any], force: bool) -> None:
    """Raise `ManifestError` unless `folder` is absent, empty, or a netlist folder of `source` (with `force`: of any
    source) without foreign files."""
    with disk_errors(folder):
        if not folder.exists():
            return
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    older = None
    try:
        older = read_manifest(folder, verify=False)
        own = {MANIFEST, *older.files}
    except ManifestError:
        own = set()
    if names - own:
        raise ManifestError(
            f"{folder} exists and holds something other than netlists ({sorted(names - own)[0]}); choose another name"
        )
    if older is not None and not force and not _same_source(older.source, source):
        origin = older.source.get("path") or older.source.get("original_name") or older.source.get("module")
        raise ManifestError(
            f"{folder} holds the netlists of another source ({shown(origin)}); choose another --name or --out, or"
            " replace them with --force"
        )


_IDENTITY = ("path", "sha256", "module")


def _same_source(older: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether netlists of `new` may replace those of `older`: both are the same checkpoint, by path or by bytes, or
    modules of the same class, or neither names its origin."""
    if not any(key in source for key in _IDENTITY for source in (older, new)):
        return True
    return any(key in new and older.get(key) == new[key] for key in _IDENTITY)


def _write_layer(
    folder: Path,
    network: CrossbarNetwork,
    layer: CrossbarLayer,
    arrays: Sequence[GateArray],
    tensors: dict[str, Array],
    progress: Callable[[str, int], None] | None,
) -> None:
    volts, memory = _test_vector(layer)
    for array, unit in zip(arrays, layer.units, strict=True):
        driven = np.array([volts[line] for line in array.word_lines])
        _write_unit(folder, network, array, unit, driven, tensors)
        if progress is not None:
            progress(array.name, array.conductance.size)
    shared = {line: value for line, value in volts.items() if not line.startswith("ct")}
    includes = [elements_file(unit) for unit in layer.units]
    cell = cast("Cell", layer.cell)
    text = layer_deck(arrays, cell, includes, shared, layer.volts_per_unit, memory, network.moving)
    (folder / deck_file(layer)).write_text(text, encoding="ascii")


def _write_unit(
    folder: Path,
    network: CrossbarNetwork,
    array: GateArray,
    unit: CrossbarUnit,
    driven: Array,
    tensors: dict[str, Array],
) -> None:
    """Write elements and deck of one array, and add its tensors; `driven` (R,) is its test vector in volts."""
    hardware, layout, lines, moving = array.hardware, array.layout, array.word_lines, network.moving
    include = elements_file(unit)
    with (folder / include).open("w", encoding="ascii") as file:
        file.write(header(array))
        file.writelines(array_lines(array, moving))
    if hardware.coding == "pulse_width":
        amplitude = hardware.device.read_v
        text = pulse_deck(array.name, array.unit, lines, layout, include, driven, amplitude, network.read_s)
    else:
        text = unit_deck(array.name, array.unit, lines, layout, include, driven, moving)
    (folder / deck_file(unit)).write_text(text, encoding="ascii")
    tensors.update(stored_tensors(array, driven))


def _test_vector(layer: CrossbarLayer) -> tuple[dict[str, float], Array | None]:
    """Test voltages by word line, equal for all layers of one shape, and the memory c_{t-1} (H,) that they represent;
    None without memory."""
    roles = {group.role: group.size for unit in layer.units for group in unit.rows}
    scale = layer.volts_per_unit
    generator = np.random.default_rng([layer.input_size, layer.hidden_size, len(layer.units)])
    volts: dict[str, float] = {}
    for role, size in roles.items():
        unit_values = np.ones(1)
        if role != "b":
            unit_values = generator.uniform(-1, 1, size) * min(1.0, layer.input_range[role])
        volts |= {f"{role}{index}": float(value * scale) for index, value in enumerate(unit_values)}
    memory = None
    if layer.cell == "lstm":
        memory = generator.uniform(-1, 1, layer.hidden_size)
        if layer.peepholes:
            volts |= {f"cp{index}": float(value * scale) for index, value in enumerate(memory)}
    return volts, memory
