"""What a finetuning run leaves on disk to be resumed from: `last.pt`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.models.archive import read_archive, write_archive
from hvae_mnn.models.checkpoint import check_parts, check_ranges, check_weights
from hvae_mnn.models.config import TrainingConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.objective import kl_weight
from hvae_mnn.training.optimizer_state import restore_optimizer

STATE_FORMAT = "hvae-mnn finetuning state/2"


@dataclass
class Place:
    """Where a run stands."""

    update: int = 0
    loss_sum: float = 0.0
    """Over the batches since the last validation."""
    loss_count: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    ranges: dict[str, Any] = field(default_factory=dict)
    """Of inputs and pre-activations, from the latest validation: what converters are calibrated with."""


def write_state(
    path: Path, identity: Mapping[str, Any], model: HSRVAE, optimizer: torch.optim.Optimizer, place: Place
) -> None:
    """Write a run's state to `path` in one step. Raises `StorageError`."""
    write_archive(
        path,
        {
            "format": STATE_FORMAT,
            "identity": identity,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "place": vars(place),
        },
    )


def read_state(
    path: Path, identity: Mapping[str, Any], training: TrainingConfig, model: HSRVAE, optimizer: torch.optim.Adam
) -> Place:
    """Put the state in `path` into model and optimiser; returns the place to go on from. `training`: how the base was
    trained.

    Raises `InputError` for the state of a run with another identity, `CheckpointError` for a damaged one, or one that
    no run leaves behind.
    """
    stored = read_archive(path)
    if stored.get("format") != STATE_FORMAT:
        raise InputError(f"{path} is no state of finetuning; choose another --out")
    check_parts(path, stored, dict.fromkeys(("identity", "model", "optimizer", "place"), dict))
    # Versions that do not name the KL's weight charged the ramp's last point.
    there = {"kl_weight": kl_weight(training, training.epochs), **stored["identity"]}
    for name, value in identity.items():
        if there.get(name) != value:
            difference = _difference(there.get(name), value)
            raise InputError(f"{path} is of a run with another {name}{difference}; give that again, or another --out")
    check_weights(path, model, stored["model"])
    place = _place(path, stored["place"])
    restore_optimizer(path, optimizer, stored["optimizer"])
    model.load_state_dict(stored["model"])
    return place


def _place(path: Path, stored: dict[str, Any]) -> Place:
    """Where a stored run stands. Raises `CheckpointError` for what no run leaves behind."""
    try:
        place = Place(**stored)
        counts, figures = (place.update, place.loss_count), [place.loss_sum]
        figures += [record[name] for record in place.history for name in ("valid_top1", "valid_ppl")]
        if not all(type(count) is int and count >= 0 for count in counts) or not all(map(math.isfinite, figures)):
            raise ValueError("a count or a figure is none")
        if not place.history or not isinstance(place.ranges, dict):
            raise ValueError("it was never validated")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its place cannot be used ({error}); choose another --out") from None
    check_ranges(path, place.ranges, "ranges")
    return place


def _difference(stored: Any, given: Any) -> str:
    """The first value that differs, for a message."""
    if isinstance(stored, dict) and isinstance(given, dict):
        for key in given:
            if stored.get(key) != given[key]:
                return f", {key}{_difference(stored.get(key), given[key])}"
    return f": stored {stored!r}, given {given!r}" if not isinstance(given, dict) else ""
