"""Latents by short runs of Langevin dynamics from the prior: the inference of Sri-VAE (Pang et al. 2021).

Axis letters: B batch, K steps, Z latent.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_STEPS = (0.8, 0.7, 0.6, 0.5, 0.2, 0.2, 0.1, 0.1)
_LATER_STEP = 0.05
"""Published step sizes: eight, and then this one."""
PROBES = 8
"""Random directions in which the curvature is measured."""
_PROBE = 1e-2


def step_size(number: int) -> float:
    """Size s of a step, counted from 0: the slope counts s^2 / 2."""
    return _STEPS[number] if number < len(_STEPS) else _LATER_STEP


def chain(nats: Callable[[Tensor], Tensor], start: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Latents (B, Z) after K steps down -ln p(x | z) - ln p(z), from `start` (B, Z), without a gradient.

    `nats(z)` gives -ln p(x | z), summed over the batch; `noise` (B, K, Z) counts `temperature` times the step.
    """
    latent = start
    for number, step_noise in enumerate(noise.unbind(dim=1)):
        size = step_size(number)
        latent = latent - size**2 / 2 * _slope(nats, latent) + temperature * size * step_noise
    return latent


def laplace(nats: Callable[[Tensor], Tensor], latent: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """A Gaussian about each latent (B, Z), as mean and log-variance: a proposal for importance sampling.

    Its precision is the diagonal of the curvature of -ln p(x | z) - ln p(z), measured along `signs` (B, P, Z), which
    are 1 or -1 (Hutchinson's estimator), and at least the prior's, 1.
    """
    curvature = torch.zeros_like(latent)
    for sign in signs.unbind(dim=1):
        change = _slope(nats, latent + _PROBE * sign) - _slope(nats, latent - _PROBE * sign)
        curvature += sign * change / (2 * _PROBE * signs.shape[1])
    return latent, -curvature.clamp(min=1.0).log()


def _slope(nats: Callable[[Tensor], Tensor], latent: Tensor) -> Tensor:
    """Gradient (B, Z) of -ln p(x | z) - ln p(z)."""
    latent = latent.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(nats(latent), [latent])
    return gradient + latent.detach()
