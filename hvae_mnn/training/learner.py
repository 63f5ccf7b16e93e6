"""One batch of training: its loss in a model's own way of inference, and a step of the optimiser.

Axis letters: B batch, T padded length, Z latent, W what the decoder takes of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from hvae_mnn.errors import TrainingError
from hvae_mnn.models.inference.langevin import chain
from hvae_mnn.models.inference.svi import refine
from hvae_mnn.models.latent import Posterior, sample_latent
from hvae_mnn.models.objective import batch_loss, charged_kl, reconstruction
from hvae_mnn.models.output_loss import sentence_losses
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.text.batches import Batch
from hvae_mnn.training.accelerator import Accelerator, Share
from hvae_mnn.training.schedules import langevin_temperature


@dataclass(frozen=True)
class Costs:
    """Costs of a batch."""

    loss: Tensor
    """Scalar with a gradient: what the objective charges."""
    rec: float
    """-ln p(x | z) in nats, summed over the batch's sentences, mean over their samples."""
    kl: float
    """KL in nats, as the objective charges it but without weight and floor, summed over the sentences."""
    sentences: int
    """Sentences of the batch."""
    words: int
    """Predicted tokens of the batch."""


class Learner:
    """A model and its optimiser; the updates (`hvae_mnn.training.updates`) say in which order its parts learn."""

    def __init__(
        self,
        model: RecurrentModel,
        optimizer: torch.optim.Optimizer,
        config: TrainingConfig,
        accelerator: Accelerator,
        bf16: bool,
    ) -> None:
        """`bf16`: products of the output layer in bfloat16 (those of recurrent layers are the accelerator's)."""
        self.model, self.optimizer, self.config = model, optimizer, config
        self._accelerator, self._bf16 = accelerator, bf16

    def costs(self, batch: Batch, weight: float, epochs_done: float) -> Costs:
        """The costs of a batch, with `weight` for the KL, after `epochs_done` epochs. Draws from torch's generator.

        Raises `TrainingError` for a loss that is not finite.
        """
        share = self._accelerator.share(batch)
        posterior, latents = self._latents(share, weight, epochs_done)
        rec = share.total(torch.stack([self._reconstruction(share.batch, latent) for latent in latents]).mean())
        if posterior is None:
            loss, kl = rec if self.config.reduction == "sum" else rec / share.count, 0.0
        else:
            whole = share.gathered(posterior)
            loss = batch_loss(rec, whole, weight, self.config)
            kl = charged_kl(whole, self.config.kl_target).sum().item()
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss is {loss.item()}")
        return Costs(loss, rec.item(), kl, share.count, int(batch.lengths.sum()) - share.count)

    def step(self, loss: Tensor, only: Collection[nn.Parameter] | None = None) -> None:
        """Clipped gradients of the loss, and a step of the optimiser, for all parameters or `only` some.

        Raises `TrainingError` for a gradient that is not finite.
        """
        parameters = list(self.model.parameters())
        self.optimizer.zero_grad(set_to_none=True)
        self._accelerator.backward(loss, parameters)
        if self.config.clip is not None:
            norm = nn.utils.clip_grad_norm_(parameters, self.config.clip)
            if not math.isfinite(norm.item()):
                raise TrainingError(f"the gradient's norm is {norm.item()}")
        if only is not None:
            kept = {id(parameter) for parameter in only}
            for parameter in parameters:
                if id(parameter) not in kept:
                    parameter.grad = None
        self.optimizer.step()

    def _latents(self, share: Share, weight: float, epochs_done: float) -> tuple[Posterior | None, list[Tensor]]:
        """The posterior with its gradient, None for latents of the prior's chains, and the latents (B, W) drawn."""
        config, batch = self.model.config, share.batch
        if config.inference == "langevin":
            start, noise = self._noise(share, 1)[:, 0], self._noise(share, config.inference_steps)
            nats = partial(self._reconstruction, batch, of_latent_only=True)
            return None, [chain(nats, start, noise, langevin_temperature(self.config, epochs_done))]
        with self._accelerator.autocast():
            posterior = self.model.encode(batch.tokens, batch.lengths, masked=self.config.mask_pads)
        if config.inference == "svi":
            exact = not self.config.first_order
            nats = partial(self._exact_reconstruction, batch)
            if not exact:
                nats = partial(self._reconstruction, batch, of_latent_only=True)
            noise = self._noise(share, config.inference_steps)
            mean, log_variance = refine(nats, posterior.last(), noise, weight, exact=exact)
            posterior = Posterior(mean[:, None], log_variance[:, None], torch.ones_like(batch.lengths))
        mean, log_variance = posterior.last()
        kind = torch.promote_types(mean.dtype, torch.float32)  # bfloat16 on a GPU
        mean, log_variance = mean.to(kind), log_variance.to(kind)
        drawn = [self._drawn(share, mean.shape[1], kind) for _ in range(self.config.samples)]
        return posterior, [sample_latent(mean, log_variance, noise=noise) for noise in drawn]

    def _drawn(self, share: Share, width: int, kind: torch.dtype) -> Tensor:
        """Standard normal numbers (B, width) of this share; every process draws those of the whole batch."""
        return share.rows(torch.randn(share.count, width, dtype=kind, device=self.model.device))

    def _noise(self, share: Share, draws: int) -> Tensor:
        """Standard normal numbers (B, draws, Z) of this share."""
        size = self.model.config.latent_size
        return self._drawn(share, draws * size, torch.float32).view(-1, draws, size)

    def _reconstruction(self, batch: Batch, latent: Tensor, *, of_latent_only: bool = False) -> Tensor:
        """-ln p(x | z) in nats, summed over the batch; its gradient reaches all, or the latent (B, W) alone."""
        layer = self.model.to_logits
        hidden = self._decoder_hidden(batch, latent)
        if not isinstance(layer, nn.Linear):
            return self._from_logits(batch, hidden)
        kind = torch.bfloat16 if self._bf16 else hidden.dtype
        total, _ = sentence_losses(layer, hidden, batch.tokens, kind, layer_gradients=not of_latent_only)
        return total

    def _exact_reconstruction(self, batch: Batch, latent: Tensor) -> Tensor:
        """The same, with gradients of any order."""
        with torch.backends.cudnn.flags(enabled=False):  # its recurrent layers have first ones only
            return self._from_logits(batch, self._decoder_hidden(batch, latent))

    def _decoder_hidden(self, batch: Batch, latent: Tensor) -> Tensor:
        with self._accelerator.autocast():
            return self.model.decoder_hidden(batch.tokens, latent)

    def _from_logits(self, batch: Batch, hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, torch.bfloat16, enabled=self._bf16):
            logits = self.model.to_logits(hidden)
        return reconstruction(logits, batch.tokens).sum()
