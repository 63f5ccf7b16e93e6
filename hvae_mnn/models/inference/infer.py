"""The posterior of a batch by the model's own way of inference, as evaluation and hardware use it.

An encoder's posterior comes out of the model itself. What refines or replaces it runs in software, takes its noise from
the sentence's words, and leaves the weights alone: so a sentence has the same latent in every batch and every report.

Axis letters: B batch, T padded length, Z latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hvae_mnn.models.inference.langevin import PROBES, chain, laplace
from hvae_mnn.models.inference.svi import refine
from hvae_mnn.models.latent import Posterior, sentence_noise
from hvae_mnn.models.objective import reconstruction
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.text.batches import EncodedSentence, collate

_PURPOSE = 3
"""Branch of a sentence's noise: evaluation has taken those below it."""


def infer(model: RecurrentModel, tokens: Tensor, lengths: Tensor, masked: bool = True) -> Posterior:
    """The posterior of a padded batch: tokens (B, T) with `SOS` and `EOS`, lengths (B,) = words + 2; eval mode.

    An encoder's has every step; one that was refined, or found without an encoder, has the latent's only.
    """
    posterior = model.encode(tokens, lengths, masked)
    if model.config.inference == "amortised":
        return posterior
    sentences = [row[:length].tolist() for row, length in zip(tokens, lengths.tolist(), strict=True)]
    mean, log_variance = refined(model, sentences, posterior.last())
    return Posterior(mean[:, None], log_variance[:, None], torch.ones_like(lengths))


def refined(
    model: RecurrentModel, sentences: Sequence[EncodedSentence], start: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean and log-variance (B, Z) of encoded sentences: `start`, the encoder's, or what software makes of it.

    `start` may come from hardware; `langevin` does not look at it.
    """
    config = model.config
    if config.inference == "amortised":
        return start
    steps, device, kind = config.inference_steps, start[0].device, start[0].dtype
    extra = 0 if config.inference == "svi" else 1 + PROBES
    noise = torch.stack(
        [sentence_noise(0, _PURPOSE, sentence, (steps + extra, config.latent_size)) for sentence in sentences]
    ).to(device, kind)  # (B, draws, Z)
    # cuDNN's recurrent layers have no gradients in eval mode.
    with torch.inference_mode(False), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        nats = likelihood(model, collate(sentences).tokens.to(device))
        if config.inference == "svi":
            start = (start[0].clone(), start[1].clone())
            mean, log_variance = refine(nats, start, noise.clone()[:, :steps])
        else:
            latent = chain(nats, noise[:, steps].clone(), torch.zeros_like(noise[:, :steps]), temperature=0.0)
            mean, log_variance = laplace(nats, latent, noise[:, steps + 1 :].clone().sign())
    return mean.detach(), log_variance.detach()


def likelihood(model: RecurrentModel, tokens: Tensor) -> Callable[[Tensor], Tensor]:
    """-ln p(x | z), summed over the batch, as a function of its latents (B, Z)."""
    return lambda latent: reconstruction(model.decode(tokens, latent), tokens).sum()
