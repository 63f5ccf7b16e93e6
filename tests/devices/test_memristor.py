"""Parameters, resistance and state equations of eqs. 8 and 9; numbers worked out by hand from the printed formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hvae_mnn.devices.memristor import HpSpec
from hvae_mnn.devices.presets import AIST, AIST_LITERAL, HP_TIO2, PRESETS, find_device, spec_from_dict
from hvae_mnn.errors import DeviceError


def test_resistance_is_linear_in_the_state_and_conductance_is_not():
    np.testing.assert_allclose(AIST.resistance([0, 0.25, 1]), [100e3, 76.25e3, 5e3])
    np.testing.assert_allclose(AIST.conductance([0.25, 0.5, 0.95]) * 1e6, [13.11475, 19.04762, 102.5641], rtol=1e-6)
    np.testing.assert_allclose(AIST.state(AIST.conductance([0.1, 0.7])), [0.1, 0.7])
    np.testing.assert_allclose(AIST.resistance([-0.2, 1.3]), [100e3, 5e3])


def test_eq_9_by_hand():
    # x = 0.3: R = 71.5 kohm; f = 1 - 0.4^20; mu R_on / D^2 = 5e-15 * 5e3 / 9e-18.
    k, window = 5e-15 * 5e3 / (3e-9) ** 2, 1 - 0.4**20
    expected = k * 2e-10 / (0.3 / 71.5e3 - 1e-6) * window
    assert AIST.rate(0.3, 0.3) == pytest.approx(expected, rel=1e-12)
    assert AIST.rate(0.3, -0.3) == pytest.approx(-k * 0.3 / 71.5e3 * window, rel=1e-12)
    assert AIST_LITERAL.rate(0.3, 0.3) == pytest.approx(expected, rel=1e-12)


def test_the_state_is_exactly_still_up_to_both_thresholds():
    states = np.linspace(0, 1, 11)[:, np.newaxis]
    np.testing.assert_array_equal(AIST.rate(states, [-0.1, -0.05, 0.0, 0.05, 0.1]), 0)
    assert (AIST.rate(states[1:-1], 0.1001) > 0).all()
    assert (AIST.rate(states[1:-1], -0.1001) < 0).all()
    np.testing.assert_array_equal(AIST.moves([-0.11, 0.1, 0.1001]), [True, False, True])


def test_set_slows_and_reset_speeds_up_with_voltage():
    assert AIST.rate(0.5, 0.2) > AIST.rate(0.5, 0.5) > AIST.rate(0.5, 1.0)
    assert -AIST.rate(0.5, -0.2) < -AIST.rate(0.5, -0.5)


def test_hp_by_hand():
    # R(0.25) = 12025 ohm, f = 1 - 0.5^2 = 0.75; mu R_on / D^2 = 1e-14 * 100 / 1e-16 = 1e4.
    assert HP_TIO2.rate(0.25, 0.6) == pytest.approx(1e4 * 0.6 / 12025 * 0.75, rel=1e-12)
    assert HP_TIO2.rate(0.25, -0.6) == -HP_TIO2.rate(0.25, 0.6)
    assert HP_TIO2.threshold_v == 0
    np.testing.assert_array_equal(HP_TIO2.moves([0.0, 1e-6]), [False, True])


def test_guards_let_a_state_leave_its_end_and_the_printed_equation_does_not():
    assert AIST.rate(0.0, 0.3) > 0
    assert AIST.rate(1.0, -0.3) < 0
    assert AIST.rate(1.0, 0.3) == 0
    assert AIST.rate(0.0, -0.3) == 0
    assert AIST_LITERAL.rate(0.0, 0.3) == 0
    assert AIST_LITERAL.rate(1.0, -0.3) == 0
    # Beyond the end the window turns negative: RESET drives the state further out.
    assert AIST_LITERAL.rate(1.05, -0.3) > 0


def test_the_pole_lies_on_the_corner_and_the_guard_keeps_off_it():
    assert AIST.i_0 == pytest.approx(AIST.v_set / AIST.r_off_ohm)
    spread = replace(AIST, r_off_ohm=120e3, v_set=0.095, g_min=10e-6)
    rate = spread.rate(np.linspace(0, 1, 1001)[:, np.newaxis], np.linspace(0.0951, 0.3, 401))
    assert np.isfinite(rate).all()
    assert (rate >= 0).all()
    with pytest.raises(DeviceError, match=r"i_0 is 1e-06 A, above the smallest SET current .* 7.9.*e-07 A.*pole_guard"):
        replace(AIST_LITERAL, r_off_ohm=120e3, v_set=0.095)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"r_on_ohm": 2e5}, "R_on < R_off"),
        ({"v_reset": 0.1}, "V_th- < 0"),
        ({"g_max": 1e-3}, "1/R_on"),
        ({"read_v": 0.0}, "read_v is 0; allowed: a number above 0"),
        ({"window_p": 0}, "whole number from 1 on"),
        ({"window_p": 10**23}, "1000 at most"),
        ({"end_stop": 0.0}, "window_floor without end_stop"),
        ({"end_stop": 0.7}, "end_stop is 0.7"),
        ({"i_off": -1.0}, "i_off is -1"),
        ({"mobility": float("nan")}, "mobility is nan; allowed: a finite number"),
        ({"x_init": 1.5}, "x_init is 1.5; allowed: 0 to 1"),
    ],
)
def test_impossible_devices_are_refused(change, message):
    with pytest.raises(DeviceError, match=message):
        replace(AIST, **change)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_its_dictionary(name):
    spec = find_device(name)
    assert spec_from_dict(spec.to_dict()) == spec


def test_a_users_preset_from_toml(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "aist"\nr_off_ohm = 120e3\nwindow_p = 4\n')
    spec = find_device(path)
    assert (spec.name, spec.r_off_ohm, spec.window_p, spec.v_set) == ("mine", 120e3, 4, 0.1)
    assert "from aist" in spec.source
    path.write_text('base = "hp_tio2"\nr_on_ohm = 50\ng_max = 1e-3')
    assert isinstance(find_device(path), HpSpec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "ais"', "unknown base 'ais'; did you mean 'aist'\\? allowed: aist, aist_literal, hp_tio2, hp"),
        ('base = "aist"\nr_of = 3', "unknown parameter of a device of law aist 'r_of'; did you mean 'r_off_ohm'"),
        ('base = "aist"\nr_off_ohm = 1' + 400 * "0", "r_off_ohm is a whole number beyond 64 bits"),
        ('base = "aist"\nwindow_p = 1' + 18 * "0", "1000 at most"),
        ('base = "aist"\nr_off_ohm = "big"', "r_off_ohm is 'big'; allowed: a number"),
        ('base = "aist"\nwindow_p = 1.5', "window_p is 1.5; allowed: a whole number"),
        ('base = "aist"\nv_set = -0.2', r"V_th\+ -0.2 V"),
        ('law = "aist"\nr_off_ohm = 1e5', "r_on_ohm is missing"),
        ('law = "vteam"', "unknown law 'vteam'; allowed: aist, hp"),
        ("r_off_ohm = ", "cannot be read as TOML"),
        ('base = "aist"\nname = "a\\n.control"', "a memristor's name is 'a.*allowed: letters"),
    ],
)
def test_what_is_wrong_in_a_users_preset_is_named(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(DeviceError, match=message) as caught:
        find_device(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_of_any_name_gives_a_plain_one(tmp_path):
    path = tmp_path / "my device (ü).toml"
    path.write_text('base = "aist"')
    assert find_device(path).name == "my-device"


def test_a_laws_name_is_its_preset(tmp_path):
    assert find_device("hp") is HP_TIO2
    assert find_device("aist") is AIST
    (tmp_path / "mine.toml").write_text('base = "hp"')
    assert find_device(tmp_path / "mine.toml").source == "mine.toml, from hp_tio2"


def test_unknown_presets_are_named():
    message = r"unknown device preset 'aits'; did you mean 'aist'\? allowed: aist, aist_literal, hp_tio2, hp, or a file"
    with pytest.raises(DeviceError, match=message):
        find_device("aits")
    with pytest.raises(DeviceError, match="does not exist"):
        find_device("nowhere.toml")
