"""Programming a network's conductances: targets in; pulses, errors, time, energy and disturbed cells out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.bars import Progress
from hvae_mnn.devices.half_select import BIAS_SCHEMES, BiasScheme, SelectedArray
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import Backend
from hvae_mnn.devices.programming import Controller, WriteVerify, program_devices
from hvae_mnn.devices.spread import Spread
from hvae_mnn.errors import InputError
from hvae_mnn.files import write_sealed
from hvae_mnn.folders import new_run
from hvae_mnn.names import unknown_name
from hvae_mnn.netlist.programming_deck import WiredArray
from hvae_mnn.results import Result
from hvae_mnn.spice.osdi import osdi_library
from hvae_mnn.studies.programming.records import SUMMARY, ProgrammingRecords, array_summary, totals, wired_summary
from hvae_mnn.studies.programming.targets import Targets, find_targets
from hvae_mnn.studies.programming.wired import WiredProgrammed, check_size, program_wired

Array = NDArray[np.float64]
DECKS = "ngspice"
"""Folder of the wired array's decks, in the run's."""
_LARGEST_OHM = 1e9
USUAL_SETTINGS, USUAL_SPREAD = WriteVerify(), Spread()


@dataclass(frozen=True)
class Wired:
    """The part of a run that is done in ngspice: a corner of the first array, with wires and devices as the spec
    says."""

    backend: Backend = "behavioural"
    wire_ohm: float = 1.0
    """From cell to cell, an assumption; 0: ideal wires."""
    corner: tuple[int, int] = (16, 16)
    """Rows and columns at most."""
    array: str | None = None
    """Name of the array; None: the first."""


@dataclass(frozen=True, repr=False)
class ProgrammingResult(Result):
    """A finished run. Tables: `devices`, `rounds`; `wired` where ngspice was asked."""

    folder: Path
    """Where its files are: summary, tables, figures, decks."""
    summary: dict[str, Any]
    """What `summary.json` holds."""
    wired: WiredProgrammed | None
    """What ngspice gave, if it was asked."""

    def facts(self) -> Mapping[str, object]:
        """The targets, and how the network came out."""
        network = self.summary["network"]
        names = ("devices", "within", "failed", "disturbed", "pulses_mean", "energy_j")
        return {"folder": self.folder, "device": self.summary["device"]} | {name: network[name] for name in names}


def program(
    targets: str | Path | Array | None = None,
    *,
    random: tuple[int, int] | None = None,
    device: MemristorSpec | str | Path | None = None,
    settings: WriteVerify = USUAL_SETTINGS,
    scheme: BiasScheme = "V/3",
    spread: Spread = USUAL_SPREAD,
    seed: int = 0,
    wired: Wired | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    draw: Callable[[Path], list[Path]] | None = None,
) -> ProgrammingResult:
    """Program target conductances into devices by pulses of one amplitude, and write tables and a summary to `out`
    (default: a new folder in `runs/`).

    `targets` is a netlist folder, a `.npy` or `.csv` file or an array (R, C), in siemens; or `random` gives rows and
    columns of even ones. `device` is a spec, a preset's name or a TOML file (default: the netlist's own, else `aist`).
    `spread` is an assumption about devices, `seed` of it. With `wired`, a corner of one array is programmed in ngspice
    too, with moving devices, wires and the same scheme, and read back. `draw(folder)` makes the figures at the end;
    their time is not in the summary's `seconds_total`.

    Raises `InputError`, `ManifestError`, `DeviceError`, `RunError` for bad input, `EnvironmentProblem` and
    `SimulatorError` for ngspice, `StorageError`.
    """
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed is {seed!r}; it must be a whole number, 0 or above")
    if scheme not in BIAS_SCHEMES:
        raise InputError(unknown_name("scheme", scheme, BIAS_SCHEMES))
    found = find_targets(targets, random, device, seed)
    # All that can be wrong with the input is found before a folder is made.
    for conductance in found.arrays.values():
        Controller(found.spec, conductance, settings)
    corner = None if wired is None else _corner(found, wired)
    began = time.monotonic()
    with new_run(None if out is None else Path(out), f"program-{found.name}") as folder:
        with ProgrammingRecords(folder) as records:
            arrays = _by_the_map(found, settings, scheme, spread, seed, records, progress)
            in_ngspice = None
            if wired is not None and corner is not None:
                array = WiredArray(
                    found.spec, wired.backend, scheme, settings.amplitude_v, wired.wire_ohm, settings.read_s
                )
                in_ngspice = _in_ngspice(array, corner[1], settings, folder / DECKS, progress)
                records.wired(in_ngspice, found.spec)
        summary: dict[str, Any] = {
            "targets": found.origin,
            "device": found.spec.name,
            "threshold_v": found.spec.threshold_v,
            "scheme": scheme,
            "settings": asdict(settings),
            "spread_assumed": asdict(spread),
            "seed": seed,
            "network": totals(arrays.values()),
            "arrays": arrays,
            "seconds_total": round(time.monotonic() - began, 3),
        }
        if in_ngspice is not None and wired is not None and corner is not None:
            summary["wired"] = _described(wired, corner[0]) | wired_summary(in_ngspice, found.spec)
        write_sealed(folder / SUMMARY, summary)
        if draw is not None:
            draw(folder)
    return ProgrammingResult(folder, summary, in_ngspice)


def _described(wired: Wired, array: str) -> dict[str, Any]:
    return {"array": array, "backend": wired.backend, "wire_ohm": wired.wire_ohm}


def _by_the_map(
    found: Targets,
    settings: WriteVerify,
    scheme: BiasScheme,
    spread: Spread,
    seed: int,
    records: ProgrammingRecords,
    progress: Progress | None,
) -> dict[str, dict[str, Any]]:
    """Every array's figures, by name; each array has a random stream of its own."""
    summaries = {}
    streams = np.random.SeedSequence(seed).spawn(len(found.arrays))
    for number, ((name, targets), stream) in enumerate(zip(found.arrays.items(), streams, strict=True)):

        def tick(done: int, total: int, number: int = number) -> None:
            if progress is not None:
                progress("programming", number * total + done, len(found.arrays) * total)

        rng = np.random.default_rng(stream)
        array = SelectedArray(found.spec, settings.amplitude_v, scheme, spread.sample(targets.shape, rng))
        result = program_devices(found.spec, targets, array, settings, spread, rng, progress=tick)
        records.array(name, result, array.disturbance)
        summaries[name] = array_summary(result, array.disturbance)
    return summaries


