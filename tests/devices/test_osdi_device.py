"""The compiled device called as a simulator calls it: values are the Python equation's, derivatives those of values."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_uint32, c_void_p
from dataclasses import replace

import numpy as np
import pytest

from hvae_mnn.devices.presets import AIST, AIST_LITERAL, HP_TIO2
from hvae_mnn.spice.osdi import osdi_library, osdi_problem

pytestmark = pytest.mark.spice

FUNCTIONS = (
    "access setup_model setup_instance eval load_noise residual_resistive residual_reactive limit_resistive"
    " limit_reactive rhs_dc rhs_transient jacobian_resistive jacobian_reactive jacobian_transient"
)

NUMBERS = "node_map jacobian_pointers states state_index bound_step instance_size model_size"


class Descriptor(ctypes.Structure):
    _fields_ = (
        ("name", c_char_p),
        *((name, c_uint32) for name in ("nodes", "terminals")),
        ("node_table", c_void_p),
        ("jacobian_count", c_uint32),
        ("jacobian", c_void_p),
        ("collapsible_count", c_uint32),
        ("collapsible", c_void_p),
        ("collapsed", c_uint32),
        ("noise", c_void_p),
        *((name, c_uint32) for name in ("noise_count", "parameters", "instance_parameters", "outputs")),
        ("parameter_table", c_void_p),
        *(
            (name, c_uint32)
            for name in [
                "node_map",
                "jacobian_pointers",
                "states",
                "state_index",
                "bound_step",
                "instance_size",
                "model_size",
            ]
        ),
        *((name, c_void_p) for name in FUNCTIONS.split()),
    )


class Call(ctypes.Structure):
    _fields_ = (
        ("values", c_void_p * 4),
        ("time", c_double),
        ("solution", POINTER(c_double)),
        ("states", c_void_p * 2),
        ("flags", c_uint32),
    )


class Outcome(ctypes.Structure):
    _fields_ = (("flags", c_uint32), ("count", c_uint32), ("errors", c_void_p))


PARAMETERS = "ron roff d mu p wmin bw vtp vtn ioff ion i0 dv guard"
IDS = {name: 2 + number for number, name in enumerate(PARAMETERS.split())}
SET, TRANSIENT = 1, 2


def function(result, *arguments):
    return ctypes.CFUNCTYPE(result, *arguments)


ACCESS = function(c_void_p, c_void_p, c_void_p, c_uint32, c_uint32)
SETUP_MODEL = function(None, c_void_p, c_void_p, c_void_p, POINTER(Outcome))
SETUP_INSTANCE = function(None, c_void_p, c_void_p, c_void_p, c_double, c_uint32, c_void_p, POINTER(Outcome))
EVAL = function(c_uint32, c_void_p, c_void_p, c_void_p, POINTER(Call))
RESIDUAL = function(None, c_void_p, c_void_p, POINTER(c_double))
JACOBIAN = function(None, c_void_p, c_void_p, c_double)


class Device:
    """One instance in memory of its own; nodes te, be, x are 0, 1, 2."""

    def __init__(self, spec):
        self._library = ctypes.CDLL(str(osdi_library(spec.law)))
        self._d = (Descriptor * 2).in_dll(self._library, "OSDI_DESCRIPTORS")[0 if spec.law == "aist" else 1]
        assert self._d.name.decode() == f"{spec.law}_memristor"
        self._memory = [ctypes.create_string_buffer(size) for size in (self._d.model_size, self._d.instance_size)]
        self.model, self.instance = (ctypes.addressof(buffer) for buffer in self._memory)
        for name, value in spec.spice_parameters().items():
            c_double.from_address(ACCESS(self._d.access)(None, self.model, IDS[name], SET)).value = value
        outcome = Outcome()
        SETUP_MODEL(self._d.setup_model)(None, self.model, None, outcome)
        assert outcome.count == 0
        SETUP_INSTANCE(self._d.setup_instance)(None, self.instance, self.model, 300.0, 3, None, outcome)
        assert outcome.count == 0
        (c_uint32 * 3).from_address(self.instance + self._d.node_map)[:] = [0, 1, 2]
        self._entries = (c_double * 9)()
        pointers = (c_void_p * 9).from_address(self.instance + self._d.jacobian_pointers)
        pointers[:] = [ctypes.addressof(self._entries) + 8 * k for k in range(9)]

    def __call__(self, voltages, flags=TRANSIENT):
        """Residuals (3,) and their Jacobian (3, 3) at node voltages (3,)."""
        call = Call(time=1.0, solution=(c_double * 3)(*voltages), flags=flags)
        assert EVAL(self._d.eval)(None, self.instance, self.model, call) == 0
        residual = (c_double * 3)()
        RESIDUAL(self._d.residual_resistive)(self.instance, self.model, residual)
        self._entries[:] = [0.0] * 9
        JACOBIAN(self._d.jacobian_transient)(self.instance, self.model, 0.0)
        return np.array(residual), np.array(self._entries).reshape(3, 3)


SPECS = {
    "aist": AIST,
    "literal": AIST_LITERAL,
    "hp": HP_TIO2,
    "spread": replace(AIST, window_p=3, r_off_ohm=120e3, v_set=0.095, v_reset=-0.12, ramp_v=5e-3),
    "hp steep": replace(HP_TIO2, window_p=7, window_floor=0.0, end_stop=0.0),
}


@pytest.fixture(params=SPECS)
def spec(request):
    problem = osdi_problem()
    if problem:
        pytest.skip(problem)
    return SPECS[request.param]


def points(spec, count):
    """Node voltages te, be, x, and the device's: around its thresholds, too, but away from the equation's corners."""
    rng = np.random.default_rng(5)
    corners = np.array([*spec.switching_levels(), 0.0])
    for _ in range(count):
        level = rng.choice([0.0, *spec.switching_levels()])
        v = rng.choice([rng.uniform(-0.6, 0.6), level + rng.uniform(-3e-3, 3e-3)])
        x = rng.choice([rng.uniform(-0.02, 1.02), rng.uniform(0, 0.012), rng.uniform(0.988, 1)])
        if np.abs(corners - v).min() > 1e-5:
            be = rng.uniform(-0.3, 0.3)
            yield np.array([be + v, be, x]), v


def test_values_are_those_of_the_python_equation(spec):
    device = Device(spec)
    for nodes, _ in points(spec, 600):
        volts = nodes[0] - nodes[1]
        current = volts / spec.resistance(nodes[2])
        expected = [current, -current, -1e-3 * spec.rate(nodes[2], volts)]
        np.testing.assert_allclose(device(nodes)[0], expected, rtol=1e-9, atol=1e-18)


def test_without_a_transient_the_state_is_pulled_to_x0(spec):
    device = Device(spec)
    (nodes, _), *_ = points(spec, 20)
    residual, jacobian = device(nodes, flags=0)
    x0 = {"aist": 0.05, "hp": 0.314}[spec.law]
    assert residual[2] == pytest.approx(1e-3 * (nodes[2] - x0))
    np.testing.assert_array_equal(jacobian[2], [0, 0, 1e-3])


def test_derivatives_are_those_of_the_values(spec):
    device, step, apart = Device(spec), 1e-7, 0
    for nodes, _ in points(spec, 400):
        jacobian = device(nodes)[1]
        for k, shift in enumerate(step * np.eye(3)):
            numeric = (device(nodes + shift)[0] - device(nodes - shift)[0]) / (2 * step)
            scale = np.abs(numeric) + np.abs(jacobian[:, k]) + 1e-9
            apart += int((np.abs(numeric - jacobian[:, k]) > 1e-3 * scale).any())
    # A step across a corner in x (an end stop's edge, the window's floor) may be among them.
    assert apart <= 3
