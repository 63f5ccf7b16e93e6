"""Write-verify over a wired array in ngspice: a deck per round, which begins with the states the last one ended with.

The controller is the one of `hvae_mnn.devices.programming`; what it reads is the column current of one driven row, so
that the wires' voltage drop is in what it corrects.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.moving import Backend
from hvae_mnn.devices.programming import Controller, WriteVerify
from hvae_mnn.errors import InputError
from hvae_mnn.netlist.programming_deck import WiredArray, programming_deck, schedule
from hvae_mnn.spice.batch import run_deck

Array = NDArray[np.float64]
_PATIENCE = 3
"""Pulses without any change of the read conductance after which a cell counts as stuck."""
_STILL = 1e-9
MOST_CELLS: dict[Backend, int] = {"behavioural": 256, "osdi": 1024}
"""Devices of an array that is programmed within minutes, by back end."""


@dataclass(frozen=True)
class WiredProgrammed:
    """What came of programming in ngspice; arrays (R, C)."""

    target: Array
    """Siemens."""
    first: Array
    """Siemens read after one round: what open loop gives."""
    read: Array
    """Siemens at the lines' ends, read back at the end: column current over read voltage."""
    state: Array
    """x at the end."""
    pulses: NDArray[np.int64]
    within: NDArray[np.bool_]
    """Read conductance within the tolerance at the end."""
    within_after: tuple[float, ...]
    """Fraction within the tolerance before the first round, and after each."""
    programming_s: float
    """Simulated seconds of all rounds, reads among them."""
    wall_s: float
    """Wall-clock seconds that ngspice took, from deck to vectors."""

    @property
    def error(self) -> Array:
        """Relative error of the read conductances at the end."""
        return self.read / self.target - 1


def check_size(shape: tuple[int, ...], backend: Backend) -> None:
    """Raise `InputError` for an array that ngspice would take too long for."""
    rows, columns = shape
    most = MOST_CELLS[backend]
    if rows * columns > most:
        other = f", or --ngspice osdi (up to {MOST_CELLS['osdi']:,})" if backend == "behavioural" else ""
        raise InputError(
            f"a wired array of {rows} x {columns} = {rows * columns:,} moving devices is too large for {backend}"
            f" devices; allowed are {most:,}: choose a smaller --corner, e.g. 16 16{other}"
        )


def program_wired(
    array: WiredArray,
    targets: Array,
    settings: WriteVerify,
    folder: Path,
    x0: Array | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> WiredProgrammed:
    """Program a wired array to `targets` (R, C), siemens, from states `x0` (default: fresh devices).

    The decks `round<n>.cir` stay in `folder`; `progress(round, rounds)` follows. Raises `InputError` for an array that
    is too large, `DeviceError`, `EnvironmentProblem`, `SimulatorError`.
    """
    check_size(targets.shape, array.backend)
    control = Controller(array.spec, targets, settings)
    x = np.full(targets.shape, array.spec.x_init) if x0 is None else np.array(x0, dtype=np.float64)
    count, still = np.zeros(targets.shape, dtype=np.int64), np.zeros(targets.shape, dtype=np.int64)
    wall_s, programming_s, within_after = 0.0, 0.0, []
    fresh = array.spec.conductance(x)
    seconds = np.zeros(targets.shape)
    read, first = fresh, None
    rounds = 1 if settings.open_loop else settings.max_pulses
    # Round 0 has no pulse: it reads what is there.
    for number in range(rounds + 1):
        before = read
        x, read, spent_s = _round(array, x, seconds, folder, f"round{number}")
        wall_s += spent_s
        programming_s += schedule(array, seconds).stop_s
        count += seconds != 0
        still = np.where((seconds != 0) & (np.abs(read / before - 1) < _STILL), still + 1, still * (seconds == 0))
        within = control.within(read)
        within_after.append(float(within.mean()))
        first = read if number == 1 else first
        if progress is not None:
            progress(number, rounds)
        todo = np.ones_like(within) if settings.open_loop else ~within & (still < _PATIENCE)
        seconds = control.pulses(fresh if settings.open_loop else read, todo)
        if not seconds.any():
            break
    first = read if first is None else first
    return WiredProgrammed(targets, first, read, x, count, within, tuple(within_after), float(programming_s), wall_s)


def _round(array: WiredArray, x: Array, seconds: Array, folder: Path, name: str) -> tuple[Array, Array, float]:
    """States, and conductances in siemens as read, after pulses of signed `seconds`; all (R, C). Seconds of ngspice."""
    rows, columns = x.shape
    text = programming_deck(array, x, seconds, name)
    began = time.monotonic()
    vectors = run_deck(text, folder, name, array.spec, array.backend, timeout_s=3600)
    spent_s = time.monotonic() - began
    times, sample_s = vectors["time"], schedule(array, seconds).sample_s
    # States do not move any more; after the last read they are at rest.
    after = np.array([[vectors[f"v(x{i}_{j})"][-1] for j in range(columns)] for i in range(rows)])
    amperes = np.stack([np.interp(sample_s, times, vectors[f"i(vb{j})"]) for j in range(columns)], axis=1)
    return after, amperes / array.spec.read_v, spent_s
