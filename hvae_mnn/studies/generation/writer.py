"""One model, digital or on crossbars, that writes the forms of a sentence from its latent.

Sentences run one at a time, so that no digit of one depends on the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hvae_mnn.models.decoding import NOT_FINITE, drawn, free_run, likeliest
from hvae_mnn.models.latent import sentence_noise
from hvae_mnn.models.stepwise import State, Stepper, encode_batch, forced_states
from hvae_mnn.studies.generation.items import Form, Item, Settings, noise_number
from hvae_mnn.text.vocabulary import EOS

Side = Literal["digital", "hardware"]
Stopped = Literal["eos", "text", "limit", "not finite"]
_PRIOR = 1
"""The purpose of the noise of a latent from the prior, as in `evaluation.proper`."""


@dataclass(frozen=True)
class Written:
    """A sentence that a model wrote."""

    item: Item
    form: Form
    side: Side
    tokens: tuple[int, ...]
    """Token ids of the decoder's steps, the end symbol included where it was written."""
    stopped: Stopped
    """Reason of the end: the end symbol, the end of the source (teacher-forced), the limit of words, or logits that are
    NaN or infinite."""
    right: int | None = None
    """Number of the source's words, end symbol included, that are the most likely ones; teacher-forced only."""
    nats: float | None = None
    """-ln p of the source at this latent; teacher-forced only, and None where it is infinite."""


class Writer:
    """A stepper with the settings of a run."""

    def __init__(
        self, side: Side, stepper: Stepper, settings: Settings, begin: Callable[[Sequence[int]], None] | None = None
    ) -> None:
        """`begin(numbers)` is called before every pass of encoder or decoder: the hardware's noise streams start."""
        self.side, self._stepper, self._settings = side, stepper, settings
        self._begin = begin or (lambda _: None)
        self._means: dict[tuple[int, ...], Tensor] = {}

    def write(self, item: Item, form: Form) -> Written:
        """One form of a sentence; `teacher-forced` needs an item with one source."""
        z = self._latent(item)
        self._begin([item.noise_number])
        if form == "teacher-forced":
            return self._forced(item, z)
        choose = self._greedy if form == "greedy" else self._sampled(item)
        tokens = self._free(z, choose)
        ends: dict[int, Stopped] = {EOS: "eos", NOT_FINITE: "not finite"}
        stopped = ends.get(tokens[-1], "limit")
        return Written(item, form, self.side, tuple(t for t in tokens if t != NOT_FINITE), stopped)

    def _latent(self, item: Item) -> Tensor:
        """z (1, W) in float64: (1, Z), or the latents of all steps where the decoder reads one at each."""
        if not item.sources:
            size = (self._stepper.model.latent_width(self._settings.most_words),)
            return sentence_noise(self._settings.seed, _PRIOR, item.key, size).double()[None]
        means = [self._mean(source) for source in item.sources]
        return torch.lerp(means[0], means[-1], item.weight)  # which is exact at both ends

    def _mean(self, source: tuple[int, ...]) -> Tensor:
        """Mean (1, W) of a sentence's posterior, the same at every call."""
        if source not in self._means:
            self._begin([noise_number("encode", source)])
            encoded = encode_batch(self._stepper, [source])
            self._means[source], _ = self._stepper.posterior(encoded, [source])
        return self._means[source]

    def _forced(self, item: Item, z: Tensor) -> Written:
        (source,) = item.sources
        tokens, nats = [], 0.0
        for state, target in zip(forced_states(self._stepper, [source], z), source[1:], strict=True):
            logits = self._stepper.logits(state)
            tokens.append(int(likeliest(logits)[0]))
            nats -= float(torch.log_softmax(logits[0], 0)[target])
        right = sum(token == target for token, target in zip(tokens, source[1:], strict=True))
        if NOT_FINITE in tokens:
            return Written(item, "teacher-forced", self.side, tuple(tokens[: tokens.index(NOT_FINITE)]), "not finite")
        likelihood = nats if math.isfinite(nats) else None
        return Written(item, "teacher-forced", self.side, tuple(tokens), "text", right, likelihood)

    def _free(self, z: Tensor, choose: Callable[[Tensor], int]) -> list[int]:
        """Tokens until the end symbol, `NOT_FINITE`, or the limit of words."""
        tokens: list[int] = []

        def read(state: State) -> Tensor | None:
            tokens.append(choose(self._stepper.logits(state)))
            return None if tokens[-1] in (EOS, NOT_FINITE) else torch.tensor(tokens[-1:])

        model, limit = self._stepper.model, self._settings.most_words
        if model.config.latent_use == "step":  # the latents end with their source
            limit = min(limit, z.shape[1] // model.config.latent_size)
        free_run(self._stepper, [limit], z, read)
        return tokens

    @staticmethod
    def _greedy(logits: Tensor) -> int:
        return int(likeliest(logits)[0])

    def _sampled(self, item: Item) -> Callable[[Tensor], int]:
        numbers = iter(item.uniform(self._settings.seed, self._settings.most_words))

        def choose(logits: Tensor) -> int:
            uniform = torch.tensor([next(numbers)], dtype=logits.dtype)
            return int(drawn(logits, uniform, self._settings.temperature))

        return choose
