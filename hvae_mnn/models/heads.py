"""Batch normalisation of the posterior means (BN-VAE), and its folding into the linear map before it.

Axis letters: B batch, T encoder steps, Z latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_MOMENTUM, _LEAST_VARIANCE = 0.1, 1e-5  # PyTorch's defaults, which the published code has


class MeanNorm(nn.Module):
    """Means normalised over a batch to a fixed scale gamma and a learned shift (Zhu et al. 2020).

    Over a batch the squared mean of each unit averages to gamma^2 + shift^2, so the KL averages at least to
    Z gamma^2 / 2, whatever the encoder does.
    """

    gamma: Tensor
    running_mean: Tensor
    running_variance: Tensor
    batches: Tensor

    def __init__(self, size: int, gamma: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(size))
        self.register_buffer("gamma", torch.full((size,), gamma))
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_variance", torch.ones(size))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, mean: Tensor, steps: Tensor) -> Tensor:
        """Means (B, T, Z) on the scale that the statistics of the latents' own steps give; `steps` (B,) names these.

        A batch of one sentence has no spread: it is put on the running scale, as in evaluation.
        """
        if not self.training or len(mean) == 1:
            scale, offset = self.affine()
            return mean * scale + offset
        last = mean[torch.arange(len(mean), device=mean.device), steps - 1]  # (B, Z)
        centre, variance = last.mean(dim=0), last.var(dim=0, unbiased=False)
        with torch.no_grad():
            # A plain mean at first: the statistics that it starts from are nobody's.
            self.batches += 1
            part = max(_MOMENTUM, 1.0 / float(self.batches))
            self.running_mean.lerp_(centre, part)
            self.running_variance.lerp_(last.var(dim=0), part)
        return (mean - centre) * (self.gamma * torch.rsqrt(variance + _LEAST_VARIANCE)) + self.shift

    def affine(self) -> tuple[Tensor, Tensor]:
        """Factor and offset (Z,) of a mean in evaluation."""
        scale = self.gamma * torch.rsqrt(self.running_variance + _LEAST_VARIANCE)
        return scale, self.shift - self.running_mean * scale


def fold(linear: nn.Linear, norm: MeanNorm) -> None:
    """Make the normalisation, as in evaluation, part of the linear map that gives the means."""
    scale, offset = norm.affine()
    with torch.no_grad():
        linear.bias.mul_(scale).add_(offset)
        linear.weight.mul_(scale[:, None])
