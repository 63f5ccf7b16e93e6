"""Confidence band of the mean over seeds.

Fraction of 4,000 bands of n seeds that hold the true mean (level 0.95, 4,000 resamples), and mean width relative to
Student's interval:

| n | values | `percentile` | width | `expanded` | width | `student` |
|---|---|---|---|---|---|---|
| 5 | gaussian | 0.840 | 0.62 | 0.922 | 0.88 | 0.952 |
| 5 | exponential | 0.787 | 0.61 | 0.876 | 0.88 | 0.883 |
| 8 | gaussian | 0.889 | 0.77 | 0.946 | 0.97 | 0.952 |
| 8 | exponential | 0.834 | 0.76 | 0.896 | 0.96 | 0.892 |
| 10 | gaussian | 0.899 | 0.81 | 0.942 | 0.98 | 0.948 |
| 20 | gaussian | 0.924 | 0.91 | 0.950 | 1.00 | 0.950 |
| 20 | exponential | 0.905 | 0.90 | 0.926 | 0.99 | 0.920 |

BCa is no better than `percentile` at 5 seeds (0.842). Bootstrap-t reaches 0.950 there, but its bands are 1.57 times as
wide, and 2.6 to 4 times with skewed values. Therefore `expanded` is the default. A bootstrapped mean never leaves the
range of the sample, which holds a symmetric mean with probability 1 - 2^(1 - n): 0.9375 at 5 seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hvae_mnn.errors import InputError

BandKind = Literal["expanded", "percentile", "student"]
"""`percentile`: quantiles of resampled means; `expanded`: quantiles farther out, so that the band of a gaussian sample
is as wide as Student's (Hesterberg, The American Statistician 69(4), 2015, section 4.2); `student`: the interval of the
t distribution."""
BAND_KINDS: tuple[BandKind, ...] = get_args(BandKind)
RESAMPLES = 10_000
"""With fewer, the far quantiles of `expanded` at 5 seeds (0.1 %) rest on two or three resamples."""


@dataclass(frozen=True)
class MeanBand:
    """A mean with its confidence band."""

    mean: float
    low: float
    """NaN for a single value, whose spread is unknown."""
    high: float
    """NaN as `low`."""
    n: int
    """Number of values."""


def mean_band(
    values: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    kind: BandKind = "expanded",
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> MeanBand:
    """The mean of `values` (N,), and the band that holds the true mean with probability `level`.

    Raises `InputError` without values, for a value that is not finite, and for a level outside 0 to 1.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n == 0 or not np.isfinite(values).all():
        raise InputError(f"a mean needs finite values; found {values.tolist()}")
    if not 0 < level < 1:
        raise InputError(f"the level of a band is {level}; allowed: above 0 and below 1")
    # Rounding must not move the mean of equal values away from them.
    mean = float(np.clip(values.mean(), values.min(), values.max()))
    if n == 1:
        return MeanBand(mean, np.nan, np.nan, 1)
    tail = (1 - level) / 2
    quantile = stats.t.ppf(tail, n - 1)
    if kind == "student":
        reach = float(quantile * values.std(ddof=1) / np.sqrt(n)) if np.ptp(values) else 0.0
        return MeanBand(mean, mean + reach, mean - reach, n)
    if kind == "expanded":
        tail = float(stats.norm.cdf(np.sqrt(n / (n - 1)) * quantile))
    means = values[rng.integers(n, size=(resamples, n))].mean(axis=1).clip(values.min(), values.max())
    low, high = np.quantile(means, [tail, 1 - tail])
    return MeanBand(mean, float(low), float(high), n)
