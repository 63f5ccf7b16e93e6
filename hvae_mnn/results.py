"""How results look: a short `repr`, HTML in notebooks, and tables as Arrow tables."""

from __future__ import annotations

import html
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hvae_mnn.errors import InputError
from hvae_mnn.names import unknown_name
from hvae_mnn.tables import read_table

_SUFFIX = ".parquet"


class _Short(reprlib.Repr):
    """Values in a few characters."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_float(self, value: float, _level: int) -> str:
        return f"{value:.4g}"


_short = _Short().repr


class Shown(ABC):
    """Something with a `repr` of one line and a table in notebooks, both made of `facts`."""

    @abstractmethod
    def facts(self) -> Mapping[str, object]:
        """What a person looks for first, by name: numbers, words, the folder."""

    def __repr__(self) -> str:
        """Class and facts, in one line."""
        parts = (f"{name}={_short(_plain(value))}" for name, value in self.facts().items())
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Class and facts as a table; everything in it is escaped."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{_escaped(name.replace('_', ' '))}</th>"
            f"<td style='text-align:left'>{_escaped(_text(value))}</td></tr>"
            for name, value in self.facts().items()
        )
        return f"<table><caption>{_escaped(type(self).__name__)}</caption>{rows}</table>{self._more_html()}"

    def _more_html(self) -> str:
        """What stands below the table in a notebook."""
        return ""


class Result(Shown):
    """A finished piece of work whose files are in `folder`; its tables are read with `table`."""

    folder: Path

    def _rows(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Tables that are no files, by name: rows of values by column."""
        return {}

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of all tables."""
        files = sorted(path.stem for path in self.folder.glob(f"*{_SUFFIX}"))
        return tuple(dict.fromkeys([*self._rows(), *files]))

    def table(self, name: str) -> pa.Table:
        """The table of that name, one of `tables`, as an Arrow table; `.to_pandas()` makes a data frame of it.

        Raises `InputError` for a name that is none, and `TableError` for a file that was damaged.
        """
        rows = self._rows()
        if name in rows:
            return pa.Table.from_pylist([dict(row) for row in rows[name]])
        if name not in self.tables:
            raise InputError(unknown_name("table", name, self.tables))
        return read_table(self.folder / f"{name}{_SUFFIX}")

    def _more_html(self) -> str:
        names = ", ".join(f"<code>{_escaped(name)}</code>" for name in self.tables)
        return f"<p>tables: {names}</p>" if names else ""


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, Path) else _short(value)


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)
