"""Availability of the back ends of moving memristors on this machine, found by running each."""

from __future__ import annotations

import numpy as np

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import Backend
from hvae_mnn.devices.presets import AIST
from hvae_mnn.devices.stepping import advance
from hvae_mnn.errors import HvaeMnnError
from hvae_mnn.netlist.device_lines import TRANSIENT_OPTIONS, control_prologue, device_header, device_line
from hvae_mnn.owned import temporary_folder
from hvae_mnn.spice.batch import run_deck

_VOLTS, _SECONDS, _X0 = 0.2, 1e-3, 0.05
_TOLERANCE = 1e-3


def backend_problem(backend: Backend, spec: MemristorSpec = AIST) -> str | None:
    """Reason why `backend` does not run here, with the remedy; None if one pulse moved one device by its equation."""
    try:
        with temporary_folder() as folder:
            vectors = run_deck(_pulse_deck(spec, backend), folder, "pulse", spec, backend, timeout_s=60)
    except HvaeMnnError as error:
        return str(error)
    expected = float(advance(spec, np.array([_X0]), np.array([_VOLTS]), _SECONDS)[0])
    reached = float(vectors["v(x)"][-1])
    if abs(reached - expected) > _TOLERANCE:
        return (
            f"a pulse moved the state to {reached:.4f}, expected is {expected:.4f}; install hvae-mnn and ngspice again"
        )
    return None


def _pulse_deck(spec: MemristorSpec, backend: Backend) -> str:
    rise = _SECONDS * 1e-6
    lines = [
        "hvae-mnn: one pulse on one memristor",
        TRANSIENT_OPTIONS,
        *device_header(spec, backend),
        f"Vpulse te 0 PWL(0 0 {rise!r} {_VOLTS!r})",
        device_line("m", "te", "0", "x", spec, backend, _X0),
        f".tran {_SECONDS / 50!r} {_SECONDS!r} 0 {_SECONDS / 50!r}",
        ".control",
        *control_prologue(backend),
        "run",
        "write pulse.raw v(x)",
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"
