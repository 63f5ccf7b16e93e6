"""Bands of a mean over seeds, for cases with a known answer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hvae_mnn.errors import InputError
from hvae_mnn.sweeps.bands import BAND_KINDS, mean_band


def coverage(n, kind, samples=1200):
    """Fraction of bands of n gaussian values that hold their true mean."""
    rng = np.random.default_rng(3)
    bands = (mean_band(rng.normal(7.0, 2.0, n), rng, kind=kind, resamples=2000) for _ in range(samples))
    return np.mean([band.low <= 7.0 <= band.high for band in bands])


@pytest.mark.parametrize(
    ("n", "kind", "expected"),
    [
        (5, "percentile", 0.84),  # why it is not the default
        (5, "expanded", 0.92),
        (5, "student", 0.95),
        (10, "expanded", 0.945),
        (20, "percentile", 0.92),
        (20, "expanded", 0.95),
    ],
)
def test_bands_of_gaussian_values_hold_the_true_mean_as_often_as_the_module_says(n, kind, expected):
    # Three standard deviations of a fraction of 1,200 are at most 0.032 here.
    assert coverage(n, kind) == pytest.approx(expected, abs=0.032 if expected < 0.9 else 0.023)


def test_quantiles_are_those_of_all_resamples():
    values = np.array([0.1, 0.4, 0.5, 1.7])
    every = np.sort([np.mean(drawn) for drawn in itertools.product(values, repeat=4)])  # all 256, equally likely
    band = mean_band(values, np.random.default_rng(0), kind="percentile", level=0.8, resamples=200_000)
    assert (band.low, band.high) == pytest.approx(tuple(np.quantile(every, [0.1, 0.9])), abs=0.03)


def test_the_expanded_band_is_as_wide_as_students_for_many_values_and_never_leaves_few():
    many = stats.norm.ppf((np.arange(40) + 0.5) / 40)
    rng = np.random.default_rng(1)
    expanded, student = (mean_band(many, rng, kind=kind, resamples=50_000) for kind in ("expanded", "student"))
    assert expanded.high - expanded.low == pytest.approx(student.high - student.low, rel=0.02)
    few = mean_band(np.array([1.0, 2.0, 4.0]), rng)
    assert (few.low, few.high) == (1.0, 4.0)


def test_students_band_is_the_textbooks():
    values = np.array([2.1, 2.4, 1.9, 2.2, 2.9])
    band = mean_band(values, np.random.default_rng(0), kind="student")
    assert (band.low, band.high) == pytest.approx(stats.ttest_1samp(values, 0.0).confidence_interval(0.95))


@given(st.floats(-1e6, 1e6), st.integers(2, 9), st.sampled_from(BAND_KINDS))
def test_equal_values_have_a_band_without_width(value, n, kind):
    band = mean_band(np.full(n, value), np.random.default_rng(0), kind=kind, resamples=100)
    assert (band.mean, band.low, band.high, band.n) == (value, value, value, n)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12), st.sampled_from(BAND_KINDS))
def test_the_mean_lies_in_its_band_and_a_seed_repeats_it(values, kind):
    first, second = (mean_band(np.array(values), np.random.default_rng(5), kind=kind, resamples=500) for _ in range(2))
    assert first == second
    assert first.low <= first.mean + 1e-9
    assert first.mean <= first.high + 1e-9


def test_one_value_has_no_band():
    band = mean_band(np.array([0.25]), np.random.default_rng(0))
    assert (band.mean, band.n) == (0.25, 1)
    assert np.isnan([band.low, band.high]).all()


def test_values_without_a_band_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"a mean needs finite values; found \[\]"):
        mean_band(np.array([]), rng)
    with pytest.raises(InputError, match=r"found \[1.0, nan\]"):
        mean_band(np.array([1.0, np.nan]), rng)
    with pytest.raises(InputError, match=r"level of a band is 1\.5; allowed: above 0 and below 1"):
        mean_band(np.array([1.0, 2.0]), rng, level=1.5)
