"""Figures as files: PNG to look at, SVG to print."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hvae_mnn.errors import InputError, TableError
from hvae_mnn.files import replacing
from hvae_mnn.reading import shown

_P = ParamSpec("_P")
_LARGEST = 200.0
"""Largest side of a figure, inches: a larger one cannot be viewed and takes gigabytes."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours of Okabe and Ito, which colour-blind readers can distinguish."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches, without screen or global state. Raises `InputError` if it is too
    large to view."""
    if not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
        raise InputError(
            f"a figure would be {width:.4g} x {height:.4g} inches, for what there is to draw; allowed: {_LARGEST:g}"
        )
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def of_run(draw: Callable[Concatenate[Path, _P], Figure]) -> Callable[Concatenate[Path, _P], Figure]:
    """Decorator for a figure of a run's folder that checks the tables and the summary. Checksums prove that files are
    unchanged, but not that they are of this version or belong together.

    Raises `TableError`, with the original error as its cause, if they are not the output of one run.
    """

    @functools.wraps(draw)
    def drawn(folder: Path, /, *arguments: _P.args, **options: _P.kwargs) -> Figure:
        try:
            return draw(folder, *arguments, **options)
        except (
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            StopIteration,
            MemoryError,
        ) as error:
            reason = shown(f"{type(error).__name__}: {' '.join(str(error).split())}")
            raise TableError(
                f"{shown(folder)}: its tables and summary are not the output of one run of this version"
                f" ({reason}); run it again"
            ) from error

    return drawn


def literal(text: object) -> str:
    """External text, escaped so that a figure shows it unchanged: matplotlib reads text between two dollars as a
    formula."""
    return str(text).replace("$", r"\$")


def save_figure(figure: Figure, folder: Path, name: str, dpi: int = 150) -> list[Path]:
    """Write `folder/name.png` of `dpi` dots per inch and `folder/name.svg`, each in one step; returns both paths."""
    paths = [Path(folder) / f"{name}.{ending}" for ending in ("png", "svg")]
    for path in paths:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=dpi)
    return paths
