"""Writes a netlist folder: arrays, decks, conductances and manifest, all or nothing."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from hvae_mnn.crossbar.hardware import Hardware
from hvae_mnn.crossbar.hardware_file import hardware_from_dict, hardware_to_dict
from hvae_mnn.crossbar.layout import check_tiling
from hvae_mnn.crossbar.mapping import GateArray, largest_weight, map_layer, row_weights
from hvae_mnn.errors import HardwareError, ManifestError, MappingError
from hvae_mnn.files import disk_errors, sha256, write_json
from hvae_mnn.gates import GATE_UNITS, RecurrentLayer
from hvae_mnn.netlist.arrays import array_lines, header
from hvae_mnn.netlist.decks import TIA_LIBRARY, layer_deck, pulse_deck, unit_deck
from hvae_mnn.netlist.device_lines import DeviceBackend, MovingDevices, library, model_file
from hvae_mnn.netlist.manifest import (
    CONDUCTANCES,
    MANIFEST,
    PLAIN_NAME,
    LayerEntry,
    Manifest,
    UnitEntry,
    read_manifest,
)

Array = NDArray[np.float64]

READ_S = 1e-6
"""Default length of a read in seconds, when devices may move."""


@dataclass(frozen=True)
class LayerExport:
    """A recurrent layer to be exported, with what calibration found."""

    layer: RecurrentLayer
    latent_size: int = 0
    """How many of the layer's inputs, the last ones, are a latent z."""
    input_range: Mapping[str, float] = field(default_factory=dict)
    """By role (`x`, `z`, `h`, `cp`, `ct`): largest magnitude in the model's units; 1 where nothing is said."""
    preactivation_range: Mapping[str, float | Sequence[float]] = field(default_factory=dict)
    """By gate unit: largest magnitude of the pre-activation in the model's units, or of each row block's part of it
    where those are converted; may be empty."""


def write_netlists(
    folder: Path,
    exports: Sequence[LayerExport],
    hardware: Hardware,
    source: Mapping[str, Any],
    attached: Mapping[str, Path] | None = None,
    *,
    backend: DeviceBackend = "static",
    read_s: float = READ_S,
    progress: Callable[[str, int], None] | None = None,
) -> Manifest:
    """Write the netlists of `exports` to `folder`, which appears whole or not at all and replaces an older build there.

    With another `backend` than `static` the memristors are devices whose states may move, and a read takes `read_s`
    seconds. `attached` files (name in the folder -> path) are copied beside the netlists and hashed with them.
    `progress(array, cells)` is called after every array. Raises `ManifestError` when `folder` holds something else, and
    `HvaeMnnError` when the disk is full or not writable.
    """
    folder = Path(folder)
    _refuse_foreign(folder)
    names = [export.layer.name for export in exports]
    for name in names:
        if not PLAIN_NAME.fullmatch(name):
            raise MappingError(f"layer name {name!r}; allowed are letters, digits, '.', '_' and '-'")
    if len(set(names)) != len(names):
        raise MappingError(f"two layers have one name: {', '.join(names)}; every layer needs its own")
    _check_hardware(hardware, exports, backend)
    largest = largest_weight(e.layer for e in exports) if hardware.cells.scale == "network" else None
    with _replacing_folder(folder) as temporary:
        layers = []
        tensors: dict[str, Array] = {}
        moving = None if backend == "static" else MovingDevices(hardware.device, backend, read_s)
        for export in exports:
            arrays = map_layer(export.layer, hardware, export.latent_size, largest)
            layers.append(_write_layer(temporary, export, arrays, moving, read_s, tensors, progress))
        (temporary / CONDUCTANCES).write_bytes(save(tensors))
        models = [library(hardware.device)] if backend == "behavioural" else []
        models += [] if hardware.amplifier.kind == "ideal" else [TIA_LIBRARY]
        for name, path in ({name: model_file(name) for name in models} | dict(attached or {})).items():
            shutil.copyfile(path, temporary / name)
        for path in temporary.iterdir():
            path.chmod(0o644)
        manifest = Manifest(
            folder=folder,
            name=folder.name,
            source=dict(source),
            hardware=hardware,
            device_backend=backend,
            read_s=read_s,
            layers=tuple(layers),
            files={path.name: sha256(path) for path in sorted(temporary.iterdir())},
        )
        write_json(temporary / MANIFEST, manifest.to_dict())
    return manifest


