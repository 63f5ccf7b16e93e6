"""The ngspice engine: a worker process per array, each with its deck loaded once and a transient that goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.devices.moving import drift_of
from hvae_mnn.engines.array_process import ArrayDeck, ArrayProcess, History, WorkerDied, array_decks, place_files
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
"""Largest array without wires for Sparse 1.3: 257 x 128 takes it 0.2 s to factor, 769 x 256 takes 24 s (KLU: 0.7 s),
measured."""
SPARSE_WIRED_CELLS = 32 * 32
"""Largest tile with wires for Sparse 1.3: 32 x 32 takes it 0.1 s to factor, 64 x 64 takes 5 s (KLU: 0.1 s)."""


def _solver_there(_: None) -> str | None:
    return probe().solver


def require_klu(decks: Sequence[ArrayDeck], cluster: Cluster) -> None:
    """Refuse arrays on which Sparse 1.3 would take minutes for its first factorisation."""
    for deck in decks:
        wires = deck.layout.hardware.wires
        rows, columns, allowed = deck.layout.rows, deck.layout.columns, SPARSE_CELLS
        what = f"array {deck.name}"
        if wires.word_ohm or wires.bit_ohm:
            tile = max(deck.layout.tiles, key=lambda tile: len(tile.rows) * len(tile.bit_lines))
            rows, columns = len(tile.rows) * deck.layout.lines_per_row, len(tile.bit_lines)
            allowed, what = SPARSE_WIRED_CELLS, f"tile {tile.name} of array {deck.name}, with wires,"
        if rows * columns > allowed:
            solver = cluster.map(_solver_there, [None])[0]
            if solver == "KLU":
                return
            raise EnvironmentProblem(
                f"{what} has {rows} x {columns} cells and this ngspice solves with {solver or 'Sparse 1.3'}; allowed"
                f" without KLU are {allowed} cells: install ngspice 42 or later (make system; see hvae-mnn doctor), or"
                " build smaller tiles"
            )


class NgspiceEngine:
    """Reads arrays in ngspice.

    A process per array keeps every array's result independent of how many run at once. A process that dies is started
    again once and the reads repeated; the second time in a row a `SimulatorError` carries the deck, the log's last
    lines and the command to run it again.
    """

    name = "ngspice"

    def __init__(
        self,
        decks: Sequence[ArrayDeck],
        progress: Callable[[str], None] | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        """Start a worker per deck and wait until all are loaded; `progress(array)` is called as each one is.

        They run on the machines of `cluster`, which stays open; None: in this one.
        """
        self._cluster = cluster or Cluster.here()
        if self._cluster.is_here:
            library_name()  # a missing library is told here, in one line, and not by every worker
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
            self._again(deck, None)
        self._initial[deck.name] = self._processes[deck.name].states

    def currents(self, volts: Mapping[str, Float64[Array, "B _"]]) -> dict[str, Float64[Array, "B _"]]:
        """See `Engine.currents`; the named arrays are solved at the same time."""
        start = time.perf_counter()
        for name, value in volts.items():
            with contextlib.suppress(WorkerDied):  # noticed below, when its answer does not come
                self._processes[name].send(value)
        found = {}
        for name, value in volts.items():
            try:
                found[name], states = self._processes[name].receive(len(value))
            except WorkerDied:
                found[name], states = self._again(self._decks[name], value)
            self._histories[name].extend(value, states)
        self.seconds += time.perf_counter() - start
        return found

    def _again(self, deck: ArrayDeck, volts: Array | None) -> tuple[Array, list[Array]]:
        """Start the array's process again and repeat its reads, if it had any; moving memristors repeat their
        history before."""
        died_once = self._processes[deck.name]
        died_once.close()
        self.restarts += 1
        reads = np.empty((0, len(deck.word_lines))) if volts is None else volts
        try:
            process = self._start(deck)
            process.seconds += died_once.seconds
            process.send(reads)
            return process.receive(len(reads))
        except WorkerDied as died:
            self._fail(deck, reads[0] if len(reads) else np.zeros(reads.shape[1]), died)

    def _start(self, deck: ArrayDeck) -> ArrayProcess | RemoteArray:
        """A process that has lived through the array's history."""
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
        """See `Engine.position`: the histories, and what drift counts from."""
        found: dict[str, Array] = {}
        for name, history in self._histories.items():
            if history.deck.moving is not None:
                found |= {f"{name}.initial": self._initial[name], f"{name}.reads": history.as_reads()}
                if history.states is not None:
                    found[f"{name}.states"] = history.states
        return found

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
                    self._again(history.deck, None)

    def _fail(self, deck: ArrayDeck, volts: Array, died: WorkerDied) -> NoReturn:
        """Raise the error that lets a person see for themselves: deck, log and command."""
        with deck_folder("failed") as folder:
            path = folder / f"{deck.name}.cir"
            include = place_files(deck, folder)
            if deck.moving is None:
                text = unit_deck(deck.name, deck.unit, deck.word_lines, deck.layout, include, volts)
            else:
                # The read that failed, with the states that it found.
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
        """Process number by array, on the machine where it is."""
        return {name: process.pid for name, process in self._processes.items() if process.pid is not None}

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`: `seconds_solving` is the time ngspice itself worked, summed over processes."""
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
        """Which direct solver the workers' logs name."""
        named = set()
        for process in self._processes.values():
            for line in process.log.read_text(encoding="utf-8", errors="replace").splitlines():
                if "Direct Linear Solver" in line and line.startswith("Using"):
                    named.add(line.removeprefix("Using ").removesuffix(" as Direct Linear Solver").strip())
        return " and ".join(sorted(named)) or "unknown"
