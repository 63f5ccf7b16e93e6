"""Circuit-level SPICE co-simulation of recurrent text models on memristor crossbars.

    from hvae_mnn import build_netlist, load_checkpoint, simulate

    checkpoint = load_checkpoint("checkpoints/demo/best.pt")
    manifest = build_netlist(checkpoint.path)
    result = simulate(manifest, steps=40)
    print(result.summary["token_agreement"], result.words(0)["hardware"])

Importing the package imports neither torch nor PySpice; the functions do when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hvae_mnn.version import __version__ as __version__

if TYPE_CHECKING:
    from hvae_mnn.api import (
        Checkpoint,
        Cost,
        Drive,
        Hardware,
        IvResult,
        Manifest,
        Nonidealities,
        Options,
        PointVerification,
        ProgrammingResult,
        SimulationResult,
        Spread,
        SweepResult,
        Verification,
        Wired,
        WriteVerify,
        build_netlist,
        cost,
        find_device,
        finetune,
        iv,
        load_checkpoint,
        program,
        read_hardware,
        read_manifest,
        resume,
        simulate,
        sweep,
        verify,
        verify_point,
    )

__all__ = [
    "Checkpoint",
    "Cost",
    "Drive",
    "Hardware",
    "IvResult",
    "Manifest",
    "Nonidealities",
    "Options",
    "PointVerification",
    "ProgrammingResult",
    "SimulationResult",
    "Spread",
    "SweepResult",
    "Verification",
    "Wired",
    "WriteVerify",
    "build_netlist",
    "cost",
    "find_device",
    "finetune",
    "iv",
    "load_checkpoint",
    "program",
    "read_hardware",
    "read_manifest",
    "resume",
    "simulate",
    "sweep",
    "verify",
    "verify_point",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in __all__:
        return getattr(importlib.import_module("hvae_mnn.api"), name)
    raise AttributeError(f"module 'hvae_mnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names, for completion in a notebook."""
    return [*__all__, "__version__"]
