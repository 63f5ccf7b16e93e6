"""Figures as files: PNG to look at, SVG to print."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hvae_mnn.files import replacing

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, told apart by colour-blind eyes."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches that needs no screen and no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, folder: Path, name: str, dpi: int = 150) -> list[Path]:
    """Write `folder/name.png` of `dpi` dots per inch and `folder/name.svg`, each in one step; returns both paths."""
    paths = [Path(folder) / f"{name}.{ending}" for ending in ("png", "svg")]
    for path in paths:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=dpi)
    return paths
