"""Cost of a token as numbers and files: `studies.cost.run` computes it, `plots.cost` draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hvae_mnn.crossbar.power import ReadPower
from hvae_mnn.crossbar.settling import Settling
from hvae_mnn.files import write_sealed
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.results import Result
from hvae_mnn.studies.cost.assumptions import BASELINES, Assumption, Baseline
from hvae_mnn.tables import write_rows

POWER_TOLERANCE, SETTLING_TOLERANCE = 1e-9, 1e-2
"""Tolerances of the relative difference between closed form and ngspice."""
SUMMARY, TABLE, CURVES = "cost.json", "cost.parquet", "settling.parquet"
CURVE_SCHEMA = pa.schema(
    [
        ("source", pa.string()),  # implicit | ngspice
        ("seconds", pa.float64()),
        ("furthest_a", pa.float64()),  # largest current still to come, amperes
    ]
)
NOT_COUNTED = (
    "gates, embeddings and the output layer in software, on either side",
    "the amplifiers' own supply, references, clocks and control",
    "programming of the memristors",
    "the area of DACs, drivers and amplifiers",
)


@dataclass(frozen=True)
class LayerCost:
    """Cost of one step of a recurrent layer."""

    layer: str
    tiles: int
    array_j: float
    """Energy from drivers and amplifiers into the arrays in a read, mean over the steps, joules."""
    amplifiers_j: float
    """Part of `array_j` from amplifiers, joules."""
    spread_j: float
    """Standard deviation of `array_j` over the steps, joules."""
    dac_conversions: int
    adc_conversions: int
    dac_j: float
    adc_j: float
    macs: int
    """Multiply-accumulates of a digital processor for the same step."""
    digital_j: float
    """Energy of these multiply-accumulates, joules."""
    cell_m2: float
    """Area of the crossings, square metres."""
    adc_m2: float
    """Area of the ADCs, one per conversion of a step, square metres."""
    settling_s: float | None
    """Settling time of the slowest of the layer's chosen tiles, seconds; None if none was chosen or has to settle."""

    @property
    def circuit_j(self) -> float:
        """Energy of arrays and converters, joules."""
        return self.array_j + self.dac_j + self.adc_j

    @property
    def ratio(self) -> float:
        """Energy of the digital processor divided by that of the circuit."""
        return self.digital_j / self.circuit_j

    @property
    def area_m2(self) -> float:
        """Area of crossings and ADCs, square metres."""
        return self.cell_m2 + self.adc_m2

    def to_dict(self) -> dict[str, Any]:
        """Fields and derived values, as `cost.json` has them."""
        more = {"circuit_j": self.circuit_j, "digital_over_circuit": self.ratio, "area_m2": self.area_m2}
        return asdict(self) | more


@dataclass(frozen=True)
class TileCheck:
    """Closed form against ngspice in one tile."""

    layer: str
    array: str
    tile: str
    reads: int
    watts: float
    """Mean power of the reads in ngspice, watts."""
    difference: float
    """Largest relative difference of closed form and ngspice in a read."""
    settling_s: float | None
    """Settling time by implicit integration, seconds; None if nothing has to settle."""
    tolerance_a: float
    """Largest remaining current of a settled bit line, amperes."""


@dataclass(frozen=True)
class SettlingCheck:
    """Settling of the slowest chosen tile: implicit integration against ngspice."""

    array: str
    tile: str
    tolerance_a: float
    implicit_s: float
    ngspice_s: float

    @property
    def difference(self) -> float:
        """Relative difference of both settling times."""
        return abs(self.ngspice_s - self.implicit_s) / self.implicit_s


