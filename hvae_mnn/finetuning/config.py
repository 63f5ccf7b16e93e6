"""How a network is finetuned on its hardware."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hvae_mnn.errors import InputError
from hvae_mnn.training.schedules import half_cosine


@dataclass(frozen=True)
class FinetuneConfig:
    """Lengths, step size and seed of a run."""

    updates: int = 600
    """Steps of the optimiser, one batch each; 0 clips the weights and does not train."""
    learning_rate: float = 3e-4
    """Adam's step size at the start; it falls to a twentieth along a half cosine."""
    batch_size: int = 64
    """Sentences per batch."""
    dropout: float = 0.0
    """Dropout on embeddings. It scales up the components that are left, so DACs and read noise see inputs that
    inference does not have."""
    clip: float = 5.0
    """Bound on the gradient's norm."""
    clip_weights: float | None = None
    """Bound on the weights of a gate unit, in standard deviations of the weights it began with: a single large weight
    takes conductance range from all others of its array. None: no bound."""
    redraw_every: int = 1
    """Updates per programming of the hardware: between two programmings only software's weights move."""
    validate_every: int = 100
    """Updates between validations."""
    valid_sentences: int = 200
    """First sentences of the validation split."""
    valid_draws: int = 2
    """Chips that a validation draws, the same every time."""
    seed: int = 0
    """Random seed for batches, hardware, dropout and latents."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises `InputError` for a value outside its range.
        """
        least = 1 if self.clip_weights is None else 0
        self._require("updates", self.updates >= least, "1 or more; 0 with --clip-weights" if least else "0 or more")
        for name in ("batch_size", "redraw_every", "validate_every", "valid_draws"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("valid_sentences", self.valid_sentences >= 2, "2 or more")
        self._require("seed", self.seed >= 0, "0 or more")
        self._require(
            "validate_every",
            self.validate_every % self.redraw_every == 0,
            f"a multiple of --redraw-every, {self.redraw_every}: a run is resumed from where hardware is programmed",
        )
        self._require("dropout", 0 <= self.dropout < 1, "0 to below 1")
        for name in ("learning_rate", "clip", "clip_weights"):
            value = getattr(self, name)
            self._require(name, value is None or 0 < value < math.inf, "a number above 0")

    def _require(self, name: str, fits: bool, allowed: str) -> None:
        if not fits:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(self, name)}; allowed: {allowed}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FinetuneConfig:
        """The configuration that `to_dict` described."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def learning_rate_at(self, update: int) -> float:
        """Step size after `update` updates."""
        return self.learning_rate * half_cosine(math.pi * update / self.updates)
