"""Metrics of a model's answers to sentences; docs/metrics.md has the same formulas.

Axis letters: N sentences, S targets of all sentences one after the other (words and end symbol), Z latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.errors import InputError
from hvae_mnn.evaluation.answers import Answers, Pass
from hvae_mnn.evaluation.bleu import corpus_bleu
from hvae_mnn.models.decoding import NOT_FINITE
from hvae_mnn.names import unknown_name
from hvae_mnn.text.vocabulary import EOS

Array = NDArray[np.float64]
Words = NDArray[np.int64]
Sentences = Sequence[Sequence[int]]

_ENDED = -2
"""Stands for a word after the end symbol; differs from every word's id and from `NOT_FINITE`."""


@dataclass(frozen=True)
class Metric:
    """One metric: its definition and its function."""

    definition: str
    """One line."""
    formula: str
    """w_s: target s of the S in all (words and end symbols), a_s: most likely word there with the right words before
    it, o_s: word put out there in free running; mu_n, v_n: mean and log-variance (Z) of sentence n; marked with ': the
    digital model's."""
    unit: str
    better: Literal["higher", "lower", "none"]
    """Which way is better; `none`: neither."""
    needs: Pass | None
    """The decoder's pass that it takes; None: the encoder is enough."""
    function: Callable[[Answers, Answers, Sentences], float]
    """Takes the model's answers, the digital model's, and the sentences."""
    compares: bool = False
    """Whether it uses the digital model's answers."""


def passes_for(wanted: Iterable[str]) -> Set[Pass]:
    """The decoder's passes that these metrics take.

    Raises `InputError` for an unknown name.
    """
    return {needs for name in _known(wanted) if (needs := METRICS[name].needs) is not None}


def compute_metrics(
    answers: Answers, reference: Answers, sentences: Sentences, wanted: Iterable[str]
) -> dict[str, float]:
    """The metrics called `wanted`, of answers to `sentences`; `reference` are those of the digital model.

    A metric that is not a finite number, or that rests on logits that are not, is NaN.

    Raises `InputError` for an unknown name, or answers to other sentences or without a pass that a metric takes.
    """
    names = _known(wanted)
    starts = np.concatenate([[0], np.cumsum([len(sentence) - 1 for sentence in sentences])])
    for name in names:
        needs = METRICS[name].needs
        for whose, given in (("the model's", answers), ("the digital model's", reference)):
            if not np.array_equal(given.starts, starts):
                raise InputError(f"{whose} answers are to other sentences; run them again on these {len(sentences)}")
            if needs is not None and not given.has(needs) and (given is answers or METRICS[name].compares):
                raise InputError(f"{name} takes the pass {needs!r}, which is not in {whose} answers; run it too")
    with np.errstate(all="ignore"):
        values = {name: METRICS[name].function(answers, reference, sentences) for name in names}
    return {name: value if math.isfinite(value) else math.nan for name, value in values.items()}


def _known(wanted: Iterable[str]) -> list[str]:
    names = list(wanted)
    for name in names:
        if name not in METRICS:
            raise InputError(unknown_name("metric", name, METRICS))
    return names


def _targets(sentences: Sentences) -> Words:
    return np.concatenate([np.asarray(sentence[1:], dtype=np.int64) for sentence in sentences])


def _share(words: Words, wanted: Words) -> float:
    """Fraction of positions (S,) with equal words; NaN if some word is `NOT_FINITE`."""
    if NOT_FINITE in words or NOT_FINITE in wanted:
        return math.nan
    return float((words == wanted).mean())


def _top1(answers: Answers, _: Answers, sentences: Sentences) -> float:
    return _share(answers.likeliest, _targets(sentences))


def _top5(answers: Answers, _: Answers, __: Sentences) -> float:
    return math.nan if NOT_FINITE in answers.likeliest else float(answers.top.mean())


def _agreement(answers: Answers, reference: Answers, _: Sentences) -> float:
    return _share(answers.likeliest, reference.likeliest)


def _kl_of_each(answers: Answers) -> Array:
    """(N,) in nats, eq. 5 with its signs set right."""
    mean, log_variance = answers.mean, answers.log_variance
    return np.asarray(((mean**2 + np.exp(log_variance) - log_variance - 1) / 2).sum(axis=1))


def _ppl(answers: Answers, _: Answers, __: Sentences) -> float:
    nats = answers.nats.sum() + _kl_of_each(answers).sum()
    return float(np.exp(nats / answers.starts[-1]))


def _until_end(answers: Answers) -> Words:
    """Words put out (S,), `_ENDED` after a sentence's own end symbol."""
    words = answers.written.copy()
    for start, stop in zip(answers.starts, answers.starts[1:], strict=False):
        own = words[start:stop]
        ends = np.flatnonzero(own == EOS)
        if ends.size:
            own[ends[0] + 1 :] = _ENDED
    return words


