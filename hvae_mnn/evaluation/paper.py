"""The paper's figures, by the published formulas to the letter. None of them is a bound on a likelihood.

They are here to stand beside the paper's own rows and TWR-VAE's, and beside nothing else: the KL of all steps is
averaged although one step's latent is used, the latent is the posterior mean, pads are steps, the start symbol is
counted as predicted. Source: the evaluation of ruizheliUOA/TWR-VAE (lang_model), whose second encoder layer HSR-VAE is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from hvae_mnn.evaluation.characters import bits_per_character
from hvae_mnn.evaluation.information import batch_information, mean_and_error
from hvae_mnn.evaluation.scoring import (
    Check,
    Progress,
    at_most,
    equal,
    in_eval_mode,
    log_likelihood,
    perplexity,
    require_finite,
    require_sentences,
)
from hvae_mnn.models.inference.infer import infer
from hvae_mnn.models.latent import sample_latent
from hvae_mnn.models.objective import charged_kl
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.text.batches import EncodedSentence, collate, sorted_order


@dataclass(frozen=True)
class PaperReport:
    """Figures as in the paper's Tables 2 and 4; nats per sentence. Not comparable with any ELBO or sampled bound."""

    sentences: int
    """Sentences N."""
    tokens: int
    """Sum of words + 2 over the sentences: the start symbol is counted although nothing predicts it."""
    nll: float
    """(sum of -ln p(x | z = mean^T) + sum of the averaged KL) / N (eq. 6 as coded)."""
    reconstruction: float
    """The first term alone, at the posterior mean of the last padded step."""
    kl: float
    """1/T sum_t KL(q(z^t | x_1..t) || N(0, I)), T the batch's padded length, pad steps included (eqs. 5 and 6)."""
    ppl: float
    """exp(N * nll / tokens)."""
    mutual_information: float
    """Eq. 13 at z^T, within each batch, then averaged over batches by their size."""
    information_error: float
    """Its standard error: spread of the sentences' shares / sqrt(N)."""
    information_cap: float
    """ln of the batch size: where that estimate saturates."""
    batch_size: int
    """Sentences per batch, cut from a list sorted by length: NLL, KL and information depend on it."""
    seed: int
    """Seed of the latents drawn for the information; all other figures are deterministic."""
    checks: tuple[Check, ...]
    """NLL = tokens per sentence times ln PPL; information within its cap, give or take its sampling."""
    bits_per_character: float | None = None
    """N * nll / (characters + one end per sentence) / ln 2: unlike `tokens`, no start symbol is counted. None where the
    characters are not known."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return {**asdict(self), "checks": [check.to_dict() for check in self.checks]}


@torch.no_grad()
def paper_report(
    model: RecurrentModel,
    sentences: Sequence[EncodedSentence],
    *,
    batch_size: int = 64,
    seed: int = 0,
    characters: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> PaperReport:
    """The paper's figures of a model on encoded sentences (with start and end symbols).

    `characters` holds each sentence's symbols for bits per character, `CharacterCounts.symbols`.
    The encoder sees the end symbol or not as the model was trained. The model is put in eval mode and back.

    Raises `InputError` for fewer than two sentences; `CheckpointError` if a figure is not finite.
    """
    require_sentences(sentences, seed)
    device = model.device
    generator = torch.Generator().manual_seed(seed)
    rec = kl = 0.0
    shares = []
    done = 0
    with in_eval_mode(model):
        for indices in sorted_order(sentences, batch_size):
            batch = collate([sentences[index] for index in indices]).to(device)
            posterior = infer(model, batch.tokens, batch.lengths, masked=False)
            mean, log_variance = posterior.last()
            rec -= log_likelihood(model, batch.tokens, mean).sum().item()
            kl += charged_kl(posterior, "mean_t").double().sum().item()
            mean, log_variance = mean.cpu(), log_variance.cpu()
            latent = sample_latent(mean, log_variance, generator=generator)
            shares.append(batch_information(latent, mean, log_variance))
            done += len(indices)
            if progress is not None:
                progress("paper", done, len(sentences))
    count, tokens = len(sentences), sum(len(sentence) for sentence in sentences)
    nll = (rec + kl) / count
    information, error = mean_and_error(torch.cat(shares))
    require_finite({"negative log-likelihood": nll, "mutual information": information})
    ppl = perplexity(rec + kl, tokens)
    cap = math.log(min(batch_size, count))
    return PaperReport(
        sentences=count,
        tokens=tokens,
        nll=nll,
        reconstruction=rec / count,
        kl=kl / count,
        ppl=ppl,
        mutual_information=information,
        information_error=error,
        information_cap=cap,
        batch_size=batch_size,
        seed=seed,
        checks=(
            equal("NLL = (words + 2) ln PPL", nll, tokens / count * math.log(ppl), slack=1e-6 * nll),
            # The closed-form entropy does not cancel the noise of ln q(z), as sampling both terms would.
            at_most("MI <= ln batch", information, cap, slack=3 * error),
        ),
        bits_per_character=None if characters is None else bits_per_character(rec + kl, sum(characters)),
    )
