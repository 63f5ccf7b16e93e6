"""The ideal engine per step of one layer, against its floor: the bare numpy product of the same four arrays."""

from __future__ import annotations

import numpy as np

from benchmarks.figures import Answer, Figure, in_turns, seconds
from benchmarks.workspace import Workspace, random_reads
from hvae_mnn.engines.ideal import IdealEngine
from hvae_mnn.netlist.conductances import read_conductances

_CALLS = 20
"""Steps timed together: one takes only microseconds."""


def run(workspace: Workspace) -> Answer:
    """Measure."""
    manifest = workspace.netlist(workspace.size)
    workspace.status("the ideal engine")
    layer = manifest.layer("decoder")
    stored = read_conductances(manifest)
    conductances = {unit.array: stored[unit.array].conductance for unit in layer.units}
    engine = IdealEngine(conductances, {unit.array: manifest.layout(unit) for unit in layer.units})
    transfer = {name: manifest.fixed_siemens - g for name, g in conductances.items()}
    reads = random_reads(manifest, layer, np.random.default_rng(5))

    def bare() -> None:
        for _ in range(_CALLS):
            for name, volts in reads.items():
                volts[0] @ transfer[name]

    def ideal() -> None:
        for _ in range(_CALLS):
            engine.currents(reads)

    found = in_turns({"bare": lambda: seconds(bare), "ideal": lambda: seconds(ideal)}, repetitions=50)
    return Answer(
        [
            Figure("ideal_us", "one layer: ideal engine", found["ideal"] / _CALLS * 1e6, "us"),
            Figure("bare_us", "one layer: bare product", found["bare"] / _CALLS * 1e6, "us"),
            Figure("ratio", "ideal engine against bare product", found["ideal"] / found["bare"], "x"),
        ]
    )