def _reconstruction(answers: Answers, _: Answers, sentences: Sentences) -> float:
    return _share(_until_end(answers), _targets(sentences))


def _agreement_free(answers: Answers, reference: Answers, _: Sentences) -> float:
    return _share(_until_end(answers), _until_end(reference))


def _bleu(answers: Answers, _: Answers, sentences: Sentences) -> float:
    if NOT_FINITE in answers.written:
        return math.nan
    outputs = [part.tolist() for part in np.split(answers.written, answers.starts[1:-1])]
    return corpus_bleu(map(_words, outputs), [_words(sentence[1:]) for sentence in sentences])


def _words(tokens: Sequence[int]) -> Sequence[int]:
    """The words before the end symbol."""
    return tokens[: tokens.index(EOS)] if EOS in tokens else tokens


def _root_mean_square(difference: Array) -> float:
    return float(np.sqrt((difference**2).mean()))


def _mean_error(answers: Answers, reference: Answers, _: Sentences) -> float:
    return _root_mean_square(answers.mean - reference.mean)


def _log_variance_error(answers: Answers, reference: Answers, _: Sentences) -> float:
    return _root_mean_square(answers.log_variance - reference.log_variance)


def _kl(answers: Answers, _: Answers, __: Sentences) -> float:
    return float(_kl_of_each(answers).mean())


def _kl_shift(answers: Answers, reference: Answers, sentences: Sentences) -> float:
    return _kl(answers, answers, sentences) - _kl(reference, reference, sentences)


METRICS: dict[str, Metric] = {
    "top1": Metric(
        "Targets that are the most likely next word; the right words go in, z is the mean.",
        "sum_s [a_s = w_s] / S",
        "fraction",
        "higher",
        "teacher",
        _top1,
    ),
    "top5": Metric(
        "Targets to which fewer than five words are preferred; the right words go in, z is the mean.",
        "sum_s [#{w: l_s(w) > l_s(w_s)} < 5] / S, l_s the logits",
        "fraction",
        "higher",
        "teacher",
        _top5,
    ),
    "ppl": Metric(
        "Perplexity per target from the ELBO, with one z per sentence drawn from its posterior.",
        "exp((sum_n -ln p(x_n | z_n) + sum_n KL_n) / S)",
        "1",
        "lower",
        "sampled",
        _ppl,
    ),
    "reconstruction": Metric(
        "Targets that come out in their place; the model's own words go in, z is the mean.",
        "sum_s [o_s = w_s and no end symbol before s in the output] / S",
        "fraction",
        "higher",
        "free",
        _reconstruction,
    ),
    "bleu": Metric(
        "BLEU-4 of the words that come out, against the sentence's; as for `reconstruction`.",
        "min(1, exp(1 - r / c)) (p_1 p_2 p_3 p_4)^(1/4)",
        "fraction",
        "higher",
        "free",
        _bleu,
    ),
    "agreement": Metric(
        "Most likely next words that are the digital model's; the right words go in, z is the mean.",
        "sum_s [a_s = a'_s] / S",
        "fraction",
        "higher",
        "teacher",
        _agreement,
        compares=True,
    ),
    "agreement_free": Metric(
        "Words that come out in their place as they do from the digital model; as for `reconstruction`.",
        "sum_s [o_s = o'_s, or both ended before s] / S",
        "fraction",
        "higher",
        "free",
        _agreement_free,
        compares=True,
    ),
    "mean_error": Metric(
        "Root mean square error of the posterior's mean, against the digital model.",
        "sqrt(sum_n |mu_n - mu'_n|^2 / (N Z))",
        "latent units (standard deviations of the prior)",
        "lower",
        None,
        _mean_error,
        compares=True,
    ),
    "log_variance_error": Metric(
        "Root mean square error of the posterior's log-variance, against the digital model.",
        "sqrt(sum_n |v_n - v'_n|^2 / (N Z))",
        "1 (natural logarithm)",
        "lower",
        None,
        _log_variance_error,
        compares=True,
    ),
    "kl": Metric(
        "KL of the posterior from the prior N(0, I), at the encoder's last step.",
        "sum_n KL_n / N, KL_n = sum_d (mu_nd^2 + exp(v_nd) - v_nd - 1) / 2",
        "nats per sentence",
        "none",
        None,
        _kl,
    ),
    "kl_shift": Metric(
        "KL less that of the digital model.",
        "sum_n (KL_n - KL'_n) / N",
        "nats per sentence",
        "none",
        None,
        _kl_shift,
        compares=True,
    ),
}
"""By name, in the order of tables."""
