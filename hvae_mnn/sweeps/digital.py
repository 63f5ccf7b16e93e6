"""Answers of the digital model in float64: computed once per model and text, and cached."""

from __future__ import annotations

import hashlib
import json
import platform
import warnings
from collections.abc import Sequence, Set
from importlib.metadata import version
from pathlib import Path

from hvae_mnn.errors import CacheWarning, StorageError, TensorsError
from hvae_mnn.evaluation.answers import Answers, run_answers
from hvae_mnn.files import cache_folder
from hvae_mnn.folders import check_writable
from hvae_mnn.models.checkpoint import Checkpoint
from hvae_mnn.models.stepwise import Stepper
from hvae_mnn.reading import is_file
from hvae_mnn.sweeps.task import Task

FORMAT = "hvae-mnn-answers/1"
"""Version; increases whenever the digital model's answers would change."""
BATCH_SIZE = 64
_WITHOUT_CACHE = "the digital model is run once in every process"


def reference_answers(
    task: Task, checkpoint: Checkpoint, sentences: Sequence[Sequence[int]], passes: Set[str]
) -> Answers:
    """Answers of the task's digital model to its sentences, for the given passes.

    They are cached in this process, and in the cache folder for other processes. A damaged file there is replaced.
    """
    # Another version of torch, or another processor, may round differently.
    machine = [version("torch"), platform.machine(), platform.processor()]
    depends = [FORMAT, task.model.sha256, task.text.sha256, sorted(passes), BATCH_SIZE, *machine]
    key = hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:32]
    if key not in _KNOWN:
        _KNOWN.clear()  # one text at a time: answers take tens of megabytes
        _KNOWN[key] = _from_disk(key) or _run(key, checkpoint, sentences, passes)
    return _KNOWN[key]


_KNOWN: dict[str, Answers] = {}


def _path(key: str) -> Path | None:
    folder = cache_folder("answers")
    return None if folder is None else folder / f"{key}.safetensors"


def note_cache_problems() -> None:
    """Issue a `CacheWarning` if answers cannot be cached for other processes."""
    folder = cache_folder("answers")
    if folder is None:
        return
    try:
        check_writable(folder)
    except StorageError as error:
        warnings.warn(f"{error} with HVAE_MNN_CACHE; {_WITHOUT_CACHE}", CacheWarning, stacklevel=2)


def _from_disk(key: str) -> Answers | None:
    path = _path(key)
    if path is None or not is_file(path):
        return None
    try:
        return Answers.load(path)
    except TensorsError:
        return None


def _run(key: str, checkpoint: Checkpoint, sentences: Sequence[Sequence[int]], passes: Set[str]) -> Answers:
    answers = run_answers(Stepper(checkpoint.model), sentences, passes, batch_size=BATCH_SIZE)
    path = _path(key)
    if path is not None:
        try:
            answers.save(path)
        except StorageError as error:
            warnings.warn(f"{error} with HVAE_MNN_CACHE; {_WITHOUT_CACHE}", CacheWarning, stacklevel=2)
    return answers
