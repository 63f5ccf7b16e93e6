"""What a token costs, as numbers and as files: `cosim.cost` finds it, `plots.cost` draws it."""

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
"""How far closed form and ngspice may be apart, relative."""
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
    """One step of a recurrent layer."""

    layer: str
    tiles: int
    array_j: float
    """What drivers and amplifiers deliver to the arrays in a read, mean over the steps, joules."""
    amplifiers_j: float
    """The amplifiers' part of it."""
    spread_j: float
    """Standard deviation of `array_j` over the steps."""
    dac_conversions: int
    adc_conversions: int
    dac_j: float
    adc_j: float
    macs: int
    """Multiply-accumulates of a digital processor for the same step."""
    digital_j: float
    cell_m2: float
    """Area of the crossings."""
    adc_m2: float
    """Area of the ADCs, one per conversion of a step."""
    settling_s: float | None
    """The slowest of the layer's tiles that were looked at; None where none was, or nothing has to settle."""

    @property
    def circuit_j(self) -> float:
        """Arrays and converters."""
        return self.array_j + self.dac_j + self.adc_j

    @property
    def ratio(self) -> float:
        """Digital energy over the circuit's."""
        return self.digital_j / self.circuit_j

    @property
    def area_m2(self) -> float:
        """Crossings and ADCs."""
        return self.cell_m2 + self.adc_m2

    def to_dict(self) -> dict[str, Any]:
        """The fields, and what follows from them."""
        more = {"circuit_j": self.circuit_j, "digital_over_circuit": self.ratio, "area_m2": self.area_m2}
        return asdict(self) | more


@dataclass(frozen=True)
class TileCheck:
    """A tile of which both answers are known."""

    layer: str
    array: str
    tile: str
    reads: int
    watts: float
    """Mean of ngspice's reads."""
    difference: float
    """Largest of closed form and ngspice in a read, relative."""
    settling_s: float | None
    """By implicit integration."""
    tolerance_a: float
    """How near the bit lines' currents had to come."""


@dataclass(frozen=True)
class SettlingCheck:
    """The slowest of the chosen tiles, twice."""

    array: str
    tile: str
    tolerance_a: float
    implicit_s: float
    ngspice_s: float

    @property
    def difference(self) -> float:
        """Relative."""
        return abs(self.ngspice_s - self.implicit_s) / self.implicit_s


@dataclass(frozen=True, repr=False)
class Cost(Result):
    """What a token costs. Tables: `layers`, `assumptions`, `checks`; `cost` by tile; `settling` where there is any."""

    folder: Path
    manifest: Manifest
    origin: str
    """Of the text."""
    reads: int
    """Steps that means are over, in the layer with the fewest."""
    layers: tuple[LayerCost, ...]
    assumptions: tuple[Assumption, ...]
    checks: tuple[TileCheck, ...]
    settling: SettlingCheck | None
    """None where nothing has to settle."""

    @property
    def token(self) -> LayerCost:
        """All layers together; settling is that of the slowest."""
        kept = [asdict(layer) for layer in self.layers]
        total: dict[str, Any] = {key: sum(layer[key] for layer in kept) for key in kept[0] if key not in _NO_SUM}
        slowest = [layer.settling_s for layer in self.layers if layer.settling_s is not None]
        spread = float(np.sqrt(sum(layer.spread_j**2 for layer in self.layers)))
        return LayerCost(layer="token", spread_j=spread, settling_s=max(slowest, default=None), **total)

    @property
    def worst(self) -> float:
        """Largest relative difference of closed form and ngspice."""
        return max(check.difference for check in self.checks)

    @property
    def passed(self) -> bool:
        """Whether both pairs of answers agree."""
        settled = self.settling is None or self.settling.difference <= SETTLING_TOLERANCE
        return self.worst <= POWER_TOLERANCE and settled

    def facts(self) -> Mapping[str, object]:
        """Joules, seconds and square metres of a token, and whether both pairs of answers agree."""
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
    """What so many multiply-accumulates cost each digital processor, joules."""
    return [(baseline, macs * baseline.mac_j) for baseline in BASELINES]


def write_cost(
    found: Cost,
    powers: Mapping[str, ReadPower],
    read_s: float,
    curves: Mapping[str, Settling],
    steps: int,
    seed: int,
) -> None:
    """Write summary and tables of a cost to its folder; `powers` by array, watts; `curves` by who found them."""
    rows = []
    for layer, unit in found.manifest.units():
        layout, power = found.manifest.layout(unit), powers[unit.array]
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
    write_rows(found.folder / TABLE, rows)
    points = [
        {"source": source, "seconds": float(second), "furthest_a": float(value)}
        for source, curve in curves.items()
        for second, value in zip(curve.times, np.abs(curve.left).max(1), strict=True)
    ]
    if points:
        write_rows(found.folder / CURVES, points, CURVE_SCHEMA)
    write_sealed(found.folder / SUMMARY, _summary(found, steps, seed))


def _summary(found: Cost, steps: int, seed: int) -> dict[str, Any]:
    hardware, token, settling = found.manifest.hardware, found.token, found.settling
    return {
        "netlist": found.manifest.name,
        "hardware": hardware.name,
        "scheme": hardware.cells.scheme,
        "origin": found.origin,
        "steps": steps,
        "reads_per_layer": found.reads,
        "seed": seed,
        "dac_bits": hardware.dac.bits,
        "adc_bits": hardware.adc.bits,
        "layers": [layer.to_dict() for layer in found.layers],
        "token": token.to_dict(),
        "baselines": [
            {"name": baseline.name, "mac_j": baseline.mac_j, "token_j": joules, "source": baseline.source}
            for baseline, joules in baselines(token.macs)
        ],
        "assumptions": [asdict(one) for one in found.assumptions],
        "not_counted": list(NOT_COUNTED),
        "ngspice": {
            "power_tolerance": POWER_TOLERANCE,
            "worst_difference": found.worst,
            "tiles": [asdict(check) for check in found.checks],
            "settling": None if settling is None else asdict(settling) | {"difference": settling.difference},
            "passed": found.passed,
        },
    }
