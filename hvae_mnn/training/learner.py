"""One batch of training: its loss in a model's own way of inference, and a step of the optimiser.

Axis letters: B batch, T padded length, Z latent.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
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
        self, model: RecurrentModel, optimizer: torch.optim.Optimizer, config: TrainingConfig, bf16: bool
    ) -> None:
        """`bf16`: matrix products in bfloat16 (on a CPU those of the output layer, where it pays)."""
        self.model, self.optimizer, self.config, self._bf16 = model, optimizer, config, bf16

    def costs(self, batch: Batch, weight: float, epochs_done: float) -> Costs:
        """The costs of a batch, with `weight` for the KL, after `epochs_done` epochs. Draws from torch's generator.

        Raises `TrainingError` for a loss that is not finite.
        """
        posterior, latents = self._latents(batch, weight, epochs_done)
        rec = torch.stack([self._reconstruction(batch, latent) for latent in latents]).mean()
        if posterior is None:
            loss, kl = rec if self.config.reduction == "sum" else rec / len(batch.lengths), 0.0
        else:
            loss = batch_loss(rec, posterior, weight, self.config)
            kl = charged_kl(posterior, self.config.kl_target).sum().item()
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss is {loss.item()}")
        return Costs(loss, rec.item(), kl, len(batch.lengths), int(batch.lengths.sum()) - len(batch.lengths))

    def step(self, loss: Tensor, only: Collection[nn.Parameter] | None = None) -> None:
        """Clipped gradients of the loss, and a step of the optimiser, for all parameters or `only` some.

        Raises `TrainingError` for a gradient that is not finite.
        """
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip is not None:
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
            if not math.isfinite(norm.item()):
                raise TrainingError(f"the gradient's norm is {norm.item()}")
        if only is not None:
            kept = {id(parameter) for parameter in only}
            for parameter in self.model.parameters():
                if id(parameter) not in kept:
                    parameter.grad = None
        self.optimizer.step()

    def _latents(self, batch: Batch, weight: float, epochs_done: float) -> tuple[Posterior | None, list[Tensor]]:
        """The posterior with its gradient, None for latents of the prior's chains, and the latents (B, Z) drawn."""
        config = self.model.config
        if config.inference == "langevin":
            start, noise = self._noise(batch, 1)[:, 0], self._noise(batch, config.inference_steps)
            temperature = langevin_temperature(self.config, epochs_done)
            return None, [chain(partial(self._reconstruction, batch, of_latent_only=True), start, noise, temperature)]
        with self._autocast(on_cpu=False):
            posterior = self.model.encode(batch.tokens, batch.lengths, masked=self.config.mask_pads)
        if config.inference == "svi":
            exact = not self.config.first_order
            nats = partial(self._exact_reconstruction, batch)
            if not exact:
                nats = partial(self._reconstruction, batch, of_latent_only=True)
            noise = self._noise(batch, config.inference_steps)
            mean, log_variance = refine(nats, posterior.last(), noise, weight, exact=exact)
            posterior = Posterior(mean[:, None], log_variance[:, None], torch.ones_like(batch.lengths))
        mean, log_variance = posterior.last()
        # bfloat16 on a GPU
        kind = torch.promote_types(mean.dtype, torch.float32)
        mean, log_variance = mean.to(kind), log_variance.to(kind)
        return posterior, [sample_latent(mean, log_variance) for _ in range(self.config.samples)]

    def _noise(self, batch: Batch, draws: int) -> Tensor:
        """Standard normal numbers (B, draws, Z)."""
        return torch.randn(len(batch.lengths), draws, self.model.config.latent_size, device=self.model.device)

    def _reconstruction(self, batch: Batch, latent: Tensor, *, of_latent_only: bool = False) -> Tensor:
        """-ln p(x | z) in nats, summed over the batch; its gradient reaches all, or the latent (B, Z) alone."""
        layer = self.model.to_logits
        hidden = self._decoder_hidden(batch, latent)
        kind = torch.bfloat16 if self._bf16 else hidden.dtype
        if not isinstance(layer, nn.Linear):
            return self._from_logits(batch, hidden)
        total, _ = sentence_losses(layer, hidden, batch.tokens, kind, layer_gradients=not of_latent_only)
        return total

    def _exact_reconstruction(self, batch: Batch, latent: Tensor) -> Tensor:
        """The same, with gradients of any order."""
        return self._from_logits(batch, self._decoder_hidden(batch, latent))

    def _decoder_hidden(self, batch: Batch, latent: Tensor) -> Tensor:
        with self._autocast(on_cpu=False):
            return self.model.decoder_hidden(batch.tokens, latent)

    def _from_logits(self, batch: Batch, hidden: Tensor) -> Tensor:
        with self._autocast(on_cpu=True):
            logits = self.model.to_logits(hidden)
        return reconstruction(logits, batch.tokens).sum()

    @contextmanager
    def _autocast(self, on_cpu: bool) -> Iterator[None]:
        kind = self.model.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self._bf16 and (on_cpu or kind == "cuda")):
            yield
