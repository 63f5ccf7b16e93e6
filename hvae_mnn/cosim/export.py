"""From a checkpoint, or any torch recurrent module, to a netlist folder."""

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
from hvae_mnn.folders import check_place
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.models.recurrent import DeclaredLayer
from hvae_mnn.models.stepwise import PERCENTILES, model_layers
from hvae_mnn.names import unknown_name
from hvae_mnn.netlist.build import write_netlists
from hvae_mnn.netlist.device_lines import OSDI_FILE
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.reading import absolute
from hvae_mnn.spice.osdi import osdi_library
from hvae_mnn.torch_weights import acting_weight, running_class

NETLISTS = Path("netlists")
CHECKPOINT = "checkpoint.pt"
"""The checkpoint travels with its netlists: embeddings, latent and logits stay in software."""

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

    An older build of the same source there is replaced, one of another source with `force` only. The same source is a
    checkpoint at the same place or with the same bytes, or a module of the same class.

    `source` is a checkpoint or its path, or a torch `nn.RNN`, `nn.LSTM` or `nn.GRU`, whose weights are exported as its
    forward pass in eval mode uses them (`gates.recurrent_layers`). A checkpoint brings its calibrated ranges, of which
    `calibration` chooses one (`max`, `p99.99`, `p99.9`, `p99`: full scale of the converters); for a bare module
    `input_range` is the largest input it will see, and there is no ADC range. `progress(array, cells)` follows each
    array.

    `hardware` is a description, the name of a preset or a TOML file. Where tiles have ADCs of their own, these are
    calibrated with text: the corpus in `data_dir` (default: the built-in one).

    `device` takes the place of the hardware's: a memristor, the name of a preset or a TOML file. Its states stand
    still (`static`), or move as the back end `behavioural` or `osdi` of ngspice has it, while a read lasts `read_s`
    seconds. `read_voltage` (volts; default: the device's) is what the largest input becomes; at or above the threshold
    it is refused, unless `allow_disturb`.

    Raises `CheckpointError`, `HardwareError`, `DeviceError`, `MappingError`, `ManifestError`; `InputError` for a read
    that would move states; `EnvironmentProblem` when `osdi` cannot run here; `StorageError` when the folder cannot be
    written.
    """
    hardware = _hardware(hardware, device, read_voltage)
    _check_read(hardware.device, device_backend, read_s, allow_disturb)
    check_place(NETLISTS if folder is None else Path(folder))
    attached = {OSDI_FILE: osdi_library(hardware.device.law)} if device_backend == "osdi" else {}

    def write(target: Path, exports: list[LayerExport], described: dict[str, Any]) -> Manifest:
        return write_netlists(
            target,
            exports,
            hardware,
            described,
            attached,
            backend=device_backend,
            read_s=read_s,
            force=force,
            progress=progress,
        )

    if isinstance(source, nn.Module):
        name = running_class(source).__name__.lower()
        exports, described = _of_module(source, name, input_range)
        return write(Path(folder or NETLISTS / name), exports, described)
    checkpoint = source if isinstance(source, Checkpoint) else load_checkpoint(source)
    path = checkpoint.path
    if checkpoint is source:
        _check_unchanged(checkpoint)
    text: list[list[int]] = []
    if needs_text(hardware):
        text = calibration_sentences(checkpoint, None if data_dir is None else Path(data_dir))
    exports = _exports(checkpoint, calibration, hardware, text)
    target = Path(folder or NETLISTS / default_name(path))
    attached[CHECKPOINT] = path
    described = source_of(checkpoint, calibration)
    # Relative: a project that moves as a whole keeps its builds.
    described["path"] = Path(os.path.relpath(absolute(path), absolute(target))).as_posix()
    return write(target, exports, described)


def map_checkpoint(
    checkpoint: Checkpoint, hardware: Hardware, *, calibration: str = "max", text: Sequence[Sequence[int]] = ()
) -> MappedNetwork:
    """The arrays that `build_netlist` would write, without writing any; arguments and errors as there.

    `text`: encoded sentences, with which tiles' own ADCs are calibrated where `calibration.needs_text` says so.
    """
    exports = _exports(checkpoint, calibration, hardware, text)
    return map_network(exports, hardware)


def source_of(checkpoint: Checkpoint, calibration: str) -> dict[str, Any]:
    """What a manifest says of the source."""
    return {
        "checkpoint": CHECKPOINT,
        "original_name": checkpoint.path.name,
        "sha256": sha256(checkpoint.path),
        "calibration": calibration,
    }


def _hardware(
    hardware: Hardware | str | Path, device: MemristorSpec | str | Path | None, read_voltage: float | None
) -> Hardware:
    """The hardware, with another device or read voltage where that is wanted."""
    found = hardware if isinstance(hardware, Hardware) else read_hardware(hardware)
    if device is not None:
        spec = device if isinstance(device, MemristorSpec) else find_device(device)
        found = replace(found, device=spec)
    if read_voltage is not None:
        found = replace(found, device=replace(found.device, read_v=read_voltage))
    return found


def _check_read(device: MemristorSpec, backend: str, read_s: float, allow_disturb: bool) -> None:
    """Refuse reads that would move states, unless that is wanted."""
    if backend not in DEVICE_BACKENDS:
        raise InputError(unknown_name("device back end", backend, DEVICE_BACKENDS))
    if not 1e-12 <= read_s <= 1:
        raise InputError(f"a read of {read_s} s; allowed are 1e-12 to 1 s")
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
    """Name of a build: the checkpoint's folder for a `best.pt`, else its own name."""
    return absolute(checkpoint).parent.name if checkpoint.stem == "best" else checkpoint.stem


def _check_unchanged(checkpoint: Checkpoint) -> None:
    """Refuse a model that was changed in memory: its netlists would travel with the file, and so with other weights."""
    stored, own = load_checkpoint(checkpoint.path).model.state_dict(), checkpoint.model.state_dict()
    for key in sorted(set(stored) | set(own)):
        if key not in stored or key not in own or not torch.equal(stored[key].double(), own[key].double()):
            raise CheckpointError(
                f"{checkpoint.path}: the model in memory has other weights ({key!r}) than the file, which travels with"
                " its netlists; save it (hvae_mnn.models.checkpoint.save_checkpoint) and build from that file"
            )


def _of_module(module: nn.Module, name: str, input_range: float) -> tuple[list[LayerExport], dict[str, Any]]:
    if not 0 < input_range < math.inf:
        raise InputError(f"input_range is {input_range}; it must be a number above 0")
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
    """By the manifest's roles: calibration knows one memory `c`, the arrays a previous and a new one.

    With `bounds`, what has none (a latent, a memory) gets the largest magnitude that was met.
    """
    chosen = calibration if bounds is None else "max"
    found = {role: float(spread[chosen]) for role, spread in inputs.items() if role != "c"}
    found |= {role: value for role, value in (bounds or {}).items() if role in found}
    if "c" in inputs:
        found |= dict.fromkeys(("cp", "ct"), float(inputs["c"][chosen]))
    return found
