"""The terms of the loss, with the recurrent layers on crossbars."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hvae_mnn.finetuning.stepper import MixedStepper
from hvae_mnn.models.latent import Posterior, sample_latent
from hvae_mnn.models.stepwise import encoder_states, forced_states, tokens_at
from hvae_mnn.text.batches import EncodedSentence


def costs(stepper: MixedStepper, sentences: Sequence[EncodedSentence]) -> tuple[Tensor, Posterior]:
    """Reconstruction (B,) in nats and posterior of `sentences`, longest first, with a latent drawn for each."""
    posterior = _posterior(stepper, sentences)
    mean, log_variance = posterior.last()
    z = sample_latent(mean, log_variance)
    hidden, targets, owner = [], [], []
    for t, state in enumerate(forced_states(stepper, sentences, z)):
        hidden.append(state.hidden)
        targets.append(tokens_at(sentences, t + 1))
        owner.append(torch.arange(len(state.hidden)))
    logits = stepper.model.to_logits(torch.cat(hidden))
    nats = nn.functional.cross_entropy(logits, torch.cat(targets), reduction="none")
    rec = torch.zeros(len(sentences), dtype=nats.dtype).index_add(0, torch.cat(owner), nats)
    return rec, posterior


def _posterior(stepper: MixedStepper, sentences: Sequence[EncodedSentence]) -> Posterior:
    """The posterior of every step; steps past a sentence's end are filled with zero states and do not count."""
    if not stepper.encoder:
        hidden = stepper.no_encoder(len(sentences)).hidden[:, None]  # (B, 1, 0)
        return Posterior(*stepper.model.posterior(hidden), torch.ones(len(sentences), dtype=torch.int64))
    states = [
        nn.functional.pad(state.hidden, (0, 0, 0, len(sentences) - len(state.hidden)))
        for state in encoder_states(stepper, sentences)
    ]
    lengths = torch.tensor([len(stepper.encoder_tokens(sentence)) for sentence in sentences])
    return Posterior(*stepper.model.posterior(torch.stack(states, dim=1)), lengths)  # hidden states (B, T, H)
