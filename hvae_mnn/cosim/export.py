"""Export of a checkpoint, or of any torch recurrent module, to a netlist folder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hvae_mnn.cosim.calibration import calibration_sentences, needs_text, partial_sum_ranges
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.network import READ_S, LayerExport, MappedNetwork, map_network
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import DEVICE_BACKENDS, DeviceBackend
from hvae_mnn.devices.presets import find_device
from hvae_mnn.devices.programming import LARGEST_V
from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.files import sha256
from hvae_mnn.folders import check_writable
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.models.activations import PERCENTILES
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.models.recurrent import DeclaredLayer
from hvae_mnn.models.stepwise import model_layers
from hvae_mnn.names import unknown_name
from hvae_mnn.netlist.build import write_netlists
from hvae_mnn.netlist.device_lines import OSDI_FILE
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.reading import absolute
from hvae_mnn.spice.osdi import osdi_library
from hvae_mnn.torch_weights import acting_weight, running_class

NETLISTS = Path("netlists")
CHECKPOINT = "checkpoint.pt"
"""Name of the checkpoint's copy in a netlist folder: embeddings, latent and logits stay in software."""

CALIBRATIONS = tuple(PERCENTILES)
DEFAULT_HARDWARE = "paper"
"""Eq. 12 in whole arrays, without wires."""


def build_netlist(
    source: str | Path | Checkpoint | nn.Module,
    folder: str | Path | None = None,
    *,
    hardware: Hardware | str | Path = DEFAULT_HARDWARE,
    device: MemristorSpec | str | Path | None = None,
    device_backend: DeviceBackend = "static",
    read_voltage: float | None = None,
    read_s: float = READ_S,
    allow_disturb: bool = False,
    calibration: str = "max",
    input_range: float = 1.0,
    data_dir: str | Path | None = None,
    force: bool = False,
    progress: Callable[[str, int], None] | None = None,
) -> Manifest:
    """Export `source` to ngspice netlists in `folder` (default `netlists/<name of the source>`); returns the manifest.

    `source` is a checkpoint or its path, or a torch `nn.RNN`, `nn.LSTM` or `nn.GRU`, exported with the weights of its
    forward pass in eval mode (`gates.recurrent_layers`). An older build of the same source (a checkpoint of the same
    path or bytes, a module of the same class) is replaced, one of another source only with `force`.

    `hardware` is a description, the name of a preset or a TOML file. `device` (a memristor, the name of a preset or a
    TOML file) replaces its memristors. Their states are fixed (`static`), or move in the `device_backend`
    `behavioural` or `osdi` during reads of `read_s` seconds. The largest input becomes `read_voltage` (volts; default:
    the device's), which may reach the threshold only with `allow_disturb`.

    `calibration` (`max`, `p99.99`, `p99.9`, `p99`) chooses the converters' full scales from the checkpoint's calibrated
    ranges; ADCs of single tiles are calibrated with the corpus in `data_dir` (default: the built-in one). For a module,
    `input_range` is its largest input, and its ADCs have no range. `progress(array, cells)` is called after each array.

    Raises `CheckpointError`, `HardwareError`, `DeviceError`, `MappingError`, `ManifestError`; `InputError` for a read
    that would move states; `EnvironmentProblem` if `osdi` cannot run here; `StorageError` if the folder cannot be
    written.
    """
    hardware = _hardware(hardware, device, read_voltage)
    _check_read(hardware.device, device_backend, read_s, allow_disturb)
    check_writable(NETLISTS if folder is None else Path(folder))
    attached = {OSDI_FILE: osdi_library(hardware.device.law)} if device_backend == "osdi" else {}
    if isinstance(source, nn.Module):
        name = running_class(source).__name__.lower()
        target = Path(folder or NETLISTS / name)
        layers, origin = _of_module(source, name, input_range)
    else:
        checkpoint = _checkpoint(source)
        target = Path(folder or NETLISTS / default_name(checkpoint.path))
        layers, origin = _of_checkpoint(checkpoint, target, calibration, hardware, data_dir)
        attached[CHECKPOINT] = checkpoint.path
    return write_netlists(
        target,
        layers,
        hardware,
        origin,
        attached,
        backend=device_backend,
        read_s=read_s,
        force=force,
        progress=progress,
    )


