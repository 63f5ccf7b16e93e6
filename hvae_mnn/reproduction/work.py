"""Work of one task: train what is missing, evaluate it, and keep the record."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hvae_mnn.errors import EnvironmentProblem, HvaeMnnError, StorageError
from hvae_mnn.evaluation.report import Evaluation, encode_split, evaluate
from hvae_mnn.files import read_sealed, sha256
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.models.device import pick_device
from hvae_mnn.reading import is_missing
from hvae_mnn.reproduction.record import Record, read_record, write_record
from hvae_mnn.reproduction.task import Task, corpus_of, vocabulary_of
from hvae_mnn.text.batches import EncodedSentence
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training.history import read_history
from hvae_mnn.training.run import train
from hvae_mnn.training.state import BEST, LAST, METRICS
from hvae_mnn.version import versions

THREADS = 1
"""Threads of a task: with another number, sums would round differently, and results depend on the number of workers."""
_EVALUATION_SEED = 0
"""Seed of the latents that an evaluation draws, the same for all tasks, so that their noise is the same, too."""


@dataclass(frozen=True)
class Order:
    """A task for a worker."""

    task: Task
    out: str
    """Folder of all results, absolute."""
    device: str

    @property
    def folder(self) -> Path:
        """Folder of the task."""
        return Path(self.out) / self.task.place


def run_order(order: Order) -> Record:
    """Do a task, or what is left of it, and keep its record. A training that cannot continue gives a failed record.

    Raises `StorageError` and `EnvironmentProblem`, which are no fault of the task.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        record = _run(order)
    except (StorageError, EnvironmentProblem):
        raise
    except HvaeMnnError as error:
        record = failed_record(order.task, error)
    finally:
        torch.set_num_threads(before)
    write_record(order.folder, record)
    if record.status == "done":  # three times the size of the checkpoint, and of no more use
        (order.folder / LAST).unlink(missing_ok=True)
    return record


def failed_record(task: Task, error: HvaeMnnError) -> Record:
    """The record of a task that ended with an error."""
    return Record(task.to_dict(), "failed", " ".join(str(error).split()))


def _run(order: Order) -> Record:
    task, folder = order.task, order.folder
    corpus, vocabulary = corpus_of(task.text), vocabulary_of(task.text)
    stored = read_record(folder)
    if not _is_trained(task, folder, vocabulary):
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder, Record(task.to_dict(), "begun"))
        train(corpus, task.model, task.training, folder, resume=True, vocabulary=vocabulary, device=order.device)
    history, _ = read_history(folder)
    checkpoint = load_checkpoint(folder / BEST)
    began = time.monotonic()
    evaluation = evaluate_task(checkpoint, encode_split(checkpoint, corpus, "test").sentences, task, order.device)
    return Record(
        task.to_dict(),
        "done",
        checkpoint={"sha256": sha256(folder / BEST), "epoch": checkpoint.metrics.get("epoch")},
        training={"epochs": len(history), "seconds": round(sum(one.get("seconds", 0.0) for one in history), 3)},
        paper=evaluation.paper.to_dict(),
        proper=evaluation.proper.to_dict(),
        further={} if stored is None else stored.further,
        hardware={} if stored is None else stored.hardware,
        about=_about(order, time.monotonic() - began),
    )


def _is_trained(task: Task, folder: Path, vocabulary: Vocabulary) -> bool:
    """Whether the folder holds this task's best checkpoint of a complete training, whose state to resume from was
    removed."""
    if not is_missing(folder / LAST) or is_missing(folder / BEST):
        return False
    if is_missing(folder / METRICS) or not read_sealed(folder / METRICS, "history of a training run").get("complete"):
        return False
    best = load_checkpoint(folder / BEST)
    return (best.model.config, best.training_config, best.vocabulary) == (task.model, task.training, vocabulary)


def evaluate_task(checkpoint: Checkpoint, sentences: list[EncodedSentence], task: Task, device: str) -> Evaluation:
    """Both reports on the test sentences of a task: the one place where a table calls the evaluation."""
    return evaluate(
        checkpoint.model.to(pick_device(device)),
        sentences,
        importance_samples=task.importance_samples,
        importance_sentences=task.importance_sentences,
        seed=_EVALUATION_SEED,
    )


def _about(order: Order, seconds: float) -> dict[str, Any]:
    return {
        "device": pick_device(order.device).type,
        "evaluation_seconds": round(seconds, 3),
        "versions": versions("torch", "numpy"),
    }
