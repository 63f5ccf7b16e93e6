"""The reference integration against numbers known from elsewhere: quadrature, a closed form, another solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from hvae_mnn.devices.presets import AIST, AIST_LITERAL, HP_TIO2
from hvae_mnn.devices.reference import integrate, switching_time
from hvae_mnn.devices.waveforms import PiecewiseLinear, PulseTrain, Sine, pulses
from hvae_mnn.errors import DeviceError, InputError

VOLTS = np.array([0.11, 0.15, 0.2, 0.3, 0.5, 1.0])


def test_switching_times_of_the_preset():
    np.testing.assert_allclose(switching_time(AIST, VOLTS) * 1e3, [3.18, 4.92, 7.11, 11.5, 20.2, 42.0], rtol=3e-3)
    np.testing.assert_allclose(switching_time(AIST, -VOLTS) * 1e3, [156, 114, 85.6, 57.1, 34.2, 17.1], rtol=3e-3)
    # Set slows with the voltage, reset does not.
    assert (np.diff(switching_time(AIST, VOLTS)) > 0).all()
    assert (np.diff(switching_time(AIST, -VOLTS)) < 0).all()


def test_switching_time_in_closed_form():
    # Without window and stops RESET has dx/dt = -k v / (i_on R(x)), so t = i_on (R integrated over x) / (k v).
    flat = replace(AIST, window_p=1_000, window_floor=0.0, end_stop=0.0)
    expected = 0.9 * AIST.resistance(0.5) / (AIST.rate_per_s * 0.5)
    assert switching_time(flat, -0.5) == pytest.approx(expected, rel=1e-12)


def test_no_switching_takes_for_ever():
    np.testing.assert_array_equal(switching_time(AIST, [[0.0, 0.1], [-0.1, 0.05]]), np.inf)
    assert switching_time(AIST_LITERAL, 0.2, 0.0, 0.5) == np.inf
    assert switching_time(AIST, 0.2, 0.0, 0.5) < 0.1
    with pytest.raises(DeviceError, match=r"from x = 0.5 to 1.2; allowed:"):
        switching_time(AIST, 0.2, 0.5, 1.2)


@pytest.mark.parametrize("spec", [AIST, HP_TIO2])
@pytest.mark.parametrize("volts", [0.5, -0.5])
def test_a_constant_voltage_needs_the_time_that_the_quadrature_says(spec, volts):
    begin, end = (0.1, 0.9) if volts > 0 else (0.9, 0.1)
    seconds = float(switching_time(spec, volts, 0.1, 0.9))
    states = integrate(spec, PiecewiseLinear((0.0, 2 * seconds), (volts, volts)), begin, [0.0, seconds])
    np.testing.assert_allclose(states, [begin, end], atol=1e-7)


def test_pulses_of_the_preset():
    after = integrate(AIST, pulses(0.2, 20, 1e-3, 1e-3).waveform(), 0.05, pulses(0.2, 20, 1e-3, 1e-3).read_times_s)
    np.testing.assert_allclose(after[[0, 1, 3, 5]], [0.05, 0.39926, 0.72197, 0.87084], atol=6e-5)
    assert (np.diff(after[:21]) > 0).all()
    assert (np.diff(after[20:]) < 0).all()
    for amplitude, width, x0, expected in (
        (0.2, 1e-4, 0.05, 0.595),
        (0.5, 1e-3, 0.05, 0.948),
        (-0.5, 1e-3, 0.95, 0.281),
    ):
        train = PulseTrain((amplitude,) * 20, width, 1e-4)
        assert integrate(AIST, train.waveform(), x0, train.read_times_s)[-1] == pytest.approx(expected, abs=6e-4)


def test_it_agrees_with_an_implicit_runge_kutta_method():
    wave, times = Sine(0.5, 10, 2), np.linspace(0, 0.2, 41)
    other = solve_ivp(
        lambda t, x: AIST.rate(x, wave.volts(t)),
        (0, 0.2),
        [0.3],
        "Radau",
        times,
        rtol=1e-8,
        atol=1e-10,
        max_step=1e-4,
    )
    np.testing.assert_allclose(integrate(AIST, wave, 0.3, times), other.y[0], atol=1e-6)


def test_many_devices_and_repeated_times():
    wave = Sine(0.5, 10, 1)
    times = [0.0, 0.0, 0.02, 0.02, 0.1]
    start = np.array([[0.1, 0.3, 0.9], [0.0, 1.0, 0.5]])
    together = integrate(AIST, wave, start, times)
    assert together.shape == (5, 2, 3)
    np.testing.assert_array_equal(together[0], start)
    np.testing.assert_array_equal(together[2], together[3])
    alone = integrate(AIST, wave, 0.3, times)
    assert alone.shape == (5,)
    np.testing.assert_allclose(together[:, 0, 1], alone, atol=1e-7)


def test_below_the_threshold_nothing_moves_at_all():
    wave = Sine(0.1, 3, 5)
    np.testing.assert_array_equal(integrate(AIST, wave, 0.37, np.linspace(0, wave.duration_s, 100)), 0.37)
    assert integrate(HP_TIO2, Sine(0.1, 3, 0.5), 0.37, [1 / 6])[0] > 0.371


def test_hp_returns_after_a_period_and_the_literal_device_never_leaves_its_ends():
    whole = integrate(HP_TIO2, Sine(1, 1, 1), 0.314, [0.5, 1.0])
    assert whole[0] > 0.6
    assert whole[1] == pytest.approx(0.314, abs=1e-8)
    slow = Sine(0.5, 1, 2)
    at_bottom = {spec.name: integrate(spec, slow, 0.0, [0.25, 0.5])[-1] for spec in (AIST, AIST_LITERAL)}
    assert at_bottom == {"aist": pytest.approx(1, abs=1e-3), "aist_literal": 0.0}
    # A saturating drive takes both to 1; RESET brings only the guarded one back.
    at_top = {spec.name: integrate(spec, slow, 0.3, [0.5, 1.0]) for spec in (AIST, AIST_LITERAL)}
    assert at_top["aist_literal"] == pytest.approx([1, 1], abs=1e-6)
    assert at_top["aist"] == pytest.approx([1, 0], abs=1e-3)


def test_times_outside_the_waveform_are_refused():
    with pytest.raises(InputError, match=r"time 0.3 s lies outside the waveform's 0 to 0.2 s"):
        integrate(AIST, Sine(0.5, 10, 2), 0.3, [0.1, 0.3])
    with pytest.raises(InputError, match="not ascending"):
        integrate(AIST, Sine(0.5, 10, 2), 0.3, [0.1, 0.05])


@pytest.mark.parametrize(
    ("law", "why"),
    [
        (lambda x: x**2 + 1e3, r"100000 evaluations did not pass 0.049\d* s"),
        (lambda x: 1e3 + 0 * x, "the state ran away"),
    ],
)
def test_a_state_that_runs_away_is_said(law, why):
    class Unbounded(type(HP_TIO2)):
        def rate(self, x, volts):
            return law(np.asarray(x))

    spec = Unbounded(**{name: value for name, value in HP_TIO2.to_dict().items() if name != "law"})
    said = rf"memristor 'hp_tio2': the state equation has no solution between 0 and 0.5 s \({why}\); use a preset"
    with pytest.raises(DeviceError, match=said):
        integrate(spec, Sine(1, 1, 1), 0.3, [1.0])


def test_states_outside_0_to_1_are_refused():
    with pytest.raises(DeviceError, match=r"memristor 'aist': it starts at x = 1.1; allowed: 0 to 1"):
        integrate(AIST, Sine(0.5, 10, 1), [0.3, 1.1], [0.1])