def map_checkpoint(
    checkpoint: Checkpoint, hardware: Hardware, *, calibration: str = "max", text: Sequence[Sequence[int]] = ()
) -> MappedNetwork:
    """The arrays of a checkpoint on `hardware`, as `build_netlist` writes them; other arguments and errors as there.

    `text`: encoded sentences for the calibration of tiles' own ADCs, if `calibration.needs_text`.
    """
    exports = _exports(checkpoint, calibration, hardware, text)
    return map_network(exports, hardware)


def source_of(checkpoint: Checkpoint, calibration: str) -> dict[str, Any]:
    """Description of a checkpoint as the source of a manifest."""
    return {
        "checkpoint": CHECKPOINT,
        "original_name": checkpoint.path.name,
        "sha256": sha256(checkpoint.path),
        "calibration": calibration,
    }


def _hardware(
    hardware: Hardware | str | Path, device: MemristorSpec | str | Path | None, read_voltage: float | None
) -> Hardware:
    """The hardware, with another `device` or `read_voltage` if given."""
    chosen = hardware if isinstance(hardware, Hardware) else read_hardware(hardware)
    if device is not None:
        spec = device if isinstance(device, MemristorSpec) else find_device(device)
        chosen = replace(chosen, device=spec)
    if read_voltage is not None:
        chosen = replace(chosen, device=replace(chosen.device, read_v=read_voltage))
    return chosen


def _check_read(device: MemristorSpec, backend: str, read_s: float, allow_disturb: bool) -> None:
    """Raise `InputError` for an impossible read, or for one that would move states without `allow_disturb`."""
    if backend not in DEVICE_BACKENDS:
        raise InputError(unknown_name("device back end", backend, DEVICE_BACKENDS))
    if not 1e-12 <= read_s <= 1:
        raise InputError(f"a read of {read_s} s; allowed: 1e-12 to 1 s")
    if device.read_v > LARGEST_V:
        raise InputError(f"a read voltage of {device.read_v:g} V; allowed: above 0, {LARGEST_V:g} V at most")
    if device.read_v >= device.threshold_v and not allow_disturb:
        where, remedy = "and it has no threshold", "a device with a threshold"
        if device.threshold_v:
            where, remedy = f"at or above its threshold of {device.threshold_v:g} V", "a lower --read-voltage"
        raise InputError(
            f"device {device.name}: read voltage {device.read_v:g} V, {where}: reading would move the states; choose"
            f" {remedy}, or accept it with --allow-disturb"
        )


def default_name(checkpoint: Path) -> str:
    """Default name of a checkpoint's build: the name of its folder for a `best.pt`, else its own name."""
    return absolute(checkpoint).parent.name if checkpoint.stem == "best" else checkpoint.stem


def _checkpoint(source: str | Path | Checkpoint) -> Checkpoint:
    """The checkpoint at a path; one in memory must equal its file."""
    if not isinstance(source, Checkpoint):
        return load_checkpoint(source)
    _check_unchanged(source)
    return source


def _check_unchanged(checkpoint: Checkpoint) -> None:
    """Raise `CheckpointError` for a model that differs from its file, which is copied beside the netlists."""
    stored, own = load_checkpoint(checkpoint.path).model.state_dict(), checkpoint.model.state_dict()
    for key in sorted(set(stored) | set(own)):
        if key not in stored or key not in own or not torch.equal(stored[key].double(), own[key].double()):
            raise CheckpointError(
                f"{checkpoint.path}: the model in memory has other weights ({key!r}) than the file, which travels with"
                " its netlists; save it (hvae_mnn.models.checkpoint.save_checkpoint) and build from that file"
            )


