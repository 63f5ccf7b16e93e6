"""Gathers rows of sweeps' tables into curves: the leading axis, settings that follow it, and settings of curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hvae_mnn.errors import InputError
from hvae_mnn.names import unknown_name
from hvae_mnn.sweeps.curves import Curve, GridCurves, Point, Value, is_number, ordered
from hvae_mnn.sweeps.results import MODEL, Row, SweepResults, setting

SWEEP = "sweep"
ERROR_KIND = "noise.programming.error"
"""Path of the kind of programming error, whose spread is `noise.programming.sigma`."""
BITS = ("hardware.dac.bits", "hardware.adc.bits")
"""Paths of the settings that distinguish digital models with converters."""


def all_curves(sweeps: Sequence[SweepResults], grid: str | None = None) -> list[GridCurves]:
    """The curves of every grid with axes, or of the one called `grid`.

    Grids of the same name share their curves. Raises `InputError` for an unknown grid, if no grid has an axis, if all
    runs failed, and for grids of the same name with different axes.
    """
    names = list(dict.fromkeys(name for sweep in sweeps for name in sweep.grids))
    if grid is not None and grid not in names:
        raise InputError(unknown_name("grid", grid, names))
    along = [name for name in names if any(_axes_of(sweep, name) for sweep in sweeps)]
    several = [name for name in names if name not in along and _models(sweeps, name) > 1]
    # A grid without axes is a baseline for the others. Alone, or chosen by name, it compares its models.
    drawn = [*along, *(name for name in several if name == grid or not along)]
    if not drawn:
        grids = ", ".join(names) or "the table has no points"
        raise InputError(f"no grid has an axis to draw against ({grids}); add one to the sweep's file")
    if grid is not None and grid not in drawn:
        raise InputError(f"grid {grid!r} is one point; allowed: {', '.join(drawn)}, which have an axis")
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
    """Axes that a grid of a sweep uses. Raises `InputError` if a point has no value of one."""
    points = [row for row in sweep.rows if row["grid"] == name and row["kind"] == "point"]
    used = tuple(path for path in sweep.axes if any(row[path] is not None for row in points))
    for path in used:
        if any(row[path] is None for row in points):
            raise InputError(f"{sweep.folder}: points of grid {name!r} have no value of {path}; rerun the sweep")
    return used


def _grid_curves(sweeps: Sequence[SweepResults], name: str, single: list[str]) -> GridCurves:
    own = [sweep for sweep in sweeps if name in sweep.grids]
    axes = _axes_of(own[0], name)
    for sweep in own[1:]:
        if set(_axes_of(sweep, name)) != set(axes):
            raise InputError(
                f"grid {name!r} of {own[0].folder} has the axes {', '.join(axes)}, and of {sweep.folder}"
                f" {', '.join(_axes_of(sweep, name)) or 'none'}; draw them separately"
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
    """Role of each axis of a grid; see `GridCurves`."""

    axis: str
    together: Mapping[str, tuple[str, ...]]
    by: tuple[str, ...]
    fixed: tuple[str, ...]


def _shape(points: list[Row], axes: tuple[str, ...]) -> _Shape:
    """Roles of the axes: the first numeric axis leads, axes that it determines follow it, others distinguish curves."""

    def varies(path: str, rows: list[Row] = points) -> bool:
        return len({row[path] for row in rows}) > 1

    def determines(one: str, other: str) -> bool:
        return len({(row[one], row[other]) for row in points}) == len({row[one] for row in points})

    numbers = [path for path in axes if varies(path) and all(is_number(row[path]) for row in points)]
    words = [path for path in axes if varies(path) and path not in numbers]
    labels = [path for path in (MODEL, SWEEP) if varies(path)]
    order = [*numbers, *words, *labels]
    followers: dict[str, str] = {}
    for index, path in enumerate(order):
        for lead in order:
            after = order.index(lead) < index or not determines(path, lead)
            if lead == path or lead in followers or not after or not determines(lead, path):
                continue
            # Several sweeps may each have their own values: an axis follows only if it changes within one sweep.
            within = any(varies(path, [row for row in points if row[SWEEP] == name]) for name in {*_names(points)})
            if (path in axes and lead in axes and within) or (path == SWEEP and lead in (*words, MODEL)):
                followers[path] = lead
                break
    leading = [path for path in order if path not in followers]
    unvaried = [path for path in axes if not varies(path)]
    single = [path for path in unvaried if all(is_number(row[path]) for row in points)]
    axis = next((path for path in leading if path in numbers), None)
    # Without a varying numeric axis, words lead, then an axis with one number, and models last.
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
    """Curves of the rows. Raises `InputError` for two results of one point and seed."""
    gathered: dict[Any, dict[Value | None, list[Row]]] = {}
    for row in rows:
        group = tuple((path, _plain(row[path])) for path in shape.by if row.get(path) is not None)
        if row["kind"] == "digital_bits":
            known = json.loads(row["settings"] or "{}")
            group += tuple((path, known[path]) for path in sorted(known) if path in BITS and row.get(path) is None)
        key = (row["kind"], row[SWEEP], row[MODEL], group)
        x = _plain(row[shape.axis]) if row.get(shape.axis) is not None else None
        gathered.setdefault(key, {}).setdefault(x, []).append(row)
    curves = []
    for (kind, sweep, model, group), rows_by_x in gathered.items():
        xs = [None] if None in rows_by_x else ordered(x for x in rows_by_x if x is not None)
        points = tuple(_point(x, rows_by_x[x], metrics) for x in xs)
        curves.append(Curve(kind, sweep, model, dict(group), points))
    numbers = [path for path in shape.by if all(is_number(curve.group.get(path)) for curve in curves)]
    return tuple(sorted(curves, key=lambda curve: [curve.group[path] for path in numbers]))


def _point(x: Value | None, rows: list[Row], metrics: tuple[str, ...]) -> Point:
    rows = sorted(rows, key=lambda row: -1 if row["seed"] is None else row["seed"])
    seeds = [row["seed"] for row in rows]
    if len(set(seeds)) < len(seeds) and rows[0]["kind"] == "point":
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise InputError(
            f"grid {rows[0]['grid']!r} of sweep {rows[0][SWEEP]} has two results of seed {twice} at {x}; rerun it"
        )
    done = [row for row in rows if row["status"] == "done"]
    values = {
        metric: np.array([math.nan if row[metric] is None else row[metric] for row in done], dtype=np.float64)
        for metric in metrics
    }
    return Point(x, tuple(row["seed"] for row in done), values, len(rows) - len(done))


def _each_once(baselines: tuple[Curve, ...], metrics: tuple[str, ...]) -> tuple[Curve, ...]:
    """Baselines without failed ones, and without repetitions of another of the same kind, sweep and model."""
    distinct: dict[Any, Curve] = {}
    for curve in baselines:
        points = tuple(point for point in curve.points if point.seeds)
        numbers = tuple((point.x, *(point.values[metric].tobytes() for metric in metrics)) for point in points)
        if points:
            distinct.setdefault((curve.kind, curve.sweep, curve.model, numbers), replace(curve, points=points))
    return tuple(distinct.values())
