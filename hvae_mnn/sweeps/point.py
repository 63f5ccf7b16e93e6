"""Run of one task of a sweep: draw the hardware, solve it, run the text, compute the metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from hvae_mnn.cosim.chip import Chip, answers_on, draw_chip
from hvae_mnn.cosim.export import map_checkpoint
from hvae_mnn.crossbar.hardware.file import hardware_from_dict
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.network import MappedNetwork
from hvae_mnn.crossbar.nonidealities.file import nonidealities_from_dict
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.crossbar.transfer import threads
from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.evaluation.answers import Answers
from hvae_mnn.evaluation.text_metrics import compute_metrics, passes_for
from hvae_mnn.evaluation.unigram import unigram_metrics
from hvae_mnn.files import sha256
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.reading import is_file
from hvae_mnn.sweeps.digital import BATCH_SIZE, reference_answers
from hvae_mnn.sweeps.sentences import chosen_sentences, further_text, text_sha256
from hvae_mnn.sweeps.task import ModelChoice, Outcome, Task, TaskKind, TextChoice


def run_task(task: Task) -> Outcome:
    """Run a task on one thread, so that every bit of its result is independent of the number of parallel tasks.

    Raises `HvaeMnnError` for a point that cannot be built or run.
    """
    with threads(1):
        return _RUNNERS[task.kind](task)


def chip_of(task: Task) -> Chip:
    """The chip that a point's seed draws. Its netlists describe the same circuit."""
    network = _mapped(task)
    return draw_chip(network, _noise(task.noise), task.seed or 0)


def checkpoint_of(task: Task) -> Checkpoint:
    """The task's checkpoint. Raises `CheckpointError` if the file has changed since the sweep began."""
    return _load(task.model.checkpoint, task.model.sha256)


@lru_cache(maxsize=2)
def _load(path: str, expected: str) -> Checkpoint:
    actual = sha256(Path(path)) if is_file(Path(path)) else None
    if actual is not None and actual != expected:
        raise CheckpointError(f"{path} has changed since the sweep began; start the sweep again")
    return load_checkpoint(path)


def _mapped(task: Task) -> MappedNetwork:
    return _map(task.model, task.text, json.dumps(task.hardware), task.further_text)


@lru_cache(maxsize=2)
def _map(model: ModelChoice, text: TextChoice, hardware: str, further: str) -> MappedNetwork:
    described = hardware_from_dict(json.loads(hardware), "hardware")
    checkpoint = _load(model.checkpoint, model.sha256)
    lines = _further(checkpoint, text, "point", described, further)
    sentences = [checkpoint.vocabulary.encode_sentence(line) for line in lines]
    return map_checkpoint(checkpoint, described, calibration=model.calibration, text=sentences)


def _further(
    checkpoint: Checkpoint, text: TextChoice, kind: TaskKind, hardware: Hardware | None, expected: str
) -> list[list[str]]:
    """Further text of a task. Raises `InputError` if it has changed since the sweep began."""
    lines = further_text(checkpoint, text, kind, hardware)
    if lines and text_sha256(lines) != expected:
        raise InputError(
            f"{text.data_dir or 'the built-in corpus'}: sentences of another split that the result depends on have"
            " changed since the sweep began; start the sweep again"
        )
    return lines


def _noise(values: Mapping[str, Any]) -> Nonidealities:
    return nonidealities_from_dict(values, "noise") if values else Nonidealities()


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[what] = time.perf_counter() - start


def _run_on_hardware(task: Task) -> Outcome:
    """Run a `point`, or `digital_bits`."""
    start = time.perf_counter()
    checkpoint = checkpoint_of(task)
    sentences = chosen_sentences(checkpoint, task.text)
    network = _mapped(task)
    seconds = {"load": time.perf_counter() - start}
    with _timed(seconds, "reference"):
        reference = reference_answers(task, checkpoint, sentences, passes_for(task.metrics))
    with _timed(seconds, "draw"):
        chip = draw_chip(network, _noise(task.noise), task.seed or 0)
    run = answers_on(chip, checkpoint.model, sentences, passes_for(task.metrics), BATCH_SIZE)
    answers = run.answers
    facts = {"stuck_on": float(chip.stuck_on), "stuck_off": float(chip.stuck_off), **run.clipped}
    spent = answers.seconds
    seconds |= {"transfer": run.transfer_s, "forward": spent["recurrent"], "logits": spent["logits"]}
    return _outcome(task, answers, reference, sentences, seconds, start, facts)


def _run_digital(task: Task) -> Outcome:
    start = time.perf_counter()
    checkpoint = checkpoint_of(task)
    sentences = chosen_sentences(checkpoint, task.text)
    seconds = {"load": time.perf_counter() - start}
    # The answers are often cached: the time of their computation is not part of this task's.
    with _timed(seconds, "reference"):
        answers = reference_answers(task, checkpoint, sentences, passes_for(task.metrics))
    return _outcome(task, answers, answers, sentences, seconds, start, {})


def _run_unigram(task: Task) -> Outcome:
    start = time.perf_counter()
    checkpoint = checkpoint_of(task)
    sentences = chosen_sentences(checkpoint, task.text)
    lines = _further(checkpoint, task.text, "unigram", None, task.further_text)
    train = [checkpoint.vocabulary.encode_sentence(line) for line in lines]
    values = unigram_metrics(train, sentences, len(checkpoint.vocabulary))
    metrics = {name: value for name, value in values.items() if name in task.metrics}
    seconds = {"total": time.perf_counter() - start}
    return Outcome(metrics, seconds, len(sentences), sum(len(sentence) - 1 for sentence in sentences))


def _outcome(
    task: Task,
    answers: Answers,
    reference: Answers,
    sentences: list[list[int]],
    seconds: dict[str, float],
    start: float,
    facts: dict[str, float],
) -> Outcome:
    metrics = compute_metrics(answers, reference, sentences, task.metrics)
    seconds["total"] = time.perf_counter() - start
    return Outcome(metrics, seconds, len(sentences), sum(len(sentence) - 1 for sentence in sentences), facts)


_RUNNERS: dict[TaskKind, Callable[[Task], Outcome]] = {
    "point": _run_on_hardware,
    "digital_bits": _run_on_hardware,
    "digital": _run_digital,
    "unigram": _run_unigram,
}
