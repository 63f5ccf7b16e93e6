"""Figure of training: metrics of every epoch, from the history of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hvae_mnn.plots.files import new_figure, save_figure


def training_figure(history: Sequence[Mapping[str, Any]], best_epoch: int | None = None) -> Figure:
    """Three panels over epochs: negative log-likelihood, KL with mutual information, and both perplexities of valid.

    `history` is the list `history` of a run's `metrics.json`; runs of earlier versions have no mutual information. The
    two perplexities have separate names because only one of them is a bound.
    """
    epochs = [record["epoch"] for record in history]
    figure = new_figure(11.0, 3.4)
    nll, kl, ppl = figure.subplots(1, 3)
    charged = [record["train_rec"] + record["train_kl"] for record in history]
    nll.plot(epochs, charged, color="0.6", label="train (with dropout)")
    nll.plot(epochs, [record["valid"]["elbo_nll"] for record in history], color="C0", label="valid, ELBO")
    nll.set_ylabel("nats per sentence")
    nll.set_title("negative log-likelihood")
    kl.plot(epochs, [record["valid"]["elbo_kl"] for record in history], color="C0", label="valid, of the latent")
    kl.plot(
        epochs, [record["valid"]["paper_kl"] for record in history], color="C1", ls="--", label="valid, mean over steps"
    )
    informed = [record for record in history if "mutual_information" in record["valid"]]
    if informed:
        values, errors = (
            [record["valid"][name] for record in informed] for name in ("mutual_information", "information_error")
        )
        kl.errorbar(
            [record["epoch"] for record in informed], values, errors, color="C2", ls=":", label="valid, information"
        )
    kl.set_ylabel("nats per sentence")
    kl.set_title("KL, and the information in it" if informed else "KL")
    ppl.plot(epochs, [record["valid"]["elbo_ppl"] for record in history], color="C0", label="ELBO (a bound)")
    ppl.plot(epochs, [record["valid"]["paper_ppl"] for record in history], color="C1", ls="--", label="paper's formula")
    ppl.set_yscale("log")
    ppl.set_title("valid perplexity")
    for axes in (nll, kl, ppl):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if best_epoch is not None:
            axes.axvline(best_epoch, color="0.8", lw=1, zorder=0)
        axes.legend(frameon=False, fontsize="small")
    return figure


def save_training_figure(history: Sequence[Mapping[str, Any]], out: Path, best_epoch: int | None = None) -> list[Path]:
    """Write the curve as `out/training.png` and `out/training.svg`; returns both paths."""
    return save_figure(training_figure(history, best_epoch), out, "training")
