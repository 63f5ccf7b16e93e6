"""From a checkpoint, or any torch recurrent module, to a netlist folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.presets import AIST
from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.files import sha256
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.netlist.build import LayerExport, write_netlists
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.vae.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.vae.stepwise import PERCENTILES, model_layers

NETLISTS = Path("netlists")
CHECKPOINT = "checkpoint.pt"
"""The checkpoint travels with its netlists: embeddings, latent and logits stay in software."""

CALIBRATIONS = tuple(PERCENTILES)


def build_netlist(
    source: str | Path | Checkpoint | nn.Module,
    folder: str | Path | None = None,
    *,
    device: MemristorSpec = AIST,
    calibration: str = "max",
    input_range: float = 1.0,
    progress: Callable[[str, int], None] | None = None,
) -> Manifest:
    """Export `source` to ngspice netlists in `folder` (default `netlists/<name of the source>`); returns the manifest.

    `source` is a checkpoint or its path, or a torch `nn.RNN`, `nn.LSTM` or `nn.GRU`. A checkpoint brings its calibrated
    ranges, of which `calibration` chooses one (`max`, `p99.99`, `p99.9`, `p99`: full scale of the converters); for a
    bare module `input_range` is the largest input it will see, and there is no ADC range. `progress(array, cells)`
    follows each array.

    Raises `CheckpointError`, `MappingError`, `ManifestError`; `StorageError` when the folder cannot be written.
    """
    if isinstance(source, nn.Module):
        return _build_module(
            source, Path(folder or NETLISTS / type(source).__name__.lower()), device, input_range, progress
        )
    checkpoint = source if isinstance(source, Checkpoint) else load_checkpoint(source)
    path = checkpoint.path
    exports = _exports(checkpoint, calibration)
    target = Path(folder or NETLISTS / default_name(path))
    described = {
        "checkpoint": CHECKPOINT,
        "original_name": path.name,
        "sha256": sha256(path),
        "calibration": calibration,
    }
    return write_netlists(target, exports, device, described, {CHECKPOINT: path}, progress)


def default_name(checkpoint: Path) -> str:
    """Name of a build: the checkpoint's folder for a `best.pt`, else its own name."""
    return checkpoint.resolve().parent.name if checkpoint.stem == "best" else checkpoint.stem


def _build_module(
    module: nn.Module,
    folder: Path,
    device: MemristorSpec,
    input_range: float,
    progress: Callable[[str, int], None] | None,
) -> Manifest:
    if not 0 < input_range < math.inf:
        raise InputError(f"input_range is {input_range}; it must be a number above 0")
    name = type(module).__name__.lower()
    layers = recurrent_layers(module, name)
    # The input of a layer above the first is the hidden state below it, within (-1, 1).
    first = {name, f"{name}_l0", f"{name}_l0_reverse"}
    exports = [LayerExport(layer, input_range={"x": input_range if layer.name in first else 1.0}) for layer in layers]
    return write_netlists(folder, exports, device, {"module": type(module).__name__}, progress=progress)


def _exports(checkpoint: Checkpoint, calibration: str) -> list[LayerExport]:
    if calibration not in CALIBRATIONS:
        raise InputError(f"calibration is {calibration!r}; allowed are {', '.join(CALIBRATIONS)}")
    ranges = checkpoint.activation_ranges
    if not ranges:
        raise CheckpointError(
            f"{checkpoint.path}: no activation ranges inside, so converters cannot be calibrated; finish the training"
            " with hvae-mnn train --resume"
        )
    exports = []
    for name, layer in model_layers(checkpoint.model).items():
        found = ranges[name]
        exports.append(
            LayerExport(
                layer,
                latent_size=checkpoint.config.latent_size if name == "decoder" else 0,
                input_range=_input_range(found["inputs"], calibration),
                preactivation_range={unit: spread[calibration] for unit, spread in found["preactivations"].items()},
            )
        )
    return exports


def _input_range(inputs: Mapping[str, Mapping[str, Any]], calibration: str) -> dict[str, float]:
    """By the manifest's roles: calibration knows one memory `c`, the arrays a previous and a new one."""
    found = {role: float(spread[calibration]) for role, spread in inputs.items() if role != "c"}
    if "c" in inputs:
        found |= dict.fromkeys(("cp", "ct"), float(inputs["c"][calibration]))
    return found
