"""Waveforms, and the times at which they cross a level."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import trapezoid

from hvae_mnn.devices.waveforms import PiecewiseLinear, PulseTrain, Sine, pulses, triangle
from hvae_mnn.errors import InputError

LEVELS = (-0.102, -0.1, 0.1, 0.102)


def test_a_sine_crosses_where_arithmetic_says():
    wave = Sine(0.2, 10, 1.5)
    assert wave.duration_s == pytest.approx(0.15)
    np.testing.assert_allclose(wave.volts([0.0, 0.025, 0.075]), [0, 0.2, -0.2], atol=1e-15)
    # sin = 0.5 at 30 and 150 degrees of a period of 0.1 s
    np.testing.assert_allclose(wave.crossings([0.1]), [0.1 / 12, 0.5 / 12, 1.3 / 12, 1.7 / 12])
    np.testing.assert_allclose(wave.crossings([0.0]), [0.05, 0.1])
    np.testing.assert_allclose(Sine(-0.2, 10, 1).crossings([0.1]), [0.7 / 12, 1.1 / 12])
    assert wave.crossings([0.21, -0.3]).size == 0


@pytest.mark.parametrize(
    "wave",
    [
        Sine(0.5, 10, 2),
        Sine(-0.103, 3, 1.3),
        triangle(0.5, 10, 2),
        triangle(-0.101, 7, 1),
        pulses(0.2, 3, 1e-3, 2e-3, depression_v=-0.5, edge_s=1e-5, read_v=0.05).waveform(),
    ],
)
def test_between_crossings_the_voltage_stays_on_one_side_of_every_level(wave):
    edges = np.concatenate([[0], wave.crossings(LEVELS), [wave.duration_s]])
    assert (np.diff(edges) > 0).all()
    crossed = 0
    for begin, end in itertools.pairwise(edges):
        volts = wave.volts(np.linspace(begin, end, 52)[1:-1])
        for level in LEVELS:
            assert len(np.unique(np.sign(volts - level))) == 1
    for time in edges[1:-1]:
        crossed += any(abs(wave.volts(time) - level) < 1e-12 for level in LEVELS)
    assert crossed >= 4


def test_a_triangle():
    wave = triangle(0.4, 5, 2)
    assert wave.duration_s == pytest.approx(0.4)
    times = np.array([0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.4])
    np.testing.assert_allclose(wave.volts(times), [0, 0.2, 0.4, 0, -0.4, 0, 0.4, 0], atol=1e-15)
    np.testing.assert_allclose(wave.crossings([]), [0.05, 0.15, 0.25, 0.35])
    np.testing.assert_allclose(wave.crossings([0.2])[:3], [0.025, 0.05, 0.075])


def test_pulses_and_where_they_are_read():
    train = pulses(0.2, 2, 1e-3, 2e-3, depression_v=-0.5, edge_s=1e-6)
    assert train.amplitudes_v == (0.2, 0.2, -0.5, -0.5)
    wave = train.waveform()
    assert wave.duration_s == pytest.approx(4 * 3.002e-3 + 2e-3)
    np.testing.assert_array_equal(wave.volts(train.read_times_s), 0)
    middle = train.read_times_s[:-1] + 1e-3 + 1e-6 + 0.5e-3
    np.testing.assert_allclose(wave.volts(middle), train.amplitudes_v)
    # Each pulse holds its amplitude for its width: the area is width + one edge.
    times = np.linspace(0, wave.duration_s, 2_000_001)
    area = trapezoid(np.clip(wave.volts(times), 0, None), times)
    assert area == pytest.approx(2 * 0.2 * (1e-3 + 1e-6), rel=1e-5)


def test_a_read_level_fills_the_pauses_but_not_the_beginning():
    train = PulseTrain((0.2, -0.3), 1e-3, 2e-3, edge_s=1e-6, read_v=0.05)
    wave = train.waveform()
    assert wave.volts(0.0) == 0
    np.testing.assert_allclose(wave.volts(train.read_times_s), 0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sine(0.0, 1, 1), "amplitude is 0 V; allowed: a finite number other than 0"),
        (lambda: Sine(0.5, -1, 1), "frequency is -1 Hz; allowed: a finite number above 0"),
        (lambda: Sine(0.5, 1, float("nan")), "number of cycles is nan;"),
        (lambda: PiecewiseLinear((0.0, 1.0), (0.0,)), "2 times and 1 voltages"),
        (lambda: PiecewiseLinear((0.0, 1.0, 1.0), (0.0, 1.0, 2.0)), "begin 0, 1, 1 s; allowed: 0 first"),
        (lambda: PiecewiseLinear((0.5, 1.0), (0.0, 1.0)), "begin 0.5, 1 s"),
        (lambda: PiecewiseLinear((0.0, 1.0), (0.0, float("inf"))), "not finite"),
        (lambda: pulses(0.2, 0, 1e-3, 1e-3), "no pulses"),
        (lambda: pulses(0.2, 3, -1e-3, 1e-3), "a pulse's width is -0.001 s"),
        (lambda: triangle(0.2, 0, 3), "frequency is 0 Hz"),
    ],
)
def test_what_is_no_waveform_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
