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
    used: Tensor | None = None
    """Where the decoder takes a latent at each of its steps: their number, shape (B,); None where it takes one."""

    def last(self) -> tuple[Float[Tensor, "B W"], Float[Tensor, "B W"]]:
        """Mean and log-variance of what the decoder uses, each of shape (B, W): the last step's latent, W = Z; or the
        latents of all its steps, one after the other, W = Z times the steps of the longest sentence. Those past a
        sentence's end are standard normal: they cost nothing and tell nothing."""
        if self.used is not None:
            longest = int(self.used.max())
            past = torch.arange(longest, device=self.mean.device)[None] >= self.used[:, None]  # (B, L)
            parts = [part[:, :longest].masked_fill(past[..., None], 0.0) for part in (self.mean, self.log_variance)]
            return parts[0].flatten(1), parts[1].flatten(1)
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
