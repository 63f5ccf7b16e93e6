"""Verification of a point of a sweep: its chip is written as netlists, and ngspice repeats reads of the sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hvae_mnn.cosim.chip import Chip
from hvae_mnn.cosim.export import CHECKPOINT, source_of
from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.crossbar.hardware.file import hardware_from_dict
from hvae_mnn.crossbar.network import CrossbarNetwork
from hvae_mnn.crossbar.transfer import threads
from hvae_mnn.engines.array_process import array_decks
from hvae_mnn.engines.ngspice import require_klu
from hvae_mnn.errors import InputError
from hvae_mnn.files import write_sealed
from hvae_mnn.folders import RUNS, check_writable, new_run
from hvae_mnn.models.stepwise import run_batch
from hvae_mnn.netlist.build import write_network
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.results import Result
from hvae_mnn.studies.referee.array import ArrayCase, ngspice_currents
from hvae_mnn.sweeps.point import checkpoint_of, chip_of
from hvae_mnn.sweeps.sentences import chosen_sentences
from hvae_mnn.sweeps.task import Task

Array = NDArray[np.float64]
TOLERANCE = 1e-9
NETLIST = "netlist"
SUMMARY = "verify.json"


@dataclass(frozen=True)
class ArrayVerdict:
    """Differences of ngspice and the sweep's engine in one array."""

    array: str
    reads: int
    cells: int
    """Number of memristors."""
    full_scale: float
    """Largest pre-activation from ngspice, in the model's units."""
    noise: float
    """Largest read noise of a pre-activation, in the model's units."""
    difference: float
    """Largest difference of a pre-activation, relative to full scale."""


