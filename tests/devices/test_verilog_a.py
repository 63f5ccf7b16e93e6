"""Two independent front ends read the Verilog-A specifications and give what the Python equations give."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvae_mnn.devices.presets import AIST, AIST_LITERAL, HP_TIO2

MODELS = Path(__file__).parents[2] / "device_models"
NO_WHEEL = "has wheels for a few Pythons on Linux x86-64 only"
DEVICES = {
    "aist": AIST,
    "literal": AIST_LITERAL,
    "spread": replace(AIST, r_on_ohm=4e3, r_off_ohm=120e3, v_set=0.095, v_reset=-0.12, window_p=3, ramp_v=5e-3),
    "no window floor": replace(AIST, window_floor=0.0),
    "no end stops": replace(AIST, end_stop=0.0, window_floor=0.0, window_p=1),
    "no pole guard": replace(AIST, pole_guard=0.0, i_0=0.9e-6, i_on=0.7, i_off=3e-10),
    "hp": HP_TIO2,
    "hp, steep": replace(HP_TIO2, window_p=10, mobility=3e-14, thickness_m=12e-9, r_on_ohm=150.0),
    "hp, literal": replace(HP_TIO2, window_floor=0.0, end_stop=0.0),
}


def verilogae_or_skip():
    if shutil.which("cc") is None:
        pytest.skip("verilogae links what it compiles with the system's C compiler: there is none")
    return pytest.importorskip("verilogae", reason=f"verilogae {NO_WHEEL}")


@pytest.fixture(params=DEVICES)
def spec(request):
    return DEVICES[request.param]


def grid(spec, count):
    """States also a little beyond their ends; voltages on both sides of the thresholds, on them and in the ramps."""
    rng = np.random.default_rng(16)
    x = np.concatenate(
        [rng.uniform(-0.05, 1.05, count), rng.uniform(-0.01, 0.02, count), rng.uniform(0.98, 1.01, count)]
    )
    v = rng.uniform(-1.2, 1.2, x.size)
    v[:: max(x.size // 8, 1)] = 0.0
    for k, level in enumerate(spec.switching_levels()):
        v[k + 1 :: 7] = level + rng.uniform(-2e-3, 2e-3, v[k + 1 :: 7].size)
        v[k + 2 :: 29] = level
    if spec is AIST_LITERAL:
        # The unguarded quotient 1/(i - i_0) loses digits next to its pole, in any order of operations.
        near = np.abs(v / spec.resistance(x) / spec.i_0 - 1) < 1e-2
        v[near] += 0.05
    return x, v


def expected(spec, x, v):
    return spec.rate(x, v), v / spec.resistance(x)


def assert_equal(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


def test_the_grid_meets_every_case_of_the_equation(spec):
    rate, _ = expected(spec, *grid(spec, 1000))
    assert (rate > 0).any()
    assert (rate < 0).any()
    assert (rate == 0).any()


def test_verilogae_reads_the_same_rate_and_current(spec):
    verilogae = verilogae_or_skip()
    functions = verilogae.load(str(MODELS / f"{spec.law}.va")).functions
    x, v = grid(spec, 4000)
    parameters = spec.spice_parameters()
    for name, wanted in zip(("rate", "current"), expected(spec, x, v), strict=True):
        function = functions[name]
        own = {key: parameters[key] for key in function.parameters}
        voltages = {"br_tebe": v, "br_x": x}
        found = function.eval(temperature=300.0, voltages={key: voltages[key] for key in function.voltages}, **own)
        assert_equal(found, wanted)


@pytest.mark.parametrize("law", ["aist", "hp"])
def test_the_parameters_and_their_defaults_are_those_of_the_preset(law):
    verilogae = verilogae_or_skip()
    preset = {"aist": AIST, "hp": HP_TIO2}[law]
    module = verilogae.load(str(MODELS / f"{law}.va"))
    assert module.module_name == f"{law}_memristor"
    assert module.nodes == ["te", "be", "x"]
    defaults = {name: parameter.default for name, parameter in module.modelcard.items()}
    assert defaults == {"x0": preset.x_init, **preset.spice_parameters()}


def test_openvaf_reads_the_same_contributions_to_every_node(spec):
    openvaf = pytest.importorskip("openvaf_py", reason=f"openvaf-py {NO_WHEEL}")
    (module,) = openvaf.compile_va(str(MODELS / f"{spec.law}.va"))
    x, v = grid(spec, 60)
    given = {**spec.spice_parameters(), "x0": 0.2, "mfactor": 1.0}
    found = np.array(
        [
            module.run_init_eval({**given, "V(te,be)": volts, "V(x)": state, "$abstime": 1e-3})[0]
            for state, volts in zip(x.tolist(), v.tolist(), strict=True)
        ]
    )
    rate, current = expected(spec, x, v)
    te, be, state = found.transpose(1, 0, 2)
    assert_equal(te[:, 0], current)
    assert_equal(be[:, 0], -current)
    assert_equal(state[:, 0], -rate)
    np.testing.assert_array_equal(state[:, 1], x)  # charge of 1 F


def test_at_time_zero_the_state_is_pulled_to_x0_whatever_the_voltage(spec):
    openvaf = pytest.importorskip("openvaf_py", reason=f"openvaf-py {NO_WHEEL}")
    (module,) = openvaf.compile_va(str(MODELS / f"{spec.law}.va"))
    given = {**spec.spice_parameters(), "x0": 0.2, "mfactor": 1.0, "V(te,be)": 0.8, "V(x)": 0.75, "$abstime": 0.0}
    residuals, jacobian = module.run_init_eval(given)
    assert residuals[2][0] == pytest.approx(0.75 - 0.2)
    slopes = {(row, column): resistive for row, column, resistive, _ in jacobian}
    assert (slopes[2, 0], slopes[2, 1], slopes[2, 2]) == (0, 0, 1)
