"""The valid figures that choose the best epoch: by the paper's formulas and as an ELBO, in one quick pass.

A training run needs them after each epoch; `hvae_mnn.evaluation` has the full reports on a finished model.
Axis letters: B batch, T padded length, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from hvae_mnn.evaluation.scoring import in_eval_mode
from hvae_mnn.models.latent import sample_latent
from hvae_mnn.models.objective import charged_kl, gaussian_kl, reconstruction
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.text.batches import EncodedSentence, collate, sorted_order


@dataclass(frozen=True)
class ValidFigures:
    """Figures of a model on a set of sentences; NLL and KL in nats per sentence."""

    paper_nll: float
    """Reconstruction at the posterior mean plus the KL averaged over all padded steps. Not a bound."""
    paper_kl: float
    """That averaged KL."""
    paper_ppl: float
    """exp of the sum over words + 2 tokens a sentence, as published."""
    elbo_nll: float
    """Reconstruction at one sampled latent plus the latent's own KL: a bound on the negative log-likelihood."""
    elbo_kl: float
    """KL of the latent that the decoder used."""
    elbo_ppl: float
    """exp of the bound over the words + 1 tokens that are predicted."""

    def to_dict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


@torch.inference_mode()
def valid_figures(
    model: RecurrentModel, sentences: Sequence[EncodedSentence], batch_size: int = 64, seed: int = 0
) -> ValidFigures:
    """Figures over encoded sentences (with `SOS` and `EOS`), in TWR-VAE's batches; latents are drawn from `seed`.

    The model is put in eval mode and back.
    """
    device = model.device
    generator = torch.Generator().manual_seed(seed)
    paper_rec = paper_kl = rec = kl = 0.0
    ids = 0
    with in_eval_mode(model):
        for places in sorted_order(sentences, batch_size):
            batch = collate([sentences[place] for place in places]).to(device)
            padded = model.encode(batch.tokens, batch.lengths, masked=False)
            mean, _ = padded.last()
            paper_rec += reconstruction(model.decode(batch.tokens, mean), batch.tokens).sum().item()
            paper_kl += charged_kl(padded, "mean_t").sum().item()
            mean, log_variance = model.encode(batch.tokens, batch.lengths, masked=True).last()
            noise = torch.randn(mean.shape, generator=generator).to(device)
            latent = sample_latent(mean, log_variance, noise=noise)
            rec += reconstruction(model.decode(batch.tokens, latent), batch.tokens).sum().item()
            kl += gaussian_kl(mean, log_variance).sum().item()
            ids += int(batch.lengths.sum())
    count = len(sentences)
    return ValidFigures(
        paper_nll=(paper_rec + paper_kl) / count,
        paper_kl=paper_kl / count,
        paper_ppl=_exp((paper_rec + paper_kl) / ids),
        elbo_nll=(rec + kl) / count,
        elbo_kl=kl / count,
        elbo_ppl=_exp((rec + kl) / (ids - count)),
    )


def _exp(value: float) -> float:
    # A diverged model has no printable perplexity, but its epoch must still be reported.
    return math.exp(min(value, 700.0))
