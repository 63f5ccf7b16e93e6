"""Pulses by the table against an independent integration of the state equation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from hvae_mnn.devices.presets import AIST, AIST_LITERAL, HP_TIO2
from hvae_mnn.devices.pulse_map import PulseMap, at_full_speed, shifted_speed
from hvae_mnn.errors import DeviceError

FREE = replace(AIST, name="free", end_stop=0.0, window_floor=0.0, window_p=2)
"""No end stops: its ends are reached in finite time."""


def integrated(spec, volts, x0, width):
    solved = solve_ivp(
        lambda _, x: spec.rate(x, volts), (0, width), [x0], "LSODA", rtol=1e-11, atol=1e-13, max_step=width / 40
    )
    return solved.y[0, -1]


@pytest.mark.parametrize(
    ("spec", "volts"),
    [(AIST, v) for v in (0.1015, 0.15, 0.2, 1.0, -0.1015, -0.2, -1.0)]
    + [(HP_TIO2, v) for v in (0.05, 1.0, -0.05, -1.0)]
    + [(AIST_LITERAL, 0.2), (AIST_LITERAL, -0.2)],
)
def test_a_pulse_ends_where_the_integrated_equation_ends(spec, volts):
    table = PulseMap(spec, volts)
    starts, widths = np.array([0.002, 0.05, 0.3, 0.7, 0.95, 0.998]), np.array([1e-5, 1e-3, 2e-2])
    found = table.after(starts[:, np.newaxis], widths)
    expected = [[integrated(spec, volts, x0, width) for width in widths] for x0 in starts]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_the_notes_pulse_train():
    # 0.2 V, 1 ms, from 0.05: the numbers of an earlier, independent prototype.
    table, x, found = PulseMap(AIST, 0.2), 0.05, []
    for _ in range(3):
        x = float(table.after(x, 1e-3))
        found.append(x)
    np.testing.assert_allclose(found, [0.3993, 0.5954, 0.7220], atol=1e-4)
    for volts, milliseconds in ((0.11, 3.18), (0.15, 4.92), (1.0, 42.0)):
        assert PulseMap(AIST, volts).width(0.05, 0.95) * 1e3 == pytest.approx(milliseconds, rel=2e-3)
    assert PulseMap(AIST, -0.2).width(0.95, 0.05) * 1e3 == pytest.approx(85.6, rel=2e-3)


@pytest.mark.parametrize(("spec", "volts"), [(AIST, 0.15), (AIST, -0.15), (HP_TIO2, 0.3), (HP_TIO2, -0.3), (FREE, 0.2)])
def test_width_is_the_inverse_and_pulses_add_up(spec, volts):
    table = PulseMap(spec, volts)
    x0 = np.random.default_rng(3).uniform(0.03, 0.97, (4, 50))
    toward = 0.985 if volts > 0 else 0.015
    width = table.width(x0, toward)
    np.testing.assert_allclose(table.after(x0, width), toward, atol=1e-9)
    np.testing.assert_allclose(table.after(table.after(x0, 0.3 * width), 0.7 * width), toward, atol=1e-9)
    np.testing.assert_array_equal(table.width(x0, x0), 0)
    np.testing.assert_allclose(table.after(x0, 0), x0, atol=1e-10)


@pytest.mark.parametrize(("spec", "volts"), [(AIST, 0.15), (AIST, -0.15), (HP_TIO2, 0.3)])
def test_energy_is_the_integral_of_power_over_the_pulse(spec, volts):
    table = PulseMap(spec, volts)
    x0, x1 = (0.1, 0.9) if volts > 0 else (0.9, 0.1)
    width = float(table.width(x0, x1))
    expected = quad(lambda t: volts**2 * float(spec.conductance(table.after(x0, t))), 0, width, epsrel=1e-8)[0]
    assert table.energy(x0, x1) == pytest.approx(expected, rel=1e-6)
    half = table.after(x0, width / 2)
    assert table.energy(x0, half) + table.energy(half, x1) == pytest.approx(expected, rel=1e-6)


def test_ends_hold_and_can_be_left():
    for volts, end in ((0.2, 1.0), (-0.2, 0.0)):
        there, back = PulseMap(AIST, volts), PulseMap(AIST, -volts)
        assert there.after(0.5, 100.0) == pytest.approx(end, abs=2e-9)
        assert there.after(end, 1.0) == end
        assert abs(back.after(end, 1e-2) - end) > 0.01
    assert PulseMap(FREE, 0.2).after(0.5, 100.0) == pytest.approx(1, abs=2e-9)
    # As printed, the equation keeps a state at its end.
    assert PulseMap(AIST_LITERAL, 0.2).after(0.0, 1.0) == 0


def test_deviating_devices_share_one_table():
    # A device with a threshold 5 % higher or lower, on one table: the width is scaled by the speed.
    for volts in (0.104, -0.104, 0.2):
        table = PulseMap(at_full_speed(AIST, volts), volts)
        for factor in (0.95, 1.0, 1.03, 1.05):
            own = replace(AIST, v_set=factor * AIST.v_set, v_reset=factor * AIST.v_reset)
            speed = float(shifted_speed(AIST, volts, factor))
            assert speed == pytest.approx(float(own.speed(volts)), abs=1e-12)
            expected = integrated(own, volts, 0.4, 2e-3)
            assert table.after(0.4, 2e-3 * speed) == pytest.approx(expected, abs=1e-7)
    assert shifted_speed(AIST, 0.15, [1.6]) == 0
    # Half of the amplitude moves only the devices with low thresholds.
    np.testing.assert_array_equal(shifted_speed(AIST, 0.09, [0.85, 0.95]) > 0, [True, False])
    assert shifted_speed(HP_TIO2, 0.09, [0.85]) == 1


@pytest.mark.parametrize(
    ("volts", "message"),
    [
        (0.1, r"0\.1 V does not move it; choose an amplitude above 0\.1 V to SET, below -0\.1 V to RESET"),
        (-0.05, "does not move it"),
        (float("nan"), "nan V does not move it"),
    ],
)
def test_an_amplitude_below_the_threshold_is_refused(volts, message):
    with pytest.raises(DeviceError, match=message):
        PulseMap(AIST, volts)
    with pytest.raises(DeviceError, match="any finite amplitude but 0 V"):
        PulseMap(HP_TIO2, 0.0)


def test_unreachable_targets_are_refused():
    table = PulseMap(AIST, 0.15)
    with pytest.raises(DeviceError, match=r"1 of 2 pulses are impossible; from x = 0\.5, x = 0\.4 lies behind it; use"):
        table.width([0.5, 0.3], 0.4)
    with pytest.raises(DeviceError, match=r"x = 1 is never reached; the furthest state is 0\.999999999"):
        table.width(0.5, 1.0)
    with pytest.raises(DeviceError, match=r"1 of 2 states lie outside 0 to 1, the first is 1\.2"):
        table.width(0.5, [0.6, 1.2])
    with pytest.raises(DeviceError, match="nan"):
        table.after(np.nan, 1e-3)
    with pytest.raises(DeviceError, match="a pulse of -1 s is impossible"):
        table.after(0.5, -1.0)
    with pytest.raises(DeviceError, match="opposite polarity"):
        PulseMap(AIST, -0.15).energy(0.5, 0.6)
    with pytest.raises(DeviceError, match="cannot be left"):
        PulseMap(AIST_LITERAL, 0.15).width(0.0, 0.5)
