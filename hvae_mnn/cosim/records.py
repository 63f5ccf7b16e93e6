"""Records of a run: Parquet tables, written sentence by sentence, and totals for the summary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from hvae_mnn.cosim.converters import Converter, histogram_edges
from hvae_mnn.cosim.source import Disturb
from hvae_mnn.tables import Tables

STEPS, TOKENS, PREACTIVATIONS = "steps.parquet", "tokens.parquet", "preactivations.parquet"
DRIFT = "drift.parquet"
"""Table of runs with moving memristors."""
CONVERTERS = "converters.parquet"
SAMPLED_UNITS = 16
"""Number of hidden units per gate unit whose pre-activations are recorded, evenly spaced."""

SCHEMAS = {
    # One row per time step and gate unit.
    STEPS: pa.schema(
        [
            ("sentence", pa.int32()),
            ("phase", pa.string()),  # encoder | decoder
            ("position", pa.int32()),
            ("layer", pa.string()),
            ("unit", pa.string()),
            ("max_error", pa.float64()),  # hardware - digital, each on its own states, model's units
            ("rms_error", pa.float64()),
            ("max_array_error", pa.float64()),  # hardware - digital from the hardware's own inputs
            ("full_scale", pa.float64()),  # largest digital magnitude in this step
        ]
    ),
    # One row per decoder step.
    TOKENS: pa.schema(
        [
            ("sentence", pa.int32()),
            ("position", pa.int32()),
            ("target", pa.string()),  # the text's own token
            ("digital", pa.string()),
            ("hardware", pa.string()),
            ("agree", pa.bool_()),
            ("digital_nll", pa.float64()),  # -ln p(target), nats
            ("hardware_nll", pa.float64()),
            ("max_logit_error", pa.float64()),
        ]
    ),
    # One row per time step and gate unit.
    DRIFT: pa.schema(
        [
            ("sentence", pa.int32()),
            ("phase", pa.string()),
            ("position", pa.int32()),
            ("layer", pa.string()),
            ("unit", pa.string()),
            ("above_threshold", pa.int64()),  # memristors that this read drove beyond a threshold
            ("max_drift", pa.float64()),  # |x - x0| after this read, x0 when the run began
            ("mean_drift", pa.float64()),
            ("moved", pa.int64()),
        ]
    ),
    # One row per converter and bin of its histogram.
    CONVERTERS: pa.schema(
        [
            ("layer", pa.string()),
            ("kind", pa.string()),  # dac | adc
            ("name", pa.string()),  # role, or gate unit
            ("bits", pa.int32()),
            ("samples", pa.int64()),
            ("clipped", pa.int64()),
            ("low", pa.float64()),  # the bin's edges, parts of full scale; the outermost bins hold what lies beyond
            ("high", pa.float64()),
            ("count", pa.int64()),
        ]
    ),
    # One row per time step, gate unit and sampled hidden unit.
    PREACTIVATIONS: pa.schema(
        [
            ("sentence", pa.int32()),
            ("phase", pa.string()),
            ("position", pa.int32()),
            ("layer", pa.string()),
            ("unit", pa.string()),
            ("hidden", pa.int32()),
            ("digital", pa.float64()),
            ("hardware", pa.float64()),
        ]
    ),
}


@dataclass
class ErrorTotal:
    """Errors of the pre-activations of one gate unit over a run, in the model's units."""

    max: float = 0.0
    """Largest difference between hardware and digital model."""
    array_max: float = 0.0
    """Largest difference between hardware and a matrix product of its own inputs."""
    full_scale: float = 0.0
    """Largest magnitude in the digital model."""
    squares: float = 0.0
    """Sum of the squared differences."""
    count: int = 0
    """Number of the differences."""

    def add(self, error: Tensor, array_error: Tensor, digital: Tensor) -> None:
        """Add one step's values, each (B, H)."""
        self.max = max(self.max, float(error.abs().max()))
        self.array_max = max(self.array_max, float(array_error.abs().max()))
        self.full_scale = max(self.full_scale, float(digital.abs().max()))
        self.squares += float((error**2).sum())
        self.count += error.numel()

    def to_dict(self) -> dict[str, float]:
        """Values for the summary; `*_of_full_scale` are relative to the largest digital pre-activation of the run."""
        scale = self.full_scale or 1.0
        return {
            "max": self.max,
            "rms": float(np.sqrt(self.squares / self.count)) if self.count else 0.0,
            "full_scale": self.full_scale,
            "max_of_full_scale": self.max / scale,
            "array_max": self.array_max,
            "array_max_of_full_scale": self.array_max / scale,
        }


