"""The commands as Python functions: typed parameters and results, nothing printed but a bar where a person watches.

Each module holds the functions of one subject, and is imported when one of its names is first used: what needs no torch
does not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hvae_mnn.api.circuits import (
        Cost,
        Given,
        Hardware,
        Manifest,
        Options,
        SimulationResult,
        Verification,
        build_netlist,
        cost,
        newest_netlist,
        newest_run,
        read_hardware,
        read_manifest,
        resume,
        simulate,
        verify,
    )
    from hvae_mnn.api.devices import (
        Drive,
        IvResult,
        MemristorSpec,
        ProgrammingResult,
        Spread,
        Wired,
        WriteVerify,
        find_device,
        ir_drop,
        iv,
        program,
    )
    from hvae_mnn.api.figures import AccuracyPlots, Plot, TilePlot, plot_accuracy, plot_converters, plot_crossbar
    from hvae_mnn.api.generation import GenerationResult, generate
    from hvae_mnn.api.language import (
        Checkpoint,
        EvaluationResult,
        FinetuneResult,
        TrainingEvent,
        TrainingResult,
        TrainingSettings,
        evaluate,
        finetune,
        load_checkpoint,
        train,
    )
    from hvae_mnn.api.machine import Diagnosis, doctor
    from hvae_mnn.api.reproduction import (
        ClaimsResult,
        CorporaResult,
        ReproductionResult,
        reproduce,
        reproduce_claims,
        reproduce_table1,
    )
    from hvae_mnn.api.sweeps import PointVerification, SweepResult, sweep, verify_point
    from hvae_mnn.api.table3 import Table3Result, reproduce_table3
    from hvae_mnn.bars import Progress
    from hvae_mnn.crossbar.hardware.spec import SCHEMES
    from hvae_mnn.crossbar.hardware.wires import Wires
    from hvae_mnn.crossbar.nonidealities.spec import (
        DeviceSpread,
        Drift,
        Nonidealities,
        Programming,
        ReadNoise,
        StuckCells,
        Temperature,
    )
    from hvae_mnn.gates import GATE_UNITS
    from hvae_mnn.studies.ir_drop.run import IrDropResult

_MODULES: dict[str, tuple[str, ...]] = {
    "hvae_mnn.api.circuits": (
        "Cost",
        "Given",
        "Hardware",
        "Manifest",
        "Options",
        "SimulationResult",
        "Verification",
        "build_netlist",
        "cost",
        "newest_netlist",
        "newest_run",
        "read_hardware",
        "read_manifest",
        "resume",
        "simulate",
        "verify",
    ),
    "hvae_mnn.api.devices": (
        "Drive",
        "IvResult",
        "MemristorSpec",
        "ProgrammingResult",
        "Spread",
        "Wired",
        "WriteVerify",
        "find_device",
        "ir_drop",
        "iv",
        "program",
    ),
    "hvae_mnn.api.figures": (
        "AccuracyPlots",
        "Plot",
        "TilePlot",
        "plot_accuracy",
        "plot_converters",
        "plot_crossbar",
    ),
    "hvae_mnn.api.generation": (
        "GenerationResult",
        "generate",
    ),
    "hvae_mnn.api.language": (
        "Checkpoint",
        "EvaluationResult",
        "FinetuneResult",
        "TrainingEvent",
        "TrainingResult",
        "TrainingSettings",
        "evaluate",
        "finetune",
        "load_checkpoint",
        "train",
    ),
    "hvae_mnn.api.machine": (
        "Diagnosis",
        "doctor",
    ),
    "hvae_mnn.api.reproduction": (
        "ClaimsResult",
        "CorporaResult",
        "ReproductionResult",
        "reproduce",
        "reproduce_claims",
        "reproduce_table1",
    ),
    "hvae_mnn.api.sweeps": (
        "PointVerification",
        "SweepResult",
        "sweep",
        "verify_point",
    ),
    "hvae_mnn.api.table3": (
        "Table3Result",
        "reproduce_table3",
    ),
    "hvae_mnn.bars": ("Progress",),
    "hvae_mnn.crossbar.hardware.spec": ("SCHEMES",),
    "hvae_mnn.crossbar.hardware.wires": ("Wires",),
    "hvae_mnn.crossbar.nonidealities.spec": (
        "DeviceSpread",
        "Drift",
        "Nonidealities",
        "Programming",
        "ReadNoise",
        "StuckCells",
        "Temperature",
    ),
    "hvae_mnn.gates": ("GATE_UNITS",),
    "hvae_mnn.studies.ir_drop.run": ("IrDropResult",),
}
"""Public names by the module that has them."""
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "GATE_UNITS",
    "SCHEMES",
    "AccuracyPlots",
    "Checkpoint",
    "ClaimsResult",
    "CorporaResult",
    "Cost",
    "DeviceSpread",
    "Diagnosis",
    "Drift",
    "Drive",
    "EvaluationResult",
    "FinetuneResult",
    "GenerationResult",
    "Given",
    "Hardware",
    "IrDropResult",
    "IvResult",
    "Manifest",
    "MemristorSpec",
    "Nonidealities",
    "Options",
    "Plot",
    "PointVerification",
    "Programming",
    "ProgrammingResult",
    "Progress",
    "ReadNoise",
    "ReproductionResult",
    "SimulationResult",
    "Spread",
    "StuckCells",
    "SweepResult",
    "Table3Result",
    "Temperature",
    "TilePlot",
    "TrainingEvent",
    "TrainingResult",
    "TrainingSettings",
    "Verification",
    "Wired",
    "Wires",
    "WriteVerify",
    "build_netlist",
    "cost",
    "doctor",
    "evaluate",
    "find_device",
    "finetune",
    "generate",
    "ir_drop",
    "iv",
    "load_checkpoint",
    "newest_netlist",
    "newest_run",
    "plot_accuracy",
    "plot_converters",
    "plot_crossbar",
    "program",
    "read_hardware",
    "read_manifest",
    "reproduce",
    "reproduce_claims",
    "reproduce_table1",
    "reproduce_table3",
    "resume",
    "simulate",
    "sweep",
    "train",
    "verify",
    "verify_point",
]

if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name):
        """Import a public name when it is first used."""
        if name in _HOMES:
            return getattr(importlib.import_module(_HOMES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names, for completion in a notebook."""
    return list(__all__)
