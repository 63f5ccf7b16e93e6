"""Seconds per LSTM step in the engine's living transient.

Against two floors from circuits.md 2: one plain `op` of the very same deck, loaded once, its sources fixed (what a
step would cost at least with `alter` and `op`); and a fresh PySpice simulator per step, its circuit kept as element
objects, at the size of the preset `tiny`, where that is bearable. A layer's arrays are solved at the same time in
both, a process each, and "three layers" is one time step of an HSR-VAE: encoder 1, encoder 2 and decoder in turn.
Every way has to give the currents of eq. 12 to 1e-9 before it is timed.
"""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from benchmarks.children import TOLERANCE, Child
from benchmarks.figures import Answer, Figure, in_turns, seconds
from benchmarks.workspace import Array, Reads, Workspace, decks, random_reads
from hvae_mnn.crossbar.network import CrossbarLayer
from hvae_mnn.engines.ngspice import NgspiceEngine
from hvae_mnn.netlist.conductances import read_conductances
from hvae_mnn.netlist.manifest import Manifest


def run(workspace: Workspace) -> Answer:
    """Measure."""
    paper = workspace.size == "paper"
    manifest = workspace.netlist(workspace.size)
    living, op = 0.0, 0.0
    figures = []
    for layer in manifest.layers:
        workspace.status(f"layer {layer.name} in the living transient, and op by op")
        found = _layer(manifest, layer, repetitions=3 if paper else 9)
        living, op = living + found["living"], op + found["op"]
        if layer.name == "decoder":
            figures += _figures("one_layer", "decoder", found["living"], found["op"])
    figures += _figures("three_layers", "three layers", living, op)
    workspace.status("a fresh PySpice simulator per step")
    tiny = workspace.netlist("tiny")
    layer = tiny.layer("decoder")
    found = _fresh(tiny, layer)
    rows, columns = layer.units[0].row_count, layer.units[0].columns
    figures += [
        Figure("array_living_ms", f"one array {rows} x {columns}: living transient", found["living"] * 1e3, "ms"),
        Figure("array_over_op", "  against op", found["living"] / found["op"], "x"),
        Figure("array_over_fresh", "  against a fresh PySpice simulator", found["living"] / found["fresh"], "x"),
        Figure(
            "array_over_rebuilt",
            "  ... with its circuit built anew as well",
            found["living"] / found["fresh-rebuilt"],
            "x",
        ),
        Figure("array_fresh_ms", "  the fresh simulator itself", found["fresh"] * 1e3, "ms"),
    ]
    return Answer(figures, "x: time in the living transient over the other's time; below 1 it is faster")


def _figures(key: str, what: str, living: float, op: float) -> list[Figure]:
    return [
        Figure(f"{key}_living_ms", f"{what}: living transient", living * 1e3, "ms"),
        Figure(f"{key}_op_ms", f"{what}: op", op * 1e3, "ms"),
        Figure(f"{key}_over_op", f"{what}: living transient against op", living / op, "x"),
    ]


def expected_currents(manifest: Manifest, reads: Reads) -> dict[str, Array]:
    """Eq. 12 as a product: array name -> (1, C) amperes."""
    stored = read_conductances(manifest)
    return {name: v @ (manifest.fixed_siemens - stored[name].conductance) for name, v in reads.items()}


def _layer(manifest: Manifest, layer: CrossbarLayer, repetitions: int) -> dict[str, float]:
    """Median wall time of a step of the layer: `living`, `op`."""
    reads = random_reads(manifest, layer, np.random.default_rng(1))
    expected = expected_currents(manifest, reads)
    with ExitStack() as stack:
        engine = NgspiceEngine(decks(manifest, layer))
        stack.callback(engine.close)
        children = [
            stack.enter_context(Child("op", deck, reads[deck.name][0], expected[deck.name][0]))
            for deck in decks(manifest, layer)
        ]
        for child in children:
            child.wait_ready()
        for name, found in engine.currents(reads).items():
            np.testing.assert_allclose(found, expected[name], rtol=0, atol=TOLERANCE * np.abs(expected[name]).max())

        def all_ops() -> None:
            for child in children:
                child.start()
            for child in children:
                child.finish()

        return in_turns(
            {"living": lambda: seconds(lambda: engine.currents(reads)), "op": lambda: seconds(all_ops)}, repetitions
        )


def _fresh(manifest: Manifest, layer: CrossbarLayer) -> dict[str, float]:
    """Median wall time of a step of the layer's first array: `living`, `op`, `fresh`, `fresh-rebuilt`."""
    reads = random_reads(manifest, layer, np.random.default_rng(2))
    deck = decks(manifest, layer)[0]
    reads = {deck.name: reads[deck.name]}
    expected = expected_currents(manifest, reads)[deck.name][0]
    with ExitStack() as stack:
        engine = NgspiceEngine([deck])
        stack.callback(engine.close)
        kinds = ("op", "fresh", "fresh-rebuilt")
        children = {kind: stack.enter_context(Child(kind, deck, reads[deck.name][0], expected)) for kind in kinds}
        actions = {kind: child.wait_ready().go for kind, child in children.items()}
        return in_turns({"living": lambda: seconds(lambda: engine.currents(reads)), **actions}, repetitions=5)
