"""Stochastic variational inference from an encoder's posterior on: the refinement of SA-VAE (Kim et al. 2018).

Axis letters: B batch, K steps, Z latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hvae_mnn.models.latent import sample_latent
from hvae_mnn.models.objective import gaussian_kl

_RECIPE_BATCH = 32
"""The published step is the gradient of a mean over 32 sentences. Here each sentence takes that part which is its own,
so that its latent does not depend on its neighbours."""
_STEP, _MOMENTUM = 1.0 / _RECIPE_BATCH, 0.5
_CLIP = 5.0 * math.sqrt(_RECIPE_BATCH)
"""Bound on the norm of a sentence's gradient, for mean and log-variance each; the published one, 5, is on the norm over
the 32 sentences of the mean's gradient, 1/32 of each."""


def refine(
    nats: Callable[[Tensor], Tensor],
    start: tuple[Tensor, Tensor],
    noise: Tensor,
    weight: float = 1.0,
    *,
    exact: bool = False,
) -> tuple[Tensor, Tensor]:
    """Mean and log-variance (B, Z) after K steps down each sentence's own loss, from those in `start`.

    `nats(z)` gives -ln p(x | z) of latents (B, Z), summed over the batch; `noise` (B, K, Z) the draws of the steps;
    `weight` that of the KL. The result is `start` plus a constant, unless `exact` keeps the steps' graph, for gradients
    through them.
    """
    values = torch.stack(start)  # (2, B, Z)
    if not exact:
        values = values.detach().requires_grad_()
    move = torch.zeros_like(values)
    for step_noise in noise.unbind(dim=1):
        mean, log_variance = values
        latent = sample_latent(mean, log_variance, noise=step_noise)
        loss = nats(latent) + weight * gaussian_kl(mean, log_variance).sum()
        (gradient,) = torch.autograd.grad(loss, [values], create_graph=exact)
        move = _MOMENTUM * move - _clipped(gradient)
        values = values + _STEP * move
        if not exact:
            values = values.detach().requires_grad_()
    if exact:
        return values[0], values[1]
    moved = (values - torch.stack(start)).detach()
    return start[0] + moved[0], start[1] + moved[1]


def _clipped(gradient: Tensor) -> Tensor:
    """Rows (..., Z) whose norm is at most the bound."""
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    return gradient / (norm / _CLIP).clamp(min=1.0)
