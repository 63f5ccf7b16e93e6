"""Single memristors, arrays of them, and wires: studies that need no network. Needs no torch but for `ir_drop`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.bars import Bar, Progress, watched
from hvae_mnn.devices.half_select import BiasScheme
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.presets import find_device
from hvae_mnn.devices.programming import WriteVerify
from hvae_mnn.devices.spread import Spread
from hvae_mnn.plots.iv import save_iv_figures
from hvae_mnn.plots.programming import save_programming_figures
from hvae_mnn.studies.iv import run as characterise
from hvae_mnn.studies.iv.drive import Drive
from hvae_mnn.studies.iv.run import IvResult
from hvae_mnn.studies.programming import run as programming
from hvae_mnn.studies.programming.run import ProgrammingResult, Wired

if TYPE_CHECKING:
    from hvae_mnn.crossbar.hardware.spec import Scheme
    from hvae_mnn.studies.ir_drop.run import IrDropResult

__all__ = [
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
]
_ROUNDS = {"programming": "rounds of pulses, at most", "ngspice": "rounds in ngspice, at most"}


def iv(
    device: MemristorSpec | str | Path = "aist",
    *,
    backend: str = "all",
    drive: Drive | None = None,
    out: str | Path | None = None,
    progress: bool | Progress = True,
) -> IvResult:
    """Drive one memristor, and draw its I-V loops, switching times and a train of pulses.

    `device` is a spec, the name of a preset or a TOML file; `backend` is `behavioural`, `osdi`, `reference` (LSODA, no
    ngspice), or `all` of them that run here; `drive` holds volts, hertz and waveform (default: what shows a loop).
    Files go to `out` (default: a new folder in `runs/`). `progress` is False for silence, True for a bar where a person
    watches, or a function, called with what is being run, done, total.

    Raises `DeviceError`, `InputError`, `RunError` for bad input, `EnvironmentProblem` when `osdi` is asked for and
    cannot run here, `SimulatorError` when ngspice fails, `StorageError`.
    """
    with watched(progress, lambda bar: bar.show) as tell:
        return characterise.iv(device, backend=backend, drive=drive, out=out, progress=tell, draw=save_iv_figures)


def program(
    targets: str | Path | NDArray[np.float64] | None = None,
    *,
    random: tuple[int, int] | None = None,
    device: MemristorSpec | str | Path | None = None,
    settings: WriteVerify = programming.USUAL_SETTINGS,
    scheme: BiasScheme = "V/3",
    spread: Spread = programming.USUAL_SPREAD,
    seed: int = 0,
    wired: Wired | None = None,
    out: str | Path | None = None,
    progress: bool | Progress = True,
) -> ProgrammingResult:
    """Program target conductances into devices by pulses of one amplitude, with figures.

    `targets` is a netlist folder, a `.npy` or `.csv` file or an array (R, C), in siemens; or `random` gives rows and
    columns of uniformly drawn ones. `device` is a spec, the name of a preset or a TOML file (default: the netlist's
    own, else `aist`); `scheme` is how half-selected cells are biased; `spread` is an assumption about devices, drawn
    with `seed`. With `wired`, a corner of one array is programmed in ngspice too. Tables go to `out` (default: a new
    folder in `runs/`). `progress` is that of `iv`; a function is called with `programming` or `ngspice`, rounds done,
    rounds at most.

    Raises `InputError`, `ManifestError`, `DeviceError`, `RunError` for bad input, `EnvironmentProblem` and
    `SimulatorError` for ngspice, `StorageError`.
    """
    with watched(progress, _rounds) as tell:
        return programming.program(
            targets,
            random=random,
            device=device,
            settings=settings,
            scheme=scheme,
            spread=spread,
            seed=seed,
            wired=wired,
            out=out,
            progress=tell,
            draw=save_programming_figures,
        )


def _rounds(bar: Bar) -> Progress:
    return lambda what, done, total: bar.show(_ROUNDS.get(what, what), done, total)


def ir_drop(
    *,
    sizes: Sequence[int] = (16, 32, 64, 128, 256),
    ohms: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    scheme: Scheme = "fixed_resistor_per_cell",
    spice_sizes: Sequence[int] | None = None,
    device: str = "aist",
    tiles: int = 8,
    reads: int = 8,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool | Progress = True,
) -> IrDropResult:
    """Measure the error that wires make: in column currents of square tiles, against size and resistance, with figures.

    `sizes` are rows and columns of weights (1 to 512); `ohms` the resistance of a line's segment from cell to cell;
    `scheme` is how a signed weight becomes conductances, and all three schemes are compared at 1 ohm. `tiles` random
    tiles per point get `reads` random reads each, drawn with `seed`, and are solved exactly; ngspice checks the first
    tile of `spice_sizes` (None: sizes up to 64; empty: none). `device` is the name of a preset or a TOML file. Files go
    to `out` (default: a new folder in `runs/`). `progress` is that of `iv`; a function is called with what is being
    solved, tiles done, tiles in all.

    Raises `InputError`, `DeviceError`, `RunError` for bad input, `EnvironmentProblem` without ngspice, `SimulatorError`
    when it fails: its decks are kept then.
    """
    from hvae_mnn.folders import new_run
    from hvae_mnn.plots.ir_drop import save_ir_drop_figures
    from hvae_mnn.studies.ir_drop.run import run_study
    from hvae_mnn.studies.ir_drop.settings import IrDropSettings

    settings = IrDropSettings(
        sizes=tuple(sizes),
        ohms=tuple(ohms),
        scheme=scheme,
        spice_sizes=None if spice_sizes is None else tuple(spice_sizes),
        device=device,
        seed=seed,
        tiles=tiles,
        reads=reads,
    )
    spec = find_device(device)  # before a folder is made
    where = None if out is None else Path(out)
    with new_run(where, f"ir-drop-{spec.name}") as folder, watched(progress, lambda bar: bar.show) as tell:
        result = run_study(settings, folder, tell)
        save_ir_drop_figures(folder)
    return result
