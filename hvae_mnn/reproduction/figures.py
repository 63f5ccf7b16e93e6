"""Figures of a table, and their mean and spread over seeds. Every figure belongs to one of the two reports."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hvae_mnn.models.rows import ROWS
from hvae_mnn.reproduction.plan import CorpusPlan, TablePlan
from hvae_mnn.reproduction.printed import PrintedKind, printed_of
from hvae_mnn.reproduction.record import Record

Report = Literal["paper", "proper", "hardware", "further"]


@dataclass(frozen=True)
class Figure:
    """A column of a table."""

    name: str
    """Name in Parquet files, unique over both reports."""
    report: Report
    label: str
    """Heading, without the report's name."""
    path: tuple[str, ...]
    """Keys of the value in the report."""
    printed: str | None = None
    """Name of the printed figure that stands beside it, of `printed.FIGURES`."""
    digits: int = 1
    """Digits behind the point."""
    is_column: bool = True
    """Whether tables of text have it; Parquet files have every figure."""
    unit: float = 1.0
    """Factor of the value in tables of text: 100 for per cent of what Parquet files have as a fraction."""


FIGURES = (
    Figure("paper_nll", "paper", "NLL", ("nll",), "nll"),
    Figure("paper_ppl", "paper", "PPL", ("ppl",), "ppl"),
    Figure("paper_kl", "paper", "KL", ("kl",), "kl", 2),
    Figure("paper_mi", "paper", "MI", ("mutual_information",), "mi", 2),
    Figure("paper_mi_error", "paper", "s.e. of MI", ("information_error",), None, 3),
    Figure("elbo_nll", "proper", "ELBO NLL", ("elbo_nll",)),
    Figure("elbo_ppl", "proper", "ELBO PPL", ("elbo_ppl",)),
    Figure("iw_nll", "proper", "IW NLL", ("importance", "set_nll"), "nll"),
    Figure("iw_ppl", "proper", "IW PPL", ("importance", "set_ppl"), "ppl"),
    Figure("kl", "proper", "KL", ("kl",), "kl", 2),
    Figure("mi", "proper", "MI", ("mutual_information",), "mi", 2),
    Figure("mi_error", "proper", "s.e. of MI", ("information_error",), None, 3),
    Figure("active_units", "proper", "AU", ("active_units",), None, 1),
    Figure("latent_gain", "proper", "gain of the latent", ("ablation", "gain"), None, 2, is_column=False),
    Figure("paper_reconstruction", "paper", "reconstruction", ("reconstruction",), None, 1, is_column=False),
    Figure("digital_next_word", "hardware", "right %, digital", ("digital",), None, 1, unit=100),
    Figure("hardware_next_word", "hardware", "right %, hardware", ("mean",), None, 1, unit=100),
    Figure("hardware_next_word_chips", "hardware", "sd of chips", ("deviation",), None, 1, unit=100),
)
"""All figures. `IW`: the whole set's ELBO less the gap that importance weighting closes on those sentences that were
weighted. On hardware: targets that are the most likely next word, the right words going in; in float64, and as mean
and standard deviation over chips."""
LAST_STEP_SHARE = "last_step_share"
"""Name of one more figure: the part of the KL of the last ten steps that the last one has, which is the latent's."""
FIGURE_NAMES = (*(figure.name for figure in FIGURES), LAST_STEP_SHARE)
_KINDS: Mapping[PrintedKind, Report] = {"paper": "paper", "importance": "proper", "langevin": "proper"}
"""Report beside which a printed row stands."""


