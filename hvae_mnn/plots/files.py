"""Figures as files: PNG to look at, SVG to print."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hvae_mnn.files import replacing


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches that needs no screen and no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `folder/name.png` and `folder/name.svg`, each in one step; returns both paths."""
    paths = [Path(folder) / f"{name}.{ending}" for ending in ("png", "svg")]
    for path in paths:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=150)
    return paths
