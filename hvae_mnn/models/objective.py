"""The loss: reconstruction plus a weighted KL."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hvae_mnn.models.config import KlTarget, TrainingConfig
from hvae_mnn.models.latent import Posterior
from hvae_mnn.text.vocabulary import PAD


def gaussian_kl(mean: Float[Tensor, "*batch Z"], log_variance: Float[Tensor, "*batch Z"]) -> Float[Tensor, "*batch"]:
    """KL(N(mean, variance) || N(0, I)) in nats, summed over the last axis: (..., Z) to (...).

    Eq. 5 with its signs set right: -1/2 sum(1 + log_variance - mean^2 - exp(log_variance)). As printed, mean^2 has a
    plus and the "divergence" is unbounded below.
    """
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum(dim=-1)


def reconstruction(logits: Float[Tensor, "B predicted V"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """-ln p(x | z) of each sentence in nats, shape (B,), from logits (B, T - 1, V) and tokens (B, T).

    Words and the end symbol are predicted, pads are not. Computed in float32 whatever the logits' type.
    """
    targets = tokens[:, 1:]  # (B, T - 1)
    losses = nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=PAD, reduction="none"
    )  # (B * (T - 1),)
    return losses.view_as(targets).sum(dim=1)


def step_kl(posterior: Posterior) -> Float[Tensor, "B T"]:
    """KL of every encoder step in nats, shape (B, T), zero at steps that do not count."""
    kl = gaussian_kl(posterior.mean.float(), posterior.log_variance.float())  # (B, T)
    places = torch.arange(kl.shape[1], device=kl.device)
    return kl.masked_fill(places[None, :] >= posterior.steps[:, None], 0.0)


def charged_kl(posterior: Posterior, target: KlTarget) -> Float[Tensor, " B"]:
    """The KL that the loss charges each sentence, in nats, shape (B,).

    `last` is the latent's own KL, which makes the loss an ELBO. `mean_t` divides the sum over steps by their number
    (eq. 6 as TWR-VAE's code reads it): one latent is used, so its KL is charged at a fraction of its price.
    """
    if target == "last":
        mean, log_variance = posterior.last()
        return gaussian_kl(mean.float(), log_variance.float())
    total = step_kl(posterior).sum(dim=1)
    return total / posterior.steps if target == "mean_t" else total


def batch_loss(
    rec: Float[Tensor, " B"], kl: Float[Tensor, " B"], weight: float, config: TrainingConfig
) -> Float[Tensor, ""]:
    """Scalar loss of a batch from each sentence's reconstruction and charged KL, both (B,).

    The KL counts from `free_bits` upward on the batch's mean, so that single sentences may stay below.
    """
    mean_kl = kl.mean()
    if config.free_bits > 0:
        mean_kl = mean_kl.clamp(min=config.free_bits)
    loss = rec.mean() + weight * mean_kl
    return loss * rec.shape[0] if config.reduction == "sum" else loss
