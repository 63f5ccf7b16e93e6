"""What a training run leaves on disk to be resumed from and read: `last.pt` and `metrics.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.files import read_sealed, write_sealed
from hvae_mnn.models.archive import read_archive, write_archive
from hvae_mnn.models.checkpoint import check_parts, check_weights
from hvae_mnn.models.config import ModelConfig, TrainingConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.reading import is_missing
from hvae_mnn.text.batches import EncodedSentence
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training.optimizer_state import restore_optimizer

STATE_FORMAT = "hvae-mnn training state"
STATE_VERSION = 1
_HUGE = 1e100
BEST, LAST, METRICS = "best.pt", "last.pt", "metrics.json"
_PARTS = {
    "model_config": dict,
    "training_config": dict,
    "corpus": str,
    "precision": str,
    "model": dict,
    "optimizer": dict,
    "state": dict,
}


@dataclass(frozen=True)
class RunIdentity:
    """What must be the same for a stored state to be this run's."""

    model_config: ModelConfig
    """Shape of the model."""
    training_config: TrainingConfig
    """Objective, optimiser and schedule."""
    corpus: str
    """Digest of the text, see `corpus_digest`."""
    precision: str
    """`fp32` or `bf16`, as the machine at hand resolved it."""


@dataclass
class Place:
    """Where a run stands; with model and optimiser it is everything that a resume needs."""

    epoch: int = 0
    """Epochs done."""
    batch: int = 0
    """Batches done in the epoch in work."""
    sums: dict[str, float] = field(default_factory=lambda: {"sentences": 0.0, "rec": 0.0, "kl": 0.0, "seconds": 0.0})
    """Sums over those batches: sentences, nats, wall-clock seconds."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record per finished epoch."""


def corpus_digest(vocabulary: Vocabulary, *splits: Sequence[EncodedSentence]) -> str:
    """SHA-256 of the words and the encoded sentences, so that a resume on another corpus is noticed."""
    digest = hashlib.sha256("\n".join(vocabulary.words).encode())
    for sentences in splits:
        digest.update(b"".join(np.asarray(sentence, dtype="<i4").tobytes() for sentence in sentences))
    return digest.hexdigest()


def save_state(out: Path, identity: RunIdentity, model: HSRVAE, optimizer: torch.optim.Optimizer, place: Place) -> None:
    """Write `out/last.pt` in one step."""
    write_archive(
        out / LAST,
        {
            "format": STATE_FORMAT,
            "version": STATE_VERSION,
            "model_config": identity.model_config.to_dict(),
            "training_config": identity.training_config.to_dict(),
            "corpus": identity.corpus,
            "precision": identity.precision,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "state": vars(place),
        },
    )


def state_bytes(model: HSRVAE) -> int:
    """About the size of `last.pt`: the weights, and two moments of the optimiser for each."""
    return 3 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def find_state(out: Path, identity: RunIdentity, resume: bool) -> dict[str, Any] | None:
    """The stored state in `out` to go on from, or None to start anew.

    Errors: `InputError` if there is a run but `resume` is not asked for, or the stored run is another one.
    """
    if is_missing(out / LAST):
        if not is_missing(out / BEST):
            raise InputError(f"{out} holds a {BEST} but no {LAST} to resume from; choose another --out")
        return None
    if not resume:
        raise InputError(f"{out} already holds a training run; go on with --resume, or choose another --out")
    stored = read_archive(out / LAST)
    _check(out, identity, stored)
    return stored


def restore(out: Path, stored: dict[str, Any], model: HSRVAE, optimizer: torch.optim.Adam) -> Place:
    """Put a stored state into model and optimiser; returns the place to go on from.

    Errors: `CheckpointError` for weights, an optimiser's state or a place that are not this run's, or not finite.
    """
    check_weights(out / LAST, model, stored["model"])
    place = _place(out / LAST, stored["state"])
    restore_optimizer(out / LAST, optimizer, stored["optimizer"])
    model.load_state_dict(stored["model"])
    return place


