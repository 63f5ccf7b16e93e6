"""What a model is worth: two reports on the same sentences that are never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hvae_mnn.text.batches import EncodedSentence
from hvae_mnn.vae.evaluation_paper import PaperReport, paper_report
from hvae_mnn.vae.evaluation_proper import (
    IMPORTANCE_SAMPLES,
    IMPORTANCE_SENTENCES,
    ProperReport,
    proper_report,
)
from hvae_mnn.vae.model import HSRVAE
from hvae_mnn.vae.scoring import Progress


@dataclass(frozen=True)
class Evaluation:
    """Both reports on a model."""

    paper: PaperReport
    """The published formulas verbatim; comparable with the paper's own rows only."""
    proper: ProperReport
    """Bounds on the likelihood, and what the latent carries."""

    def to_dict(self) -> dict[str, Any]:
        """Both reports under their names."""
        return {"paper": self.paper.to_dict(), "proper": self.proper.to_dict()}


def evaluate(
    model: HSRVAE,
    sentences: Sequence[EncodedSentence],
    *,
    importance_samples: int = IMPORTANCE_SAMPLES,
    importance_sentences: int | None = IMPORTANCE_SENTENCES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Both reports on encoded sentences (with start and end symbols), in batches of 64 as published.

    Errors: those of `paper_report` and `proper_report`.
    """
    return Evaluation(
        paper=paper_report(model, sentences, seed=seed, progress=progress),
        proper=proper_report(
            model,
            sentences,
            importance_samples=importance_samples,
            importance_sentences=importance_sentences,
            seed=seed,
            progress=progress,
        ),
    )
