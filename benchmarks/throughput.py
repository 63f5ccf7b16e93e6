"""Text at circuit accuracy: the exact engine's set-up, and 40 steps of 64 sentences against the digital model alone.

Tiles of 64 x 64 with 1-ohm segments and a reference column. Both sides run the same network in float64, teacher-forced,
with logits; the hardware's side adds DACs, arrays with wires, and ADCs.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.figures import Answer, Figure, in_turns, seconds
from benchmarks.workspace import Workspace
from hvae_mnn.cosim.export import CHECKPOINT
from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.engines.exact import ExactEngine
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.stepwise import Stepper, run_batch
from hvae_mnn.netlist.conductances import read_conductances
from hvae_mnn.text.vocabulary import EOS, SOS

_STEPS, _SENTENCES = 40, 64
_CALLS = 10
"""Of the engine, timed together: the first one after other work waits for threads."""
HARDWARE = "tile64"


def run(workspace: Workspace) -> Answer:
    """Measure."""
    manifest = workspace.netlist(workspace.size, HARDWARE)
    workspace.status("the exact engine's matrices")
    stored = read_conductances(manifest)
    layouts = manifest.layouts
    conductances = {name: stored[name].conductance for name in layouts}
    engine = ExactEngine(conductances, layouts)
    checkpoint = load_checkpoint(manifest.folder / CHECKPOINT)
    source = CrossbarSource(manifest, engine)
    hardware, digital = HardwareStepper(checkpoint.model, source), Stepper(checkpoint.model)
    rng = np.random.default_rng(0)
    words = rng.integers(EOS + 1, len(checkpoint.vocabulary), (_SENTENCES, _STEPS - 1))
    sentences = [[SOS, *sentence, EOS] for sentence in words.tolist()]
    volts = {name: rng.uniform(-0.05, 0.05, (_SENTENCES, layout.rows)) for name, layout in layouts.items()}
    matrices = {
        name: torch.from_numpy(rng.normal(size=(layout.rows, layout.columns))) for name, layout in layouts.items()
    }

    def through(stepper: Stepper) -> float:
        source.begin(range(_SENTENCES))
        with torch.inference_mode():
            return seconds(lambda: run_batch(stepper, sentences))

    def product() -> float:
        return seconds(
            lambda: [torch.from_numpy(volts[name]) @ matrices[name] for _ in range(_CALLS) for name in volts]
        )

    workspace.status(f"{_STEPS} steps of {_SENTENCES} sentences")
    found = in_turns(
        {
            "hardware": lambda: through(hardware),
            "digital": lambda: through(digital),
            "engine": lambda: seconds(lambda: [engine.currents(volts) for _ in range(_CALLS)]),
            "product": product,
        },
        repetitions=5,
    )
    tiles = sum(len(layout.tiles) for layout in layouts.values())
    paper = workspace.size == "paper"
    return Answer(
        [
            Figure("tiles", "tiles of 64 x 64, reference column", tiles, ""),
            Figure("solve_s", "all T", engine.seconds_loading, "s", at_most=10.0 if paper else None),
            Figure("hardware_s", f"{_STEPS} steps of {_SENTENCES} sentences, circuit", found["hardware"], "s"),
            Figure("digital_s", "  the digital model alone", found["digital"], "s"),
            Figure("over_digital", "  circuit against it", found["hardware"] / found["digital"], "x", at_most=2.0),
            Figure("over_product", "engine against bare products", found["engine"] / found["product"], "x"),
        ],
        "the same sentences on both sides, in turns",
    )
