"""A sweep's points: mean and standard deviation over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hvae_mnn.sweeps.axes import PointSettings
from hvae_mnn.sweeps.grid import SweepPlan
from hvae_mnn.sweeps.table import Finished
from hvae_mnn.sweeps.task import TaskKind


@dataclass(frozen=True)
class PointSummary:
    """A point of a grid, or a baseline beside it, over what is finished of it."""

    grid: str
    kind: TaskKind
    model: str
    settings: PointSettings
    """All that were set, by path."""
    along: PointSettings
    """Those that the grid has as axes."""
    finished: int
    """Seeds whose task is finished, failed ones included."""
    failed: int
    values: Mapping[str, Sequence[float]]
    """Of every metric, one number per seed that did not fail."""

    def mean(self, metric: str) -> float | None:
        """Over seeds; None without any."""
        values = self.values.get(metric, ())
        return statistics.fmean(values) if values else None

    def deviation(self, metric: str) -> float | None:
        """Standard deviation over seeds (n - 1); None of fewer than two."""
        values = self.values.get(metric, ())
        return statistics.stdev(values) if len(values) > 1 else None


def summarise(plan: SweepPlan, finished: Mapping[str, Finished]) -> list[PointSummary]:
    """Every point and baseline of every grid, in the order of the results."""
    points: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(plan.rows):
        points.setdefault((row.grid, row.kind, repr(dict(row.settings))), []).append(place)
    found = []
    for places in points.values():
        row = plan.rows[places[0]]
        there = [finished[plan.rows[place].task] for place in places if plan.rows[place].task in finished]
        done = [one.outcome.metrics for one in there if one.status == "done"]
        values = {name: [metrics[name] for metrics in done if name in metrics] for name in plan.file.metrics}
        found.append(
            PointSummary(
                row.grid, row.kind, row.model, row.settings, row.along, len(there), len(there) - len(done), values
            )
        )
    return found
