"""The loss: reconstruction plus a weighted KL."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hvae_mnn.models.latent import Posterior
from hvae_mnn.models.training_config import KlTarget, TrainingConfig
from hvae_mnn.text.vocabulary import PAD


def gaussian_kl(mean: Float[Tensor, "*batch Z"], log_variance: Float[Tensor, "*batch Z"]) -> Float[Tensor, "*batch"]:
    """KL(N(mean, variance) || N(0, I)) in nats, summed over the last axis: (..., Z) to (...).

    Eq. 5 with its signs set right: -1/2 sum(1 + log_variance - mean^2 - exp(log_variance)). As printed, mean^2 has a
    plus and the "divergence" is unbounded below.
    """
    return unit_kl(mean, log_variance).sum(dim=-1)


def unit_kl(mean: Float[Tensor, "*batch Z"], log_variance: Float[Tensor, "*batch Z"]) -> Float[Tensor, "*batch Z"]:
    """The same by latent unit, (..., Z)."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0)


def reconstruction(logits: Float[Tensor, "B predicted V"], tokens: Int[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """-ln p(x | z) of each sentence in nats, shape (B,), from logits (B, T - 1, V) and tokens (B, T).

    Words and the end symbol are predicted, pads are not. Computed in float32, or in float64 for such logits.
    """
    targets = tokens[:, 1:]  # (B, T - 1)
    losses = nn.functional.cross_entropy(
        logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32)),
        targets.flatten(),
        ignore_index=PAD,
        reduction="none",
    )  # (B * (T - 1),)
    return losses.view_as(targets).sum(dim=1)


def step_kl(posterior: Posterior) -> Float[Tensor, "B T"]:
    """KL of every encoder step in nats, shape (B, T), zero at steps that do not count."""
    kl = gaussian_kl(_wide(posterior.mean), _wide(posterior.log_variance))  # (B, T)
    places = torch.arange(kl.shape[1], device=kl.device)
    return kl.masked_fill(places[None, :] >= posterior.steps[:, None], 0.0)


_PARTIAL: dict[str, float] = {"last_25": 0.25, "last_50": 0.5, "last_75": 0.75}


def charged_kl(posterior: Posterior, target: KlTarget) -> Float[Tensor, " B"]:
    """The KL that the loss charges each sentence, in nats, shape (B,).

    `last` is the latent's own KL, which makes the loss an ELBO. `mean_t` divides the sum over steps by their number
    (eq. 6 as TWR-VAE's code reads it): one latent is used, so its KL is charged at a fraction of its price.
    `last_over_t` charges that fraction of the own KL and nothing else.
    """
    if target in ("last", "last_over_t"):
        mean, log_variance = posterior.last()
        own = gaussian_kl(_wide(mean), _wide(log_variance))
        return own if target == "last" else own / posterior.steps
    kl = step_kl(posterior)  # (B, T)
    if target in _PARTIAL:
        return _mean_over_last(kl, posterior.steps, _PARTIAL[target])
    total = kl.sum(dim=1)
    return total / posterior.steps if target == "mean_t" else total


def _mean_over_last(kl: Float[Tensor, "B T"], steps: Int[Tensor, " B"], part: float) -> Float[Tensor, " B"]:
    """Mean of the last `part` of each sentence's steps, rounded as TWR-VAE's code does: half to even, all for 0."""
    count = torch.round(steps.double() * part).to(steps.dtype)  # (B,)
    count = torch.where(count == 0, steps, count)
    places = torch.arange(kl.shape[1], device=kl.device)[None]
    return kl.masked_fill(places < (steps - count)[:, None], 0.0).sum(dim=1) / count


def _wide(values: Tensor) -> Tensor:
    """In float32, or as it is in float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def batch_loss(
    rec: Float[Tensor, ""], posterior: Posterior, weight: float, config: TrainingConfig
) -> Float[Tensor, ""]:
    """Scalar loss of a batch: its summed reconstruction, and `weight` times the KL that the objective charges.

    The KL has the floors of `config`: `free_bits` under the mean over the batch, so that single sentences may stay
    below, and `free_bits_per_unit` under that mean of each unit of the latent's own KL, which is charged then.
    """
    count = len(posterior.steps)
    if config.free_bits_per_unit > 0:
        mean, log_variance = posterior.last()
        units = unit_kl(_wide(mean), _wide(log_variance)).mean(dim=0)  # (Z,)
        kl = units.clamp(min=config.free_bits_per_unit).sum()
    else:
        kl = charged_kl(posterior, config.kl_target).mean()
    if config.free_bits > 0:
        kl = kl.clamp(min=config.free_bits)
    loss = rec / count + weight * kl
    return loss * count if config.reduction == "sum" else loss