def _refuse_foreign(folder: Path) -> None:
    """Raise `ManifestError` unless `folder` is absent, empty, or a netlist folder with nothing else in it."""
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    try:
        own = {MANIFEST, *read_manifest(folder, verify=False).files}
    except ManifestError:
        own = set()
    if found - own:
        raise ManifestError(
            f"{folder} exists and holds something else than netlists ({sorted(found - own)[0]}); choose another name"
        )


def _check_hardware(hardware: Hardware, exports: Sequence[LayerExport], backend: DeviceBackend) -> None:
    """Refuse what cannot be built."""
    hardware_from_dict(hardware_to_dict(hardware), f"hardware {hardware.name}")  # made in Python, it was never checked
    shapes = {
        f"{export.layer.name}_{unit}": row_weights(gate).shape
        for export in exports
        for unit, gate in export.layer.gates.items()
    }
    check_tiling(shapes, hardware)
    if backend != "static" and (hardware.coding != "amplitude" or hardware.cells.read_law != "ohmic"):
        found = f"input.coding = {hardware.coding}, array.read_law = {hardware.cells.read_law}"
        raise HardwareError(
            f"hardware {hardware.name}: {found}; memristors that move (--device-backend {backend}) are read with"
            " amplitude coding and the ohmic law; choose these, or --device-backend static"
        )


def _write_layer(
    folder: Path,
    export: LayerExport,
    arrays: Sequence[GateArray],
    moving: MovingDevices | None,
    read_s: float,
    tensors: dict[str, Array],
    progress: Callable[[str, int], None] | None,
) -> LayerEntry:
    layer, hardware = export.layer, arrays[0].hardware
    roles = {group.role: group.size for array in arrays for group in array.rows}
    fixed = hardware.dac.full_scale if hardware.dac.range == "fixed" else None
    ranges = {role: fixed or float(export.input_range.get(role, 1.0)) for role in roles if role != "b"}
    # One driver scale for all rows of the layer, so that inputs of every kind add up on one bit line; the bias is a 1.
    volts_per_unit = hardware.device.read_v / max(1.0, *ranges.values())
    volts, memory = _test_vector(layer, roles, ranges, volts_per_unit)
    units = []
    for array in arrays:
        driven = np.array([volts[line] for line in array.word_lines])
        limits = _adc_range(array, export.preactivation_range.get(array.unit), ranges)
        units.append(_write_unit(folder, array, driven, limits, moving, read_s, tensors))
        if progress is not None:
            progress(array.name, array.conductance.size)
    deck = f"{layer.name}.cir"
    shared = {line: value for line, value in volts.items() if not line.startswith("ct")}
    text = layer_deck(arrays, layer.cell, [unit.include for unit in units], shared, volts_per_unit, memory, moving)
    (folder / deck).write_text(text, encoding="ascii")
    gate_count = len({unit.row_block for unit in GATE_UNITS[layer.cell]})
    return LayerEntry(
        name=layer.name,
        cell=layer.cell,
        input_size=layer.input_size,
        hidden_size=layer.hidden_size,
        peepholes=layer.peepholes,
        volts_per_unit=volts_per_unit,
        input_range=ranges,
        weights=sum(array.layout.rows * array.layout.columns for array in arrays),
        paper_weights=gate_count * (layer.input_size + layer.hidden_size + 1) * layer.hidden_size,
        deck=deck,
        units=tuple(units),
    )


