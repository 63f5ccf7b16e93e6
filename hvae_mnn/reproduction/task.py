"""Tasks of a table: a row, trained on a corpus with a seed, and evaluated; with the text that it reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hvae_mnn.errors import InputError, TextError
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.rows import configure_row
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.reading import absolute
from hvae_mnn.reproduction.plan import CorpusPlan, Entry, TablePlan
from hvae_mnn.text.corpus import SPLITS, Corpus
from hvae_mnn.text.sources import load_corpus
from hvae_mnn.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Text:
    """The text of a task: three splits of a corpus."""

    corpus: CorpusPlan
    folder: str | None
    """Folder of the files, absolute; None: the built-in corpus."""
    sha256: str
    """Hexadecimal SHA-256 of the words of all splits, after long sentences were left out."""


@dataclass(frozen=True)
class Task:
    """A row, a corpus and a seed. Tables share tasks that are equal."""

    text: Text
    row: str
    """Name in `models.rows.ROWS`."""
    seed: int
    model: ModelConfig
    training: TrainingConfig
    importance_samples: int
    importance_sentences: int | None
    profile: str
    """Name of the profile in the plan."""

    @property
    def place(self) -> Path:
        """Folder of the task within that of all results: corpus, row, seed."""
        return Path(self.text.corpus.name) / self.row / f"seed{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Everything that the result depends on, and names, as plain values."""
        return {
            "profile": self.profile,
            "corpus": asdict(self.text.corpus),
            "text_sha256": self.text.sha256,
            "row": self.row,
            "seed": self.seed,
            "model": self.model.to_dict(),
            "training": self.training.to_dict(),
            "importance_samples": self.importance_samples,
            "importance_sentences": self.importance_sentences,
        }

    def trains_as(self, stored: Mapping[str, Any]) -> str | None:
        """None where a stored `to_dict` describes the same training; else what differs, in a few words."""
        if stored.get("text_sha256") != self.text.sha256:
            return "its text is another"
        try:
            model, training = ModelConfig.from_dict(stored["model"]), TrainingConfig.from_dict(stored["training"])
        except (InputError, KeyError, TypeError):
            return "its settings are of another version"
        for there, here in ((model.to_dict(), self.model.to_dict()), (training.to_dict(), self.training.to_dict())):
            for name, value in here.items():
                if there.get(name) != value:
                    return f"it has {name} {there.get(name)!r}, the plan {value!r}"
        return None

    def evaluates_as(self, stored: Mapping[str, Any]) -> bool:
        """Whether a stored `to_dict` describes the same evaluation."""
        names = ("importance_samples", "importance_sentences")
        return all(stored.get(name) == getattr(self, name) for name in names)


def make_tasks(plan: TablePlan, data_dir: Path | None) -> list[Task]:
    """Tasks of a plan whose corpora are folders in `data_dir`: a row's seeds stand together.

    Raises `InputError` with a line for every corpus that is missing, has no train split or no sentence that is short
    enough, and for settings that a model cannot have.
    """
    problems, texts = [], {}
    for corpus in plan.corpora:
        try:
            texts[corpus.name] = _find_text(corpus, data_dir, plan.profile)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError.of(f"profile {plan.profile} of {plan.table}", problems)
    return [task for entry in plan.entries for task in _tasks(entry, texts[entry.corpus.name], plan.profile)]


def _tasks(entry: Entry, text: Text, profile: str) -> list[Task]:
    effort = entry.effort
    try:
        model, training = configure_row(
            entry.row, len(vocabulary_of(text)), epochs=effort.epochs, seed=0, **effort.settings
        )
    except InputError as error:
        raise InputError(f"{entry.row} on {entry.corpus.name}, profile {profile}: {error}") from None
    return [
        Task(
            text=text,
            row=entry.row,
            seed=seed,
            model=model,
            training=replace(training, seed=seed),
            importance_samples=effort.importance_samples,
            importance_sentences=effort.importance_sentences,
            profile=profile,
        )
        for seed in range(effort.seeds)
    ]


def _find_text(corpus: CorpusPlan, data_dir: Path | None, profile: str) -> Text:
    """The text of a corpus, found and read. Raises `InputError` if it is not there."""
    if corpus.folder is None:
        folder = None
    elif data_dir is None:
        raise InputError(
            f"the corpus {corpus.name} is the folder {corpus.folder} of your texts; name the folder above it with"
            " --data-dir"
        )
    else:
        folder = str(absolute(Path(data_dir) / corpus.folder))
    try:
        text = Text(corpus, folder, "")
        return replace(text, sha256=_digest(_read(corpus, folder)))
    except TextError as error:
        raise InputError(f"corpus {corpus.name}: {error}") from None


def corpus_of(text: Text) -> Corpus:
    """The sentences of a task's text. Raises `InputError` if they have changed since the tasks were made."""
    corpus = _read(text.corpus, text.folder)
    if _digest(corpus) != text.sha256:
        raise InputError(
            f"{text.folder or 'the built-in corpus'}: the text has changed since the run began; run it anew"
        )
    return corpus


def vocabulary_of(text: Text) -> Vocabulary:
    """Vocabulary of the train split."""
    return _vocabulary(text.corpus, text.folder)


@lru_cache(maxsize=4)
def _vocabulary(corpus: CorpusPlan, folder: str | None) -> Vocabulary:
    return Vocabulary.build(_read(corpus, folder).train)


@lru_cache(maxsize=4)
def _read(plan: CorpusPlan, folder: str | None) -> Corpus:
    corpus = load_corpus(None if folder is None else Path(folder), plan.tokenizer)
    if plan.longest is None:
        return corpus
    short = {name: [one for one in corpus.split(name) if len(one) <= plan.longest] for name in SPLITS}
    for name, sentences in short.items():
        if len(sentences) < 2:
            raise TextError(
                f"{folder or 'the built-in corpus'}/{name} has {len(sentences)} sentences of at most {plan.longest}"
                " words; a table needs 2; raise longest in the plan"
            )
    return replace(corpus, train=short["train"], valid=short["valid"], test=short["test"])


def _digest(corpus: Corpus) -> str:
    digest = hashlib.sha256()
    for name in SPLITS:
        digest.update(json.dumps([name, corpus.split(name)]).encode())
    return digest.hexdigest()
