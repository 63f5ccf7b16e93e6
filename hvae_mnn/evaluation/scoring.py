"""Parts of both evaluation reports: likelihoods in bounded memory, noise that belongs to a sentence, checks.

Axis letters: B batch, T padded sentence length, H hidden, V vocabulary, Z latent, S samples.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.text.batches import EncodedSentence
from hvae_mnn.text.vocabulary import PAD

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, the number of its items done, and the number of all."""

_LOGITS_AT_ONCE = 1 << 22  # 16 MiB of float32: stays near the cache, and a long sentence needs no gigabytes


@dataclass(frozen=True)
class Check:
    """A relation that must hold between figures of one report."""

    name: str
    """The relation, as a formula."""
    left: float
    """Value of its left side."""
    right: float
    """Value of its right side."""
    slack: float
    """Tolerance for sampling and rounding: how far the left side may go beyond the right one."""
    holds: bool
    """Whether it does."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def at_most(name: str, left: float, right: float, slack: float = 1e-9) -> Check:
    """The check `left <= right + slack`."""
    return Check(name, left, right, slack, left <= right + slack)


def equal(name: str, left: float, right: float, slack: float) -> Check:
    """The check `|left - right| <= slack`."""
    return Check(name, left, right, slack, abs(left - right) <= slack)


def perplexity(nats: float, tokens: int) -> float:
    """exp(nats / tokens), with the exponent kept where a float can hold it."""
    return math.exp(min(nats / tokens, 700.0))


def require_finite(figures: dict[str, float]) -> None:
    """Refuse figures that are not finite.

    Raises `CheckpointError` for the first of them.
    """
    for name, value in figures.items():
        if not math.isfinite(value):
            raise CheckpointError(
                f"the model's {name} is {value}: its weights are too large to compute with; train it anew"
            )


def require_sentences(sentences: Sequence[EncodedSentence], seed: int) -> None:
    """Refuse sentences and a seed that no report can use.

    Raises `InputError` for fewer than two sentences or a negative seed.
    """
    if len(sentences) < 2:
        raise InputError(
            f"an evaluation compares sentences with each other, found {len(sentences)}; allowed: 2 or more"
        )
    if seed < 0:
        raise InputError(f"seed is {seed}; allowed: 0 or more")


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode, and back when the work is done."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def log_likelihood(
    model: RecurrentModel, tokens: Int[Tensor, "B T"], latent: Float[Tensor, "B Z"]
) -> Float[Tensor, " B"]:
    """ln p(x | z) in nats of each row, shape (B,), from tokens (B, T) and latents (B, Z); pads are not counted.

    Logits are made and used a slice at a time: all of them for a batch of long sentences can be gigabytes.
    """
    hidden = model.decoder_hidden(tokens, latent).flatten(0, 1)  # (B * (T - 1), H)
    targets = tokens[:, 1:].flatten()  # (B * (T - 1),)
    rows = max(1, _LOGITS_AT_ONCE // model.config.vocabulary_size)
    losses = [
        nn.functional.cross_entropy(
            model.to_logits(part).float(), targets[start : start + rows], ignore_index=PAD, reduction="none"
        )
        for start, part in zip(range(0, len(hidden), rows), torch.split(hidden, rows), strict=True)
    ]
    return -torch.cat(losses).view(len(tokens), -1).double().sum(dim=1)


def random_order(seed: int, sentences: Sequence[EncodedSentence]) -> list[int]:
    """Indices of the sentences in a random order that depends on the seed and the words, not on the given order."""

    def digest(index: int) -> bytes:
        return hashlib.blake2b(np.array([seed, *sentences[index]], dtype=np.int64).tobytes(), digest_size=16).digest()

    return sorted(range(len(sentences)), key=digest)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error (0 for a single value)."""
    tensor = torch.tensor(values, dtype=torch.float64)
    error = tensor.std().item() / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return tensor.mean().item(), error
