"""Steps of training by however many processes there are: `torchrun` starts this file, `test_accelerator` imports it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.latent import sample_latent
from hvae_mnn.models.objective import batch_loss
from hvae_mnn.models.output_loss import sentence_losses
from hvae_mnn.models.presets import configure
from hvae_mnn.text.batches import collate
from hvae_mnn.training.accelerator import Accelerator, accelerate

BATCHES = (
    [[2, 5, 6, 7, 8, 3], [2, 9, 3], [2, 10, 11, 5, 3]],
    [[2, 7, 7, 3]],  # fewer sentences than processes
    [[2, 9, 10, 3], [2, 4, 3], [2, 5, 3], [2, 6, 6, 6, 6, 3]],
)


def steps(accelerator: Accelerator, **settings: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and final weights of a step on each batch, in float64, without dropout."""
    sizes = {"embedding_size": 6, "hidden_size": 5, "latent_size": 3, "dropout": 0.0}
    model_config, config = configure("tiny", "sound", 12, **sizes, optimizer="sgd", learning_rate=0.5, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HSRVAE(model_config).double().to(accelerator.device).train()
        noise = [torch.randn(len(batch), model_config.latent_size).double() for batch in BATCHES]
    optimizer = torch.optim.SGD(model.parameters(), lr=config.learning_rate)
    losses = []
    for sentences, drawn in zip(BATCHES, noise, strict=True):
        share = accelerator.share(collate(sentences))
        with accelerator.autocast():
            posterior = model.encode(share.batch.tokens, share.batch.lengths, masked=True)
            latent = sample_latent(*posterior.last(), noise=share.rows(drawn))
            hidden = model.decoder_hidden(share.batch.tokens, latent)
        total, _ = sentence_losses(model.to_logits, hidden, share.batch.tokens, torch.float64)
        loss = batch_loss(share.total(total), share.gathered(posterior), 1.0, config)
        losses.append(loss.item())
        optimizer.zero_grad()
        accelerator.backward(loss, model.parameters())
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    return losses, model.state_dict()


SETTINGS: dict[str, dict[str, Any]] = {
    "floor": {"free_bits": 0.1},
    "below": {"free_bits": 4.0},
    "units": {"free_bits_per_unit": 0.02, "free_bits": 0.0},
    "mean_t": {"kl_target": "mean_t", "free_bits": 0.0, "reduction": "sum"},
}
"""Charged KLs that look at the whole batch: the floors, above and below the KL, and all steps' KL."""


if __name__ == "__main__":
    found = accelerate(torch.device("cpu"), bf16=False)
    results = {name: steps(found, **settings) for name, settings in SETTINGS.items()}
    torch.save(results, Path(sys.argv[1]) / f"{found.rank}.pt")
    found.wait()
