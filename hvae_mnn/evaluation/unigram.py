"""The baseline that predicts every word by its frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hvae_mnn.text.vocabulary import PAD, SOS

Sentences = Sequence[Sequence[int]]
_TOP = 5


def unigram_metrics(train: Sentences, sentences: Sentences, vocabulary_size: int) -> dict[str, float]:
    """`top1`, `top5` and `ppl` on `sentences` of predicting every word and end symbol by its frequency in `train`.

    p(w) = (count(w) + 1) / (sum of counts + V), over the V ids that can be predicted: all but pad and start symbol.
    Among equally frequent words the one with the lowest id counts as more likely. Sentences are encoded, with start
    and end symbols.
    """
    counts = np.bincount([token for sentence in train for token in sentence[1:]], minlength=vocabulary_size) + 1.0
    counts[[PAD, SOS]] = 0
    likeliest = np.argsort(-counts, kind="stable")[:_TOP]
    targets = np.concatenate([np.asarray(sentence[1:]) for sentence in sentences])
    nats = -np.log(counts[targets] / counts.sum())
    return {
        "top1": float((targets == likeliest[0]).mean()),
        "top5": float(np.isin(targets, likeliest).mean()),
        "ppl": math.exp(float(nats.mean())),
    }
