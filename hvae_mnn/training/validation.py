"""The valid figures that choose the best epoch: by the paper's formulas and as an ELBO, in one quick pass.

A training run needs them after each epoch; `hvae_mnn.evaluation` has the full reports on a finished model.
Axis letters: B batch, T padded length, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from hvae_mnn.evaluation.information import active_units, set_information
from hvae_mnn.evaluation.scoring import in_eval_mode
from hvae_mnn.models.inference.infer import infer
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
    mutual_information: float
    """Information in nats that the latent has on its sentence, over the whole set (eq. 13); a KL above it is spent on
    a shift of all posteriors, which tells nothing."""
    information_error: float
    """Its standard error."""
    active_units: int
    """Latent units whose mean varies over the set."""

    def to_dict(self) -> dict[str, float]:
        """The figures by name."""
        return asdict(self)


@torch.no_grad()
def valid_figures(
    model: RecurrentModel, sentences: Sequence[EncodedSentence], batch_size: int = 64, seed: int = 0
) -> ValidFigures:
    """Figures over encoded sentences (with `SOS` and `EOS`), in TWR-VAE's batches; latents are drawn from `seed`.

    The model is put in eval mode and back.
    """
    device, amortised = model.device, model.config.inference == "amortised"
    generator = torch.Generator().manual_seed(seed)
    paper_rec = paper_kl = rec = kl = 0.0
    ids = 0
    drawn: list[tuple[Tensor, Tensor, Tensor]] = []
    with in_eval_mode(model):
        for places in sorted_order(sentences, batch_size):
            batch = collate([sentences[place] for place in places]).to(device)
            posterior = infer(model, batch.tokens, batch.lengths)
            # What software refines or finds does not depend on pads.
            padded = model.encode(batch.tokens, batch.lengths, masked=False) if amortised else posterior
            mean, _ = padded.last()
            paper_rec += reconstruction(model.decode(batch.tokens, mean), batch.tokens).sum().item()
            paper_kl += charged_kl(padded, "mean_t").sum().item()
            mean, log_variance = posterior.last()
            noise = torch.randn(mean.shape, generator=generator).to(device)
            latent = sample_latent(mean, log_variance, noise=noise)
            rec += reconstruction(model.decode(batch.tokens, latent), batch.tokens).sum().item()
            kl += gaussian_kl(mean, log_variance).sum().item()
            ids += int(batch.lengths.sum())
            drawn.append((latent.cpu(), mean.cpu(), log_variance.cpu()))
    count = len(sentences)
    latents, means, log_variances = (_together(parts) for parts in zip(*drawn, strict=True))
    information, error = set_information(latents, means, log_variances)
    return ValidFigures(
        paper_nll=(paper_rec + paper_kl) / count,
        paper_kl=paper_kl / count,
        paper_ppl=_exp((paper_rec + paper_kl) / ids),
        elbo_nll=(rec + kl) / count,
        elbo_kl=kl / count,
        elbo_ppl=_exp((rec + kl) / (ids - count)),
        mutual_information=information,
        information_error=error,
        active_units=active_units(means),
    )


def _together(parts: Sequence[Tensor]) -> Tensor:
    """Batches (B, W) as one tensor, the narrower ones filled with zeros."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([nn.functional.pad(part, (0, width - part.shape[1])) for part in parts])


def _exp(value: float) -> float:
    # A diverged model has no printable perplexity, but its epoch must still be reported.
    return math.exp(min(value, 700.0))
