"""Mean and standard deviation over seeds for every point of a sweep."""

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
    """Finished seeds of a point of a grid, or of one of its baselines."""

    grid: str
    kind: TaskKind
    model: str
    settings: PointSettings
    """All settings by path."""
    along: PointSettings
    """Settings that are axes of the grid."""
    finished: int
    """Number of seeds whose task is finished, including failed ones."""
    failed: int
    """Number of seeds whose task failed."""
    values: Mapping[str, Sequence[float]]
    """Values by metric, one per successful seed."""

    def mean(self, metric: str) -> float | None:
        """Mean over seeds; None without a value."""
        values = self.values.get(metric, ())
        return statistics.fmean(values) if values else None

    def deviation(self, metric: str) -> float | None:
        """Standard deviation over seeds (denominator n - 1); None for fewer than two values."""
        values = self.values.get(metric, ())
        return statistics.stdev(values) if len(values) > 1 else None


def summarise(plan: SweepPlan, finished: Mapping[str, Finished]) -> list[PointSummary]:
    """Summaries of all points and baselines of all grids, in the order of the results."""
    points: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(plan.rows):
        points.setdefault((row.grid, row.kind, repr(dict(row.settings))), []).append(index)
    summaries = []
    for indices in points.values():
        row = plan.rows[indices[0]]
        seeds = [finished[plan.rows[index].task] for index in indices if plan.rows[index].task in finished]
        done = [one.outcome.metrics for one in seeds if one.status == "done"]
        values = {name: [metrics[name] for metrics in done if name in metrics] for name in plan.file.metrics}
        summaries.append(
            PointSummary(
                row.grid, row.kind, row.model, row.settings, row.along, len(seeds), len(seeds) - len(done), values
            )
        )
    return summaries
