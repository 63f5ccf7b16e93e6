"""BLEU of a corpus (Papineni et al., ACL 2002): up to four words in a row, one reference per sentence, no smoothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

LONGEST = 4


def corpus_bleu(written: Iterable[Sequence[Hashable]], references: Iterable[Sequence[Hashable]]) -> float:
    """BLEU-4, from 0 to 1, of sentences and their references in the same order.

    exp(min(0, 1 - r / c) + mean over n of ln p_n), with p_n the clipped matches of n words over all n words written,
    c and r the lengths of all that was written, and of all references. 0 when some p_n is.
    """
    matched, counted = [0] * LONGEST, [0] * LONGEST
    written_length = reference_length = 0
    for words, reference in zip(written, references, strict=True):
        written_length += len(words)
        reference_length += len(reference)
        for n in range(1, LONGEST + 1):
            own, wanted = _grams(words, n), _grams(reference, n)
            matched[n - 1] += sum((own & wanted).values())
            counted[n - 1] += max(len(words) - n + 1, 0)
    if not all(matched):
        return 0.0
    precision = sum(math.log(m / c) for m, c in zip(matched, counted, strict=True)) / LONGEST
    return math.exp(min(0.0, 1 - reference_length / written_length) + precision)


def _grams(words: Sequence[Hashable], n: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