@dataclass(frozen=True, repr=False)
class PointVerification(Result):
    """A point of a sweep, read by ngspice. Table: `arrays`, a row per array."""

    folder: Path
    """Folder of the netlists and the summary."""
    task: str
    """Key of the task."""
    seed: int | None
    verdicts: tuple[ArrayVerdict, ...]
    tolerance: float

    @property
    def worst(self) -> float:
        """Largest difference, relative to full scale."""
        return max(verdict.difference for verdict in self.verdicts)

    @property
    def passed(self) -> bool:
        """Whether every difference is within the tolerance."""
        return self.worst <= self.tolerance

    def facts(self) -> Mapping[str, object]:
        """The verdict, and the largest difference."""
        return {
            "folder": self.folder,
            "task": self.task[:12],
            "seed": self.seed,
            "passed": self.passed,
            "arrays": len(self.verdicts),
            "worst": self.worst,
            "tolerance": self.tolerance,
        }

    def _rows(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        return {"arrays": [asdict(verdict) for verdict in self.verdicts]}


def verify_point(
    task: Task,
    *,
    steps: int = 2,
    arrays: int | None = None,
    tolerance: float = TOLERANCE,
    out: Path | None = None,
    cluster: Cluster | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PointVerification:
    """Write the netlists of a point's chip to `out`, read `arrays` arrays (None: all) in `steps` time steps with
    ngspice, and compare with the currents of the sweep's engine for the same voltages.

    Steps, of the first sentence with more than `steps` tokens, and arrays are chosen with the task's seed. Read noise
    becomes current sources in ngspice's circuits. `tolerance` is relative to full scale; `progress` is called with the
    numbers of finished arrays and of all. Raises `InputError` for a task without a circuit and for arguments out of
    range, `SimulatorError` if ngspice fails.
    """
    if task.kind not in ("point", "digital_bits"):
        raise InputError(f"task {task.key} is a baseline without a circuit ({task.kind}); choose a point")
    for name, value in (("steps", steps), ("arrays", arrays), ("tolerance", tolerance)):
        if value is not None and not value > 0:
            raise InputError(f"--{name} is {value:g}; allowed: above 0")
    hardware = hardware_from_dict(task.hardware, "hardware")
    linear = hardware.cells.read_law == "ohmic" and np.isinf(hardware.amplifier.swing_v)
    if hardware.coding == "pulse_width" and not linear:
        raise InputError(
            f"task {task.key} has pulses in a nonlinear circuit, which one operating point does not show; build its"
            " netlists with build-netlist --hardware, and let ngspice run them (simulate --engine ngspice)"
        )
    check_writable(out or RUNS)
    cluster = cluster or Cluster.here()
    with threads(1):  # as in the sweep
        chip = chip_of(task)
        reads_by_array = _reads(task, chip, steps)
    with new_run(out, f"verify-{task.key[:12]}") as folder:
        attached = {CHECKPOINT: checkpoint_of(task).path}
        source = source_of(checkpoint_of(task), task.model.calibration)
        manifest = write_network(chip.mapped, folder / NETLIST, source, attached)
        rng = np.random.default_rng(np.random.SeedSequence([task.seed or 0, 5]))
        chosen = _chosen(manifest, arrays, rng)
        require_klu([deck for deck in array_decks(manifest) if deck.name in chosen], cluster)
        cases, expected = [], []
        for deck in array_decks(manifest):
            if deck.name in chosen:
                reads = reads_by_array[deck.name]
                indices = np.sort(rng.choice(len(reads), min(steps, len(reads)), replace=False))
                part = [reads[index] for index in indices]
                noise = None if part[0].noise is None else np.array([read.noise for read in part])
                cases.append(ArrayCase(deck, np.array([read.volts for read in part]), noise))
                expected.append(np.array([read.currents for read in part]))
        currents = cluster.map(ngspice_currents, cases, progress=progress)
        verdicts = tuple(
            _verdict(manifest, case, own, spice) for case, own, spice in zip(cases, expected, currents, strict=True)
        )
        verification = PointVerification(folder, task.key, task.seed, verdicts, tolerance)
        _write(verification, task)
    return verification


@dataclass(frozen=True)
class _Read:
    """One read of an array by the sweep's engine."""

    volts: Array
    """Word lines (R,), volts."""
    currents: Array
    """Outputs (N,) with noise, amperes."""
    noise: Array | None
    """Noise (N,), amperes; None: no noise."""


def _reads(task: Task, chip: Chip, steps: int) -> dict[str, list[_Read]]:
    """Every read of every array in the first sentence of more than `steps` tokens, or else in the longest."""
    checkpoint = checkpoint_of(task)
    sentences = chosen_sentences(checkpoint, task.text)
    long = [number for number, sentence in enumerate(sentences) if len(sentence) > steps]
    number = long[0] if long else max(range(len(sentences)), key=lambda index: len(sentences[index]))
    reads: dict[str, list[_Read]] = {}

    def observe(name: str, volts: Array, currents: Array, noise: Array | None) -> None:
        noises = [None] * len(volts) if noise is None else list(noise)
        reads.setdefault(name, []).extend(map(_Read, volts, currents, noises))

    source = chip.source(chip.exact_engine(), observe)
    source.begin([number])
    with torch.inference_mode():
        run_batch(HardwareStepper(checkpoint.model, source), [sentences[number]])
    return reads


def _chosen(network: CrossbarNetwork, arrays: int | None, rng: np.random.Generator) -> set[str]:
    names = [unit.array for _, unit in network.units()]
    if arrays is None or arrays >= len(names):
        return set(names)
    return {names[index] for index in rng.choice(len(names), arrays, replace=False)}


def _verdict(network: CrossbarNetwork, case: ArrayCase, expected: Array, spice: Array) -> ArrayVerdict:
    """Compare currents (K, outputs) of the sweep and of ngspice, amperes, in the model's units."""
    layer, unit = next((layer, unit) for layer, unit in network.units() if unit.array == case.deck.name)

    def units(currents: Array) -> Array:
        parts = currents.reshape(len(currents), -1, unit.columns)
        return np.asarray(parts * (unit.scale / layer.volts_per_unit))

    values = units(spice)
    full_scale = float(np.abs(values).max()) or 1.0
    return ArrayVerdict(
        array=case.deck.name,
        reads=len(case.volts),
        cells=case.deck.shape[0] * case.deck.shape[1],
        full_scale=full_scale,
        noise=0.0 if case.noise is None else float(np.abs(units(case.noise)).max()),
        difference=float(np.abs(values - units(expected)).max()) / full_scale,
    )


def _write(verification: PointVerification, task: Task) -> None:
    write_sealed(
        verification.folder / SUMMARY,
        {
            "task": task.to_dict() | {"key": task.key},
            "tolerance": verification.tolerance,
            "worst": verification.worst,
            "passed": verification.passed,
            "arrays": [asdict(verdict) for verdict in verification.verdicts],
        },
    )