@dataclass(frozen=True, repr=False)
class Cost(Result):
    """Cost of a token. Tables: `layers`, `assumptions`, `checks`; `cost` by tile; `settling` if anything settles."""

    folder: Path
    manifest: Manifest
    origin: str
    """Origin of the text."""
    reads: int
    """Number of steps that a mean covers, in the layer with the fewest."""
    layers: tuple[LayerCost, ...]
    assumptions: tuple[Assumption, ...]
    checks: tuple[TileCheck, ...]
    settling: SettlingCheck | None
    """None if nothing has to settle."""

    @property
    def token(self) -> LayerCost:
        """Sum over all layers; the settling time is that of the slowest."""
        layers = [asdict(layer) for layer in self.layers]
        total: dict[str, Any] = {key: sum(layer[key] for layer in layers) for key in layers[0] if key not in _NO_SUM}
        slowest = [layer.settling_s for layer in self.layers if layer.settling_s is not None]
        spread = float(np.sqrt(sum(layer.spread_j**2 for layer in self.layers)))
        return LayerCost(layer="token", spread_j=spread, settling_s=max(slowest, default=None), **total)

    @property
    def worst(self) -> float:
        """Largest relative difference of closed form and ngspice."""
        return max(check.difference for check in self.checks)

    @property
    def passed(self) -> bool:
        """Whether closed form and ngspice agree on power and on settling."""
        settled = self.settling is None or self.settling.difference <= SETTLING_TOLERANCE
        return self.worst <= POWER_TOLERANCE and settled

    def facts(self) -> Mapping[str, object]:
        """Energy, settling time and area of a token, and whether closed form and ngspice agree."""
        token = self.token
        return {
            "folder": self.folder,
            "netlist": self.manifest.name,
            "circuit_j": token.circuit_j,
            "digital_j": token.digital_j,
            "ratio": token.ratio,
            "area_m2": token.area_m2,
            "settling_s": token.settling_s,
            "passed": self.passed,
        }

    def _rows(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        return {
            "layers": [layer.to_dict() for layer in (*self.layers, self.token)],
            "assumptions": [asdict(one) for one in self.assumptions],
            "checks": [asdict(check) for check in self.checks],
        }


_NO_SUM = ("layer", "spread_j", "settling_s")


def baselines(macs: int) -> list[tuple[Baseline, float]]:
    """Energy of `macs` multiply-accumulates on each digital processor, joules."""
    return [(baseline, macs * baseline.mac_j) for baseline in BASELINES]


def write_cost(
    cost: Cost,
    powers: Mapping[str, ReadPower],
    read_s: float,
    curves: Mapping[str, Settling],
    steps: int,
    seed: int,
) -> None:
    """Write summary and tables of a cost to its folder: `powers` by array, `curves` by their source.

    Raises `StorageError`.
    """
    rows = []
    for layer, unit in cost.manifest.units():
        layout, power = cost.manifest.layout(unit), powers[unit.array]
        for number, tile in enumerate(layout.tiles):
            drivers, amplifiers = (float(part[number].mean()) for part in (power.drivers, power.amplifiers))
            rows.append(
                {
                    "layer": layer.name,
                    "unit": unit.name,
                    "array": unit.array,
                    "tile": tile.name,
                    "rows": len(tile.rows),
                    "bit_lines": len(tile.bit_lines),
                    "drivers_w": drivers,
                    "amplifiers_w": amplifiers,
                    "energy_j": (drivers + amplifiers) * read_s,
                }
            )
    write_rows(cost.folder / TABLE, rows)
    points = [
        {"source": source, "seconds": float(second), "furthest_a": float(value)}
        for source, curve in curves.items()
        for second, value in zip(curve.times, np.abs(curve.left).max(1), strict=True)
    ]
    if points:
        write_rows(cost.folder / CURVES, points, CURVE_SCHEMA)
    write_sealed(cost.folder / SUMMARY, _summary(cost, steps, seed))


def _summary(cost: Cost, steps: int, seed: int) -> dict[str, Any]:
    hardware, token, settling = cost.manifest.hardware, cost.token, cost.settling
    return {
        "netlist": cost.manifest.name,
        "hardware": hardware.name,
        "scheme": hardware.cells.scheme,
        "origin": cost.origin,
        "steps": steps,
        "reads_per_layer": cost.reads,
        "seed": seed,
        "dac_bits": hardware.dac.bits,
        "adc_bits": hardware.adc.bits,
        "layers": [layer.to_dict() for layer in cost.layers],
        "token": token.to_dict(),
        "baselines": [
            {"name": baseline.name, "mac_j": baseline.mac_j, "token_j": joules, "source": baseline.source}
            for baseline, joules in baselines(token.macs)
        ],
        "assumptions": [asdict(one) for one in cost.assumptions],
        "not_counted": list(NOT_COUNTED),
        "ngspice": {
            "power_tolerance": POWER_TOLERANCE,
            "worst_difference": cost.worst,
            "tiles": [asdict(check) for check in cost.checks],
            "settling": None if settling is None else asdict(settling) | {"difference": settling.difference},
            "passed": cost.passed,
        },
    }
