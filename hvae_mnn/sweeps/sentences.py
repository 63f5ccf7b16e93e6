"""Sentences that a sweep runs, and other text that its results depend on."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from hvae_mnn.cosim.calibration import SENTENCES, needs_text
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.errors import InputError
from hvae_mnn.models.checkpoint import Checkpoint
from hvae_mnn.reading import absolute
from hvae_mnn.sweeps.task import TaskKind, TextChoice
from hvae_mnn.text.corpus import Sentence
from hvae_mnn.text.sources import load_corpus


@lru_cache(maxsize=4)
def _split(data_dir: str | None, tokenizer: str, split: str) -> list[Sentence]:
    folder = None if data_dir is None else Path(data_dir)
    return load_corpus(folder, tokenizer, splits=(split,)).split(split)


def load_text(checkpoint: Checkpoint, text: TextChoice, split: str) -> list[Sentence]:
    """All sentences of a split of the corpus, as words. Raises `TextError` if the corpus has no such split."""
    return _split(text.data_dir, checkpoint.tokenizer, split)


def chosen_sentences(checkpoint: Checkpoint, text: TextChoice) -> list[list[int]]:
    """The chosen sentences as token ids, with start and end symbols.

    Raises `InputError` if they have changed since the sweep began.
    """
    lines = load_text(checkpoint, text, text.split)[: text.sentences]
    if text_sha256(lines) != text.sha256:
        raise InputError(
            f"{text.data_dir or 'the built-in corpus'}, {text.split}: the sentences have changed since the sweep began;"
            " start the sweep again"
        )
    return [checkpoint.vocabulary.encode_sentence(line) for line in lines]


def choose_text(checkpoint: Checkpoint, data_dir: Path | None, split: str, sentences: int | None) -> TextChoice:
    """The first `sentences` of a split (None: all).

    Raises `TextError` for a missing corpus, or one with too many words outside the checkpoint's vocabulary;
    `InputError` for a number of sentences that the split does not have.
    """
    folder = None if data_dir is None else str(absolute(data_dir))
    where = f"{data_dir or 'the built-in corpus'}/{split}"
    lines = _split(folder, checkpoint.tokenizer, split)
    if sentences is not None and not 2 <= sentences <= len(lines):
        raise InputError(f"sentences is {sentences}; allowed: 2 to {len(lines)}, which {where} has")
    chosen = lines[:sentences]
    checkpoint.vocabulary.count_unknown(chosen, where)
    return TextChoice(folder, split, sentences, text_sha256(chosen))


def further_text(checkpoint: Checkpoint, text: TextChoice, kind: TaskKind, hardware: Hardware | None) -> list[Sentence]:
    """Sentences of other splits that a task depends on (`Task.further_text`). Raises `TextError` as `choose_text`."""
    if kind == "unigram":
        split, lines = "train", load_text(checkpoint, text, "train")
    elif hardware is not None and needs_text(hardware):
        split, lines = "valid", load_text(checkpoint, text, "valid")[:SENTENCES]
    else:
        return []
    checkpoint.vocabulary.count_unknown(lines, f"{text.data_dir or 'the built-in corpus'}/{split}")
    return lines


def text_sha256(lines: list[Sentence]) -> str:
    """Hexadecimal SHA-256 of the words."""
    return hashlib.sha256(json.dumps([list(line) for line in lines]).encode()).hexdigest()
