"""The decoder with its own words as input: one loop, and the two ways of choosing a word, on any `Stepper`.

Axis letters: B sentences, H hidden, V vocabulary, W latent (of all steps, where each has its own).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from hvae_mnn.models.stepwise import State, Stepper
from hvae_mnn.text.vocabulary import SOS

NOT_FINITE = -1
"""Stands for a word where some logits are NaN or infinite."""


def free_run(
    stepper: Stepper,
    lengths: Sequence[int],
    z: Float64[Tensor, "B W"],
    choose: Callable[[State], Int64[Tensor, " B"] | None],
) -> None:
    """Run the decoder of B sentences from their z (B, W), for `lengths` steps each, longest first.

    After every step, `choose` gets the state of the first sentences, those that have such a step, and returns the words
    that they read next, or None to end.
    """
    state = stepper.decoder_state(z)
    words: Tensor | None = torch.full((len(lengths),), SOS)
    for t in range(lengths[0]):
        if words is None:
            break
        count = sum(length > t for length in lengths)
        state, _ = stepper.decoder_step(words[:count], z[:count], state.first(count))
        words = choose(state)


def likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Most likely words (B,) or `NOT_FINITE`, and whether the logits (B, V) of each row can be compared."""
    largest, words = logits.max(dim=1)  # which is NaN if any of them is
    finite = torch.isfinite(largest)
    return torch.where(finite, words, NOT_FINITE), finite


def drawn(
    logits: Float64[Tensor, "B V"], uniform: Float64[Tensor, " B"], temperature: float = 1.0
) -> Int64[Tensor, " B"]:
    """Words (B,) drawn from softmax(logits / temperature), or `NOT_FINITE`; `uniform` (B,) are numbers in [0, 1).

    A word is drawn where the cumulated probability exceeds its uniform number, so equal numbers and nearly equal logits
    give equal words: a model and its hardware can be compared.
    """
    _, finite = likeliest(logits)
    scaled = (logits - logits.max(dim=1, keepdim=True).values) / temperature  # first: no temperature overflows
    cumulated = scaled.softmax(dim=1).cumsum(dim=1)
    # Within the total, which rounding takes from 1, so that a word of probability 0 behind it is never drawn.
    target = torch.minimum(uniform[:, None] * cumulated[:, -1:], torch.nextafter(cumulated[:, -1:], torch.tensor(0.0)))
    words = torch.searchsorted(cumulated, target, right=True)[:, 0].clamp(max=logits.shape[1] - 1)
    return torch.where(finite, words, NOT_FINITE)
