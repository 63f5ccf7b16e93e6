"""Shared parts of a sweep's figures: curves and baselines of a panel, labels, and the caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hvae_mnn.plots.files import literal
from hvae_mnn.plots.sweeps.names import BASELINES, axis_name, metric_name, value_text
from hvae_mnn.sweeps.bands import BandKind
from hvae_mnn.sweeps.curves import Curve, GridCurves, Value
from hvae_mnn.sweeps.gather import BITS

STYLES: Mapping[str, Any] = {
    "digital": "--",
    "digital_bits": (0, (4, 1.5, 1, 1.5)),
    "unigram": ":",
}
"""Line styles of baselines."""
_BANDS = {
    "expanded": "95 % bootstrap bands (expanded percentiles)",
    "percentile": "95 % bootstrap bands (percentiles)",
    "student": "95 % intervals of Student's t",
}


def models(curves: GridCurves) -> list[str]:
    """Labels of the models, in the order of the curves."""
    return list(dict.fromkeys(curve.model for curve in curves.curves))


def panel_rows(curves: GridCurves) -> tuple[list[dict[str, Value]], tuple[str, ...]]:
    """Settings of every row of panels, and the paths that distinguish curves within a row."""
    numeric = curves.numeric_by
    if not numeric:
        return [{}], curves.by
    rest = [path for path in curves.by if path != numeric[0]]
    combinations = list(dict.fromkeys(tuple((path, curve.group[path]) for path in rest) for curve in curves.curves))
    return [dict(row) for row in combinations], (numeric[0],)


def fits(curve: Curve, row: Mapping[str, Value]) -> bool:
    """Whether a curve, or a baseline with matching settings, belongs to a row of panels."""
    own = {"model": curve.model, "sweep": curve.sweep, **curve.group}
    return all(own.get(path, value) == value for path, value in row.items())


def baseline_text(curve: Curve, several: bool) -> str:
    """Label of a baseline; with its model's label if there are several models."""
    text = BASELINES.get(curve.kind, curve.kind)
    bits = [f"{curve.group[path]:g}" for path in BITS if path in curve.group]
    if bits:
        text = f"digital, {'/'.join(bits)} bits"
    return f"{text}, {literal(curve.model)}" if several and curve.kind != "unigram" else text


Level = tuple[float, str, Any]
"""Height, label and line style of a baseline."""


def levels(curves: GridCurves, metric: str, row: Mapping[str, Value], several: bool) -> list[Level]:
    """Baselines that hold for the whole axis; baselines of equal height and label occur once."""
    factor = metric_name(metric, curves.relative).factor
    by_level: dict[tuple[float, str], list[Curve]] = {}
    for curve in curves.baselines:
        if curve.points[0].x is None and fits(curve, row) and len(curve.points[0].finite(metric)):
            height = factor * float(curve.points[0].finite(metric).mean())
            by_level.setdefault((height, curve.kind), []).append(curve)
    # A baseline that several models share carries no model's label.
    return [
        (height, baseline_text(same[0], several and len(same) == 1), STYLES.get(kind, (0, (6, 2))))
        for (height, kind), same in by_level.items()
    ]


def caption(curves: GridCurves, metrics: Sequence[str], kind: BandKind | None) -> str:
    """Caption: the sweep, the meaning of bands (None: no bands), and missing runs."""
    counts = [len(point.finite(metric)) for curve in curves.curves for point in curve.points for metric in metrics]
    drawn = [count for count in counts if count]
    parts = [f"model {literal(models(curves)[0])}"] if len(models(curves)) == 1 else []
    if curves.texts:
        parts.append(" and ".join(f"{sentences:,} sentences, {tokens:,} tokens" for sentences, tokens in curves.texts))
    parts += [value_text(curves, path, value) for path, value in curves.fixed.items()]
    for path, others in curves.together.items():
        unequal = [axis_name(curves, other).label for other in others if other not in curves.same]
        if unequal:
            parts.append(f"with {axis_name(curves, path).label}, {' and '.join(unequal)} changes too")
    if drawn:
        seeds = f"{min(drawn)}" if min(drawn) == max(drawn) else f"{min(drawn)} to {max(drawn)}"
        one = max(drawn) == 1
        parts.append("one seed" if one else f"mean over {seeds} seeds")
        parts += [_BANDS[kind]] if kind is not None and not one else []
    if any(path in curve.group for curve in curves.baselines for path in BITS):
        parts.append("digital, m/n bits: with converters, m of DAC, n of ADC")
    if curves.failed:
        parts.append(f"{curves.failed} of {curves.runs} runs failed and are left out")
    nothing = {
        metric: sum(len(point.seeds) - len(point.finite(metric)) for curve in curves.curves for point in curve.points)
        for metric in metrics
    }
    parts += [f"{count} runs gave no {metric_name(metric).label}" for metric, count in nothing.items() if count]
    return "; ".join(parts)


def title(curves: GridCurves, metrics: Sequence[str]) -> str:
    """Title: metrics against the axis."""
    what = "Accuracy" if set(metrics) <= {"top1", "top5", "ppl"} else "Metrics"
    axes = [axis_name(curves, path).label for path in (curves.axis, *curves.numeric_by[:1])]
    return f"{what} against {' and '.join(label.partition(' (')[0] for label in axes)}"
