"""The Gaussian that an encoder gives, and latents drawn from it.

Axis letters: B batch, T encoder steps, Z latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hvae_mnn.text.batches import EncodedSentence


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


def sentence_noise(seed: int, purpose: int, sentence: EncodedSentence, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of the given shape, float32, that depends on the seed, the purpose and the words alone.

    So a sentence's figures are the same in any order and any batch. Equal sentences share their noise.
    """
    generator = np.random.default_rng([seed, purpose, *sentence])
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
