"""Figure of a table: NLL against KL of every row, by the paper's formulas and by proper ones, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hvae_mnn.plots.files import COLORS, literal, new_figure, save_figure
from hvae_mnn.reproduction.figures import RowSummary

_FAMILIES = ("hsr", "twr", "")
"""Beginnings of rows that share a marker: HSR-VAE and its controls, TWR-VAE and its forms, all others."""
_MARKERS = ("o", "s", "^")
_SHADES = (*COLORS, "#000000", "#7F7F7F", "#8C564B", "#882255")
_PANELS: tuple[tuple[str, str, str, str], ...] = (
    ("paper", "paper's formulas (no bounds)", "paper_kl", "paper_nll"),
    ("proper", "proper: ELBO (marker), importance-weighted (dash)", "kl", "elbo_nll"),
)


def table_figure(summaries: Sequence[RowSummary], title: str) -> Figure:
    """Two panels for every corpus: points are means over seeds, bars their standard deviations. Open markers in the
    panel of the paper's formulas are printed figures that were computed with them."""
    corpora = list(dict.fromkeys(summary.corpus for summary in summaries))
    styles = _styles([summary.row for summary in summaries])
    figure = new_figure(12.5, 0.6 + max(4.2, 0.19 * len(styles)) * len(corpora))
    panels = figure.subplots(len(corpora), 2, squeeze=False)
    for axes, corpus in zip(panels, corpora, strict=True):
        own = [summary for summary in summaries if summary.corpus == corpus]
        for panel, (report, heading, kl, nll) in zip(axes, _PANELS, strict=True):
            for summary in own:
                _draw(panel, summary, report, kl, nll, styles[summary.row])
            panel.set_title(f"{literal(corpus.name)} – {heading}", fontsize="medium")
            panel.set_xlabel("KL, nats per sentence")
            panel.set_ylabel("NLL, nats per sentence")
            panel.grid(alpha=0.25)
    handles = _handles(summaries, styles)
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small")
    figure.suptitle(literal(title))
    return figure


def _styles(rows: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Marker and colour of every row."""
    styles: dict[str, Mapping[str, Any]] = {}
    counts = dict.fromkeys(_FAMILIES, 0)
    for row in dict.fromkeys(rows):
        family = next(name for name in _FAMILIES if row.startswith(name))
        turn, shade = divmod(counts[family], len(_SHADES))
        marker = (_MARKERS, ("D", "p", "v"), ("P", "X", "<"))[turn % 3][_FAMILIES.index(family)]
        styles[row] = {"marker": marker, "color": _SHADES[shade]}
        counts[family] += 1
    return styles


def _draw(axes: Axes, summary: RowSummary, report: str, kl: str, nll: str, style: Mapping[str, Any]) -> None:
    x, y = summary.mean(kl), summary.mean(nll)
    if x is not None and y is not None:
        across, up = summary.deviation(kl), summary.deviation(nll)
        axes.errorbar(x, y, xerr=across, yerr=up, ls="none", ms=7, elinewidth=0.8, capsize=2, **style)
        low = summary.mean("iw_nll") if report == "proper" else None
        if low is not None:
            axes.plot([x, x], [low, y], color=style["color"], lw=2, marker="_", ms=12, markevery=[0])
    printed_kl, printed_nll = summary.printed.get(kl), summary.printed.get(nll)
    if report == "paper" and printed_kl is not None and printed_nll is not None:
        axes.plot(printed_kl, printed_nll, ls="none", ms=7, mfc="none", **style)


def _handles(summaries: Sequence[RowSummary], styles: Mapping[str, Mapping[str, Any]]) -> list[Line2D]:
    labels = {summary.row: summary.label for summary in summaries}
    handles = [Line2D([], [], ls="none", ms=6, label=literal(labels[row]), **style) for row, style in styles.items()]
    if any(summary.kind == "paper" for summary in summaries):
        handles.append(Line2D([], [], ls="none", marker="o", color="0.3", mfc="none", label="open: printed"))
    return handles


def save_table_figure(summaries: Sequence[RowSummary], title: str, folder: Path, name: str) -> list[Path]:
    """Write the figure as `folder/name.png` and `.svg`; returns both paths."""
    return save_figure(table_figure(summaries, title), folder, name)
