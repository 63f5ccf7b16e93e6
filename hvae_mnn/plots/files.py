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
"""Inches of a figure's side: more is no figure to look at, and takes gigabytes."""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, told apart by colour-blind eyes."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches that needs no screen and no global state. Raises `InputError` for
    one too large to be looked at."""
    if not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
        raise InputError(
            f"a figure would be {width:.4g} x {height:.4g} inches, for what there is to draw; allowed: {_LARGEST:g}"
        )
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def of_run(draw: Callable[Concatenate[Path, _P], Figure]) -> Callable[Concatenate[Path, _P], Figure]:
    """A figure of a run's folder that is refused where tables and summary are not what a run writes: their checksums
    say that nobody changed them, not that they are of this version, or that they belong together.

    Raises `TableError` then, with the error that they gave as its cause.
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
                f"{shown(folder)}: its tables and summary are not together what a run of this version writes"
                f" ({reason}); run it again"
            ) from error

    return drawn


def literal(text: object) -> str:
    """Text from outside as a figure shows it as it is: between two dollars matplotlib would read a formula."""
    return str(text).replace("$", r"\$")


def save_figure(figure: Figure, folder: Path, name: str, dpi: int = 150) -> list[Path]:
    """Write `folder/name.png` of `dpi` dots per inch and `folder/name.svg`, each in one step; returns both paths."""
    paths = [Path(folder) / f"{name}.{ending}" for ending in ("png", "svg")]
    for path in paths:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=dpi)
    return paths
