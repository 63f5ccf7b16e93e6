"""Parquet tables of a run on one memristor."""

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
    """Writer of a run's tables, as a context; see `Tables`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SCHEMAS, always=SCHEMAS)  # there may be no pulse train

    def trace(
        self, source: str, frequency: float, time_s: Array, volts: Array, amperes: Array, x: Array, ohm: Array
    ) -> None:
        """Add one run; arrays have shape (T,)."""
        self._add(TRACES, source, time_s.size, frequency, time_s, volts, amperes, x, ohm)

    def train(self, source: str, amplitudes: Sequence[float], width_s: float, x: Array, siemens: Array) -> None:
        """Add a pulse train; `x` and `siemens` (pulses + 1,) are values before the first pulse and after each."""
        self._add(TRAINS, source, x.size, np.arange(x.size), np.array([0.0, *amplitudes]), width_s, x, siemens)

    def switching(self, source: str, volts: Array, seconds: Array) -> None:
        """Add switching times `seconds` (V,) at voltages (V,); infinite if the state does not move."""
        self._add(SWITCHING, source, volts.size, volts, seconds)

    def _add(self, table: str, source: str, size: int, *columns: Any) -> None:
        values = [np.full(size, source, dtype=object), *(np.broadcast_to(column, size) for column in columns)]
        schema = SCHEMAS[table]
        arrays = [pa.array(value, field.type) for value, field in zip(values, schema, strict=True)]
        self.write(table, pa.Table.from_arrays(arrays, schema=schema))