def _place(path: Path, stored: dict[str, Any]) -> Place:
    try:
        place = Place(**stored)
        counts, sums = (place.epoch, place.batch), place.sums
        if not all(type(count) is int and count >= 0 for count in counts) or set(sums) != set(Place().sums):
            raise ValueError("epoch, batch or sums")
        if not all(_is_figure(value) and value >= 0 for value in sums.values()):
            raise ValueError("a sum is no number, 0 or above")
        if len(place.history) != place.epoch or not all(map(_is_record, place.history)):
            raise ValueError("the history is of other epochs, or holds what is no number")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its place cannot be used ({error}); choose another --out") from None
    return place


def save_metrics(
    out: Path, identity: RunIdentity, history: Sequence[dict[str, Any]], chosen: str, **about: Any
) -> None:
    """Write `out/metrics.json`: `about`, specs, one record per epoch, and the best by the valid figure `chosen`."""
    best = min(history, key=lambda record: float(record["valid"][chosen]))
    write_sealed(
        out / METRICS,
        {
            **about,
            "model": identity.model_config.to_dict(),
            "training": identity.training_config.to_dict(),
            "precision": identity.precision,
            "torch": torch.__version__,
            "chosen_by": chosen,
            "best_epoch": best["epoch"],
            "complete": len(history) >= identity.training_config.epochs,
            "history": list(history),
        },
    )


def read_history(out: Path) -> tuple[list[dict[str, Any]], int]:
    """The epochs stored in `out/metrics.json` and the best one's number; an empty list and 0 where there are none."""
    path = Path(out) / METRICS
    if is_missing(path):
        return [], 0
    stored = read_sealed(path, "history of a training run")
    history, best = stored.get("history"), stored.get("best_epoch")
    if not isinstance(history, list) or not isinstance(best, int) or not 1 <= best <= len(history):
        raise InputError(f"{path} holds no history of a training run; remove it, or choose another --out")
    for number, record in enumerate(history):
        if not _is_record(record):
            raise InputError(f"{path}: record {number} of its history is none of an epoch; choose another --out")
    return history, best


def _is_record(record: Any) -> bool:
    """Whether it has an epoch's number, and the figures that are read back."""
    if not isinstance(record, dict) or not isinstance(record.get("valid"), dict):
        return False
    figures = [record.get("train_rec"), record.get("train_kl")]
    figures += [record["valid"].get(name) for name in ("elbo_nll", "elbo_kl", "elbo_ppl", "paper_kl", "paper_ppl")]
    return type(record.get("epoch")) is int and all(map(_is_figure, figures))


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _check(out: Path, identity: RunIdentity, stored: dict[str, Any]) -> None:
    """Check that a stored state belongs to the run."""
    if stored.get("format") != STATE_FORMAT or stored.get("version") != STATE_VERSION:
        raise InputError(f"{out / LAST} is no training state of this hvae-mnn; choose another --out")
    check_parts(out / LAST, stored, _PARTS)
    schedule = identity.training_config.schedule
    for name in ("model_config", "training_config"):
        for key, value in getattr(identity, name).to_dict().items():
            found = stored[name].get(key)
            # A cosine knows where it ends; only a constant step size lets a run be made longer.
            longer = key == "epochs" and schedule == "constant" and isinstance(found, int) and value >= found
            if found != value and not longer:
                raise InputError(
                    f"the run in {out} has {key} {found!r}, asked for is {value!r}; "
                    "resume it with its own settings, or choose another --out"
                )
    if stored["corpus"] != identity.corpus:
        raise InputError(f"the run in {out} was on other text; resume it on its own, or choose another --out")
    if stored["precision"] != identity.precision:
        raise InputError(
            f"the run in {out} computes in {stored['precision']}, this machine would in {identity.precision}; "
            "resume it where it began, or choose another --out"
        )
    if stored["state"].get("history") and is_missing(out / BEST):
        raise InputError(f"{out} has lost its {BEST}; choose another --out and train again")