@dataclass(frozen=True)
class RowSummary:
    """A row on a corpus, over its seeds."""

    corpus: CorpusPlan
    row: str
    values: Mapping[str, Sequence[float]]
    """Values by figure, one per finished seed that has it."""
    seeds: int
    """Number of finished seeds."""
    failed: tuple[str, ...] = ()
    """Reasons of failed seeds."""
    off_hardware: tuple[str, ...] = ()
    """Reasons of seeds that have no figures on the hardware."""
    broken: tuple[str, ...] = ()
    """Relations between figures that must hold and do not, with the report and the seed."""
    printed: Mapping[str, float] = field(default_factory=dict)
    """Printed figures by the name of the figure beside which they stand."""
    kind: PrintedKind | None = None
    """Kind of the printed figures; None: the paper prints none for this row and corpus."""

    @property
    def label(self) -> str:
        """Name in tables."""
        return ROWS[self.row].label if self.row in ROWS else self.row

    def mean(self, name: str) -> float | None:
        """Mean over seeds; None without a value."""
        values = self.values.get(name, ())
        return statistics.fmean(values) if values else None

    def deviation(self, name: str) -> float | None:
        """Standard deviation over seeds (denominator n - 1); None for fewer than two values."""
        values = self.values.get(name, ())
        return statistics.stdev(values) if len(values) > 1 else None

    def error(self, name: str) -> float:
        """Standard error of the mean over seeds; 0 where it is not known, for fewer than two values."""
        deviation = self.deviation(name)
        return 0.0 if deviation is None else deviation / math.sqrt(len(self.values[name]))


def values_of(record: Record) -> dict[str, float]:
    """The figures of a finished record by name, those from elsewhere included; without those that it lacks."""
    values = {}
    for figure in FIGURES:
        node: Any = getattr(record, figure.report)
        for key in figure.path:
            node = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(node, int | float):
            values[figure.name] = float(node)
    steps: Sequence[float] = record.proper.get("profile", {}).get("from_end") or []
    if sum(steps) > 0:
        values[LAST_STEP_SHARE] = steps[0] / sum(steps)
    return values | {name: float(value) for name, value in record.further.items()}


def printed_beside(table: str, corpus: str | None, row: str) -> tuple[PrintedKind | None, dict[str, float]]:
    """Kind and values of the printed figures of a row, by the name of the figure beside which each stands."""
    found = printed_of(table, corpus, row)
    if found is None:
        return None, {}
    printed, figures = found
    report = _KINDS[printed.kind]
    beside = {one.printed: one.name for one in FIGURES if one.report == report and one.printed is not None}
    return printed.kind, {beside[name]: value for name, value in figures.items()}


def summarise(plan: TablePlan, records: Iterable[Record]) -> list[RowSummary]:
    """A summary of every entry of a plan, in its order."""
    by_place: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        by_place.setdefault((record.corpus, record.row), []).append(record)
    return [
        summary_of(entry.corpus, entry.row, by_place.get((entry.corpus.name, entry.row), []), plan.table)
        for entry in plan.entries
    ]


def summary_of(corpus: CorpusPlan, row: str, records: Sequence[Record], table: str) -> RowSummary:
    """The summary of a row's records on a corpus, with the figures that `table` prints."""
    done = [values_of(record) for record in records if record.status == "done"]
    names = dict.fromkeys(name for values in done for name in values)
    kind, printed = printed_beside(table, corpus.stands_for, row)
    return RowSummary(
        corpus,
        row,
        {name: [values[name] for values in done if name in values] for name in names},
        len(done),
        tuple(record.reason for record in records if record.status == "failed"),
        tuple(record.hardware["reason"] for record in records if "reason" in record.hardware),
        tuple(line for record in records for line in _broken(record)),
        printed,
        kind,
    )


def _broken(record: Record) -> Iterator[str]:
    for report, figures in (("paper", record.paper), ("proper", record.proper)):
        for check in figures.get("checks", ()):
            if not check["holds"]:
                values = f"{check['left']:.6g} against {check['right']:.6g}"
                yield f"{report}, seed {record.task['seed']}: {check['name']}: {values}"


def columns_of(summaries: Sequence[RowSummary], report: Report) -> list[Figure]:
    """Figures of a report (or of the hardware, or from elsewhere) that at least one row has, of ours or printed."""
    own = [figure for figure in FIGURES if figure.report == report and figure.is_column]
    if report == "further":
        known = set(FIGURE_NAMES)
        names = dict.fromkeys(name for summary in summaries for name in summary.values if name not in known)
        own = [Figure(name, "further", name.replace("_", " "), (name,), digits=3) for name in names]
    return [
        figure
        for figure in own
        if any(figure.name in summary.values or figure.name in summary.printed for summary in summaries)
    ]
