"""Every non-ideality against its formula: moments, independence, and draws that depend on nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import SCHEMES, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.crossbar.nonidealities.device_spread import with_device_spread
from hvae_mnn.crossbar.nonidealities.draw import draw_array
from hvae_mnn.crossbar.nonidealities.drift import drifted
from hvae_mnn.crossbar.nonidealities.programming_error import with_programming_error
from hvae_mnn.crossbar.nonidealities.spec import (
    DeviceSpread,
    Drift,
    Nonidealities,
    Programming,
    StuckCells,
    Temperature,
)
from hvae_mnn.crossbar.nonidealities.stuck import with_stuck_cells
from hvae_mnn.crossbar.nonidealities.temperature import hardware_at

COUNT = 200_000
EVERYTHING = Nonidealities(
    programming=Programming("lognormal", 0.1),
    spread=DeviceSpread(0.05, 0.1, 0.02, 0.04),
    stuck=StuckCells(0.02, 0.05),
    drift=Drift(1e4, 1.0, 0.03, 0.01),
)


@pytest.fixture
def hardware():
    return read_hardware("paper")


@pytest.fixture
def device(hardware):
    return hardware.device


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def moments(values, mean, deviation):
    """Mean and standard deviation are as they should be, within five standard errors of a gaussian's."""
    assert values.mean() == pytest.approx(mean, abs=5 * deviation / np.sqrt(values.size))
    assert values.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * values.size))


def test_lognormal_error_keeps_the_median_and_is_relative(device, rng):
    for target in (device.g_min, device.g_max):
        found = with_programming_error(np.full(COUNT, target), Programming("lognormal", 0.13), device, rng)
        moments(np.log(found / target), 0.0, 0.13)


def test_gaussian_error_is_a_part_of_the_range_and_leaves_nothing_negative(device, rng):
    reach = device.g_max - device.g_min
    found = with_programming_error(np.full(COUNT, device.g_mid), Programming("gaussian", 0.05), device, rng)
    moments((found - device.g_mid) / reach, 0.0, 0.05)
    wide = with_programming_error(np.full(COUNT, device.g_min), Programming("gaussian", 0.5), device, rng)
    assert wide.min() == 0.0


def test_pulses_leave_most_cells_within_the_tolerance(device, rng):
    targets = rng.uniform(device.g_min, device.g_max, 4000)
    spec = Programming("pulses", tolerance=0.02)
    error = with_programming_error(targets, spec, device, rng) / targets - 1
    assert (np.abs(error) <= 0.02).mean() > 0.95
    assert error.std() > 1e-3
    loose = with_programming_error(targets, replace(spec, open_loop=True), device, rng) / targets - 1
    assert loose.std() > 3 * error.std()


def test_spread_of_resistances_shows_at_the_ends_of_the_range(device, rng):
    on, off = 1 / device.r_on_ohm, 1 / device.r_off_ohm
    spec = DeviceSpread(device_on=0.03, device_off=0.2, cycle_on=0.04, cycle_off=0.0)
    other = np.random.default_rng(21)
    found = with_device_spread(np.full(COUNT, on), spec, device, rng, other)
    moments(np.log(found / on), 0.0, 0.05)  # 0.03 and 0.04 add in squares
    found = with_device_spread(np.full(COUNT, off), spec, device, rng, other)
    moments(np.log(found / off), 0.0, 0.2)


def test_spread_between_the_ends_is_that_of_the_two_resistances_in_series(device, rng):
    x = 0.7
    nominal = 1 / (x * device.r_on_ohm + (1 - x) * device.r_off_ohm)
    found = with_device_spread(np.full(COUNT, nominal), DeviceSpread(0.0, 0.1), device, rng, rng)
    resistance = 1 / found - x * device.r_on_ohm
    moments(np.log(resistance / ((1 - x) * device.r_off_ohm)), 0.0, 0.1)


def test_a_device_keeps_its_own_spread_from_one_programming_to_the_next(device):
    targets = np.full(COUNT, device.g_mid)
    spec = DeviceSpread(0.0, 0.1, 0.0, 0.05)
    first, second = (
        np.log(with_device_spread(targets, spec, device, np.random.default_rng(1), np.random.default_rng(cycle)))
        for cycle in (2, 3)
    )
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.1**2 / (0.1**2 + 0.05**2), abs=0.01)


def test_stuck_cells_are_binomial_and_stand_at_the_ends_of_the_device(device, rng):
    targets = rng.uniform(device.g_min, device.g_max, COUNT)
    found, on, off = with_stuck_cells(targets, StuckCells(0.02, 0.1), device, rng)
    for count, probability in ((on, 0.02), (off, 0.1)):
        deviation = np.sqrt(COUNT * probability * (1 - probability))
        assert count == pytest.approx(COUNT * probability, abs=5 * deviation)
    assert (found == 1 / device.r_on_ohm).sum() == on
    assert (found == 1 / device.r_off_ohm).sum() == off
    assert (found == targets).sum() == COUNT - on - off


def test_everything_can_be_stuck(device, rng):
    found, on, off = with_stuck_cells(np.full(100, device.g_mid), StuckCells(1.0, 0.0), device, rng)
    assert (on, off) == (100, 0)
    assert (found == 1 / device.r_on_ohm).all()


