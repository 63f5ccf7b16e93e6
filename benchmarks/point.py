"""A point of a sweep: where its time goes, on one thread, and what recurrent steps in the circuit cost beside torch.

Tiles of 64 x 64 with 1-ohm segments, a reference column and a programming spread; sentences of the built-in corpus. The
floor is torch's own recurrent modules in float64 on the same batches: they have all time steps of a batch at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from benchmarks.figures import Answer, Figure, seconds
from benchmarks.workspace import Workspace
from hvae_mnn.cosim.export import CHECKPOINT
from hvae_mnn.crossbar.hardware.file import hardware_to_dict, read_hardware
from hvae_mnn.crossbar.nonidealities.file import nonidealities_to_dict
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities, Programming
from hvae_mnn.crossbar.transfer import threads
from hvae_mnn.evaluation.text_metrics import METRICS
from hvae_mnn.files import sha256
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.sweeps.digital import BATCH_SIZE
from hvae_mnn.sweeps.point import run_task
from hvae_mnn.sweeps.sentences import choose_text, chosen_sentences
from hvae_mnn.sweeps.task import ModelChoice, Task, TaskKind
from hvae_mnn.text.batches import EncodedSentence, collate, sorted_order

_SENTENCES = 256
_TASKS = 4
HARDWARE = "tile64"


def run(workspace: Workspace) -> Answer:
    """Measure."""
    path = workspace.netlist(workspace.size, HARDWARE).folder / CHECKPOINT
    checkpoint = load_checkpoint(path)
    model = ModelChoice("bench", str(path), sha256(path))
    text = choose_text(checkpoint, None, "test", _SENTENCES)
    hardware = hardware_to_dict(read_hardware(HARDWARE))
    noise = nonidealities_to_dict(Nonidealities(programming=Programming("lognormal", 0.05)))

    def task(kind: TaskKind, seed: int | None) -> Task:
        point = kind == "point"
        return Task(kind, model, text, tuple(METRICS), seed, hardware if point else {}, noise if point else {})

    workspace.status("one point")
    run_task(task("digital", None))  # the reference is made once
    workers: dict[int, float] = {}
    point = run_task(task("point", 0))
    with threads(1):
        network = checkpoint.model.double().eval()
        floor = min(_plain(network, chosen_sentences(checkpoint, text)) for _ in range(3))
    for count in (1, 2):
        workspace.status(f"{_TASKS} points, {count} worker{'s' * (count > 1)}")
        with Cluster.local(count) as cluster:
            cluster.map(run_task, [task("point", 100 + number) for number in range(count)])  # loads model and text
            start = time.perf_counter()
            cluster.map(run_task, [task("point", number) for number in range(_TASKS)])
            workers[count] = _TASKS * 3600 / (time.perf_counter() - start)
    spent = point.seconds
    names = {
        "draw": "drawing memristors",
        "transfer": "solving wires",
        "forward": "recurrent steps",
        "logits": "logits",
    }
    return Answer(
        [
            Figure("tokens", "words to predict", point.tokens, ""),
            Figure("total_s", "a point and seed, all metrics, one thread", spent["total"], "s"),
            *(Figure(f"{name}_s", f"  {what}", spent[name], "s") for name, what in names.items()),
            Figure("plain_s", "the same recurrent steps in torch modules", floor, "s"),
            Figure("over_plain", "  circuit against them", spent["forward"] / floor, "x", at_most=2.0),
            Figure("per_hour_1", "tasks per hour, 1 worker", workers[1], ""),
            Figure("per_hour_2", "tasks per hour, 2 workers", workers[2], ""),
            Figure("scaling", "  2 workers against 1", workers[2] / workers[1], "x"),
        ],
        f"{_SENTENCES} sentences: three passes of the decoder, one of the encoder",
    )


@torch.inference_mode()
def _plain(network: HSRVAE, sentences: Sequence[EncodedSentence]) -> float:
    """Seconds of one encoder pass and three decoder passes."""

    def passes() -> None:
        for places in sorted_order(sentences, BATCH_SIZE):
            batch = collate([sentences[place] for place in places])
            latent = network.encode(batch.tokens, batch.lengths, masked=True).last()[0]
            for _ in range(3):
                network.decoder_hidden(batch.tokens, latent)

    return seconds(passes)
