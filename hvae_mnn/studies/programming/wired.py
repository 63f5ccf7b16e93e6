"""Write-verify of a wired array in ngspice, with one deck per round, which begins with the previous round's states.

The controller is that of `hvae_mnn.devices.programming`. It reads the column currents of one driven row, so it also
corrects the voltage drop on the wires.
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
"""Number of pulses without a change of the read conductance after which a cell counts as stuck."""
_STILL = 1e-9
"""Largest relative change that counts as none."""
MOST_CELLS: dict[Backend, int] = {"behavioural": 256, "osdi": 1024}
"""Largest number of devices that ngspice programs within minutes, by back end."""


@dataclass(frozen=True)
class WiredProgrammed:
    """Result of programming in ngspice; arrays have shape (R, C)."""

    target: Array
    """Target conductances, siemens."""
    first: Array
    """Read conductances after one round, as in open loop, siemens."""
    read: Array
    """Read conductances at the end, column current divided by read voltage, siemens."""
    state: Array
    """States x at the end."""
    pulses: NDArray[np.int64]
    """Number of pulses."""
    within: NDArray[np.bool_]
    """Whether the read conductance is within the tolerance at the end."""
    within_after: tuple[float, ...]
    """Fraction within the tolerance before the first round, and after each round."""
    programming_s: float
    """Simulated time of all rounds with their reads, seconds."""
    wall_s: float
    """Wall-clock time of ngspice, from deck to vectors, seconds."""

    @property
    def error(self) -> Array:
        """Relative error (R, C) of the read conductances at the end."""
        return self.read / self.target - 1


def check_size(shape: tuple[int, ...], backend: Backend) -> None:
    """Raise `InputError` for an array that ngspice cannot program within minutes."""
    rows, columns = shape
    most = MOST_CELLS[backend]
    if rows * columns > most:
        other = f", or --ngspice osdi (up to {MOST_CELLS['osdi']:,})" if backend == "behavioural" else ""
        raise InputError(
            f"a wired array of {rows} x {columns} = {rows * columns:,} moving devices is too large for {backend}"
            f" devices; allowed: {most:,}; choose a smaller --corner, e.g. 16 16{other}"
        )


def program_wired(
    array: WiredArray,
    targets: Array,
    settings: WriteVerify,
    folder: Path,
    x0: Array | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> WiredProgrammed:
    """Program a wired array to `targets` (R, C) in siemens, from states `x0` (R, C) (default: fresh devices).

    The decks `round<n>.cir` stay in `folder`; `progress(round, rounds)` is called after each round. Raises `InputError`
    for an array that is too large, `DeviceError`, `EnvironmentProblem`, `SimulatorError`.
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
    # Round 0 only reads: it has no pulse.
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
    """States and read conductances in siemens after pulses of signed `seconds`, all (R, C), and ngspice's seconds."""
    rows, columns = x.shape
    text = programming_deck(array, x, seconds, name)
    began = time.monotonic()
    vectors = run_deck(text, folder, name, array.spec, array.backend, timeout_s=3600)
    spent_s = time.monotonic() - began
    times, sample_s = vectors["time"], schedule(array, seconds).sample_s
    # States no longer move: they are at rest after the last read.
    after = np.array([[vectors[f"v(x{row}_{column})"][-1] for column in range(columns)] for row in range(rows)])
    amperes = np.stack([np.interp(sample_s, times, vectors[f"i(vb{column})"]) for column in range(columns)], axis=1)
    return after, amperes / array.spec.read_v, spent_s
