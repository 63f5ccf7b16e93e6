"""How finetuning went: loss in training, accuracy and perplexity on hardware in validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from hvae_mnn.plots.files import new_figure, save_figure


def finetune_figure(history: Sequence[Mapping[str, Any]], best_update: int) -> Figure:
    """Three panels over updates, of the list `history` in a run's `metrics.json`."""
    figure = new_figure(11.0, 3.4)
    panels = figure.subplots(1, 3)
    for axes, key, title, label in (
        (panels[0], "train_loss", "training, on hardware drawn anew", "reconstruction + KL (nats per sentence)"),
        (panels[1], "valid_top1", "validation: next word right", "fraction, right words in"),
        (panels[2], "valid_ppl", "validation: perplexity", "ELBO perplexity"),
    ):
        points = [(record["update"], record[key]) for record in history if record[key] is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], color="C0", marker="o", ms=3)
        axes.set_title(title)
        axes.set_xlabel("update")
        axes.set_ylabel(label)
        axes.set_xlim(left=0)
        axes.axvline(best_update, color="0.8", lw=1, zorder=0)
    panels[1].annotate(
        "best", (best_update, 0.02), xycoords=("data", "axes fraction"), color="0.5", ha="right", rotation=90
    )
    return figure


def save_finetune_figure(history: Sequence[Mapping[str, Any]], best_update: int, out: Path) -> list[Path]:
    """Write `out/finetune.png` and `out/finetune.svg`; returns both paths."""
    return save_figure(finetune_figure(history, best_update), out, "finetune")
