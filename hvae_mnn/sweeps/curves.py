"""Curves of a metric along an axis, with their values by seed, and baselines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.errors import InputError
from hvae_mnn.names import unknown_name
from hvae_mnn.sweeps.bands import BandKind, mean_band

BASELINE_KINDS = ("digital", "digital_bits", "unigram")
Value = float | str


@dataclass(frozen=True)
class Point:
    """All seeds at one place of a curve."""

    x: Value | None
    """On the axis; None for a baseline that has no place on it."""
    seeds: tuple[int | None, ...]
    """Of the runs that came to an end; None where nothing was drawn."""
    values: Mapping[str, NDArray[np.float64]]
    """By metric, one per seed; NaN where a run gave no number."""
    failed: int = 0
    """Runs that gave nothing."""

    def finite(self, metric: str) -> NDArray[np.float64]:
        """The numbers among the metric's values."""
        found = self.values[metric]
        return found[np.isfinite(found)]


@dataclass(frozen=True)
class Curve:
    """Points along the axis, all else being equal."""

    kind: str
    """`point`, a baseline's kind, or the name of a grid that is one point."""
    sweep: str
    model: str
    group: Mapping[str, Value]
    """Values of what else differs between the grid's curves; of a baseline, what it says of them."""
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Band:
    """A metric along a curve, at its N points with any number."""

    points: tuple[Point, ...]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    """(N,); NaN where there is one seed."""
    high: NDArray[np.float64]
    n: NDArray[np.int64]
    """(N,) numbers that the mean is of."""


@dataclass(frozen=True)
class GridCurves:
    """All curves of a grid."""

    name: str
    axis: str
    """Path of the setting along which curves run; `model` where nothing else differs."""
    together: Mapping[str, tuple[str, ...]]
    """By the axis or a path in `by`: settings that change with it, from value to value."""
    same: frozenset[str]
    """Those among them that always are equal to what they change with."""
    by: tuple[str, ...]
    """Paths of what differs between curves, and `model` and `sweep`."""
    fixed: Mapping[str, Value]
    """Values of axes that have one only."""
    curves: tuple[Curve, ...]
    baselines: tuple[Curve, ...]
    metrics: tuple[str, ...]
    runs: int
    failed: int
    reasons: tuple[str, ...]
    """Of failures, each once."""
    texts: tuple[tuple[int, int], ...]
    """Sentences and tokens of the runs, each pair once."""
    error: str | None
    """Kind of programming error, where all runs have one."""
    relative: bool = False
    """Whether values are parts of the digital model's."""

    @property
    def numeric(self) -> bool:
        """Whether the axis has numbers."""
        return all(is_number(point.x) for curve in self.curves for point in curve.points)

    @property
    def numeric_by(self) -> tuple[str, ...]:
        """Paths in `by` that have numbers."""
        return tuple(path for path in self.by if all(is_number(curve.group[path]) for curve in self.curves))

    def equal(self, path: str) -> tuple[str, ...]:
        """Settings that have the value of the one called `path` everywhere."""
        return tuple(other for other in self.together.get(path, ()) if other in self.same)

    def values_of(self, path: str) -> list[Value]:
        """Of the axis or a path in `by`: numbers by size, others as they come."""
        if path == self.axis:
            every = (*self.curves, *self.baselines)  # a baseline may stand where every run of the curves failed
            found = dict.fromkeys(point.x for curve in every for point in curve.points if point.x is not None)
        else:
            found = dict.fromkeys(curve.group[path] for curve in self.curves)
        return ordered(found)


def is_number(value: object) -> bool:
    """Whether a setting's value has a size."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def ordered(values: Iterable[Value]) -> list[Value]:
    """Numbers by size, others as they come."""
    found = list(values)
    return sorted(found) if all(map(is_number, found)) else found


def chosen_metrics(curves: GridCurves, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """`wanted`, each once, or else the accuracy of the next word and the perplexity, as far as the table has them.

    Raises `InputError` for a metric that the table has not.
    """
    for name in wanted:
        if name not in curves.metrics:
            raise InputError(unknown_name("metric", name, curves.metrics))
    usual = tuple(name for name in ("top1", "ppl") if name in curves.metrics)
    return tuple(dict.fromkeys(wanted)) or usual or curves.metrics[:2]


def band(curve: Curve, metric: str, seed: int = 0, kind: BandKind = "expanded") -> Band:
    """Mean and confidence band of a metric at every point that has a number.

    Points of as many seeds are resampled alike, so that a band does not depend on what else is drawn.
    """
    points = tuple(point for point in curve.points if len(point.finite(metric)))
    found = [
        mean_band(point.finite(metric), np.random.default_rng([seed, len(point.finite(metric))]), kind=kind)
        for point in points
    ]
    mean, low, high = (np.array([getattr(own, name) for own in found]) for name in ("mean", "low", "high"))
    return Band(points, mean, low, high, np.array([own.n for own in found], dtype=np.int64))


def relative_to_digital(curves: GridCurves, metrics: Sequence[str]) -> GridCurves:
    """The same with the values of `metrics` divided by those of the curve's own digital model.

    Raises `InputError` where there is no such number, or it is 0.
    """

    def parts(curve: Curve) -> Curve:
        own = _digital(curves, curve)
        for metric in metrics:
            if own is None or not len(own.finite(metric)) or not own.finite(metric)[0]:
                found = "no number" if own is None or not len(own.finite(metric)) else "0"
                raise InputError(
                    f"{metric} of the digital model {curve.model!r} is {found}, and nothing can be relative to it;"
                    " choose another metric or leave out --relative"
                )
        assert own is not None
        reference = {metric: float(own.finite(metric)[0]) for metric in metrics}
        points = tuple(
            replace(point, values={metric: point.values[metric] / reference[metric] for metric in metrics})
            for point in curve.points
        )
        return replace(curve, points=points)

    return replace(
        curves,
        curves=tuple(map(parts, curves.curves)),
        baselines=tuple(map(parts, curves.baselines)),
        metrics=tuple(metrics),
        relative=True,
    )


def _digital(curves: GridCurves, curve: Curve) -> Point | None:
    return next(
        (
            own.points[0]
            for own in curves.baselines
            if own.kind == "digital" and (own.sweep, own.model) == (curve.sweep, curve.model)
        ),
        None,
    )
