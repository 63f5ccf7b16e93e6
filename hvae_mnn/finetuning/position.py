"""How far a finetuning run has come, and the names in its state file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hvae_mnn.models.checkpoint import check_ranges
from hvae_mnn.training.state import Position, StateLayout, is_count, is_figure

FINETUNING_STATE = StateLayout(
    kind="finetuning",
    marks={"format": "hvae-mnn finetuning state/2"},
    identity={"base": str, "corpus": str, "hardware": dict, "noise": dict, "config": dict},
    nested="identity",
    position="place",
)


@dataclass
class FinetuningPosition(Position):
    """How far a finetuning run has come."""

    update: int = 0
    """Updates done."""
    loss_sum: float = 0.0
    """Sum of the losses of the batches since the last validation, in nats per sentence."""
    loss_count: int = 0
    """Number of these batches."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record per validation."""
    ranges: dict[str, Any] = field(default_factory=dict)
    """Ranges of inputs and pre-activations from the latest validation, which calibrate the converters."""

    def check(self, path: Path) -> None:
        """See `Position.check`."""
        figures = [self.loss_sum, *(record[name] for record in self.history for name in ("valid_top1", "valid_ppl"))]
        if not is_count(self.update) or not is_count(self.loss_count) or not all(map(is_figure, figures)):
            raise ValueError("a count or a figure is no number")
        if not self.history or not isinstance(self.ranges, dict):
            raise ValueError("it was never validated")
        check_ranges(path, self.ranges, "ranges")
