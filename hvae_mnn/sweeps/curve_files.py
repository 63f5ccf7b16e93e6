"""Files with the numbers of a figure."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hvae_mnn.files import write_sealed
from hvae_mnn.sweeps.bands import BandKind
from hvae_mnn.sweeps.curves import GridCurves, band, is_number
from hvae_mnn.tables import write_rows

SCHEMA = pa.schema(
    [
        ("grid", pa.string()),
        ("kind", pa.string()),
        ("sweep", pa.string()),
        ("model", pa.string()),
        ("group", pa.string()),  # JSON: other settings that distinguish the curve
        ("axis", pa.string()),
        ("x", pa.float64()),  # null with x_text, and for baselines without a value on the axis
        ("x_text", pa.string()),
        ("metric", pa.string()),
        ("mean", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("failed", pa.int64()),
        ("seeds", pa.list_(pa.int64())),
        ("values", pa.list_(pa.float64())),
    ]
)
"""One row per point and metric. `values` has one number per seed, null if the run gave none."""


def curve_rows(curves: GridCurves, metrics: Sequence[str], kind: BandKind = "expanded") -> list[dict[str, Any]]:
    """Rows of the table for every curve and baseline, in the units of the sweep's table."""
    rows = []
    for metric in metrics:
        for curve in (*curves.curves, *curves.baselines):
            along = band(curve, metric, kind=kind)
            indices = {id(point): index for index, point in enumerate(along.points)}
            for point in curve.points:
                index = indices.get(id(point))
                statistics: dict[str, Any] = {"mean": None, "low": None, "high": None, "n": 0}
                if index is not None:
                    statistics = {name: _number(getattr(along, name)[index]) for name in ("mean", "low", "high")}
                    statistics["n"] = int(along.n[index])
                rows.append(
                    {
                        "grid": curves.name,
                        "kind": curve.kind,
                        "sweep": curve.sweep,
                        "model": curve.model,
                        "group": json.dumps(curve.group),
                        "axis": curves.axis,
                        "x": float(point.x) if is_number(point.x) else None,  # type: ignore[arg-type]
                        "x_text": point.x if isinstance(point.x, str) else None,
                        "metric": metric,
                        **statistics,
                        "failed": point.failed,
                        "seeds": list(point.seeds),
                        "values": [_number(value) for value in point.values[metric]],
                    }
                )
    return rows


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def write_curves(
    curves: GridCurves, metrics: Sequence[str], folder: Path, name: str, caption: str, *, kind: BandKind = "expanded"
) -> list[Path]:
    """Write `name.parquet` and `name.json` into the folder; returns both paths. Raises `StorageError`."""
    rows = curve_rows(curves, metrics, kind)
    parquet, text = folder / f"{name}.parquet", folder / f"{name}.json"
    write_rows(parquet, rows, SCHEMA)
    about = {
        "grid": curves.name,
        "axis": curves.axis,
        "together": {path: list(others) for path, others in curves.together.items() if others},
        "by": list(curves.by),
        "fixed": dict(curves.fixed),
        "metrics": list(metrics),
        "relative": curves.relative,
        "band": kind,
        "runs": curves.runs,
        "failed": curves.failed,
        "reasons": list(curves.reasons),
        "caption": caption,
    }
    write_sealed(text, about | {"points": rows})
    return [parquet, text]
