"""Proper figures: bounds on the likelihood, and the information in the latent.

One latent per sentence is used, so one KL is charged: that of the last step that is no pad. The latent is drawn, not
set to its mean; words and the end symbol are counted, the start symbol is not. Formulas as in vae-lagging-encoder (He
et al. 2019), so the figures stand beside the VAE language models evaluated that way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hvae_mnn.errors import InputError
from hvae_mnn.evaluation.characters import bits_per_character
from hvae_mnn.evaluation.importance import ImportanceReport, importance_report
from hvae_mnn.evaluation.information import KlProfile, active_units, kl_profile, set_information
from hvae_mnn.evaluation.scoring import (
    Check,
    Progress,
    at_most,
    equal,
    in_eval_mode,
    log_likelihood,
    perplexity,
    random_order,
    require_finite,
    require_sentences,
)
from hvae_mnn.evaluation.short_run import SENTENCES as SHORT_RUN_SENTENCES
from hvae_mnn.evaluation.short_run import ShortRunReport, short_run_report
from hvae_mnn.models.inference.infer import infer
from hvae_mnn.models.latent import Posterior, sample_latent, sentence_noise
from hvae_mnn.models.objective import gaussian_kl
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.text.batches import EncodedSentence, collate, sorted_order

IMPORTANCE_SAMPLES = 500
"""Latents per sentence, as in the published tables."""
IMPORTANCE_SENTENCES = 100
"""Sentences by default: at the paper's size on PTB each costs seconds on two cores."""

_POSTERIOR, _PRIOR = 0, 1


@dataclass(frozen=True)
class LatentAblation:
    """The same decoder with its latent taken away; -ln p(x | z) in nats per sentence."""

    own: float
    """z drawn from the sentence's own posterior."""
    shuffled: float
    """z of another sentence."""
    prior: float
    """z drawn from N(0, I): a bound on the NLL in which the latent knows nothing, at no KL."""
    gain: float
    """`shuffled` - `own`: nats of reconstruction that this decoder gains from the latent."""
    net_gain: float
    """`prior` - ELBO NLL: nats that are left after the latent's KL is paid."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class ProperReport:
    """Valid figures of a model on a set of sentences; nats per sentence."""

    sentences: int
    """Sentences N."""
    tokens: int
    """Sum of words + 1 over the sentences: what is predicted."""
    elbo_nll: float
    """(sum of -ln p(x | z) + sum of KL) / N with one z drawn from q(z^T | x): a bound on the NLL (eq. 2)."""
    elbo_ppl: float
    """exp(N * elbo_nll / tokens)."""
    reconstruction: float
    """The first term alone."""
    kl: float
    """KL(q(z^T | x) || N(0, I)) of the latent that the decoder uses (eq. 5), T the last step that is no pad."""
    importance: ImportanceReport | None
    """The tighter bound, None if it was not asked for."""
    mutual_information: float
    """I_q(x; z^T) over the whole set: mean of ln q(z_n | x_n) - ln q(z_n), q(z) over all N posteriors (eq. 13)."""
    information_error: float
    """Its standard error."""
    information_cap: float
    """ln N: no estimate from N sentences can be larger."""
    active_units: int
    """Latent units with Var(mean_d) >= 0.01 over the set (Burda et al. 2016)."""
    latent_size: int
    """Latent units in all; with a latent per step, those of the longest sentence."""
    ablation: LatentAblation
    """The decoder's loss without its latent."""
    profile: KlProfile
    """KL along the encoder's steps."""
    seed: int
    """Seed of every latent drawn; a sentence's noise depends on it and on the sentence's words."""
    checks: tuple[Check, ...] = ()
    """Relations that hold between these figures."""
    short_run: ShortRunReport | None = None
    """Sri-VAE's own estimate beside the bounds; None for a model that has an encoder, or if it was not asked for."""
    bits_per_character: float | None = None
    """N * elbo_nll / (characters + one end per sentence) / ln 2. None where the characters are not known."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return {
            **asdict(self),
            "importance": self.importance.to_dict() if self.importance else None,
            "short_run": self.short_run.to_dict() if self.short_run else None,
            "ablation": self.ablation.to_dict(),
            "profile": self.profile.to_dict(),
            "checks": [check.to_dict() for check in self.checks],
        }


@torch.no_grad()
def proper_report(
    model: RecurrentModel,
    sentences: Sequence[EncodedSentence],
    *,
    importance_samples: int = IMPORTANCE_SAMPLES,
    importance_sentences: int | None = IMPORTANCE_SENTENCES,
    short_run_sentences: int = SHORT_RUN_SENTENCES,
    batch_size: int = 64,
    seed: int = 0,
    characters: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> ProperReport:
    """Valid figures of a model on encoded sentences (with start and end symbols).

    `importance_sentences` bounds the sentences with importance-weighted figures (None: all); `importance_samples=0`
    leaves those out; `short_run_sentences` is the number with the short-run estimate, for a model without an encoder
    (0: none); `characters` holds each sentence's symbols for bits per character, `CharacterCounts.symbols`. No
    figure depends on the order of the sentences, nor on `batch_size` but for rounding.

    Raises `InputError` for fewer than two sentences or a bad number; `CheckpointError` if a figure is not finite.
    """
    require_sentences(sentences, seed)
    _require_counts(importance_samples, importance_sentences, short_run_sentences)
    count, tokens = len(sentences), sum(len(sentence) - 1 for sentence in sentences)
    with in_eval_mode(model):
        mean, log_variance, profile = _posteriors(model, sentences, batch_size, progress)
        order = random_order(seed, sentences)
        latents = _latents(seed, sentences, mean, log_variance, order)
        own, other, prior = _reconstructions(model, sentences, latents, batch_size, progress)
        kl = gaussian_kl(mean.double(), log_variance.double()).mean().item()
        elbo_nll = own + kl
        require_finite({"ELBO": elbo_nll, "likelihood without its latent": other + prior})
        weigh = partial(
            importance_report,
            model,
            sentences,
            (mean, log_variance),
            samples=importance_samples,
            set_elbo_nll=elbo_nll,
            seed=seed,
        )
        importance = short = None
        if importance_samples:
            importance = weigh(order[:importance_sentences], characters=characters, progress=progress)
        if short_run_sentences and model.config.inference == "langevin":
            first = order[:short_run_sentences]
            short = short_run_report(
                model,
                [sentences[index] for index in first],
                importance_nll=weigh(first).nll if importance_samples else None,
                seed=seed,
                progress=progress,
            )
    information, error = set_information(latents[0], mean, log_variance)
    report = ProperReport(
        sentences=count,
        tokens=tokens,
        elbo_nll=elbo_nll,
        elbo_ppl=perplexity(elbo_nll * count, tokens),
        reconstruction=own,
        kl=kl,
        importance=importance,
        short_run=short,
        mutual_information=information,
        information_error=error,
        information_cap=math.log(count),
        active_units=active_units(mean),
        latent_size=mean.shape[1],
        ablation=LatentAblation(own, other, prior, gain=other - own, net_gain=prior - elbo_nll),
        profile=profile,
        seed=seed,
        bits_per_character=None if characters is None else bits_per_character(elbo_nll * count, sum(characters)),
    )
    return replace(report, checks=_checks(report))


def _require_counts(samples: int, sentences: int | None, short_run_sentences: int) -> None:
    """Refuse numbers of samples and sentences that make no sense. Raises `InputError`."""
    if samples < 0:
        raise InputError(f"importance_samples is {samples}; allowed: 0 (none) or more")
    if sentences is not None and sentences < 1:
        raise InputError(f"importance_sentences is {sentences}; allowed: 1 or more")
    if short_run_sentences < 0:
        raise InputError(f"short_run_sentences is {short_run_sentences}; allowed: 0 (none) or more")


def _checks(report: ProperReport) -> tuple[Check, ...]:
    """Relations that hold between the figures of a report."""
    nats = report.tokens / report.sentences * math.log(report.elbo_ppl)
    information, cap = report.mutual_information, report.information_cap
    checks = [
        equal("ELBO NLL = (words + 1) ln PPL", report.elbo_nll, nats, slack=1e-6 * report.elbo_nll),
        at_most("MI <= KL", information, report.kl, slack=3 * report.information_error),
        at_most("MI <= ln N", information, cap, slack=1e-6),
    ]
    if report.importance is not None:
        importance = report.importance
        checks.append(at_most("IW NLL <= ELBO NLL (same samples)", importance.nll, importance.elbo_nll))
    return tuple(checks)


def _latents(
    seed: int, sentences: Sequence[EncodedSentence], mean: Tensor, log_variance: Tensor, order: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (N, Z): from each sentence's own posterior, from that of the next sentence in `order`, and the prior."""
    own = sample_latent(mean, log_variance, noise=_noise(seed, _POSTERIOR, sentences, mean))
    shuffled = torch.empty_like(own)
    shuffled[order] = own[[*order[1:], order[0]]]
    return own, shuffled, _noise(seed, _PRIOR, sentences, mean)


