"""One memristor in ngspice against the reference, the back ends against each other, and why the default is guarded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hvae_mnn.devices.presets import AIST, AIST_LITERAL, HP_TIO2
from hvae_mnn.devices.reference import integrate
from hvae_mnn.devices.waveforms import PiecewiseLinear, Sine, pulses
from hvae_mnn.errors import DeviceError, SimulatorError
from hvae_mnn.netlist.iv_deck import iv_deck
from hvae_mnn.spice.batch import run_deck
from hvae_mnn.spice.osdi import osdi_problem

pytestmark = pytest.mark.spice


@pytest.fixture(params=["behavioural", "osdi"])
def backend(request):
    problem = osdi_problem() if request.param == "osdi" else None
    if problem:
        pytest.skip(problem)
    return request.param


def simulated(folder, spec, backend, waveform, x0, step_s):
    """Times, states and device currents."""
    found = run_deck(iv_deck("one", spec, backend, waveform, x0, step_s), folder, "one", spec, backend)
    return found["time"], found["v(x)"], -found["i(vdrive)"]


def error(folder, spec, backend, waveform, x0, step_s):
    times, x, current = simulated(folder, spec, backend, waveform, x0, step_s)
    volts = waveform.volts(times)
    np.testing.assert_allclose(current, volts / spec.resistance(x), rtol=1e-6, atol=1e-12)
    return np.abs(x - integrate(spec, waveform, x0, np.minimum(times, waveform.duration_s))).max()


@pytest.mark.parametrize(
    ("amplitude", "frequency", "x0", "tolerance"),
    [(0.5, 10, 0.3, 3e-3), (0.2, 10, 0.3, 3e-3), (1.0, 5, 0.1, 1e-2), (0.5, 1, 0.5, 1e-2)],
)
def test_aist_follows_the_reference(tmp_path, backend, amplitude, frequency, x0, tolerance):
    sine = Sine(amplitude, frequency, 2)
    assert error(tmp_path, AIST, backend, sine, x0, 1 / frequency / 1000) < tolerance


@pytest.mark.parametrize(("spec", "tolerance"), [(HP_TIO2, 1e-5), (replace(HP_TIO2, window_p=10), 1e-4)])
def test_hp_follows_the_reference(tmp_path, backend, spec, tolerance):
    assert error(tmp_path, spec, backend, Sine(1.0, 2, 2), 0.3, 5e-4) < tolerance


def test_hp_follows_the_reference_into_its_ends(tmp_path, backend):
    assert error(tmp_path, HP_TIO2, backend, Sine(4.0, 1, 2), 0.3, 1e-3) < 1e-2


@pytest.mark.parametrize(
    ("spec", "volts", "frequency", "x0"),
    [(AIST, 0.5, 10, 0.3), (AIST, 0.2, 10, 0.3), (AIST, 1.0, 5, 0.1), (AIST, 0.5, 1, 0.5), (HP_TIO2, 1.0, 2, 0.3)],
)
def test_the_back_ends_agree(tmp_path, spec, volts, frequency, x0):
    if osdi_problem():
        pytest.skip(osdi_problem())
    sine = Sine(volts, frequency, 2)
    first, second = (simulated(tmp_path / b, spec, b, sine, x0, 1 / frequency / 1000) for b in ("behavioural", "osdi"))
    np.testing.assert_allclose(np.interp(first[0], second[0], second[1]), first[1], rtol=0, atol=1e-4)


def test_pulses_leave_the_states_that_are_known(tmp_path, backend):
    """Single pulses of 0.2 V, 1 ms from x = 0.05, worked out beforehand."""
    train = pulses(0.2, 3, width_s=1e-3, gap_s=1e-3, edge_s=1e-8)
    times, x, _ = simulated(tmp_path, AIST, backend, train.waveform(), 0.05, 2e-5)
    np.testing.assert_allclose(np.interp(train.read_times_s[1:4], times, x), [0.3993, 0.5954, 0.7220], atol=2e-4)


def test_below_threshold_nothing_moves_and_just_above_it_does(tmp_path, backend):
    for volts, moves in ((0.05, False), (0.09, False), (-0.1, False), (0.103, True), (-0.103, True)):
        hold = PiecewiseLinear((0.0, 1e-3, 1.0), (0.0, volts, volts))
        _, x, _ = simulated(tmp_path, AIST, backend, hold, 0.3, 1e-2)
        drift = np.abs(x - 0.3).max()
        assert (drift > 1e-3) if moves else (drift <= 1e-12)


@pytest.mark.parametrize("spec", [AIST, HP_TIO2])
@pytest.mark.parametrize("volts", [0.05, -0.09, 0.5])
def test_the_operating_point_holds_the_state_whatever_the_voltage(tmp_path, backend, spec, volts):
    """Without `uic`, and above the threshold too: the transient begins at x0 with the current v / R(x0)."""
    hold = PiecewiseLinear((0.0, 1e-6), (volts, volts))
    times, x, current = simulated(tmp_path, spec, backend, hold, 0.3, 1e-7)
    assert times[0] == 0
    assert x[0] == pytest.approx(0.3, abs=1e-12)
    assert current[0] == pytest.approx(volts / spec.resistance(0.3), rel=1e-9)


def test_a_pole_inside_the_operating_area_still_runs(tmp_path, backend):
    spread = replace(AIST, r_off_ohm=120e3, v_set=0.095)
    assert spread.i_0 > spread.v_set / spread.r_off_ohm
    sine = Sine(0.2, 10, 2)
    assert error(tmp_path, spread, backend, sine, 0.001, 1e-4) < 1e-2


def test_the_printed_equation_stays_at_its_end_and_the_default_leaves_it(tmp_path, backend):
    pulse = PiecewiseLinear((0.0, 1e-6, 5e-3), (0.0, 0.3, 0.3))
    _, stuck, _ = simulated(tmp_path, AIST_LITERAL, backend, pulse, 0.0, 1e-4)
    np.testing.assert_allclose(stuck, 0, atol=1e-9)
    _, free, _ = simulated(tmp_path, AIST, backend, pulse, 0.0, 1e-4)
    assert free[-1] > 0.3


DRIVES = [(0.5, 1, 0.5), (1.0, 1, 0.5), (0.5, 2, 0.05), (0.3, 0.5, 0.5)]
"""Volts, hertz, x0: each drives the state into both of its ends."""


def outcome(folder, spec, backend, amplitude, frequency, x0):
    """`failed`, `stuck` (the second cycle moves nothing), or `moves`."""
    try:
        times, x, _ = simulated(folder, spec, backend, Sine(amplitude, frequency, 2), x0, 1e-3 / frequency)
    except SimulatorError as failed:
        return "failed" if "timestep too small" in str(failed).lower() else str(failed)
    assert -0.01 < x.min() < x.max() < 1.01
    return "moves" if np.ptp(x[times > 1 / frequency]) > 0.9 else "stuck"


def test_saturated_the_printed_equation_fails_or_sticks_and_the_default_does_not(tmp_path, backend):
    """What comes of the printed one is the solver's whim: it leaves an end only as far as it overshot it."""
    literal = [outcome(tmp_path, AIST_LITERAL, backend, *drive) for drive in DRIVES]
    assert set(literal) & {"failed", "stuck"}
    assert [outcome(tmp_path, AIST, backend, *drive) for drive in DRIVES] == ["moves"] * len(DRIVES)


def test_an_unguarded_pole_inside_the_operating_area_is_refused():
    with pytest.raises(DeviceError, match="the rate has a pole there"):
        replace(AIST_LITERAL, r_off_ohm=120e3, v_set=0.095)
