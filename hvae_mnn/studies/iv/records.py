"""What a run on one memristor keeps: Parquet tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hvae_mnn.tables import Tables

Array = NDArray[np.float64]
TRACES, TRAINS, SWITCHING = "iv.parquet", "pulse_train.parquet", "switching.parquet"

SCHEMAS = {
    # One row per back end, frequency and time point.
    TRACES: pa.schema(
        [
            ("backend", pa.string()),  # behavioural | osdi | reference
            ("frequency_hz", pa.float64()),
            ("time_s", pa.float64()),
            ("volts", pa.float64()),
            ("amperes", pa.float64()),
            ("x", pa.float64()),
            ("ohm", pa.float64()),
        ]
    ),
    # One row per back end and pulse; pulse 0 is before the first.
    TRAINS: pa.schema(
        [
            ("backend", pa.string()),
            ("pulse", pa.int32()),
            ("volts", pa.float64()),
            ("width_s", pa.float64()),
            ("x", pa.float64()),
            ("siemens", pa.float64()),
        ]
    ),
    # One row per back end and voltage.
    SWITCHING: pa.schema(
        [("backend", pa.string()), ("volts", pa.float64()), ("seconds", pa.float64())],
        metadata={"what": "from x = 0.05 to 0.95, or back"},
    ),
}


class IvRecords(Tables):
    """Writes a run's tables; a context that gives them their names only when all went well."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SCHEMAS, always=SCHEMAS)  # pulse trains may be none

    def trace(
        self, who: str, frequency: float, time_s: Array, volts: Array, amperes: Array, x: Array, ohm: Array
    ) -> None:
        """Take in one run; arrays are (T,)."""
        self._add(TRACES, who, time_s.size, frequency, time_s, volts, amperes, x, ohm)

    def train(self, who: str, amplitudes: Sequence[float], width_s: float, x: Array, siemens: Array) -> None:
        """Take in a pulse train; `x` and `siemens` (pulses + 1,), before the first pulse and after each."""
        self._add(TRAINS, who, x.size, np.arange(x.size), np.array([0.0, *amplitudes]), width_s, x, siemens)

    def switching(self, who: str, volts: Array, seconds: Array) -> None:
        """Take in times to switch, both (V,); infinite where nothing moves."""
        self._add(SWITCHING, who, volts.size, volts, seconds)

    def _add(self, table: str, who: str, size: int, *columns: Any) -> None:
        values = [np.full(size, who, dtype=object), *(np.broadcast_to(column, size) for column in columns)]
        schema = SCHEMAS[table]
        arrays = [pa.array(value, field.type) for value, field in zip(values, schema, strict=True)]
        self.write(table, pa.Table.from_arrays(arrays, schema=schema))
