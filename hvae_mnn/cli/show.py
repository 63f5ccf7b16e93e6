"""What commands print: tables, lines, and the way of printing them that every command shares."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))


def print_lines(*lines: str, error: bool = False) -> None:
    """Print lines as they are, however wide the screen is, on stdout or, with `error`, on stderr."""
    console = Console(stderr=error)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def new_table(
    title: str,
    headings: Sequence[str],
    left: Container[str] = (),
    *,
    folded: Container[str] = (),
    plain: bool = False,
    caption: str | None = None,
    **more: Any,
) -> Table:
    """A table without rows: columns in `left` are aligned to the left, those in `folded` are wrapped where need be.

    `plain`: without vertical lines.
    """
    table = Table(
        title=Text(title, style="table.title"),
        title_justify="left",
        caption=None if caption is None else Text(caption, style="table.caption"),
        caption_justify="left",
        box=SIMPLE_HEAD if plain else HEAVY_HEAD,
        **more,
    )
    for heading in headings:
        table.add_column(
            heading,
            justify="left" if heading in left else "right",
            no_wrap=heading not in folded,
            overflow="fold" if heading in folded else "ellipsis",
        )
    return table


def add_row(table: Table, *cells: str | Text, style: str = "") -> None:
    """Add a row whose texts are no markup."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), style=style)


def print_tables(*tables: Table) -> None:
    """Print tables, as wide as the screen lets them be."""
    console = Console()
    for table in tables:
        console.print(table)


def percent(part: float) -> str:
    """Three digits, as `12.3 %`."""
    return f"{part * 100:.3g} %"


def si(value: float, unit: str) -> str:
    """Three digits and the fitting prefix, as `12.3 µs`."""
    if abs(value) >= 1000:
        return f"{value:,.0f} {unit}"
    for scale, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * scale:
            return f"{value / scale:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def shown_first(count: int, most: int, what: str, more: str = "") -> Iterable[str]:
    """The line that says how many of `count` rows a table of `most` leaves out; none if it has all."""
    if count > most:
        yield f"and {count - most:,} more {what}{more}"
