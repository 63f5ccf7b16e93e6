"""Exact answers of wired tiles: the block recursion against sparse nodal analysis and against badcrossbar.

One tile of random conductances with segments of 1 ohm. Floors from circuits.md 4: 20 x faster than sparse nodal
analysis with all bit lines as right-hand sides at 128 x 128, 40 x at 256 x 256 (`--size paper`); 20 x faster than
badcrossbar for 40 steps of 32 sentences. Every answer has to agree to 1e-9 before it is timed. All run
on one thread, as sparse nodal analysis does, but the recursion from 256 bit lines on. Memory is the peak of a process
that solves one tile, torch included.
"""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.figures import Answer, Figure, in_turns, seconds
from benchmarks.workspace import Workspace
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.nodal import Network, factorise, nodal_transfer
from hvae_mnn.crossbar.nonlinear import NonlinearTile
from hvae_mnn.crossbar.transfer import tile_transfer

Array = NDArray[np.float64]

WIRES = Wires(word_ohm=1.0, bit_ohm=1.0)
AIMS = {64: None, 128: 20.0, 256: 40.0}
TOLERANCE = 1e-9
_STEPS, _SENTENCES = 40, 32
_BATCH = 64
"""Tiles of 64 x 65: gates of a layer with a reference column."""
_SINH_PER_VOLT = 2.0
_MEMORY = """
import resource, sys, torch
from hvae_mnn.crossbar.transfer import tile_transfer
from hvae_mnn.crossbar.hardware.wires import Wires
size = int(sys.argv[1])
tile_transfer(torch.rand(1, 1, size, size, dtype=torch.float64) * 1e-4, Wires(1.0, 1.0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run(workspace: Workspace) -> Answer:
    """Measure."""
    paper = workspace.size == "paper"
    figures: list[Figure] = []
    for size in (64, 128, 256) if paper else (64, 128):
        workspace.status(f"a tile of {size} x {size}")
        figures += _against_nodal(size, repetitions=3 if size > 128 else 5)
    workspace.status("many tiles at a time")
    figures.append(_batched())
    workspace.status("badcrossbar")
    figures += _against_badcrossbar()
    size = 256 if paper else 128
    workspace.status("nonlinear cells")
    figures.append(_nonlinear(size))
    figures.append(_peak_memory(size))
    return Answer(figures, "one thread each, but for the recursion at 256, whose products have all")


def cells(*shape: int) -> Array:
    """Random conductances of devices between 10 kOhm and 1 MOhm."""
    return np.random.default_rng(0).uniform(1e-6, 1e-4, shape)


def _check(found: Array, expected: Array) -> None:
    error = np.abs(found - expected).max() / np.abs(expected).max()
    if not error <= TOLERANCE:
        raise RuntimeError(f"currents are off by {error:.1e} of the largest")


def one_by_one(conductance: Array) -> Array:
    """T (N, W * M) as in `nodal_transfer`, a solution at a time."""
    network = Network(conductance.shape, WIRES)
    _, matrix, driven = network.equations(conductance)
    sensed, direct, _ = network.sensing(conductance)
    factor = factorise(matrix)
    return np.stack([factor.solve(column) for column in sensed.T]) @ driven + direct


def _against_nodal(size: int, repetitions: int) -> list[Figure]:
    conductance = cells(1, size, size)
    tensor = torch.from_numpy(conductance)[None]
    expected = nodal_transfer(conductance, WIRES)
    _check(tile_transfer(tensor, WIRES)[0].numpy(), expected)
    _check(one_by_one(conductance), expected[0].T)
    actions: dict[str, Callable[[], object]] = {
        "recursion": lambda: tile_transfer(tensor, WIRES),
        "nodal": lambda: nodal_transfer(conductance, WIRES),
        "one_by_one": lambda: one_by_one(conductance),
    }
    timed = {name: (lambda action=action: seconds(action)) for name, action in actions.items()}
    found = in_turns(timed, repetitions, warm_up=0)
    what = f"{size} x {size}"
    recursion = found["recursion"]
    return [
        Figure(f"recursion_{size}_ms", f"{what}: block recursion", recursion * 1e3, "ms"),
        Figure(f"nodal_{size}_s", "  sparse nodal analysis", found["nodal"], "s"),
        Figure(f"over_nodal_{size}", "  faster than it", found["nodal"] / recursion, "x", at_least=AIMS[size]),
        Figure(f"over_one_by_one_{size}", "  ... one bit line at a time", found["one_by_one"] / recursion, "x"),
    ]


def _batched() -> Figure:
    tiles = torch.from_numpy(cells(_BATCH, 1, 64, 65))
    found = in_turns({"batch": lambda: seconds(lambda: tile_transfer(tiles, WIRES))}, repetitions=5)
    what = f"{_BATCH} tiles of 64 x 65 together: each"
    return Figure("batch_ms", what, found["batch"] / _BATCH * 1e3, "ms", at_most=5 / 560 * 1e3)


def _against_badcrossbar() -> list[Figure]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without cairo it warns that it cannot plot
        try:
            import badcrossbar
        except ImportError:
            return []
    logging.getLogger("badcrossbar").setLevel(logging.ERROR)
    conductance = cells(128, 128)
    tensor = torch.from_numpy(conductance)[None, None]
    volts = np.random.default_rng(1).uniform(-0.05, 0.05, (_SENTENCES, 128))

    def other() -> Array:
        with contextlib.redirect_stdout(io.StringIO()):
            solution = badcrossbar.compute(volts.T, 1 / conductance, 1.0, node_voltages=False, all_currents=False)
        return np.asarray(solution.currents.output)

    def ours() -> Array:
        transfer = tile_transfer(tensor, WIRES)[0, 0].numpy()
        for _ in range(_STEPS):
            currents = volts @ transfer
        return np.asarray(currents)

    _check(ours(), other())
    found = in_turns({"other": lambda: seconds(other), "ours": lambda: seconds(ours)}, repetitions=5)
    what = f"128 x 128, {_STEPS} steps of {_SENTENCES} sentences"
    return [
        Figure("steps_ms", f"{what}: T and products", found["ours"] * 1e3, "ms"),
        Figure("badcrossbar_s", f"  {_STEPS} calls of badcrossbar", found["other"] * _STEPS, "s"),
        Figure("over_badcrossbar", "  faster than it", found["other"] * _STEPS / found["ours"], "x", at_least=20),
    ]


def _nonlinear(size: int) -> Figure:
    volts = np.random.default_rng(2).uniform(-0.2, 0.2, (_SENTENCES, 1, size))

    def solve() -> object:
        return NonlinearTile(cells(1, size, size), WIRES, _SINH_PER_VOLT).currents(volts)

    found = in_turns({"solve": lambda: seconds(solve)}, repetitions=3)
    return Figure("nonlinear_s", f"{size} x {size}, sinh cells, {_SENTENCES} reads", found["solve"], "s")


def _peak_memory(size: int) -> Figure:
    command = [sys.executable, "-c", _MEMORY, str(size)]
    peak = float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return Figure("memory_mb", f"process that solves {size} x {size} by recursion: peak memory", peak / 1024, "MiB")
