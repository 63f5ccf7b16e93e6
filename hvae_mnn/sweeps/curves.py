"""What a sweep's table says of a metric along an axis: curves with their values by seed, and baselines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.errors import InputError
from hvae_mnn.names import unknown_name
from hvae_mnn.sweeps.bands import BandKind, mean_band
from hvae_mnn.sweeps.results import MODEL, Row, SweepResults, setting

SWEEP = "sweep"
BASELINE_KINDS = ("digital", "digital_bits", "unigram")
ERROR_KIND = "noise.programming.error"
"""Says what the programming spread is a spread of."""
BITS = ("hardware.dac.bits", "hardware.adc.bits")
"""What tells digital models with converters apart."""
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


def all_curves(sweeps: Sequence[SweepResults], grid: str | None = None) -> list[GridCurves]:
    """The curves of every grid with axes, or of the one called `grid`.

    Grids of one name are drawn together. Raises `InputError` for an unknown grid, for one whose runs all failed, and
    for sweeps whose grids of one name have different axes.
    """
    names = list(dict.fromkeys(name for sweep in sweeps for name in sweep.grids))
    if grid is not None and grid not in names:
        raise InputError(unknown_name("grid", grid, names))
    along = [name for name in names if any(_axes_of(sweep, name) for sweep in sweeps)]
    several = [name for name in names if name not in along and _models(sweeps, name) > 1]
    # A grid without axes is a baseline for the others; alone, or when it is named, its models are compared.
    drawn = [*along, *(name for name in several if name == grid or not along)]
    if not drawn:
        found = ", ".join(names) or "the table has no points"
        raise InputError(f"no grid has an axis to draw against ({found}); add one to the sweep's file")
    if grid is not None and grid not in drawn:
        raise InputError(f"grid {grid!r} is one point; grids with an axis are {', '.join(drawn)}")
    chosen = drawn if grid is None else [grid]
    curves = [_grid_curves(sweeps, name, [own for own in names if own not in drawn]) for name in chosen]
    alive = [own for own in curves if own.failed < own.runs]
    if not alive:
        first = curves[0]
        raise InputError(f"grid {first.name!r}: all {first.runs} runs failed; the first says: {first.reasons[0]}")
    return alive


def _models(sweeps: Sequence[SweepResults], name: str) -> int:
    return len({row[MODEL] for sweep in sweeps for row in sweep.rows if row["grid"] == name and row["kind"] == "point"})


def _axes_of(sweep: SweepResults, name: str) -> tuple[str, ...]:
    """Axes that a grid of a sweep uses. Raises `InputError` where some of its points have no value."""
    points = [row for row in sweep.rows if row["grid"] == name and row["kind"] == "point"]
    used = tuple(path for path in sweep.axes if any(row[path] is not None for row in points))
    for path in used:
        if any(row[path] is None for row in points):
            raise InputError(f"{sweep.folder}: points of grid {name!r} have no value of {path}; run the sweep again")
    return used


def _grid_curves(sweeps: Sequence[SweepResults], name: str, single: list[str]) -> GridCurves:
    own = [sweep for sweep in sweeps if name in sweep.grids]
    axes = _axes_of(own[0], name)
    for sweep in own[1:]:
        if set(_axes_of(sweep, name)) != set(axes):
            raise InputError(
                f"grid {name!r} of {own[0].folder} has the axes {', '.join(axes)}, and of {sweep.folder}"
                f" {', '.join(_axes_of(sweep, name)) or 'none'}; draw them one by one"
            )
    metrics = tuple(metric for metric in own[0].metrics if all(metric in sweep.metrics for sweep in own))
    rows = [row | {SWEEP: sweep.name} for sweep in own for row in sweep.rows]
    points = [row for row in rows if row["grid"] == name and row["kind"] == "point"]
    shape = _shape(points, axes)

    def curves(of: Iterable[Row]) -> tuple[Curve, ...]:
        return _collect(of, shape, metrics)

    others = [
        row | ({"kind": row["grid"]} if row["kind"] == "point" else {})
        for row in rows
        if (row["kind"] == "point" and row["grid"] in single)
        or (row["kind"] != "point" and row["grid"] in (name, None, ""))
    ]
    failed = [row for row in points if row["status"] == "failed"]
    errors = {setting(row, ERROR_KIND) for row in points} - {None, "none"}
    return GridCurves(
        name=name,
        axis=shape.axis,
        together=shape.together,
        same=frozenset(
            path
            for lead, others in shape.together.items()
            for path in others
            if all(row[path] == row[lead] for row in points)
        ),
        by=shape.by,
        fixed={path: _plain(points[0][path]) for path in shape.fixed},
        curves=curves(points),
        baselines=_each_once(curves(others), metrics),
        metrics=metrics,
        runs=len(points),
        failed=len(failed),
        reasons=tuple(dict.fromkeys(str(row["reason"]) for row in failed)),
        texts=tuple(dict.fromkeys((row["sentences"], row["tokens"]) for row in points if row["status"] == "done")),
        error=errors.pop() if len(errors) == 1 else None,
    )


@dataclass(frozen=True)
class _Shape:
    """Which part each axis of a grid plays."""

    axis: str
    together: Mapping[str, tuple[str, ...]]
    by: tuple[str, ...]
    fixed: tuple[str, ...]


def _shape(points: list[Row], axes: tuple[str, ...]) -> _Shape:
    """The first axis of numbers leads; what it determines goes with it; the others tell curves apart."""

    def varies(path: str, rows: list[Row] = points) -> bool:
        return len({row[path] for row in rows}) > 1

    def determines(one: str, other: str) -> bool:
        return len({(row[one], row[other]) for row in points}) == len({row[one] for row in points})

    numbers = [path for path in axes if varies(path) and all(is_number(row[path]) for row in points)]
    words = [path for path in axes if varies(path) and path not in numbers]
    labels = [path for path in (MODEL, SWEEP) if varies(path)]
    order = [*numbers, *words, *labels]
    followers: dict[str, str] = {}
    for place, path in enumerate(order):
        for lead in order:
            after = order.index(lead) < place or not determines(path, lead)
            if lead == path or lead in followers or not after or not determines(lead, path):
                continue
            # Of several sweeps, each may have its own values: only what changes within one of them goes with another.
            within = any(varies(path, [row for row in points if row[SWEEP] == name]) for name in {*_names(points)})
            if (path in axes and lead in axes and within) or (path == SWEEP and lead in (*words, MODEL)):
                followers[path] = lead
                break
    leading = [path for path in order if path not in followers]
    unvaried = [path for path in axes if not varies(path)]
    single = [path for path in unvaried if all(is_number(row[path]) for row in points)]
    axis = next((path for path in leading if path in numbers), None)
    # Without numbers that change, an axis of one number still has a place; words come next, models last.
    axis = axis or next(iter([*(path for path in leading if path in words), *single, *unvaried, *leading]))
    return _Shape(
        axis=axis,
        together={
            lead: tuple(path for path, own in followers.items() if own == lead and path in axes) for lead in leading
        },
        by=tuple(path for path in leading if path != axis),
        fixed=tuple(path for path in unvaried if path != axis),
    )


def _names(points: list[Row]) -> set[str]:
    return {row[SWEEP] for row in points}


def _plain(value: Any) -> Value:
    return str(value).lower() if isinstance(value, bool) else value


def _collect(rows: Iterable[Row], shape: _Shape, metrics: tuple[str, ...]) -> tuple[Curve, ...]:
    """Rows as curves. Raises `InputError` for two results of one point and seed."""
    gathered: dict[Any, dict[Value | None, list[Row]]] = {}
    for row in rows:
        group = tuple((path, _plain(row[path])) for path in shape.by if row.get(path) is not None)
        if row["kind"] == "digital_bits":
            known = json.loads(row["settings"] or "{}")
            group += tuple((path, known[path]) for path in sorted(known) if path in BITS and row.get(path) is None)
        key = (row["kind"], row[SWEEP], row[MODEL], group)
        x = _plain(row[shape.axis]) if row.get(shape.axis) is not None else None
        gathered.setdefault(key, {}).setdefault(x, []).append(row)
    found = []
    for (kind, sweep, model, group), places in gathered.items():
        xs = [None] if None in places else ordered(place for place in places if place is not None)
        points = tuple(_point(x, places[x], metrics) for x in xs)
        found.append(Curve(kind, sweep, model, dict(group), points))
    numbers = [path for path in shape.by if all(is_number(curve.group.get(path)) for curve in found)]
    return tuple(sorted(found, key=lambda curve: [curve.group[path] for path in numbers]))


def _point(x: Value | None, rows: list[Row], metrics: tuple[str, ...]) -> Point:
    rows = sorted(rows, key=lambda row: -1 if row["seed"] is None else row["seed"])
    seeds = [row["seed"] for row in rows]
    if len(set(seeds)) < len(seeds) and rows[0]["kind"] == "point":
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise InputError(
            f"grid {rows[0]['grid']!r} of sweep {rows[0][SWEEP]} has two results of seed {twice} at {x}; run it again"
        )
    done = [row for row in rows if row["status"] == "done"]
    values = {
        metric: np.array([math.nan if row[metric] is None else row[metric] for row in done], dtype=np.float64)
        for metric in metrics
    }
    return Point(x, tuple(row["seed"] for row in done), values, len(rows) - len(done))


def _each_once(baselines: tuple[Curve, ...], metrics: tuple[str, ...]) -> tuple[Curve, ...]:
    """Without those that say again what another of their kind and model says, and without those that failed."""
    found: dict[Any, Curve] = {}
    for curve in baselines:
        points = tuple(point for point in curve.points if point.seeds)
        numbers = tuple((point.x, *(point.values[metric].tobytes() for metric in metrics)) for point in points)
        if points:
            found.setdefault((curve.kind, curve.sweep, curve.model, numbers), replace(curve, points=points))
    return tuple(found.values())


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
