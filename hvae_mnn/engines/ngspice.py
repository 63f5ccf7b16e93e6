"""The ngspice engine: one worker process per array, each with a deck loaded once and a persistent transient."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.devices.moving import drift_of
from hvae_mnn.engines.array_process import ArrayDeck, ArrayProcess, History, WorkerDied, array_decks, copy_files
from hvae_mnn.engines.remote_array import RemoteArray
from hvae_mnn.errors import EnvironmentProblem, SimulatorError
from hvae_mnn.netlist.arrays import with_states
from hvae_mnn.netlist.decks import moving_unit_deck, unit_deck
from hvae_mnn.owned import temporary_folder_of
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.spice.batch import deck_folder
from hvae_mnn.spice.library import library_name
from hvae_mnn.spice.probe import probe

__all__ = ["ArrayDeck", "NgspiceEngine", "array_decks"]

Array = NDArray[np.float64]

SPARSE_CELLS = 65_536
"""Largest array without wires for Sparse 1.3. Measured factorisations: 257 x 128 cells 0.2 s, 769 x 256 cells 24 s
(KLU: 0.7 s)."""
SPARSE_WIRED_CELLS = 32 * 32
"""Largest tile with wires for Sparse 1.3. Measured factorisations: 32 x 32 cells 0.1 s, 64 x 64 cells 5 s (KLU: 0.1 s).
"""


def _probed_solver(_: None) -> str | None:
    return probe().solver


def require_klu(decks: Sequence[ArrayDeck], cluster: Cluster) -> None:
    """Raise `EnvironmentProblem` for arrays whose first factorisation would take minutes, if `cluster` has only Sparse
    1.3."""
    for deck in decks:
        wires = deck.layout.hardware.wires
        rows, columns, allowed = deck.layout.rows, deck.layout.columns, SPARSE_CELLS
        what = f"array {deck.name}"
        if wires.word_ohm or wires.bit_ohm:
            tile = max(deck.layout.tiles, key=lambda tile: len(tile.rows) * len(tile.bit_lines))
            rows, columns = len(tile.rows) * deck.layout.lines_per_row, len(tile.bit_lines)
            allowed, what = SPARSE_WIRED_CELLS, f"tile {tile.name} of array {deck.name}, with wires,"
        if rows * columns > allowed:
            solver = cluster.map(_probed_solver, [None])[0]
            if solver == "KLU":
                return
            raise EnvironmentProblem(
                f"{what} has {rows} x {columns} cells and this ngspice solves with {solver or 'Sparse 1.3'}; allowed:"
                f" {allowed} cells without KLU; install ngspice 42 or later (make system; see hvae-mnn doctor), or"
                " build smaller tiles"
            )


class NgspiceEngine:
    """Reads arrays in ngspice.

    Each array has its own process, so that results do not depend on how many run at once. A process that dies is
    restarted, and its reads are repeated. If the new process dies as well, a `SimulatorError` names the deck, the last
    lines of the log and the command that repeats the read.
    """

    name = "ngspice"

    def __init__(
        self,
        decks: Sequence[ArrayDeck],
        progress: Callable[[str], None] | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        """Start one worker per deck and wait until all decks are loaded; `progress(array)` follows each of them.

        The workers run on `cluster`, which stays open (default: on this machine). Raises `EnvironmentProblem` if
        ngspice is missing, too old or without KLU for large arrays, `SimulatorError` if it fails twice, `ManifestError`
        for changed files.
        """
        self._cluster = cluster or Cluster.here()
        if self._cluster.is_here:
            library_name()  # raises one error for a missing library, before any worker can
        require_klu(decks, self._cluster)
        self._folder, self._remove_folder = temporary_folder_of(self)
        self._decks = {deck.name: deck for deck in decks}
        self._processes: dict[str, ArrayProcess | RemoteArray] = {}
        self._histories: dict[str, History] = {}
        self._initial: dict[str, Array] = {}
        self.seconds = 0.0
        self.restarts = 0
        start = time.perf_counter()
        try:
            for deck in decks:
                self._histories[deck.name] = History(deck)
                self._processes[deck.name] = self._process(deck, None)
            for deck in decks:
                self._ready(deck)
                if progress is not None:
                    progress(deck.name)
        except BaseException:
            self.close()
            raise
        self.seconds_loading = time.perf_counter() - start

    def _process(self, deck: ArrayDeck, states: Array | None) -> ArrayProcess | RemoteArray:
        if self._cluster.remote is None:
            return ArrayProcess(deck, self._folder, states)
        return RemoteArray(deck, self._folder, states, self._cluster.remote)

    def _ready(self, deck: ArrayDeck) -> None:
        try:
            self._processes[deck.name].wait_ready()
        except WorkerDied:
            self._retry(deck, None)
        self._initial[deck.name] = self._processes[deck.name].states

    def currents(self, volts: Mapping[str, Float64[Array, "B _"]]) -> dict[str, Float64[Array, "B _"]]:
        """See `Engine.currents`; the named arrays are solved at the same time. Raises `SimulatorError`."""
        start = time.perf_counter()
        for name, value in volts.items():
            with contextlib.suppress(WorkerDied):  # raised again below, by `receive`
                self._processes[name].send(value)
        currents = {}
        for name, value in volts.items():
            try:
                currents[name], states = self._processes[name].receive(len(value))
            except WorkerDied:
                currents[name], states = self._retry(self._decks[name], value)
            self._histories[name].extend(value, states)
        self.seconds += time.perf_counter() - start
        return currents

    def _retry(self, deck: ArrayDeck, volts: Array | None) -> tuple[Array, list[Array]]:
        """Restart the array's process with its history, and repeat the reads `volts` (B, R), if any."""
        dead = self._processes[deck.name]
        dead.close()
        self.restarts += 1
        reads = np.empty((0, len(deck.word_lines))) if volts is None else volts
        try:
            process = self._start(deck)
            process.seconds += dead.seconds
            process.send(reads)
            return process.receive(len(reads))
        except WorkerDied as died:
            self._fail(deck, reads[0] if len(reads) else np.zeros(reads.shape[1]), died)

    def _start(self, deck: ArrayDeck) -> ArrayProcess | RemoteArray:
        """Start a process and repeat the array's history in it."""
        history = self._histories[deck.name]
        process = self._processes[deck.name] = self._process(deck, history.states)
        process.wait_ready()
        process.send(history.as_reads())
        process.receive(len(history.reads))
        return process

    def drift(self, name: str) -> Array | None:
        """See `Engine.drift`."""
        if self._decks[name].moving is None:
            return None
        return drift_of(self._processes[name].states, self._initial[name])

    def position(self) -> dict[str, Array]:
        """See `Engine.position`: the histories, and the initial states, from which drift is measured."""
        position: dict[str, Array] = {}
        for name, history in self._histories.items():
            if history.deck.moving is not None:
                position |= {f"{name}.initial": self._initial[name], f"{name}.reads": history.as_reads()}
                if history.states is not None:
                    position[f"{name}.states"] = history.states
        return position

    def restore(self, position: Mapping[str, Array]) -> None:
        """See `Engine.restore`."""
        for name, history in self._histories.items():
            if history.deck.moving is not None:
                self._initial[name] = position[f"{name}.initial"]
                history.states = position.get(f"{name}.states")
                history.reads = list(position[f"{name}.reads"])
                self._processes[name].close()
                try:
                    self._start(history.deck)
                except WorkerDied:
                    self._retry(history.deck, None)

    def _fail(self, deck: ArrayDeck, volts: Array, died: WorkerDied) -> NoReturn:
        """Raise `SimulatorError` with the deck of the failed read, the log, and the command that repeats the read."""
        with deck_folder("failed") as folder:
            path = folder / f"{deck.name}.cir"
            include = copy_files(deck, folder)
            if deck.moving is None:
                text = unit_deck(deck.name, deck.unit, deck.word_lines, deck.layout, include, volts)
            else:
                # The read that failed, with the states before it.
                history = self._histories[deck.name]
                if history.last is not None:
                    elements = (folder / include).read_text(encoding="ascii")
                    states = np.clip(history.last, 0, 1).ravel()[deck.layout.tile_order]
                    (folder / include).write_text(with_states(elements, states.tolist()))
                text = moving_unit_deck(deck.unit, deck.word_lines, deck.layout, include, deck.moving, volts)
            path.write_text(text, encoding="ascii")
            log = self._processes[deck.name].log.read_text(encoding="utf-8", errors="replace").splitlines()
            tail = "\n  ".join(line for line in log[-12:] if line.strip()) or "(empty)"
            raise SimulatorError(
                f"ngspice failed twice on array {deck.name}: {died}; deck: {path}; run it again: cd {folder} &&"
                f" ngspice -n -b {path.name}\nlast lines of the log:\n  {tail}"
            )

    def close(self) -> None:
        """End all workers and remove their folder."""
        for process in self._processes.values():
            process.close()
        self._processes.clear()
        self._remove_folder()

    def pids(self) -> dict[str, int]:
        """Number of each array's process on its machine, by array."""
        return {name: process.pid for name, process in self._processes.items() if process.pid is not None}

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`; `seconds_solving` is the time of ngspice's solves, summed over processes."""
        return {
            "solver": self._solver(),
            "ngspice": " and ".join(sorted({process.version for process in self._processes.values()})),
            "processes": len(self._processes),
            "seconds_loading": round(self.seconds_loading, 3),
            "seconds_solving": round(sum(process.seconds for process in self._processes.values()), 3),
            "restarts": self.restarts,
            **({} if self._cluster.is_here else {"workers": self._cluster.describe()}),
        }

    def _solver(self) -> str:
        """Names of the direct solvers in the workers' logs."""
        named = set()
        for process in self._processes.values():
            for line in process.log.read_text(encoding="utf-8", errors="replace").splitlines():
                if "Direct Linear Solver" in line and line.startswith("Using"):
                    named.add(line.removeprefix("Using ").removesuffix(" as Direct Linear Solver").strip())
        return " and ".join(sorted(named)) or "unknown"