def test_drift_is_a_power_of_time(device, rng):
    values = np.array([device.g_min, device.g_mid, device.g_max])
    exact = drifted(values, Drift(1e6, 10.0, 0.05), rng)
    np.testing.assert_allclose(exact, values * (1e5) ** -0.05, rtol=1e-14)
    assert (drifted(values, Drift(10.0, 10.0, 0.05), rng) == values).all()
    spread = drifted(np.full(COUNT, 1.0), Drift(np.e, 1.0, 0.1, 0.02), rng)
    moments(-np.log(spread), 0.1, 0.02)
    assert drifted(np.full(COUNT, 1.0), Drift(np.e, 1.0, 0.0, 0.02), rng).max() == 1.0  # nothing rises


def test_wires_get_warm_and_drivers_do_not(hardware):
    hardware = replace(hardware, wires=Wires(1.0, 2.0, 30.0))
    warm = hardware_at(hardware, Nonidealities(temperature=Temperature(350.0, 300.0, 0.004)))
    assert (warm.wires.word_ohm, warm.wires.bit_ohm) == pytest.approx((1.2, 2.4))
    assert warm.wires.driver_ohm == 30.0
    assert hardware_at(hardware, Nonidealities()) is hardware


def layout_of(hardware, rows, columns, tile_rows, tile_columns, scheme="reference_column"):
    cells = replace(hardware.cells, scheme=scheme)
    return ArrayLayout(rows, columns, replace(hardware, cells=cells, tiling=Tiling(tile_rows, tile_columns)))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nothing_changes_nothing(hardware, scheme, rng):
    layout = layout_of(hardware, 7, 5, 3, 2, scheme)
    targets = rng.uniform(hardware.device.g_min, hardware.device.g_max, (7, layout.memristors))
    assert (draw_array("a", layout, targets, Nonidealities(), 3).conductance == targets).all()


@pytest.mark.parametrize("programming", [EVERYTHING.programming, Programming("pulses")])
def test_a_draw_depends_on_seed_name_and_tile_and_on_nothing_else(hardware, rng, programming):
    spec = replace(EVERYTHING, programming=programming)
    layout = layout_of(hardware, 7, 5, 3, 2)
    targets = rng.uniform(hardware.device.g_min, hardware.device.g_max, (7, 5))
    found = draw_array("a", layout, targets, spec, 3)
    assert (draw_array("a", layout, targets, spec, 3).conductance == found.conductance).all()
    for other in (draw_array("b", layout, targets, spec, 3), draw_array("a", layout, targets, spec, 4)):
        assert (other.conductance != found.conductance).mean() > 0.8
    # The tile's place in the array does not matter, only its number: the first one of a larger array is the same.
    larger = layout_of(hardware, 9, 2, 3, 2)
    tall = draw_array("a", larger, np.vstack([targets[:, :2], targets[:2, :2]]), spec, 3)
    assert (tall.conductance[:3] == found.conductance[:3, :2]).all()


def test_an_effect_draws_the_same_whatever_else_is_on(hardware):
    layout = layout_of(hardware, 40, 30, None, None)
    targets = np.full((40, 30), hardware.device.g_mid)
    alone = draw_array("a", layout, targets, Nonidealities(stuck=EVERYTHING.stuck), 3)
    among = draw_array("a", layout, targets, EVERYTHING, 3)
    assert (alone.stuck_on, alone.stuck_off) == (among.stuck_on, among.stuck_off) != (0, 0)


def test_tiles_arrays_and_seeds_are_independent(hardware):
    layout = layout_of(hardware, 200, 200, 100, 100)
    targets = np.full((200, 200), hardware.device.g_mid)
    spec = Nonidealities(programming=Programming("lognormal", 0.1))
    streams = []
    for name, seed in (("a", 1), ("a", 2), ("b", 1)):
        drawn = np.log(draw_array(name, layout, targets, spec, seed).conductance)
        streams += [
            drawn[rows, columns].ravel()
            for rows in (slice(100), slice(100, 200))
            for columns in (slice(100), slice(100, 200))
        ]
    correlation = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlation).max() < 5 / np.sqrt(100 * 100)


def test_effects_are_independent(hardware):
    """Of one tile, seed and array: what each effect does alone has nothing to do with what the others do."""
    layout = layout_of(hardware, 300, 400, None, None)
    device = hardware.device
    on, off = 1 / device.r_on_ohm, 1 / device.r_off_ohm
    alone = [
        (device.g_mid, Nonidealities(programming=Programming("lognormal", 0.1))),
        (on, Nonidealities(spread=DeviceSpread(device_on=0.1))),
        (off, Nonidealities(spread=DeviceSpread(device_off=0.1))),
        (on, Nonidealities(spread=DeviceSpread(cycle_on=0.1))),
        (off, Nonidealities(spread=DeviceSpread(cycle_off=0.1))),
        (device.g_mid, Nonidealities(stuck=StuckCells(on=0.5))),
        (device.g_mid, Nonidealities(drift=Drift(np.e, 1.0, 0.5, 0.05))),
    ]
    logs = [
        np.log(draw_array("a", layout, np.full((300, 400), target), spec, 1).conductance).ravel()
        for target, spec in alone
    ]
    correlation = np.corrcoef(logs) - np.eye(len(logs))
    assert np.abs(correlation).max() < 5 / np.sqrt(300 * 400)


def test_the_order_is_that_of_the_hardware(hardware):
    """Stuck cells do not take part in programming, and drift like all others."""
    layout = layout_of(hardware, 50, 50, None, None)
    device = hardware.device
    targets = np.full((50, 50), device.g_mid)
    spec = replace(EVERYTHING, stuck=StuckCells(1.0, 0.0), drift=Drift(100.0, 1.0, 0.1))
    found = draw_array("a", layout, targets, spec, 1).conductance
    np.testing.assert_allclose(found, 100.0**-0.1 / device.r_on_ohm)
