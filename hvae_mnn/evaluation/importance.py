"""The importance-weighted likelihood of sentences: a bound that closes as samples grow (Burda et al. 2016).

Axis letters: S samples, T sentence length, Z latent, N sentences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hvae_mnn.evaluation.characters import bits_per_character
from hvae_mnn.evaluation.scoring import Progress, log_likelihood, mean_and_error, perplexity
from hvae_mnn.models.latent import sample_latent, sentence_noise
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.text.batches import EncodedSentence

_ROWS_AT_ONCE = 1 << 15  # decoder states held at once: 32 MiB at 256 hidden units
_PURPOSE = 2


@dataclass(frozen=True)
class ImportanceReport:
    """Likelihood by importance sampling, on some of the sentences; nats per sentence."""

    sentences: int
    """Sentences used, drawn at random from the set."""
    samples: int
    """Latents S per sentence, drawn from q(z | x)."""
    nll: float
    """Mean of -ln 1/S sum_s p(x | z_s) p(z_s) / q(z_s | x) (Burda et al. 2016, eq. 8; what the Lag-VAE and BN-VAE
    tables print as NLL with S = 500)."""
    ppl: float
    """exp of that over the words + 1 tokens of these sentences."""
    standard_error: float
    """Standard error of `nll` as an estimate for the whole set: spread over sentences / sqrt(sentences)."""
    elbo_nll: float
    """Mean of -ln p(x | z_s) p(z_s) / q(z_s | x) over the same samples: the ELBO of the same sentences."""
    gap: float
    """`elbo_nll` - `nll`: the cost of the posterior's shape; never negative."""
    gap_standard_error: float
    """Standard error of `gap` as an estimate for the whole set."""
    set_nll: float
    """The whole set's ELBO minus `gap`: steadier than `nll` where sentences differ much in length."""
    set_ppl: float
    """exp of that over all words + 1 tokens of the set."""
    bits_per_character: float | None = None
    """`nll` in bits per character of these sentences; None where the characters are not known."""
    set_bits_per_character: float | None = None
    """`set_nll` in bits per character of the set."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def log_weights(
    model: RecurrentModel, sentence: EncodedSentence, mean: Tensor, log_variance: Tensor, noise: Tensor
) -> Tensor:
    """ln p(x | z_s) + ln p(z_s) - ln q(z_s | x), shape (S,), float64, of one sentence with start and end symbols.

    `mean` and `log_variance` (Z,) are its posterior; z_s = mean + exp(log_variance / 2) noise_s, noise (S, Z).
    """
    tokens = torch.tensor(sentence, device=mean.device)[None]  # (1, T)
    latent = sample_latent(mean, log_variance, noise=noise)  # (S, Z)
    # The factors 2 pi cancel: 1/2 sum_d (noise^2 + log_variance - z^2).
    ratio = 0.5 * (noise.double().square() + log_variance.double() - latent.double().square()).sum(dim=1)  # (S,)
    rows = max(1, _ROWS_AT_ONCE // len(sentence))
    likelihoods = [log_likelihood(model, tokens.expand(len(part), -1), part) for part in torch.split(latent, rows)]
    return torch.cat(likelihoods) + ratio


@torch.no_grad()
def importance_report(
    model: RecurrentModel,
    sentences: Sequence[EncodedSentence],
    posterior: tuple[Tensor, Tensor],
    indices: Sequence[int],
    *,
    samples: int,
    set_elbo_nll: float,
    seed: int,
    characters: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> ImportanceReport:
    """Importance-weighted figures of the sentences at `indices`, a random choice; the model is in eval mode.

    `posterior` holds mean and log-variance of every sentence, each (N, Z), on the model's device; `set_elbo_nll` is
    the mean ELBO NLL of all N; `characters` holds each sentence's symbols for bits per character. A model without a
    latent has one likelihood, which one sample gives.
    """
    samples = samples if model.config.latent_size else 1
    bounds: list[float] = []
    elbos: list[float] = []
    mean, log_variance = posterior
    for done, index in enumerate(indices, start=1):
        noise = sentence_noise(seed, _PURPOSE, sentences[index], (samples, mean.shape[1])).to(mean.device)
        weights = log_weights(model, sentences[index], mean[index], log_variance[index], noise)
        bounds.append(math.log(samples) - torch.logsumexp(weights, dim=0).item())
        elbos.append(-weights.mean().item())
        if progress is not None:
            progress("importance", done, len(indices))
    nll, error = mean_and_error(bounds)
    gap, gap_error = mean_and_error([elbo - bound for elbo, bound in zip(elbos, bounds, strict=True)])
    set_nll = set_elbo_nll - gap
    return ImportanceReport(
        sentences=len(indices),
        samples=samples,
        nll=nll,
        ppl=perplexity(sum(bounds), sum(len(sentences[index]) - 1 for index in indices)),
        standard_error=error,
        elbo_nll=mean_and_error(elbos)[0],
        gap=gap,
        gap_standard_error=gap_error,
        set_nll=set_nll,
        set_ppl=perplexity(set_nll * len(sentences), sum(len(sentence) - 1 for sentence in sentences)),
        **({} if characters is None else _bits(bounds, set_nll, indices, characters)),
    )


def _bits(
    bounds: Sequence[float], set_nll: float, indices: Sequence[int], characters: Sequence[int]
) -> dict[str, float]:
    """The fields in bits per character, of the sentences at `indices` and of all."""
    return {
        "bits_per_character": bits_per_character(sum(bounds), sum(characters[index] for index in indices)),
        "set_bits_per_character": bits_per_character(set_nll * len(characters), sum(characters)),
    }
