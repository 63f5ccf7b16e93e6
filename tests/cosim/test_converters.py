from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvae_mnn.cosim.converters import HISTOGRAM_BINS, Converter, histogram_edges
from hvae_mnn.crossbar.hardware.spec import ConverterSpec
from hvae_mnn.errors import InputError


def test_three_bits_by_hand():
    # Codes -3 ... 3 over +-1.5, so a step of 0.5.
    converter = Converter(3, 1.5)
    converted = converter(np.array([0.0, 0.2, 0.3, -0.3, 0.74, 0.76, 1.5, 2.0, -9.0]))
    np.testing.assert_allclose(converted, [0, 0, 0.5, -0.5, 0.5, 1.0, 1.5, 1.5, -1.5])
    assert (converter.samples, converter.clipped) == (9, 2)
    assert not converter.histogram.any()


def test_no_bits_pass_values_through_and_still_count():
    converter = Converter(0, 1.0)
    values = np.array([[0.123456789, -7.0]])
    assert converter(values) is values
    assert converter.clipped == 1


@given(st.integers(2, 24), st.floats(1e-3, 1e3), st.floats(-1, 1))
def test_error_is_half_a_step_inside_full_scale_and_the_sign_does_not_matter(bits, full_scale, part):
    value = np.array([part * full_scale])
    step = full_scale / (2 ** (bits - 1) - 1)
    converted = Converter(bits, full_scale)(value)
    assert abs(converted - value) <= step / 2 * (1 + 1e-9)
    assert Converter(bits, full_scale)(-value) == -converted


@pytest.mark.parametrize("kind", ["dac", "adc"])
def test_an_ideal_converter_is_bit_for_bit_the_plain_formula(kind):
    values = np.random.default_rng(5).normal(0.1, 0.8, (70, 3))
    for bits, full_scale in ((2, 0.3), (8, 1.7), (10, 0.123456789), (24, 1e-4)):
        largest = 2 ** (bits - 1) - 1
        step = full_scale / largest
        expected = np.clip(np.rint(values / step), -largest, largest) * step
        np.testing.assert_array_equal(Converter(bits, full_scale, kind=kind)(values), expected)
        np.testing.assert_array_equal(Converter(bits, full_scale, kind=kind, keep_histogram=True)(values), expected)
        # One scale per column, all alike, is one scale.
        np.testing.assert_array_equal(Converter(bits, np.full(3, full_scale), kind=kind)(values), expected)


def test_every_column_has_its_full_scale():
    scales = np.array([1.5, 3.0])
    converter = Converter(3, scales)
    scales[:] = 7  # the caller's array is the caller's
    converted = converter(np.array([[0.3, 0.3], [-1.6, -1.6], [0.76, 0.76], [9.0, -9.0]]))
    np.testing.assert_allclose(converted, [[0.5, 0.0], [-1.5, -2.0], [1.0, 1.0], [1.5, -3.0]])
    assert converter.clipped == 3
    np.testing.assert_allclose(converter.step, [0.5, 1.0])


@pytest.mark.parametrize("bits", [1, -3, 25])
def test_impossible_widths_are_refused(bits):
    with pytest.raises(InputError, match=f"converter of {bits} bits; allowed: 2 to 24, or 0"):
        Converter(bits, 1.0)


def test_full_scale_must_be_positive():
    with pytest.raises(InputError, match=r"full scale is 0\.0; allowed: above 0; build"):
        Converter(8, 0.0)
    with pytest.raises(InputError, match=r"full scale is -2"):
        Converter(8, np.array([1.0, -2.0, 3.0]))
    with pytest.raises(InputError, match="full scale is nan"):
        Converter(8, float("nan"))
    with pytest.raises(InputError, match="8 bits has an infinite full scale"):
        Converter(8, math.inf)
    assert Converter(0, math.inf)(np.array([9.0])) == 9
    for shape in ((2, 2), (0,)):
        with pytest.raises(InputError, match="full scale has shape"):
            Converter(8, np.ones(shape))


def test_impossible_imperfections_are_refused():
    with pytest.raises(InputError, match="noise_lsb is -1"):
        Converter(8, 1.0, noise_lsb=-1.0)
    with pytest.raises(InputError, match="inl_lsb is nan"):
        Converter(8, 1.0, inl_lsb=float("nan"))
    with pytest.raises(InputError, match="0 bits has no step"):
        Converter(0, 1.0, noise_lsb=0.5)
    with pytest.raises(InputError, match=r"is not monotonic; allowed: less than 2\.228"):
        Converter(4, 1.0, inl_lsb=7 / math.pi)


@pytest.mark.parametrize("kind", ["dac", "adc"])
def test_noise_is_the_callers_and_must_fit(kind):
    converter = Converter(8, 1.0, kind=kind, noise_lsb=0.5)
    with pytest.raises(InputError, match="given: none"):
        converter(np.zeros((2, 3)))
    with pytest.raises(InputError, match=r"shape \(2, 3\); given: shape \(3,\)"):
        converter(np.zeros((2, 3)), np.zeros(3))
    # Without noise_lsb, noise that is given changes nothing.
    values = np.array([[0.1, -0.7]])
    plain = Converter(8, 1.0, kind=kind)
    np.testing.assert_array_equal(plain(values, np.ones((1, 2))), plain(values))


