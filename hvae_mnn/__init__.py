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
from typing import TYPE_CHECKING

from hvae_mnn.errors import (
    CacheWarning,
    CheckpointError,
    DeviceError,
    EnvironmentProblem,
    HardwareError,
    HvaeMnnError,
    InputError,
    ManifestError,
    MappingError,
    MendedWarning,
    Note,
    RunError,
    SimulatorError,
    StorageError,
    TableError,
    TensorsError,
    TextError,
    TrainingError,
    UncheckedFileWarning,
    UnknownWordsWarning,
)
from hvae_mnn.version import __version__ as __version__

if TYPE_CHECKING:
    from hvae_mnn.api import (
        GATE_UNITS,
        SCHEMES,
        AccuracyPlots,
        Checkpoint,
        Cost,
        DeviceSpread,
        Diagnosis,
        Drift,
        Drive,
        EvaluationResult,
        FinetuneResult,
        Given,
        Hardware,
        IrDropResult,
        IvResult,
        Manifest,
        MemristorSpec,
        Nonidealities,
        Options,
        Plot,
        PointVerification,
        Programming,
        ProgrammingResult,
        Progress,
        ReadNoise,
        SimulationResult,
        Spread,
        StuckCells,
        SweepResult,
        Temperature,
        TilePlot,
        TrainingEvent,
        TrainingResult,
        TrainingSettings,
        Verification,
        Wired,
        Wires,
        WriteVerify,
        build_netlist,
        cost,
        doctor,
        evaluate,
        find_device,
        finetune,
        ir_drop,
        iv,
        load_checkpoint,
        newest_netlist,
        newest_run,
        plot_accuracy,
        plot_converters,
        plot_crossbar,
        program,
        read_hardware,
        read_manifest,
        resume,
        simulate,
        sweep,
        train,
        verify,
        verify_point,
    )

__all__ = [
    "GATE_UNITS",
    "SCHEMES",
    "AccuracyPlots",
    "CacheWarning",
    "Checkpoint",
    "CheckpointError",
    "Cost",
    "DeviceError",
    "DeviceSpread",
    "Diagnosis",
    "Drift",
    "Drive",
    "EnvironmentProblem",
    "EvaluationResult",
    "FinetuneResult",
    "Given",
    "Hardware",
    "HardwareError",
    "HvaeMnnError",
    "InputError",
    "IrDropResult",
    "IvResult",
    "Manifest",
    "ManifestError",
    "MappingError",
    "MemristorSpec",
    "MendedWarning",
    "Nonidealities",
    "Note",
    "Options",
    "Plot",
    "PointVerification",
    "Programming",
    "ProgrammingResult",
    "Progress",
    "ReadNoise",
    "RunError",
    "SimulationResult",
    "SimulatorError",
    "Spread",
    "StorageError",
    "StuckCells",
    "SweepResult",
    "TableError",
    "Temperature",
    "TensorsError",
    "TextError",
    "TilePlot",
    "TrainingError",
    "TrainingEvent",
    "TrainingResult",
    "TrainingSettings",
    "UncheckedFileWarning",
    "UnknownWordsWarning",
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
        if name in __all__:
            return getattr(importlib.import_module("hvae_mnn.api"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names, for completion in a notebook."""
    return [*__all__, "__version__"]