def _corner(found: Targets, wired: Wired) -> tuple[str, Array]:
    """Name of the array that goes to ngspice, and its part; what is wrong with the choice, or the machine, is said."""
    name = wired.array if wired.array is not None else next(iter(found.arrays))
    if name not in found.arrays:
        raise InputError(unknown_name("array", name, found.arrays))
    rows, columns = wired.corner
    if rows < 1 or columns < 1:
        raise InputError(f"--corner is {rows} x {columns}; allowed are 1 row and column or more, e.g. 16 16")
    if not 0 <= wired.wire_ohm <= _LARGEST_OHM:
        raise InputError(f"--wire-ohm is {wired.wire_ohm:g}; allowed: 0 (ideal wires) to {_LARGEST_OHM:g}")
    part = np.ascontiguousarray(found.arrays[name][:rows, :columns])
    check_size(part.shape, wired.backend)
    if wired.backend == "osdi":
        osdi_library(found.spec.law)
    return name, part


def _in_ngspice(
    array: WiredArray, targets: Array, settings: WriteVerify, folder: Path, progress: Progress | None
) -> WiredProgrammed:
    def tick(done: int, total: int) -> None:
        if progress is not None:
            progress("ngspice", done, total)

    return program_wired(array, targets, settings, folder, progress=tick)
