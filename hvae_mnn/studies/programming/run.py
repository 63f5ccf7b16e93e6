"""Programming of a network's target conductances: pulses, errors, time, energy and disturbed cells."""

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
"""Folder of the wired array's decks in the run's folder."""
_LARGEST_OHM = 1e9
USUAL_SETTINGS, USUAL_SPREAD = WriteVerify(), Spread()


@dataclass(frozen=True)
class Wired:
    """Corner of an array that ngspice programs, with wires and nominal devices."""

    backend: Backend = "behavioural"
    wire_ohm: float = 1.0
    """Resistance from cell to cell, an assumption; 0: ideal wires."""
    corner: tuple[int, int] = (16, 16)
    """Largest number of rows and columns."""
    array: str | None = None
    """Name of the array; None: the first."""


@dataclass(frozen=True, repr=False)
class ProgrammingResult(Result):
    """A finished run. Tables: `devices`, `rounds`; `wired` with a corner in ngspice."""

    folder: Path
    """Folder of summary, tables, figures and decks."""
    summary: dict[str, Any]
    """Content of `summary.json`."""
    wired: WiredProgrammed | None
    """Result of ngspice; None without `wired`."""

    def facts(self) -> Mapping[str, object]:
        """Device, and key figures of the network."""
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

    `targets` is a netlist folder, a `.npy` or `.csv` file or an array (R, C), in siemens. Without it, `random` is the
    shape (R, C) of uniform targets. `device` is a spec, a preset's name or a TOML file (default: the netlist's own, or
    `aist`). `spread`, drawn with `seed`, is an assumption about devices. With `wired`, ngspice also programs a corner
    of one array, with moving devices, wires and the same scheme. `draw(folder)` makes the figures at the end; their
    time does not count in the summary's `seconds_total`.

    Raises `InputError`, `ManifestError`, `DeviceError` and `RunError` for bad input, `EnvironmentProblem` and
    `SimulatorError` for ngspice, `StorageError`.
    """
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed is {seed!r}; allowed: a whole number, 0 or more")
    if scheme not in BIAS_SCHEMES:
        raise InputError(unknown_name("scheme", scheme, BIAS_SCHEMES))
    network = find_targets(targets, random, device, seed)
    _check_targets(network, settings)  # all checks precede the folder
    corner = None if wired is None else _find_corner(network, wired)
    began = time.monotonic()
    with new_run(None if out is None else Path(out), f"program-{network.name}") as folder:
        with ProgrammingRecords(folder) as records:
            arrays = _by_the_map(network, settings, scheme, spread, seed, records, progress)
            in_ngspice = None
            if corner is not None:
                in_ngspice = _in_ngspice(corner, network.spec, settings, scheme, folder / DECKS, progress)
                records.wired(in_ngspice, network.spec)
        summary: dict[str, Any] = {
            "targets": network.origin,
            "device": network.spec.name,
            "threshold_v": network.spec.threshold_v,
            "scheme": scheme,
            "settings": asdict(settings),
            "spread_assumed": asdict(spread),
            "seed": seed,
            "network": totals(arrays.values()),
            "arrays": arrays,
            "seconds_total": round(time.monotonic() - began, 3),
        }
        if in_ngspice is not None and corner is not None:
            summary["wired"] = corner.to_dict() | wired_summary(in_ngspice, network.spec)
        write_sealed(folder / SUMMARY, summary)
        if draw is not None:
            draw(folder)
    return ProgrammingResult(folder, summary, in_ngspice)


def _check_targets(network: Targets, settings: WriteVerify) -> None:
    """Raise `DeviceError` for targets that the device cannot hold, or an amplitude that does not move it."""
    for conductance in network.arrays.values():
        Controller(network.spec, conductance, settings)


def _by_the_map(
    network: Targets,
    settings: WriteVerify,
    scheme: BiasScheme,
    spread: Spread,
    seed: int,
    records: ProgrammingRecords,
    progress: Progress | None,
) -> dict[str, dict[str, Any]]:
    """Key figures of every array by name; each array has its own random stream."""
    summaries = {}
    streams = np.random.SeedSequence(seed).spawn(len(network.arrays))
    for number, ((name, targets), stream) in enumerate(zip(network.arrays.items(), streams, strict=True)):

        def tick(done: int, total: int, number: int = number) -> None:
            if progress is not None:
                progress("programming", number * total + done, len(network.arrays) * total)

        rng = np.random.default_rng(stream)
        array = SelectedArray(network.spec, settings.amplitude_v, scheme, spread.sample(targets.shape, rng))
        result = program_devices(network.spec, targets, array, settings, spread, rng, progress=tick)
        records.array(name, result, array.disturbance)
        summaries[name] = array_summary(result, array.disturbance)
    return summaries


@dataclass(frozen=True)
class _Corner:
    """The corner of an array that ngspice programs."""

    wired: Wired
    array: str
    """Name of the array."""
    targets: Array
    """Target conductances (R, C), siemens."""

    def to_dict(self) -> dict[str, Any]:
        """Its part of the summary."""
        return {"array": self.array, "backend": self.wired.backend, "wire_ohm": self.wired.wire_ohm}


def _find_corner(network: Targets, wired: Wired) -> _Corner:
    """Raises `InputError` for a corner that does not exist or is too large, `EnvironmentProblem` for a back end that
    cannot run on this machine."""
    name = wired.array if wired.array is not None else next(iter(network.arrays))
    if name not in network.arrays:
        raise InputError(unknown_name("array", name, network.arrays))
    rows, columns = wired.corner
    if rows < 1 or columns < 1:
        raise InputError(f"--corner is {rows} x {columns}; allowed: 1 row and column or more, e.g. 16 16")
    if not 0 <= wired.wire_ohm <= _LARGEST_OHM:
        raise InputError(f"--wire-ohm is {wired.wire_ohm:g}; allowed: 0 (ideal wires) to {_LARGEST_OHM:g}")
    part = np.ascontiguousarray(network.arrays[name][:rows, :columns])
    check_size(part.shape, wired.backend)
    if wired.backend == "osdi":
        osdi_library(network.spec.law)
    return _Corner(wired, name, part)


def _in_ngspice(
    corner: _Corner,
    spec: MemristorSpec,
    settings: WriteVerify,
    scheme: BiasScheme,
    folder: Path,
    progress: Progress | None,
) -> WiredProgrammed:
    def tick(done: int, total: int) -> None:
        if progress is not None:
            progress("ngspice", done, total)

    wired = corner.wired
    array = WiredArray(spec, wired.backend, scheme, settings.amplitude_v, wired.wire_ohm, settings.read_s)
    return program_wired(array, corner.targets, settings, folder, progress=tick)
