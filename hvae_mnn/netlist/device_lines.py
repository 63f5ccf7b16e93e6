"""SPICE text of one moving memristor: a subcircuit of behavioural sources, or a compiled OSDI device.

Pure functions from a `MemristorSpec` to lines. A positive V(te, be) raises the state (SET). The voltage of the node
`state` is the state; in an operating point it is `x0`.
"""

from __future__ import annotations

from pathlib import Path

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import Backend
from hvae_mnn.devices.presets import DEFAULT_PRESET, PRESETS
from hvae_mnn.errors import EnvironmentProblem
from hvae_mnn.files import shipped_file

OSDI_FILE = "memristor.osdi"
"""File of the compiled device, beside the deck."""
OSDI_SOURCE = "memristor_osdi.c"
MODEL = "memristor"
"""Name of the `.model` card of OSDI devices."""
TRANSIENT_OPTIONS = ".options klu reltol=1e-7 vntol=1e-9 trtol=100"
"""For programming and characterisation. With ngspice's defaults, errors of the state reach several percent. The time
step follows reltol x trtol, here 1e-5. Newton's method stops at reltol alone: with 1e-4 it accepts, on a short step, a
rate extrapolated from the previous voltage, so that a read below threshold continues the motion of the read before.
"""
READ_OPTIONS = ".options klu reltol=1e-7 vntol=1e-9 trtol=1e4"
"""For consecutive reads. A voltage jump between two reads looks like a large error of the time step, but is not one,
because a read begins with a first-order step. With this trtol, a read takes five time points instead of twelve."""


def model_file(name: str) -> Path:
    """Path of a file of the device models, in the installed package or the checkout.

    Raises `EnvironmentProblem` if the file is missing.
    """
    path = shipped_file("device_models", name)
    if path is None:
        package = Path(__file__).parents[1]
        raise EnvironmentProblem(f"the device model {name} is missing from {package}; install hvae-mnn again")
    return path


def library(spec: MemristorSpec) -> str:
    """File name of the behavioural subcircuit."""
    return f"{spec.law}.lib"


def device_header(spec: MemristorSpec, backend: Backend) -> list[str]:
    """Lines that a deck needs once before its devices: an include, or a `.model` card."""
    if backend == "behavioural":
        return [f".include {library(spec)}"]
    values = " ".join(f"{name}={value!r}" for name, value in spec.spice_parameters().items())
    return [f".model {MODEL} {spec.law}_memristor {values}"]


def line_ending(spec: MemristorSpec, backend: Backend) -> tuple[str, str]:
    """First letter of a device's line, and the text between its nodes and `x0=`."""
    if backend == "osdi":
        return "N", MODEL
    # The subcircuit's defaults are the preset of its law; a line lists only deviations from them.
    usual = PRESETS[DEFAULT_PRESET[spec.law]].spice_parameters()
    changed = (f" {name}={value!r}" for name, value in spec.spice_parameters().items() if value != usual[name])
    return "X", spec.law + "".join(changed)


def device_line(name: str, te: str, be: str, state: str, spec: MemristorSpec, backend: Backend, x0: float) -> str:
    """Element line of one device with the initial state `x0`."""
    letter, ending = line_ending(spec, backend)
    return f"{letter}{name} {te} {be} {state} {ending} x0={float(x0)!r}"


def control_prologue(backend: Backend) -> list[str]:
    """First lines of a `.control` block. With more threads than cores, ngspice is twenty times slower."""
    return ["set num_threads=1", *([f"pre_osdi {OSDI_FILE}"] if backend == "osdi" else [])]
