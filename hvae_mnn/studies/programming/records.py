"""Tables of programmed devices and rounds, and key figures for the summary."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hvae_mnn.devices.half_select import Disturbance
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.programming import Programmed
from hvae_mnn.studies.programming.wired import WiredProgrammed
from hvae_mnn.tables import Tables

SUMMARY = "summary.json"
DEVICES, ROUNDS, WIRED = "devices.parquet", "rounds.parquet", "wired.parquet"
_POSITION = [("array", pa.string()), ("row", pa.int32()), ("column", pa.int32())]
SCHEMAS = {
    # One row per device.
    DEVICES: pa.schema(
        [
            *_POSITION,
            ("target_s", pa.float64()),  # siemens
            ("first_s", pa.float64()),  # siemens after one round, as in open loop
            ("conductance_s", pa.float64()),  # siemens at the end
            ("state", pa.float64()),  # x at the end
            ("after_own_pulse", pa.float64()),  # x just after the device's own last pulse
            ("pulses", pa.int32()),
            ("time_s", pa.float64()),  # seconds of pulses and reads
            ("energy_j", pa.float64()),  # joules of pulses and reads
            ("within", pa.bool_()),
            ("stuck", pa.bool_()),
            ("disturbances", pa.int64()),  # half-selections above the device's own threshold
            ("disturbed_dx", pa.float64()),  # sum of |dx| in them
        ]
    ),
    # One row per array and round; round 0 is before the first pulse, `ngspice` the wired array.
    ROUNDS: pa.schema([("array", pa.string()), ("round", pa.int32()), ("within", pa.float64()), ("wired", pa.bool_())]),
    # One row per device of the wired array.
    WIRED: pa.schema(
        [
            ("row", pa.int32()),
            ("column", pa.int32()),
            ("target_s", pa.float64()),
            ("first_s", pa.float64()),  # siemens read after one round
            ("read_s", pa.float64()),  # siemens read back at the end, wires included
            ("device_s", pa.float64()),  # siemens of the device itself at the end
            ("state", pa.float64()),
            ("pulses", pa.int32()),
        ]
    ),
}


class ProgrammingRecords(Tables):
    """Writer of a run's tables, as a context; see `Tables`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SCHEMAS)

    def array(self, name: str, result: Programmed, disturbance: Disturbance) -> None:
        """Add one array."""
        rows, columns = np.indices(result.target.shape)
        self._write(
            DEVICES,
            array=np.full(result.target.size, name),
            row=rows,
            column=columns,
            target_s=result.target,
            first_s=result.first,
            conductance_s=result.conductance,
            state=result.state,
            after_own_pulse=disturbance.after_own_pulse,
            pulses=result.pulses,
            time_s=result.time_s,
            energy_j=result.energy_j,
            within=result.within,
            stuck=result.stuck,
            disturbances=disturbance.exposures,
            disturbed_dx=disturbance.moved,
        )
        self._rounds(name, result.within_after, wired=False)

    def wired(self, result: WiredProgrammed, spec: MemristorSpec) -> None:
        """Add the array that ngspice programmed."""
        rows, columns = np.indices(result.target.shape)
        self._write(
            WIRED,
            row=rows,
            column=columns,
            target_s=result.target,
            first_s=result.first,
            read_s=result.read,
            device_s=spec.conductance(result.state),
            state=result.state,
            pulses=result.pulses,
        )
        self._rounds("ngspice", result.within_after, wired=True)

    def _rounds(self, name: str, within: tuple[float, ...], wired: bool) -> None:
        count = len(within)
        self._write(
            ROUNDS,
            array=np.full(count, name),
            round=np.arange(count),
            within=np.array(within),
            wired=np.full(count, wired),
        )

    def _write(self, table: str, **columns: Any) -> None:
        schema = SCHEMAS[table]
        arrays = [pa.array(columns[name].ravel(), type=schema.field(name).type) for name in schema.names]
        self.write(table, pa.Table.from_arrays(arrays, schema=schema))


def array_summary(result: Programmed, disturbance: Disturbance) -> dict[str, Any]:
    """Key figures of one array: counts, seconds, joules. One device is one weight."""
    count = result.target.size
    return {
        "devices": count,
        "rows": result.target.shape[0],
        "columns": result.target.shape[1],
        "pulses_total": int(result.pulses.sum()),
        "pulses_mean": float(result.pulses.mean()),
        "pulses_max": int(result.pulses.max()),
        "within": int(result.within.sum()),
        "within_after_rounds": list(result.within_after),
        "failed": int(result.failed.sum()),
        "stuck": int(result.stuck.sum()),
        "disturbed": disturbance.count,
        "half_selected_v": disturbance.exposed_v,
        "disturbances": int(disturbance.exposures.sum()),
        "disturbed_dx_max": float(disturbance.moved.max()),
        "error_first_rms": _rms(result.first_error),
        "error_rms": _rms(result.error),
        "error_max": float(np.abs(result.error).max()),
        "energy_j": float(result.energy_j.sum()),
        "energy_per_weight_j": float(result.energy_j.mean()),
        "half_selected_energy_j": disturbance.energy_j,
        "time_per_weight_s": float(result.time_s.mean()),
        "serial_s": float(result.time_s.sum()),
        "line_parallel_s": result.line_s,
    }


def totals(summaries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Key figures of the network. Arrays are programmed one after another, device by device (`serial_s`) or all devices
    of a word line at once (`line_parallel_s`)."""
    arrays = list(summaries)
    added = (
        "devices",
        "pulses_total",
        "within",
        "failed",
        "stuck",
        "disturbed",
        "disturbances",
        "energy_j",
        "half_selected_energy_j",
        "serial_s",
        "line_parallel_s",
    )
    network: dict[str, Any] = {key: sum(array[key] for array in arrays) for key in added}
    count = network["devices"]
    return {
        **network,
        "arrays": len(arrays),
        "pulses_mean": network["pulses_total"] / count,
        "pulses_max": max(array["pulses_max"] for array in arrays),
        "energy_per_weight_j": network["energy_j"] / count,
        "time_per_weight_s": network["serial_s"] / count,
        "slowest_array_line_parallel_s": max(array["line_parallel_s"] for array in arrays),
    }


def wired_summary(result: WiredProgrammed, spec: MemristorSpec) -> dict[str, Any]:
    """Key figures from ngspice: read at the ends of the lines, and of the devices themselves."""
    return {
        "rows": result.target.shape[0],
        "columns": result.target.shape[1],
        "within": int(result.within.sum()),
        "failed": int((~result.within).sum()),
        "within_after_rounds": list(result.within_after),
        "pulses_mean": float(result.pulses.mean()),
        "pulses_max": int(result.pulses.max()),
        "error_first_max": float(np.abs(result.first / result.target - 1).max()),
        "error_max": float(np.abs(result.error).max()),
        "device_error_max": float(np.abs(spec.conductance(result.state) / result.target - 1).max()),
        "simulated_s": result.programming_s,
        "ngspice_s": round(result.wall_s, 3),
    }


def _rms(error: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    return float(np.sqrt((error**2).mean()))
