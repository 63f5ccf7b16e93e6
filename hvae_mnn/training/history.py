"""How far a training run has come, and its history in `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hvae_mnn.errors import InputError
from hvae_mnn.files import read_sealed, write_sealed
from hvae_mnn.reading import is_missing
from hvae_mnn.training.state import METRICS, Position, StateLayout, is_count, is_figure

TRAINING_STATE = StateLayout(
    kind="training",
    marks={"format": "hvae-mnn training state", "version": 1},
    identity={"model_config": dict, "training_config": dict, "corpus": str, "precision": str},
    nested=None,
    position="state",
)
_SUMS = ("sentences", "rec", "kl", "seconds")


@dataclass
class TrainingPosition(Position):
    """How far a training run has come."""

    epoch: int = 0
    """Epochs done."""
    batch: int = 0
    """Batches done in the epoch in work."""
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0.0))
    """Sums over those batches: sentences, nats, wall-clock seconds."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record per finished epoch."""

    def check(self, path: Path) -> None:
        """See `Position.check`."""
        if not is_count(self.epoch) or not is_count(self.batch) or set(self.sums) != set(_SUMS):
            raise ValueError("epoch, batch or sums")
        if not all(is_figure(value) and value >= 0 for value in self.sums.values()):
            raise ValueError("a sum is no number, 0 or above")
        if len(self.history) != self.epoch or not all(map(is_record, self.history)):
            raise ValueError("the history is of other epochs, or holds a value that is no number")


def save_metrics(
    out: Path,
    identity: Mapping[str, Any],
    history: Sequence[dict[str, Any]],
    chosen: str,
    *,
    complete: bool,
    **about: Any,
) -> None:
    """Write `out/metrics.json`: `about`, specs, one record per epoch, and the best by the valid figure `chosen`."""
    best = min(history, key=lambda record: float(record["valid"][chosen]))
    write_sealed(
        out / METRICS,
        {
            **about,
            "model": identity["model_config"],
            "training": identity["training_config"],
            "precision": identity["precision"],
            "torch": torch.__version__,
            "chosen_by": chosen,
            "best_epoch": best["epoch"],
            "complete": complete,
            "history": list(history),
        },
    )


def read_history(out: Path) -> tuple[list[dict[str, Any]], int]:
    """The epochs stored in `out/metrics.json` and the best one's number; an empty list and 0 without that file.

    Raises `InputError` for a file that holds something else, or is damaged.
    """
    path = Path(out) / METRICS
    if is_missing(path):
        return [], 0
    stored = read_sealed(path, "history of a training run")
    history, best = stored.get("history"), stored.get("best_epoch")
    if not isinstance(history, list) or not isinstance(best, int) or not 1 <= best <= len(history):
        raise InputError(f"{path} holds no history of a training run; remove it, or choose another --out")
    for number, record in enumerate(history):
        if not is_record(record):
            raise InputError(f"{path}: record {number} of its history is no epoch's; choose another --out")
    return history, best


def is_record(record: Any) -> bool:
    """Whether it has an epoch's number, and the figures that are read back."""
    if not isinstance(record, dict) or not isinstance(record.get("valid"), dict):
        return False
    figures = [record.get("train_rec"), record.get("train_kl")]
    figures += [record["valid"].get(name) for name in ("elbo_nll", "elbo_kl", "elbo_ppl", "paper_kl", "paper_ppl")]
    return type(record.get("epoch")) is int and all(map(is_figure, figures))
