"""What is measured of a model's answers; every formula stands in docs/metrics.md too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.errors import InputError
from hvae_mnn.text.vocabulary import EOS
from hvae_mnn.vae.answers import Answers, Pass
from hvae_mnn.vae.bleu import corpus_bleu

Array = NDArray[np.float64]
Sentences = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Metric:
    """How something is measured."""

    meaning: str
    """One line."""
    unit: str
    better: Literal["higher", "lower", "none"]
    needs: Pass | None
    """The decoder's pass that it takes; None: the encoder is enough."""
    function: Callable[[Answers, Answers, Sentences], float]
    """Of the model's answers, the digital model's, and the sentences."""


def passes_for(wanted: Iterable[str]) -> Set[str]:
    """The decoder's passes that these metrics take. Raises `InputError` for an unknown name."""
    return {METRICS[name].needs for name in _known(wanted)} - {None}  # type: ignore[return-value]


def compute_metrics(
    answers: Answers, reference: Answers, sentences: Sentences, wanted: Iterable[str]
) -> dict[str, float]:
    """The metrics called `wanted`, of answers to `sentences`; `reference` are those of the digital model.

    What is not finite becomes NaN. Raises `InputError` for an unknown name.
    """
    with np.errstate(all="ignore"):
        found = {name: METRICS[name].function(answers, reference, sentences) for name in _known(wanted)}
    return {name: value if math.isfinite(value) else math.nan for name, value in found.items()}


def _known(wanted: Iterable[str]) -> list[str]:
    names = list(wanted)
    for name in names:
        if name not in METRICS:
            raise InputError(f"metric {name!r} is unknown; allowed are {', '.join(METRICS)}")
    return names


def _targets(sentences: Sentences) -> NDArray[np.int64]:
    return np.concatenate([np.asarray(sentence[1:], dtype=np.int64) for sentence in sentences])


def _top1(answers: Answers, _: Answers, sentences: Sentences) -> float:
    return float((answers.likeliest == _targets(sentences)).mean())


def _top5(answers: Answers, _: Answers, sentences: Sentences) -> float:
    return float(answers.top.mean())


def _kl_of_each(answers: Answers) -> Array:
    """(N,) nats, eq. 5 with its sign mended."""
    mean, log_variance = answers.mean, answers.log_variance
    return np.asarray(((mean**2 + np.exp(log_variance) - log_variance - 1) / 2).sum(axis=1))


def _ppl(answers: Answers, _: Answers, sentences: Sentences) -> float:
    nats = answers.nats.sum() + _kl_of_each(answers).sum()
    return float(np.exp(nats / len(_targets(sentences))))


def _reconstruction(answers: Answers, _: Answers, sentences: Sentences) -> float:
    return float((_until_end(answers, sentences) == _targets(sentences)).mean())


def _until_end(answers: Answers, sentences: Sentences) -> NDArray[np.int64]:
    """Words written (S,), -1 after a sentence's own end symbol."""
    found = answers.written.copy()
    for part in _parts(sentences):
        own = found[part]
        ends = np.flatnonzero(own == EOS)
        if len(ends):
            own[ends[0] + 1 :] = -1
    return found


def _parts(sentences: Sentences) -> Iterable[slice]:
    start = 0
    for sentence in sentences:
        yield slice(start, start + len(sentence) - 1)
        start += len(sentence) - 1


def _bleu(answers: Answers, _: Answers, sentences: Sentences) -> float:
    written = []
    for part in _parts(sentences):
        own = answers.written[part].tolist()
        written.append(own[: own.index(EOS)] if EOS in own else own)
    return corpus_bleu(written, [[token for token in sentence[1:] if token != EOS] for sentence in sentences])


def _agreement(answers: Answers, reference: Answers, _: Sentences) -> float:
    return float((answers.likeliest == reference.likeliest).mean())


def _agreement_free(answers: Answers, reference: Answers, sentences: Sentences) -> float:
    return float((_until_end(answers, sentences) == _until_end(reference, sentences)).mean())


def _rms(difference: Array) -> float:
    return float(np.sqrt((difference**2).mean()))


def _mean_error(answers: Answers, reference: Answers, _: Sentences) -> float:
    return _rms(answers.mean - reference.mean)


def _log_variance_error(answers: Answers, reference: Answers, _: Sentences) -> float:
    return _rms(answers.log_variance - reference.log_variance)


def _kl(answers: Answers, _: Answers, sentences: Sentences) -> float:
    return float(_kl_of_each(answers).mean())


def _kl_shift(answers: Answers, reference: Answers, _: Sentences) -> float:
    return float(_kl_of_each(answers).mean() - _kl_of_each(reference).mean())


_PART = "fraction"
METRICS: dict[str, Metric] = {
    "top1": Metric(
        "next words that are the most likely ones; right words in, z = mean", _PART, "higher", "teacher", _top1
    ),
    "top5": Metric(
        "next words among the five most likely; right words in, z = mean", _PART, "higher", "teacher", _top5
    ),
    "agreement": Metric(
        "most likely next words that are the digital model's; right words in, z = mean",
        _PART,
        "higher",
        "teacher",
        _agreement,
    ),
    "ppl": Metric("perplexity of the ELBO with one drawn z per sentence", "1", "lower", "sampled", _ppl),
    "reconstruction": Metric(
        "words of the sentence that come out in their place; own words in, z = mean",
        _PART,
        "higher",
        "free",
        _reconstruction,
    ),
    "bleu": Metric("BLEU-4 of what comes out against the sentence", _PART, "higher", "free", _bleu),
    "agreement_free": Metric(
        "words that come out in their place as from the digital model", _PART, "higher", "free", _agreement_free
    ),
    "mean_error": Metric("root mean square error of the latent's mean", "1", "lower", None, _mean_error),
    "log_variance_error": Metric(
        "root mean square error of the latent's log-variance", "1", "lower", None, _log_variance_error
    ),
    "kl": Metric("KL of the posterior from N(0, I)", "nats per sentence", "none", None, _kl),
    "kl_shift": Metric("KL less that of the digital model", "nats per sentence", "none", None, _kl_shift),
}
"""By name."""