class Records(Tables):
    """Writes a run's tables; as a context, it gives the files their names only on success."""

    def __init__(self, folder: Path, moving: bool = False) -> None:
        """`moving`: whether memristors may move, and their drift is recorded."""
        names = [name for name in SCHEMAS if name != DRIFT or moving]
        super().__init__(folder, SCHEMAS, always=names)
        self.errors: dict[str, dict[str, ErrorTotal]] = {}
        """By layer and gate unit."""
        self.agreed = self.tokens = 0
        self._rows: dict[str, dict[str, list[Any]]] = {name: defaultdict(list) for name in names}

    def layer_step(
        self,
        sentence: int,
        phase: str,
        position: int,
        layer: str,
        digital: Mapping[str, Tensor],
        hardware: Mapping[str, Tensor],
        array_errors: Mapping[str, Tensor],
    ) -> None:
        """Record one time step of one layer: pre-activations by gate unit, each (1, H)."""
        for unit, expected in digital.items():
            error = hardware[unit] - expected
            total = self.errors.setdefault(layer, {}).setdefault(unit, ErrorTotal())
            total.add(error, array_errors[unit], expected)
            where = {"sentence": sentence, "phase": phase, "position": position, "layer": layer, "unit": unit}
            self._add(
                STEPS,
                **where,
                max_error=float(error.abs().max()),
                rms_error=float((error**2).mean().sqrt()),
                max_array_error=float(array_errors[unit].abs().max()),
                full_scale=float(expected.abs().max()),
            )
            size = expected.shape[1]
            for hidden in range(0, size, max(1, size // SAMPLED_UNITS)):
                values = {"digital": float(expected[0, hidden]), "hardware": float(hardware[unit][0, hidden])}
                self._add(PREACTIVATIONS, **where, hidden=hidden, **values)

    def drift_step(
        self, sentence: int, phase: str, position: int, layer: str, disturb: Mapping[str, Disturb | None]
    ) -> None:
        """Record the drift of one layer's memristors in one time step, by gate unit; None for fixed states."""
        for unit, values in disturb.items():
            if values is not None:
                where = {"sentence": sentence, "phase": phase, "position": position, "layer": layer, "unit": unit}
                self._add(DRIFT, **where, **asdict(values))

    def converters(self, by_kind: Mapping[str, Mapping[tuple[str, str], Converter]]) -> None:
        """Record the histograms of all converters, by kind, layer and name."""
        edges = histogram_edges().tolist()
        for kind, converters in by_kind.items():
            for (layer, name), converter in converters.items():
                what = {"layer": layer, "kind": kind, "name": name, "bits": converter.bits}
                totals = {"samples": converter.samples, "clipped": converter.clipped}
                for low, high, count in zip(edges[:-1], edges[1:], converter.histogram.tolist(), strict=True):
                    self._add(CONVERTERS, **what, **totals, low=low, high=high, count=count)

    def token(self, **row: Any) -> None:
        """Record one decoder step: `row` has the columns of the token table."""
        self.tokens += 1
        self.agreed += bool(row["agree"])
        self._add(TOKENS, **row)

    def _add(self, table: str, **row: Any) -> None:
        for column, value in row.items():
            self._rows[table][column].append(value)

    def flush(self) -> None:
        """Write the rows so far, so that memory does not grow with the run."""
        for name, rows in self._rows.items():
            if rows:
                self.write(name, pa.table(dict(rows), schema=SCHEMAS[name]))
                rows.clear()
