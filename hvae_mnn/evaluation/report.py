"""Two reports on a model and the same sentences, which are never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hvae_mnn.errors import TextError
from hvae_mnn.evaluation.characters import CharacterCounts, are_predicted, count_characters
from hvae_mnn.evaluation.paper import PaperReport, paper_report
from hvae_mnn.evaluation.proper import (
    IMPORTANCE_SAMPLES,
    IMPORTANCE_SENTENCES,
    ProperReport,
    proper_report,
)
from hvae_mnn.evaluation.scoring import Progress
from hvae_mnn.evaluation.short_run import SENTENCES as SHORT_RUN_SENTENCES
from hvae_mnn.models.checkpoint import Checkpoint
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.text.batches import EncodedSentence
from hvae_mnn.text.corpus import Corpus


@dataclass(frozen=True)
class EncodedSplit:
    """Sentences of a split, encoded."""

    sentences: list[EncodedSentence]
    """Ids with start and end symbols."""
    unknown: int
    """Number of words (or characters, if these are the tokens) that are not in the vocabulary."""
    words: int
    """Number of all words (or characters)."""
    characters: CharacterCounts | None = None
    """What bits per character divide by; None if the model's tokens do not predict every character."""


@dataclass(frozen=True)
class Evaluation:
    """Both reports on a model."""

    paper: PaperReport
    """The published formulas verbatim; comparable with the paper's own rows only."""
    proper: ProperReport
    """Bounds on the likelihood, and the information in the latent."""

    def to_dict(self) -> dict[str, Any]:
        """Both reports under their names."""
        return {"paper": self.paper.to_dict(), "proper": self.proper.to_dict()}


def evaluate(
    model: RecurrentModel,
    sentences: Sequence[EncodedSentence],
    *,
    importance_samples: int = IMPORTANCE_SAMPLES,
    importance_sentences: int | None = IMPORTANCE_SENTENCES,
    short_run_sentences: int = SHORT_RUN_SENTENCES,
    seed: int = 0,
    characters: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Both reports on encoded sentences (with start and end symbols), in batches of 64 as published.

    `characters` holds each sentence's symbols for bits per character (`CharacterCounts.symbols`); None leaves it out.

    Raises those of `paper_report` and `proper_report`.
    """
    return Evaluation(
        paper=paper_report(model, sentences, seed=seed, characters=characters, progress=progress),
        proper=proper_report(
            model,
            sentences,
            importance_samples=importance_samples,
            importance_sentences=importance_sentences,
            short_run_sentences=short_run_sentences,
            seed=seed,
            characters=characters,
            progress=progress,
        ),
    )


def encode_split(checkpoint: Checkpoint, corpus: Corpus, split: str, count: int | None = None) -> EncodedSplit:
    """The first `count` sentences of a split (all by default) as ids of the checkpoint's vocabulary.

    Raises `TextError` if the split is unknown or empty, or if too many of its words are unknown to the model.
    """
    sentences = corpus.split(split)[:count]
    if not sentences:
        raise TextError(f"corpus {corpus.name} has no {split} sentences; choose another split")
    encoded: list[EncodedSentence] = [checkpoint.vocabulary.encode_sentence(sentence) for sentence in sentences]
    words = sum(len(sentence) for sentence in sentences)
    unknown = checkpoint.vocabulary.count_unknown(sentences, f"{corpus.name}/{split}")
    tokenizer = checkpoint.tokenizer
    characters = count_characters(tokenizer, sentences) if are_predicted(tokenizer, unknown) else None
    return EncodedSplit(encoded, unknown, words, characters)
