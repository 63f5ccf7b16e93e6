"""Figure of the latent: its KL along a sentence, and the loss of the decoder without it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hvae_mnn.plots.files import new_figure, save_figure


def evaluation_figure(proper: Mapping[str, Any]) -> Figure:
    """Three panels: KL over the relative position, KL by steps from the end, and -ln p(x | z) with other latents.

    `proper` is the report `proper` of an `evaluation.json`.
    """
    profile, ablation = proper["profile"], proper["ablation"]
    figure = new_figure(11.0, 3.4)
    position, end, latent = figure.subplots(1, 3)

    bins = len(profile["by_position"])
    filled = [(index, value) for index, value in enumerate(profile["by_position"]) if value is not None]
    position.bar([(index + 0.5) / bins for index, _ in filled], [value for _, value in filled], width=0.9 / bins)
    position.set_xlim(0, 1)
    position.set_xlabel("position in the sentence, t / T")
    position.set_title("KL per encoder step")

    end.bar(range(len(profile["from_end"])), profile["from_end"])
    end.xaxis.set_major_locator(MaxNLocator(integer=True))
    end.set_xlabel("steps before the latent's own")
    end.set_title("KL towards the end")
    for axes in (position, end):
        axes.axhline(proper["kl"], color="C1", lw=1, ls="--", label="of the latent (charged)")
        axes.set_ylabel("nats, mean over sentences")
        axes.set_ylim(0, 1.25 * max(1e-9, proper["kl"], *profile["from_end"], *(value for _, value in filled)))
        axes.legend(frameon=False, fontsize="small", loc="upper center")

    names = {"own": "its own", "shuffled": "another sentence's", "prior": "drawn from N(0, I)"}
    bars = latent.barh(list(names.values()), [ablation[name] for name in names], color=["C0", "C3", "C3"])
    latent.bar_label(bars, fmt="%.1f", padding=3)
    latent.invert_yaxis()
    latent.set_xlim(0, 1.2 * max(ablation[name] for name in names))
    latent.set_xlabel("-ln p(x | z), nats per sentence")
    latent.set_title("reconstruction by latent")
    return figure


def save_evaluation_figure(proper: Mapping[str, Any], out: Path) -> list[Path]:
    """Write the figure as `out/evaluation.png` and `out/evaluation.svg`; returns both paths."""
    return save_figure(evaluation_figure(proper), out, "evaluation")