def test_moments_of_a_dacs_noise():
    # It comes on top of the level, so it shows as it is: mean 0, 0.7 steps.
    converter = Converter(6, 1.0, kind="dac", noise_lsb=0.7)
    noise = np.random.default_rng(0).standard_normal(200_000)
    errors = (converter(np.full(200_000, 0.4), noise) - Converter(6, 1.0)(np.array([0.4]))) * 31
    assert errors.mean() == pytest.approx(0, abs=4 * 0.7 / math.sqrt(200_000))
    assert errors.std() == pytest.approx(0.7, rel=0.01)
    np.testing.assert_allclose(errors, 0.7 * noise, atol=1e-12)


def test_moments_of_an_adcs_noise():
    # It is rounded with the value. From about half a step on, rounding is an independent error of 1/12 steps squared.
    converter = Converter(6, np.array([1.0, 4.0]), kind="adc", noise_lsb=0.7)
    noise = np.random.default_rng(1).standard_normal((200_000, 2))
    converted = converter(np.full((200_000, 2), 0.4), noise) / converter.step
    np.testing.assert_allclose(converted, np.rint(converted), atol=1e-9)
    for column, value in enumerate((0.4 * 31, 0.1 * 31)):
        assert converted[:, column].mean() == pytest.approx(value, abs=0.01)
        assert converted[:, column].std() == pytest.approx(math.sqrt(0.7**2 + 1 / 12), rel=0.01)
    assert converter.clipped == 0


def test_an_adc_without_noise_in_the_numbers_is_a_plain_one():
    values = np.linspace(-2, 2, 101)
    noisy = Converter(7, 1.3, kind="adc", noise_lsb=3.0)
    np.testing.assert_array_equal(noisy(values, np.zeros(101)), Converter(7, 1.3)(values))


def test_inl_of_a_dac_moves_its_levels_by_the_sine():
    converter = Converter(10, 2.0, kind="dac", inl_lsb=3.0)
    levels = np.arange(-511, 512) * (2.0 / 511)
    moved = (converter(levels) - levels) * 511 / 2.0
    np.testing.assert_allclose(moved, 3 * np.sin(np.pi * levels / 2.0), atol=1e-9)
    assert moved.max() == pytest.approx(3, rel=1e-5)
    assert moved.min() == pytest.approx(-3, rel=1e-5)
    np.testing.assert_allclose(moved[[0, 511, 1022]], 0, atol=1e-9)
    assert moved[511 + 100] > 0 > moved[511 - 100]


def test_inl_of_an_adc_moves_its_transitions_by_the_sine():
    bits, inl = 8, 2.0
    converter = Converter(bits, 1.0, kind="adc", inl_lsb=inl)
    values = np.linspace(-1.2, 1.2, 1_200_001)
    codes = np.rint(converter(values) * 127).astype(int)
    changes = np.flatnonzero(np.diff(codes))
    assert (np.diff(codes) >= 0).all()
    assert (codes[0], codes[-1]) == (-127, 127)
    assert len(changes) == 254  # no code is missing
    transitions = (values[changes] + values[changes + 1]) / 2
    # Code k begins where x + inl(x) = (k - 1/2) steps.
    bent = transitions * 127 + inl * np.sin(np.pi * transitions)
    np.testing.assert_allclose(bent, np.arange(-127, 127) + 0.5, atol=1e-3)
    deviation = np.abs(transitions * 127 - (np.arange(-127, 127) + 0.5))
    assert deviation.max() == pytest.approx(inl, rel=1e-3)


@given(st.integers(2, 12), st.floats(0, 0.99), st.sampled_from(["dac", "adc"]))
def test_the_characteristic_never_falls(bits, part, kind):
    largest = 2 ** (bits - 1) - 1
    converter = Converter(bits, 0.8, kind=kind, inl_lsb=part * largest / math.pi)
    converted = converter(np.linspace(-1, 1, 5001))
    assert (np.diff(converted) >= -1e-12).all()
    np.testing.assert_allclose(converted[[0, 2500, -1]], [-0.8, 0, 0.8], atol=1e-12)


def test_the_histogram_by_hand():
    converter = Converter(8, np.array([1.0, 10.0]), keep_histogram=True)
    converter(np.array([[0.0, 0.0], [-1.5, 15.0], [-80.0, math.inf], [0.99, math.nan]]))
    assert converter.histogram.sum() == 7  # all but NaN
    assert converter.histogram[30] == 2
    assert converter.histogram[0] == converter.histogram[60] == 2
    index = np.searchsorted(histogram_edges(), 0.99, side="right") - 1
    assert converter.histogram[index] == 1
    converter(np.zeros((4, 2)))
    assert converter.histogram[30] == 10


def test_the_histogram_counts_as_numpy_does():
    converter = Converter(0, 2.5, keep_histogram=True)
    values = np.random.default_rng(2).normal(0.3, 1.4, (500, 7))
    assert converter(values) is values
    expected, _ = np.histogram(np.clip(values / 2.5, -1.5, 1.5), bins=histogram_edges())
    np.testing.assert_array_equal(converter.histogram, expected)
    assert len(expected) == HISTOGRAM_BINS


def test_a_converter_from_a_description():
    spec = ConverterSpec(9, noise_lsb=0.25, inl_lsb=0.75)
    converter = Converter.from_spec(spec, np.array([1.0, 2.0]), "dac", keep_histogram=True)
    assert (converter.bits, converter.kind, converter.noise_lsb, converter.inl_lsb) == (9, "dac", 0.25, 0.75)
    np.testing.assert_array_equal(converter.full_scale, [1, 2])
    assert converter.keep_histogram
    assert converter.samples == converter.clipped == 0
