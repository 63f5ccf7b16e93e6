"""The Gaussian that an encoder gives, and latents drawn from it.

Axis letters: B batch, T encoder steps, Z latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """The encoder's Gaussian q(z^t | x_1..t) at every step."""

    mean: Tensor
    """Shape (B, T, Z), T the number of encoder steps."""
    log_variance: Tensor
    """Shape (B, T, Z); the paper calls it a variance and uses it as its logarithm (eq. 5)."""
    steps: Tensor
    """Number of each sentence's steps that count, shape (B,); the latent belongs to the last of them."""

    def last(self) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"]]:
        """Mean and log-variance of the latent's own step, each of shape (B, Z)."""
        rows = torch.arange(self.mean.shape[0], device=self.mean.device)
        return self.mean[rows, self.steps - 1], self.log_variance[rows, self.steps - 1]


def sample_latent(
    mean: Float[Tensor, "*#batch Z"],
    log_variance: Float[Tensor, "*#batch Z"],
    generator: torch.Generator | None = None,
    noise: Float[Tensor, "*#batch Z"] | None = None,
) -> Float[Tensor, "*#batch Z"]:
    """A latent z = mean + exp(log_variance / 2) * noise, each of shape (..., Z); noise is drawn if it is not given."""
    if noise is None:
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + torch.exp(0.5 * log_variance) * noise
