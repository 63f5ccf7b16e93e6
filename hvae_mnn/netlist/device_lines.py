"""SPICE text of one memristor that moves: as a subcircuit of behavioural sources, or as a compiled OSDI device.

Pure functions from a `MemristorSpec` to lines. A positive V(te, be) raises the state (SET); the node `state` carries it
in volts, and holds `x0` in an operating point.
"""

from __future__ import annotations

from pathlib import Path

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import Backend
from hvae_mnn.devices.presets import DEFAULT_PRESET, PRESETS
from hvae_mnn.errors import EnvironmentProblem

OSDI_FILE = "memristor.osdi"
"""Compiled device beside a deck."""
OSDI_SOURCE = "memristor_osdi.c"
MODEL = "memristor"
"""Name of the `.model` card of OSDI devices."""
TRANSIENT_OPTIONS = ".options klu reltol=1e-7 vntol=1e-9 trtol=100"
"""For programming and characterising. ngspice's defaults let the state be off by several percent. Its time step follows
reltol x trtol, 1e-5 here. Newton's method stops at reltol alone: at 1e-4 it accepts, on a short step, the rate that it
extrapolated from the voltage before, so that a read below threshold moves a state that the read before it had moved.
"""
READ_OPTIONS = ".options klu reltol=1e-7 vntol=1e-9 trtol=1e4"
"""For reads in a row: a voltage that jumps from one read to the next looks like a large error of the time step, and is
none, since a read begins with a step of first order. A read takes five time points then instead of twelve."""


def model_file(name: str) -> Path:
    """A file of the device models: in the installed package, or in the checkout. Raises `EnvironmentProblem`."""
    package = Path(__file__).parents[1]
    for folder in (package / "device_models", package.parent / "device_models"):
        if (folder / name).is_file():
            return folder / name
    raise EnvironmentProblem(f"the device model {name} is missing from {package}; install hvae-mnn again")


def library(spec: MemristorSpec) -> str:
    """File name of the behavioural subcircuit."""
    return f"{spec.law}.lib"


def device_header(spec: MemristorSpec, backend: Backend) -> list[str]:
    """Lines that a deck needs once, before its devices."""
    if backend == "behavioural":
        return [f".include {library(spec)}"]
    values = " ".join(f"{name}={value!r}" for name, value in spec.spice_parameters().items())
    return [f".model {MODEL} {spec.law}_memristor {values}"]


def line_ending(spec: MemristorSpec, backend: Backend) -> tuple[str, str]:
    """First letter of a device's line, and what stands between its nodes and its `x0=`."""
    if backend == "osdi":
        return "N", MODEL
    # The subcircuit's defaults are the law's own preset; a line says only what differs.
    usual = PRESETS[DEFAULT_PRESET[spec.law]].spice_parameters()
    changed = (f" {name}={value!r}" for name, value in spec.spice_parameters().items() if value != usual[name])
    return "X", spec.law + "".join(changed)


def device_line(name: str, te: str, be: str, state: str, spec: MemristorSpec, backend: Backend, x0: float) -> str:
    """The element line of one device."""
    letter, ending = line_ending(spec, backend)
    return f"{letter}{name} {te} {be} {state} {ending} x0={float(x0)!r}"


def control_prologue(backend: Backend) -> list[str]:
    """First lines of a `.control` block. More threads than cores make ngspice twenty times slower."""
    return ["set num_threads=1", *([f"pre_osdi {OSDI_FILE}"] if backend == "osdi" else [])]
