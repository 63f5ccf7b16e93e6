"""What claims are judged by: the records of finished tasks, row by row, on every corpus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hvae_mnn.reproduction.figures import RowSummary, summary_of
from hvae_mnn.reproduction.plan import CorpusPlan
from hvae_mnn.reproduction.record import Record

TABLE2, ANY = ("ptb", "yahoo"), ("ptb", "yahoo", "yelp")
"""Corpora of Table 2, and of Tables 2 and 4."""
ERRORS = 2.0
"""Standard errors over seeds that a difference must exceed to count; a single seed has none."""


@dataclass(frozen=True)
class Group:
    """Rows that compare: models of one profile on one corpus."""

    profile: str
    corpus: CorpusPlan
    rows: Mapping[str, RowSummary]
    """Rows with at least one finished seed, by name."""

    @property
    def name(self) -> str:
        """Corpus and profile."""
        return f"{self.corpus.name} ({self.profile})"

    def value(self, row: str, figure: str) -> float | None:
        """Mean over seeds; None where the row or the figure is missing."""
        return self.rows[row].mean(figure) if row in self.rows else None

    def difference(self, row: str, than: str, figure: str, other: str | None = None) -> tuple[float, float] | None:
        """A row's figure less another row's (its figure `other`), and the standard error over seeds of that; None
        where one is missing."""
        other = other or figure
        ours, theirs = self.value(row, figure), self.value(than, other)
        if ours is None or theirs is None:
            return None
        return ours - theirs, math.hypot(self.rows[row].error(figure), self.rows[than].error(other))

    def less(self, row: str, than: str, *figures: str) -> bool | None:
        """Whether a row's figures are all lower than another row's; None where one is missing and none refutes it."""
        found = [is_below(self.difference(row, than, figure)) for figure in figures]
        return False if False in found else None if None in found else True


def is_below(difference: tuple[float, float] | None) -> bool | None:
    """Whether a difference with its standard error is below 0 by more than `ERRORS` of them; None for none."""
    return None if difference is None else difference[0] < -ERRORS * difference[1]


@dataclass(frozen=True)
class Evidence:
    """All groups."""

    groups: tuple[Group, ...]

    def on(self, *corpora: str) -> tuple[Group, ...]:
        """Groups whose corpus stands for one of the paper's."""
        return tuple(group for group in self.groups if group.corpus.stands_for in corpora)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Evidence:
        """Evidence of finished records; others are left out."""
        by_group: dict[tuple[str, CorpusPlan], dict[str, list[Record]]] = {}
        for record in records:
            if record.status == "done":
                key = (str(record.task["profile"]), CorpusPlan(**record.task["corpus"]))
                by_group.setdefault(key, {}).setdefault(record.row, []).append(record)
        return cls(tuple(_group(profile, corpus, rows) for (profile, corpus), rows in by_group.items()))


def _group(profile: str, corpus: CorpusPlan, rows: Mapping[str, Sequence[Record]]) -> Group:
    return Group(profile, corpus, {row: summary_of(corpus, row, own, "table2") for row, own in rows.items()})


def shown(*parts: tuple[str, float | None], digits: int = 2) -> str:
    """Names and values in one line, without those that are missing."""
    return ", ".join(f"{name} {value:z.{digits}f}" for name, value in parts if value is not None)


def figures_of(groups: Sequence[Group], rows: Sequence[str], *figures: str) -> str:
    """Figures of rows, by group, in one line."""
    parts = []
    for group in groups:
        own = [(row, shown(*((name, group.value(row, name)) for name in figures))) for row in rows if row in group.rows]
        if own:
            parts.append(f"{group.name}: " + "; ".join(f"{row} {text}" for row, text in own))
    return " / ".join(parts)