def _adc_range(
    array: GateArray, calibrated: float | Sequence[float] | None, ranges: Mapping[str, float]
) -> tuple[float, ...] | None:
    """Full scale per number that a column gives, in the model's units; None where nothing is known, or it is fixed."""
    layout = array.layout
    if array.hardware.adc.range == "fixed":
        return None
    if array.hardware.adc.range == "max":
        full = np.concatenate([np.full(group.size, ranges.get(group.role, 1.0)) for group in array.rows])
        reach = full[:, np.newaxis] * np.abs(array.weights)  # (R, C)
        blocks = layout.row_blocks if layout.sums > 1 else [range(layout.rows)]
        found = [float(reach[rows.start : rows.stop].sum(axis=0).max()) for rows in blocks]
        return tuple(value or 1.0 for value in found)
    if calibrated is None:
        return None
    return tuple(float(value) for value in np.broadcast_to(calibrated, (layout.sums,)))


def _write_unit(
    folder: Path,
    array: GateArray,
    driven: Array,
    adc_range: tuple[float, ...] | None,
    moving: MovingDevices | None,
    read_s: float,
    tensors: dict[str, Array],
) -> UnitEntry:
    """Elements, deck and tensors of one array; `driven` (R,) are the volts of its test vector."""
    include, deck = f"{array.name}.inc", f"{array.name}.cir"
    hardware, layout, lines = array.hardware, array.layout, array.word_lines
    with (folder / include).open("w", encoding="ascii") as file:
        file.write(header(array))
        file.writelines(array_lines(array, moving))
    if hardware.coding == "pulse_width":
        text = pulse_deck(array.name, array.unit, lines, layout, include, driven, hardware.device.read_v, read_s)
    else:
        text = unit_deck(array.name, array.unit, lines, layout, include, driven, moving)
    (folder / deck).write_text(text, encoding="ascii")
    tensors[f"{array.name}.conductance"] = array.conductance
    tensors[f"{array.name}.test_volts"] = driven
    # Summed row by row: a BLAS product may differ in its last bit from machine to machine, and with it the hash.
    cells = driven[:, np.newaxis] * layout.without_wires(array.conductance)  # (R, C)
    tensors[f"{array.name}.ideal_currents"] = cells.sum(axis=0)
    scale = array.weight_scale
    return UnitEntry(
        name=array.unit,
        array=array.name,
        rows=array.rows,
        columns=layout.columns,
        weight_scale=float(scale) if np.ndim(scale) == 0 else tuple(np.asarray(scale).tolist()),
        adc_range=adc_range,
        include=include,
        deck=deck,
    )


def _test_vector(
    layer: RecurrentLayer, roles: Mapping[str, int], ranges: Mapping[str, float], volts_per_unit: float
) -> tuple[dict[str, float], Array | None]:
    """Voltages by word line, the same for every build of a layer's shape, and the memory c_{t-1} they stand for."""
    generator = np.random.default_rng([layer.input_size, layer.hidden_size, len(layer.gates)])
    volts: dict[str, float] = {}
    for role, size in roles.items():
        unit_values = np.ones(1) if role == "b" else generator.uniform(-1, 1, size) * min(1.0, ranges[role])
        volts |= {f"{role}{index}": float(value * volts_per_unit) for index, value in enumerate(unit_values)}
    memory = None
    if layer.cell == "lstm":
        memory = generator.uniform(-1, 1, layer.hidden_size)
        if layer.peepholes:
            volts |= {f"cp{index}": float(value * volts_per_unit) for index, value in enumerate(memory)}
    return volts, memory


@contextlib.contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place on success and vanishes on failure."""
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        with disk_errors(folder):
            yield temporary
            temporary.chmod(0o755)
            old = temporary.with_suffix(".old")
            if folder.exists():
                folder.rename(old)
            try:
                temporary.rename(folder)
            except OSError:
                if old.exists():
                    old.rename(folder)
                raise
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
