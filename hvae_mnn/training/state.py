"""The state that a resumable run keeps on disk, `last.pt`: weights, optimiser, position and identity of the run."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.models.archive import read_archive, write_archive
from hvae_mnn.models.checkpoint import check_parts, check_weights
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.text.batches import EncodedSentence
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training.optimizer_state import restore_optimizer

BEST, LAST, METRICS = "best.pt", "last.pt", "metrics.json"
_HUGE = 1e100
_DIFFERENCES = {
    ("corpus",): "was on other text; resume it on its own",
    ("base",): "began from another checkpoint; resume it with that one",
    ("precision",): "computes in {stored}, this machine would in {given}; resume it where it began",
}
"""Wording for parts of an identity whose values say nothing to a person, by their keys."""
_GROUPS = ("model_config", "training_config", "config")
"""Keys of an identity that only hold others together."""


@dataclass(frozen=True)
class StateLayout:
    """Names in the state files of one kind of run. They are those of its first version: old states resume."""

    kind: str
    """`training` or `finetuning`, for messages."""
    marks: Mapping[str, Any]
    """Entries that tell this kind and version of file from others."""
    identity: Mapping[str, type]
    """Parts of the identity that every version has stored, and their types."""
    nested: str | None
    """Key under which the identity is stored; None: its parts are entries of the file itself."""
    position: str
    """Key of the position."""


class Position(ABC):
    """How far a run has come; with model and optimiser it is all that resuming needs.

    Subclasses are dataclasses, whose fields are stored.
    """

    history: list[dict[str, Any]]
    """One record per validation."""

    @abstractmethod
    def check(self, path: Path) -> None:
        """Refuse values that no run leaves behind.

        Raises `CheckpointError`, or one of the errors that values of the wrong type raise.
        """


P = TypeVar("P", bound=Position)


def write_state(
    path: Path,
    layout: StateLayout,
    identity: Mapping[str, Any],
    model: RecurrentModel,
    optimizer: torch.optim.Optimizer,
    position: Position,
) -> None:
    """Write a run's state to `path` in one step. Raises `StorageError`."""
    write_archive(
        path,
        {
            **layout.marks,
            **(identity if layout.nested is None else {layout.nested: identity}),
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            layout.position: vars(position),
        },
    )


def read_state(path: Path, layout: StateLayout) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stored state in `path`, and the identity in it. Raises `InputError` for anything else, `CheckpointError` for
    damage."""
    stored = read_archive(path)
    if any(stored.get(key) != value for key, value in layout.marks.items()):
        raise InputError(f"{path} is no {layout.kind} state of this hvae-mnn; choose another --out")
    others = dict.fromkeys(("model", "optimizer", layout.position), dict)
    check_parts(path, stored, others)
    if layout.nested is None:
        identity = {key: value for key, value in stored.items() if key not in {*layout.marks, *others}}
    else:
        check_parts(path, stored, {layout.nested: dict})
        identity = stored[layout.nested]
    check_parts(path, identity, layout.identity)
    return stored, identity


def check_identity(out: Path, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse the state of another run. Raises `InputError` that names the first difference."""
    difference = _difference(stored, given)
    if difference is None:
        return
    keys, there, wanted = difference
    name = ".".join(key for key in keys if key not in _GROUPS)
    reason = f"has {name} {there!r}, asked for is {wanted!r}; resume it with its own settings"
    if keys in _DIFFERENCES:
        reason = _DIFFERENCES[keys].format(stored=there, given=wanted)
    raise InputError(f"the run in {out} {reason}, or choose another --out")


def _difference(stored: Any, given: Any, keys: tuple[str, ...] = ()) -> tuple[tuple[str, ...], Any, Any] | None:
    """Keys, stored and given value of the first difference."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        for key in (*given, *(key for key in stored if key not in given)):
            difference = _difference(stored.get(key), given.get(key), (*keys, str(key)))
            if difference is not None:
                return difference
        return None
    return None if stored == given else (keys, stored, given)


def restore(
    path: Path,
    layout: StateLayout,
    stored: Mapping[str, Any],
    model: RecurrentModel,
    optimizer: torch.optim.Optimizer,
    position: type[P],
) -> P:
    """Put a stored state into model and optimiser; returns its position.

    Raises `CheckpointError` for weights, an optimiser's state or a position that are not this run's, or not finite.
    """
    check_weights(path, model, stored["model"])
    try:
        reached = position(**stored[layout.position])
        reached.check(path)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its position cannot be used ({error}); choose another --out") from None
    restore_optimizer(path, optimizer, stored["optimizer"])
    model.load_state_dict(stored["model"])
    return reached


def state_bytes(model: RecurrentModel) -> int:
    """About the size of `last.pt`: the weights, and two moments of the optimiser for each."""
    return 3 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def corpus_digest(vocabulary: Vocabulary, *splits: Sequence[EncodedSentence]) -> str:
    """SHA-256 of the words and the encoded sentences, so that a resume on another corpus is noticed."""
    digest = hashlib.sha256("\n".join(vocabulary.words).encode())
    for sentences in splits:
        digest.update(b"".join(np.asarray(sentence, dtype="<i4").tobytes() for sentence in sentences))
    return digest.hexdigest()


def is_count(value: object) -> bool:
    """Whether a stored value is a whole number, 0 or above."""
    return type(value) is int and value >= 0


def is_figure(value: object) -> bool:
    """Whether a stored value is a finite number of a size that figures have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE
