from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvae_mnn.cosim.converters import Converter
from hvae_mnn.errors import InputError


def test_three_bits_by_hand():
    # Codes -3 ... 3 over +-1.5, so a step of 0.5.
    converter = Converter(3, 1.5)
    found = converter(np.array([0.0, 0.2, 0.3, -0.3, 0.74, 0.76, 1.5, 2.0, -9.0]))
    np.testing.assert_allclose(found, [0, 0, 0.5, -0.5, 0.5, 1.0, 1.5, 1.5, -1.5])
    assert (converter.samples, converter.clipped) == (9, 2)


def test_no_bits_pass_values_through_and_still_count():
    converter = Converter(0, 1.0)
    values = np.array([[0.123456789, -7.0]])
    assert converter(values) is values
    assert converter.clipped == 1


@given(st.integers(2, 24), st.floats(1e-3, 1e3), st.floats(-1, 1))
def test_error_is_half_a_step_inside_full_scale_and_the_sign_does_not_matter(bits, full_scale, part):
    value = np.array([part * full_scale])
    step = full_scale / (2 ** (bits - 1) - 1)
    found = Converter(bits, full_scale)(value)
    assert abs(found - value) <= step / 2 * (1 + 1e-9)
    assert Converter(bits, full_scale)(-value) == -found


@pytest.mark.parametrize("bits", [1, -3, 25])
def test_impossible_widths_are_refused(bits):
    with pytest.raises(InputError, match=f"converter of {bits} bits; allowed are 2 to 24, or 0"):
        Converter(bits, 1.0)


def test_full_scale_must_be_positive():
    with pytest.raises(InputError, match="full scale is 0"):
        Converter(8, 0.0)