def _of_checkpoint(
    checkpoint: Checkpoint, target: Path, calibration: str, hardware: Hardware, data_dir: str | Path | None
) -> tuple[list[LayerExport], dict[str, Any]]:
    """Layers of a checkpoint for a build in the folder `target`, and their origin."""
    text: list[list[int]] = []
    if needs_text(hardware):
        text = calibration_sentences(checkpoint, None if data_dir is None else Path(data_dir))
    layers = _exports(checkpoint, calibration, hardware, text)
    # Relative, so that a project that moves as a whole keeps its builds.
    path = Path(os.path.relpath(absolute(checkpoint.path), absolute(target))).as_posix()
    return layers, {**source_of(checkpoint, calibration), "path": path}


def _of_module(module: nn.Module, name: str, input_range: float) -> tuple[list[LayerExport], dict[str, Any]]:
    """Layers of a module, and their origin."""
    if not 0 < input_range < math.inf:
        raise InputError(f"input_range is {input_range}; allowed: a number above 0")
    layers = recurrent_layers(module, name)
    # The input of a layer above the first is the hidden state below it, within (-1, 1).
    first = 2 if getattr(module, "bidirectional", False) else 1
    ranges = [input_range if number < first else 1.0 for number in range(len(layers))]
    exports = [LayerExport(layer, input_range={"x": limit}) for layer, limit in zip(layers, ranges, strict=True)]
    return exports, {"module": type(module).__name__}


def _exports(
    checkpoint: Checkpoint, calibration: str, hardware: Hardware, text: Sequence[Sequence[int]]
) -> list[LayerExport]:
    if calibration not in CALIBRATIONS:
        raise InputError(unknown_name("calibration", calibration, CALIBRATIONS))
    ranges = checkpoint.activation_ranges
    if not ranges:
        raise CheckpointError(
            f"{checkpoint.path}: no activation ranges inside, so converters cannot be calibrated; finish the training"
            " with hvae-mnn train --resume"
        )
    exports = []
    parts: dict[str, dict[str, list[float]]] = {}
    if needs_text(hardware):
        parts = partial_sum_ranges(checkpoint, hardware, calibration, text)
    layers = model_layers(checkpoint.model)
    for declared in checkpoint.model.declared_layers():
        own = ranges[declared.name]
        whole = {unit: spread[calibration] for unit, spread in own["preactivations"].items()}
        exports.append(
            LayerExport(
                layers[declared.name],
                latent_size=declared.latent_size,
                input_range=_input_range(own["inputs"], calibration, _bounds(declared, hardware)),
                preactivation_range=parts.get(declared.name) or whole,
            )
        )
    return exports


def _bounds(layer: DeclaredLayer, hardware: Hardware) -> dict[str, float] | None:
    """With DACs of range `max`: the largest magnitude that a role can have, where there is one."""
    if hardware.dac.range != "max":
        return None
    bounds = {"x": 1.0}  # a hidden state
    if layer.embedding is not None:
        bounds["x"] = float(acting_weight(layer.embedding, f"{layer.name}_embedding").abs().max())
    # A decoder's first hidden state is a projection of z, which has no bound.
    return bounds if layer.role == "decoder" else {**bounds, "h": 1.0}


def _input_range(
    inputs: Mapping[str, Mapping[str, Any]], calibration: str, bounds: Mapping[str, float] | None
) -> dict[str, float]:
    """Input ranges by the manifest's roles, which split calibration's memory `c` into a previous and a new memory.

    With `bounds`, a role without a bound (a latent, a memory) gets the largest magnitude of the calibration.
    """
    chosen = calibration if bounds is None else "max"
    ranges = {role: float(spread[chosen]) for role, spread in inputs.items() if role != "c"}
    ranges |= {role: value for role, value in (bounds or {}).items() if role in ranges}
    if "c" in inputs:
        ranges |= dict.fromkeys(("cp", "ct"), float(inputs["c"][chosen]))
    return ranges
