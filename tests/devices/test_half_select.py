"""Half-selected cells, against a loop that takes every cell through every pulse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hvae_mnn.devices.half_select import BIAS_SCHEMES, SelectedArray
from hvae_mnn.devices.presets import AIST, HP_TIO2
from hvae_mnn.devices.programming import WriteVerify, program_devices
from hvae_mnn.devices.pulse_map import PulseMap
from hvae_mnn.devices.spread import Devices, Spread
from hvae_mnn.errors import DeviceError

SHAPE = (3, 4)
EXPOSED = {"V/2": (1 / 2, 0.0), "V/3": (1 / 3, -1 / 3), "1T1R": (0.0, 0.0)}
"""Parts of the amplitude on the cells of the same row or column, and on the rest."""


def cell_by_cell(spec, volts, scheme, devices, x, seconds):
    """One round, each pulse on each cell with a table of the cell's own."""
    on_line, rest = EXPOSED[scheme]
    x, seen, settled = x.copy(), np.zeros(SHAPE, dtype=int), np.full(SHAPE, spec.x_init)
    for r, c in np.argwhere(seconds):
        for i, j in np.ndindex(SHAPE):
            part = 1.0 if (i, j) == (r, c) else on_line if i == r or j == c else rest
            own = spec
            if hasattr(spec, "v_set"):
                factor = devices.threshold[i, j]
                own = replace(spec, v_set=spec.v_set * factor, v_reset=spec.v_reset * factor)
            applied = part * volts * np.sign(seconds[r, c])
            if own.moves(applied):
                width = abs(seconds[r, c]) * devices.speed[i, j]
                before, x[i, j] = x[i, j], PulseMap(own, applied).after(x[i, j], width)
                seen[i, j] += (i, j) != (r, c) and before != x[i, j]
        settled[r, c] = x[r, c]
    return x, seen, settled


@pytest.mark.parametrize("scheme", BIAS_SCHEMES)
@pytest.mark.parametrize(("spec", "volts", "sigma"), [(AIST, 0.19, 0.1), (AIST, 0.29, 0.1), (HP_TIO2, 0.6, 0.0)])
def test_a_round_is_what_a_loop_over_pulses_and_cells_gives(spec, volts, sigma, scheme):
    rng = np.random.default_rng(8)
    devices = Spread(0.2, 0.0, sigma).sample(SHAPE, rng)
    x, seconds = rng.uniform(0.2, 0.8, SHAPE), rng.uniform(-1, 1, SHAPE) * 2e-3
    seconds[1, 2] = seconds[0, 0] = 0
    array = SelectedArray(spec, volts, scheme, devices)
    found, _ = array.pulse(x, seconds, np.ones(SHAPE))
    expected, seen, settled = cell_by_cell(spec, volts, scheme, devices, x, seconds)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(array.disturbance.after_own_pulse, settled, atol=1e-9)
    np.testing.assert_array_equal(array.disturbance.exposures, seen)
    np.testing.assert_array_equal(array.disturbance.disturbed, seen > 0)
    if scheme == "1T1R" or (scheme == "V/3" and volts == 0.19):
        assert array.disturbance.count == 0
    else:
        assert seen.sum() > 5


def test_polarity_of_the_three_kinds_of_cells():
    # One SET pulse on cell (1, 1); every device moves at a third of the amplitude.
    for scheme, row_and_column, rest in (("V/2", 1, 0), ("V/3", 1, -1), ("1T1R", 0, 0)):
        array = SelectedArray(HP_TIO2, 0.6, scheme, Devices(np.ones(SHAPE), np.ones(SHAPE)))
        seconds = np.zeros(SHAPE)
        seconds[1, 1] = 1e-2
        start = np.full(SHAPE, 0.5)
        moved = np.sign(array.pulse(start, seconds, np.ones(SHAPE))[0] - start)
        expected = np.full(SHAPE, rest)
        expected[1, :] = expected[:, 1] = row_and_column
        expected[1, 1] = 1
        np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize(("scheme", "part"), [("V/2", 1 / 2), ("V/3", 1 / 3)])
def test_energy_in_half_selected_cells(scheme, part):
    rng = np.random.default_rng(1)
    x = rng.uniform(0.1, 0.9, SHAPE)
    array = SelectedArray(AIST, 0.15, scheme, Devices(np.ones(SHAPE), np.ones(SHAPE)))
    seconds = np.zeros(SHAPE)
    seconds[2, 1], seconds[0, 3] = 1e-3, -2e-3
    array.pulse(x, seconds, np.ones(SHAPE))
    siemens, expected = AIST.conductance(x), 0.0
    for r, c in ((2, 1), (0, 3)):
        for i, j in np.ndindex(SHAPE):
            if (i, j) != (r, c) and (scheme == "V/3" or i == r or j == c):
                expected += abs(seconds[r, c]) * (part * 0.15) ** 2 * siemens[i, j]
    assert array.disturbance.energy_j == pytest.approx(expected, rel=1e-12)


def program(scheme, volts, sigma, shape=(48, 40)):
    rng = np.random.default_rng(3)
    spread, settings = Spread(0.05, 0.02, sigma), WriteVerify(amplitude_v=volts)
    targets = rng.uniform(AIST.g_min, AIST.g_max, shape)
    array = SelectedArray(AIST, volts, scheme, spread.sample(shape, rng))
    return program_devices(AIST, targets, array, settings, spread, rng), array.disturbance


def test_disturbed_fraction_is_that_of_low_thresholds():
    # 0.18 V, V/2: 0.09 V moves devices whose threshold is 10 % low: 2.3 % of them at sigma 5 %, 16 % at 10 %.
    for sigma, fraction in ((0.02, 0.0), (0.05, 0.023), (0.10, 0.159)):
        _, disturbance = program("V/2", 0.18, sigma)
        assert disturbance.count / (48 * 40) == pytest.approx(fraction, abs=0.02 if fraction else 0)
        assert disturbance.exposed_v == pytest.approx(0.09)
    for scheme in ("V/3", "1T1R"):
        assert program(scheme, 0.18, 0.05)[1].count == 0


def test_what_is_wrong_at_the_end_was_disturbed():
    result, disturbance = program("V/2", 0.18, 0.1)
    disturbed = disturbance.disturbed
    assert np.median(np.abs(result.error[disturbed])) > 0.3
    assert result.within[~disturbed].all()
    np.testing.assert_array_equal(disturbance.after_own_pulse[~disturbed], result.state[~disturbed])
    # The same devices, targets and pulses without half-selection.
    alone, _ = program("1T1R", 0.18, 0.1)
    assert alone.within.all()


def test_schemes_shapes_and_hopeless_sizes_are_refused():
    four = Devices(np.ones(4), np.ones(4))
    with pytest.raises(DeviceError, match=r"unknown scheme 'V/4'; did you mean 'V/.'\? allowed: V/3, V/2, 1T1R"):
        SelectedArray(AIST, 0.15, "V/4", four)
    with pytest.raises(DeviceError, match=r"needs an array of rows and columns; the devices are \(4,\)"):
        SelectedArray(AIST, 0.15, "V/2", four)
    shape = (150, 150)
    large = SelectedArray(HP_TIO2, 0.6, "V/3", Devices(np.ones(shape), np.ones(shape)))
    with pytest.raises(
        DeviceError, match=r"22500 of 22500 cells .* move at 0\.2 V \(V/3\), too many to follow; choose"
    ):
        large.pulse(np.full(shape, 0.5), np.full(shape, 1e-3), np.ones(shape))
