"""What training, evaluation and finetuning give back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvae_mnn.evaluation.paper import PaperReport
from hvae_mnn.evaluation.proper import ProperReport
from hvae_mnn.evaluation.scoring import Check
from hvae_mnn.results import Result


@dataclass(frozen=True, repr=False)
class TrainingResult(Result):
    """A finished training run. Table: `history`, a row per epoch."""

    folder: Path
    """Where its files are: checkpoints, history, figure."""
    checkpoint: Path
    """The best epoch's."""
    history: tuple[dict[str, Any], ...]
    """A record per epoch, as in `metrics.json`; nats are per sentence."""
    best_epoch: int
    """Its number, from 1."""
    epochs_trained: int
    """Epochs of this call; 0: the run was complete before."""

    @property
    def best(self) -> dict[str, Any]:
        """The best epoch's record."""
        return self.history[self.best_epoch - 1]

    def facts(self) -> Mapping[str, object]:
        """Checkpoint, epochs and the best validation figures."""
        valid = self.best["valid"]
        return {
            "checkpoint": self.checkpoint,
            "epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "elbo_nll": valid["elbo_nll"],
            "elbo_ppl": valid["elbo_ppl"],
            "paper_ppl": valid["paper_ppl"],
        }

    def _rows(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        return {"history": [dict(flattened(record)) for record in self.history]}


@dataclass(frozen=True, repr=False)
class EvaluationResult(Result):
    """Two reports on a checkpoint. Tables: `figures` (report, figure, value) and `checks`."""

    folder: Path
    """Where `evaluation.json` and the figure are."""
    paper: PaperReport
    """The published formulas verbatim; comparable with the paper's own rows only."""
    proper: ProperReport
    """Bounds on the likelihood, and what the latent carries."""
    summary: dict[str, Any]
    """What `evaluation.json` holds."""
    figures: tuple[Path, ...]

    @property
    def checks(self) -> tuple[Check, ...]:
        """Relations that must hold between the figures of a report."""
        return (*self.paper.checks, *self.proper.checks)

    def facts(self) -> Mapping[str, object]:
        """Text, and the main figures of both reports."""
        importance = self.proper.importance
        return {
            "checkpoint": self.summary["checkpoint"]["file"],
            "text": f"{self.summary['corpus']}/{self.summary['split']}",
            "sentences": self.proper.sentences,
            "elbo_nll": self.proper.elbo_nll,
            "elbo_ppl": self.proper.elbo_ppl,
            "iw_nll": None if importance is None else importance.nll,
            "paper_ppl": self.paper.ppl,
            "checks_hold": all(check.holds for check in self.checks),
        }

    def _rows(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        figures = [
            {"report": report, "figure": name, "value": float(value)}
            for report in ("paper", "proper")
            for name, value in flattened(self.summary[report])
            if isinstance(value, int | float)
        ]
        return {"figures": figures, "checks": [check.to_dict() for check in self.checks]}


@dataclass(frozen=True, repr=False)
class FinetuneResult(Result):
    """A finished finetuning run. Table: `history`, a row per validation."""

    folder: Path
    """Where its files are: checkpoints, history, figure."""
    checkpoint: Path
    """The best state, an ordinary checkpoint."""
    history: tuple[dict[str, Any], ...]
    """A record per validation, as in `metrics.json`."""
    best: dict[str, Any]
    """The best one."""

    def facts(self) -> Mapping[str, object]:
        """Checkpoint, and the best validation against the one before any update."""
        return {
            "checkpoint": self.checkpoint,
            "best_update": self.best["update"],
            "top1_before": self.history[0]["valid_top1"],
            "top1": self.best["valid_top1"],
            "ppl_before": self.history[0]["valid_ppl"],
            "ppl": self.best["valid_ppl"],
        }

    def _rows(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        return {"history": [dict(flattened(record)) for record in self.history]}


def flattened(record: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of nested records, names joined by underscores; lists of values are left out."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{before}{name}_")
        elif not isinstance(value, list | tuple):
            yield f"{before}{name}", value
