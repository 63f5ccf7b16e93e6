"""Figure of finetuning: training loss, and validation accuracy and perplexity on the hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from hvae_mnn.plots.files import new_figure, save_figure


def finetune_figure(history: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> Figure:
    """Three panels over updates, from the list `history` of a run's `metrics.json` and its best record.

    A grey point shows the network before its weights were clipped.
    """
    figure = new_figure(11.0, 3.4)
    panels = figure.subplots(1, 3)
    clipped = any(record["clipped"] for record in history)
    for axes, key, title, label in (
        (panels[0], "train_loss", "training, on hardware drawn anew", "reconstruction + KL (nats per sentence)"),
        (panels[1], "valid_top1", "validation: next word right", "fraction, right words in"),
        (panels[2], "valid_ppl", "validation: perplexity", "ELBO perplexity"),
    ):
        known = [record for record in history if record[key] is not None]
        points = [(record["update"], record[key]) for record in known if record["clipped"] == clipped]
        axes.plot([x for x, _ in points], [y for _, y in points], color="C0", marker="o", ms=3)
        axes.axvline(best["update"], color="0.8", lw=1, zorder=0)
        for record in known if clipped else []:
            if not record["clipped"]:
                axes.plot(record["update"], record[key], color="0.5", marker="o", ms=3, clip_on=False)
                axes.annotate(
                    "before clipping", (0, record[key]), (6, 0), textcoords="offset points", color="0.5", va="center"
                )
        axes.set_title(title)
        axes.set_xlabel("update")
        axes.set_ylabel(label)
        axes.set_xlim(left=0)
    panels[1].annotate(
        "best",
        (best["update"], 0.5),
        (-3, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color="0.5",
        ha="right",
        va="center",
        rotation=90,
    )
    return figure


def save_finetune_figure(history: Sequence[Mapping[str, Any]], best: Mapping[str, Any], out: Path) -> list[Path]:
    """Write `out/finetune.png` and `out/finetune.svg`; returns both paths."""
    return save_figure(finetune_figure(history, best), out, "finetune")