def _posteriors(
    model: RecurrentModel, sentences: Sequence[EncodedSentence], batch_size: int, progress: Progress | None
) -> tuple[Tensor, Tensor, KlProfile]:
    """Mean and log-variance of every sentence's latent, each (N, W), in the given order, and the KL's profile."""
    device = model.device
    mean = torch.zeros(len(sentences), model.latent_width(max(map(len, sentences)) - 1), device=device)
    log_variance = torch.zeros_like(mean)
    posteriors: list[Posterior] = []
    done = 0
    for indices in sorted_order(sentences, batch_size):
        batch = collate([sentences[index] for index in indices]).to(device)
        posterior = infer(model, batch.tokens, batch.lengths)
        own_mean, own_log_variance = posterior.last()
        width = own_mean.shape[1]
        mean[indices, :width], log_variance[indices, :width] = own_mean, own_log_variance
        posteriors.append(posterior)
        done += len(indices)
        if progress is not None:
            progress("posteriors", done, len(sentences))
    return mean, log_variance, kl_profile(posteriors)


def _reconstructions(
    model: RecurrentModel,
    sentences: Sequence[EncodedSentence],
    latents: Sequence[Tensor],
    batch_size: int,
    progress: Progress | None,
) -> list[float]:
    """Mean -ln p(x | z) in nats per sentence for each set of latents (N, Z)."""
    totals = [0.0] * len(latents)
    done = 0
    for indices in sorted_order(sentences, batch_size):
        tokens = collate([sentences[index] for index in indices]).tokens.to(latents[0].device)
        for number, latent in enumerate(latents):
            totals[number] -= log_likelihood(model, tokens, latent[indices]).sum().item()
        done += len(indices)
        if progress is not None:
            progress("reconstructions", done, len(sentences))
    return [total / len(sentences) for total in totals]


def _noise(seed: int, purpose: int, sentences: Sequence[EncodedSentence], like: Tensor) -> Tensor:
    """One row of noise for each sentence, of the shape and on the device of `like` (N, Z)."""
    return torch.stack([sentence_noise(seed, purpose, sentence, (like.shape[1],)) for sentence in sentences]).to(
        like.device
    )
