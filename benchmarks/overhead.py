"""What the orchestrator adds to the engine, and what the engine adds to ngspice.

`simulate` runs time steps with ngspice, 8-bit DACs and 10-bit ADCs. The stepping loop is the wall time from the last
array loaded to the last time step done: text, DACs, engine, ADCs, cell equations, the digital model beside it, logits,
records and journal. Its floor is the wall time of the engine calls within it. Inside an engine call, two more things
are not ngspice: the pipe to the worker (wall time of a call less the worker's own, one array alone), and the Python
callbacks that ngspice asks for voltages (CPU time of the worker's transient against the same transient with fixed
sources, one array alone). The last ratio puts all three together: the loop over what ngspice itself would take.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.children import Child
from benchmarks.figures import Answer, Figure, in_turns
from benchmarks.step import expected_currents
from benchmarks.workspace import Workspace, decks, random_reads
from hvae_mnn import simulate
from hvae_mnn.engines.ngspice import NgspiceEngine
from hvae_mnn.netlist.manifest import Manifest

STEPS = {"small": 60, "paper": 40}


def run(workspace: Workspace) -> Answer:
    """Measure."""
    manifest = workspace.netlist(workspace.size)
    steps = STEPS[workspace.size]
    workspace.status(f"{steps} time steps of all three layers")
    loop, engine = _loop(workspace, manifest, steps)
    workspace.status("the pipe to one worker")
    pipe = _pipe(manifest)
    workspace.status("the callbacks of one worker")
    callbacks = _callbacks(manifest)
    forty = loop * 40 / steps
    # The aim is for the paper's size; the smaller the arrays, the larger the part of everything else.
    aim = 1.15 if workspace.size == "paper" else None
    return Answer(
        [
            Figure("loop_seconds_40_steps", "40 time steps of three layers, loop", forty, "s", at_most=60),
            Figure("loop_over_engine", "loop against its engine calls", loop / engine, "x", aim),
            Figure("engine_over_worker", "engine call against its worker (pipe)", pipe, "x"),
            Figure("worker_over_ngspice", "worker against ngspice with fixed sources (callbacks)", callbacks, "x"),
            Figure("loop_over_ngspice", "loop against ngspice itself", loop / engine * pipe * callbacks, "x", aim),
        ]
    )


def _loop(workspace: Workspace, manifest: Manifest, steps: int) -> tuple[float, float]:
    """Seconds of the stepping loop, and of the engine calls in it."""
    ticks: dict[str, float] = {}

    def progress(what: str, done: int, total: int) -> None:
        ticks[what] = time.perf_counter()

    out = workspace.folder / "overhead"
    result = simulate(manifest.folder, steps=steps, out=out, progress=progress)
    return ticks["stepping"] - ticks["loading"], float(result.summary["seconds_in_engine"])


def _pipe(manifest: Manifest) -> float:
    """Wall time of engine calls over the worker's own, one array, one read a call."""
    layer = manifest.layer("decoder")
    deck = decks(manifest, layer)[0]
    generator = np.random.default_rng(3)
    engine = NgspiceEngine([deck])
    try:
        for _ in range(40):
            engine.currents({deck.name: random_reads(manifest, layer, generator)[deck.name]})
        return engine.seconds / float(str(engine.facts()["seconds_solving"]))
    finally:
        engine.close()


def _callbacks(manifest: Manifest) -> float:
    """CPU time of a read in the worker over that of the same read with fixed sources."""
    layer = manifest.layer("decoder")
    deck = decks(manifest, layer)[0]
    reads = random_reads(manifest, layer, np.random.default_rng(4))
    spec = (deck, reads[deck.name][0], expected_currents(manifest, reads)[deck.name][0])
    with Child("callbacks", *spec) as worker, Child("constant", *spec) as constant:
        # The first points of a transient are extra ones, while its step grows.
        found = in_turns({"worker": worker.wait_ready().go, "constant": constant.wait_ready().go}, 7, warm_up=2)
    return found["worker"] / found["constant"]
