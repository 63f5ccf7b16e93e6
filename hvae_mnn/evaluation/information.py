"""The information in a set of Gaussian posteriors: mutual information, active units, KL per step.

Axis letters: B batch, N sentences, T encoder steps, Z latent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hvae_mnn.models.latent import Posterior
from hvae_mnn.models.objective import step_kl

ACTIVE_VARIANCE = 0.01
"""A latent unit is active if its posterior mean varies over the set by at least this much (Burda et al. 2016)."""

POSITIONS = 10
"""Bins of the relative position in a KL profile."""


def log_density(latent: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """ln N(z_n; mean_m, variance_m) for every pair, shape (N, M), from latents (N, Z) and Gaussians (M, Z), float64."""
    latent, mean, log_variance = latent.double(), mean.double(), log_variance.double()
    precision = torch.exp(-log_variance)  # (M, Z)
    # The square is multiplied out so that all pairs are two matrix products; float64 has digits to spare for it.
    square = latent.square() @ precision.T - 2 * latent @ (mean * precision).T  # (N, M)
    constant = (log_variance + mean.square() * precision).sum(dim=1) + mean.shape[1] * math.log(2 * math.pi)  # (M,)
    return -0.5 * (square + constant)


def aggregate_log_density(latent: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """ln q(z_n) of each latent (N, Z) under the even mixture of the Gaussians (M, Z), shape (N,), float64."""
    parts = [torch.logsumexp(log_density(part, mean, log_variance), dim=1) for part in torch.split(latent, 1024)]
    return torch.cat(parts) - math.log(len(mean))


def batch_information(latent: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Each sentence's share of the mutual information in nats as published, (B,), float64; its mean is the estimate.

    From one batch: latents, means and log-variances, each (B, Z). Eq. 13 as TWR-VAE's code (and lagging-encoder's
    before it) estimates it: minus the closed-form entropy of the posteriors, minus the mean of ln q_B(z_b), q_B the
    even mixture of the same batch's posteriors. It saturates at ln B whatever the encoder knows.
    """
    negative_entropy = -0.5 * (math.log(2 * math.pi) + 1 + log_variance.double()).sum(dim=1)  # (B,)
    return negative_entropy - aggregate_log_density(latent, mean, log_variance)


def mean_and_error(terms: Tensor) -> tuple[float, float]:
    """Mean of independent terms (N,), and its standard error; 0 for a single one."""
    return float(terms.mean()), float(terms.std() / math.sqrt(len(terms))) if len(terms) > 1 else 0.0


def set_information(latent: Tensor, mean: Tensor, log_variance: Tensor) -> tuple[float, float]:
    """Mutual information of sentence and latent over a whole set, in nats, and its standard error.

    Mean over n of ln q(z_n | x_n) - ln q(z_n), z_n drawn from q(z | x_n), q(z) the even mixture of all N posteriors;
    each tensor (N, Z). Both terms at the same draw: their noise cancels, and the cap ln N holds for every draw.
    """
    own = log_density_rows(latent, mean, log_variance)
    return mean_and_error(own - aggregate_log_density(latent, mean, log_variance))


def log_density_rows(latent: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """ln N(z_n; mean_n, variance_n) of each row, shape (N,), float64."""
    latent, mean, log_variance = latent.double(), mean.double(), log_variance.double()
    square = (latent - mean).square() * torch.exp(-log_variance)
    return -0.5 * (square + log_variance + math.log(2 * math.pi)).sum(dim=1)


def active_units(mean: Tensor) -> int:
    """Latent units whose posterior mean varies: Var_n(mean_nd) >= `ACTIVE_VARIANCE`, with N - 1; means (N, Z)."""
    if not mean.numel() or len(mean) == 1:
        return 0
    return int((mean.double().var(dim=0) >= ACTIVE_VARIANCE).sum())


@dataclass(frozen=True)
class KlProfile:
    """Mean KL(q(z^t | x_1..t) || N(0, I)) in nats along the encoder's steps; the first step reads the start symbol.

    A latent that is charged by its mean over steps hides its KL on the last one: the profile shows it.
    """

    by_position: tuple[float | None, ...]
    """Over relative position t / T in `POSITIONS` equal bins; None for a bin without steps."""
    by_step: tuple[float, ...]
    """By absolute step t = 1, 2, ... ."""
    steps_counted: tuple[int, ...]
    """Sentences behind each entry of `by_step`."""
    from_end: tuple[float, ...]
    """By distance from the end, the latent's own step first; up to ten."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, as lists."""
        return {name: list(value) for name, value in asdict(self).items()}


def kl_profile(posteriors: Iterable[Posterior]) -> KlProfile:
    """The profile over batches of masked posteriors.

    By position, the last step of T has t / T = 1 and belongs to the last bin.
    """
    kl: list[Tensor] = []
    step: list[Tensor] = []
    steps: list[Tensor] = []
    for posterior in posteriors:
        values = step_kl(posterior).double().cpu()  # (B, T)
        last = posterior.steps.cpu()[:, None].expand_as(values)
        t = torch.arange(1, values.shape[1] + 1)[None, :].expand_as(values)
        valid = t <= last
        kl.append(values[valid])
        step.append(t[valid])
        steps.append(last[valid])
    values, t, last = torch.cat(kl), torch.cat(step), torch.cat(steps)

    def means(keys: Tensor, bins: int) -> tuple[list[float], list[int]]:
        totals = torch.zeros(bins, dtype=torch.float64).index_add_(0, keys, values)
        counts = torch.zeros(bins, dtype=torch.int64).index_add_(0, keys, torch.ones_like(keys))
        return (totals / counts).tolist(), counts.tolist()

    # t / T lies in (0, 1]; a bin includes its upper edge.
    positions, filled = means((t * POSITIONS + last - 1) // last - 1, POSITIONS)
    by_step, counted = means(t - 1, int(t.max()))
    from_end, _ = means(last - t, int(last.max()))
    return KlProfile(
        by_position=tuple(value if count else None for value, count in zip(positions, filled, strict=True)),
        by_step=tuple(by_step),
        steps_counted=tuple(counted),
        from_end=tuple(from_end[:10]),
    )
