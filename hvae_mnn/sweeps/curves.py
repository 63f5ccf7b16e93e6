"""Curves of metrics along an axis, with one value per seed, and baselines."""

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
    """All seeds at one value of a curve's axis."""

    x: Value | None
    """Value on the axis; None for a baseline without one."""
    seeds: tuple[int | None, ...]
    """Seeds of the successful runs; None for a run without randomness."""
    values: Mapping[str, NDArray[np.float64]]
    """Values by metric, shape (seeds,); NaN if a run gave no number."""
    failed: int = 0
    """Number of failed runs."""

    def finite(self, metric: str) -> NDArray[np.float64]:
        """The finite values of a metric, shape (F,)."""
        values = self.values[metric]
        return values[np.isfinite(values)]


@dataclass(frozen=True)
class Curve:
    """Points along the axis, with all other settings equal."""

    kind: str
    """`point`, a baseline's kind, or the name of a grid that is one point."""
    sweep: str
    model: str
    group: Mapping[str, Value]
    """Other settings that differ between the grid's curves, by path; for a baseline, those it has."""
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Band:
    """Mean and confidence band of a metric at the N points of a curve with at least one number."""

    points: tuple[Point, ...]
    mean: NDArray[np.float64]
    """Shape (N,)."""
    low: NDArray[np.float64]
    """Shape (N,); NaN for a single seed."""
    high: NDArray[np.float64]
    """Shape (N,); NaN for a single seed."""
    n: NDArray[np.int64]
    """Number of values of each mean, shape (N,)."""


@dataclass(frozen=True)
class GridCurves:
    """Curves and baselines of a grid."""

    name: str
    axis: str
    """Path of the setting along the curves; `model` if no other setting differs."""
    together: Mapping[str, tuple[str, ...]]
    """Settings that change together with the axis or a path in `by`, by that path."""
    same: frozenset[str]
    """Settings in `together` that always equal the one they change with."""
    by: tuple[str, ...]
    """Paths of settings that differ between curves; may include `model` and `sweep`."""
    fixed: Mapping[str, Value]
    """Values of axes with a single value, by path."""
    curves: tuple[Curve, ...]
    baselines: tuple[Curve, ...]
    metrics: tuple[str, ...]
    runs: int
    failed: int
    reasons: tuple[str, ...]
    """Reasons of failures, each once."""
    texts: tuple[tuple[int, int], ...]
    """Numbers of sentences and tokens of the runs, each pair once."""
    error: str | None
    """Kind of programming error, if all runs have the same."""
    relative: bool = False
    """Whether values are relative to those of the digital model."""

    @property
    def numeric(self) -> bool:
        """Whether all values on the axis are numbers."""
        return all(is_number(point.x) for curve in self.curves for point in curve.points)

    @property
    def numeric_by(self) -> tuple[str, ...]:
        """Paths in `by` whose values are all numbers."""
        return tuple(path for path in self.by if all(is_number(curve.group[path]) for curve in self.curves))

    def equal(self, path: str) -> tuple[str, ...]:
        """Settings that equal the setting `path` everywhere."""
        return tuple(other for other in self.together.get(path, ()) if other in self.same)

    def values_of(self, path: str) -> list[Value]:
        """Values of the axis or of a path in `by`: numbers by size, others in order of appearance."""
        if path == self.axis:
            every = (*self.curves, *self.baselines)  # a baseline may have values at which every run failed
            values = dict.fromkeys(point.x for curve in every for point in curve.points if point.x is not None)
        else:
            values = dict.fromkeys(curve.group[path] for curve in self.curves)
        return ordered(values)


def is_number(value: object) -> bool:
    """Whether a setting's value is a number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def ordered(values: Iterable[Value]) -> list[Value]:
    """Numbers by size; if any value is not a number, all in the given order."""
    listed = list(values)
    return sorted(listed) if all(map(is_number, listed)) else listed


def chosen_metrics(curves: GridCurves, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """`wanted`, each once; by default next-word accuracy and perplexity, if the table has them.

    Raises `InputError` for a metric that is not in the table.
    """
    for name in wanted:
        if name not in curves.metrics:
            raise InputError(unknown_name("metric", name, curves.metrics))
    usual = tuple(name for name in ("top1", "ppl") if name in curves.metrics)
    return tuple(dict.fromkeys(wanted)) or usual or curves.metrics[:2]


def band(curve: Curve, metric: str, seed: int = 0, kind: BandKind = "expanded") -> Band:
    """Mean and confidence band of a metric at every point with at least one number.

    Points with equal numbers of seeds share their random resamples, so a band does not depend on other curves.
    """
    points = tuple(point for point in curve.points if len(point.finite(metric)))
    bands = [
        mean_band(point.finite(metric), np.random.default_rng([seed, len(point.finite(metric))]), kind=kind)
        for point in points
    ]
    mean, low, high = (np.array([getattr(own, name) for own in bands]) for name in ("mean", "low", "high"))
    return Band(points, mean, low, high, np.array([own.n for own in bands], dtype=np.int64))


def relative_to_digital(curves: GridCurves, metrics: Sequence[str]) -> GridCurves:
    """The curves with the values of `metrics` divided by those of each curve's digital model.

    Raises `InputError` if the digital model's value is missing or 0.
    """

    def ratios(curve: Curve) -> Curve:
        own = _digital(curves, curve)
        for metric in metrics:
            if own is None or not len(own.finite(metric)) or not own.finite(metric)[0]:
                value = "not a number" if own is None or not len(own.finite(metric)) else "0"
                raise InputError(
                    f"{metric} of the digital model {curve.model!r} is {value}, and nothing can be relative to it;"
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
        curves=tuple(map(ratios, curves.curves)),
        baselines=tuple(map(ratios, curves.baselines)),
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
