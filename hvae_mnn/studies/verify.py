"""Verification of the exact engine on a build: ngspice recomputes random tiles and steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hvae_mnn.crossbar.network import CrossbarNetwork, CrossbarUnit
from hvae_mnn.engines.array_process import array_decks
from hvae_mnn.engines.ngspice import require_klu
from hvae_mnn.engines.start import exact_engine
from hvae_mnn.errors import InputError
from hvae_mnn.files import write_sealed
from hvae_mnn.folders import RUNS, check_writable, new_run
from hvae_mnn.netlist.arrays import cell_nodes
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.results import Result
from hvae_mnn.studies.referee.cases import every_tile, some_reads, text_reads, tile_cases
from hvae_mnn.studies.referee.tile import TileCase, TileVerdict, judge, ngspice_potentials
from hvae_mnn.tables import write_rows

Array = NDArray[np.float64]
TOLERANCE = 1e-9
STEPS = 2
TILES, COLUMNS, POTENTIALS = "tiles.parquet", "columns.parquet", "potentials.parquet"
SUMMARY = "verify.json"
_TILE = [("array", pa.string()), ("tile", pa.string())]
SCHEMAS = {
    # One row per tile.
    TILES: pa.schema(
        [
            *_TILE,
            ("rows", pa.int64()),
            ("bit_lines", pa.int64()),
            ("reads", pa.int64()),
            ("full_scale", pa.float64()),  # amperes
            ("exact_ngspice", pa.float64()),  # largest difference, relative to full scale
            ("nodal_ngspice", pa.float64()),  # null for nonlinear cells and saturated amplifiers
            ("exact_nodal", pa.float64()),  # as nodal_ngspice
            ("seconds_ngspice", pa.float64()),
        ]
    ),
    # One row per tile and column.
    COLUMNS: pa.schema([*_TILE, ("column", pa.int64()), ("deviation", pa.float64())]),
    # One row per crossing of the tile with the largest difference; volts.
    POTENTIALS: pa.schema(
        [
            ("row", pa.int64()),
            ("column", pa.int64()),
            ("bit_line", pa.string()),
            ("driven", pa.float64()),
            ("bit", pa.float64()),
            ("word", pa.float64()),
            ("inverted", pa.float64()),  # null for schemes without inverted word lines
        ]
    ),
}
_TEXT_STEPS = 24
"""Number of time steps of text from which steps are chosen."""


@dataclass(frozen=True, repr=False)
class Verification(Result):
    """Comparison of the exact engine, ngspice and nodal analysis. Tables: `tiles`, `columns`, `potentials`."""

    folder: Path
    manifest: Manifest
    verdicts: tuple[TileVerdict, ...]
    tiles_in_all: int
    tolerance: float
    shown: tuple[str, str]
    """Array and tile with the largest difference, whose potentials are stored."""

    @property
    def worst(self) -> float:
        """Largest difference of exact engine and ngspice, relative to full scale."""
        return max(verdict.exact_ngspice for verdict in self.verdicts)

    @property
    def passed(self) -> bool:
        """Whether every difference is within the tolerance."""
        differences = [(verdict.exact_ngspice, verdict.nodal_ngspice or 0.0) for verdict in self.verdicts]
        return all(exact <= self.tolerance and nodal <= self.tolerance for exact, nodal in differences)

    def facts(self) -> Mapping[str, object]:
        """The verdict, and the largest difference."""
        return {
            "folder": self.folder,
            "netlist": self.manifest.name,
            "passed": self.passed,
            "tiles": f"{len(self.verdicts)} of {self.tiles_in_all}",
            "worst": self.worst,
            "tolerance": self.tolerance,
        }


def verify(
    manifest: Manifest,
    *,
    tiles: int | None = 8,
    steps: int = STEPS,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    text: str | None = None,
    data_dir: Path | None = None,
    out: Path | None = None,
    cluster: Cluster | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Verification:
    """Compute `tiles` random tiles (None: all) in `steps` random time steps by the exact engine, by ngspice and by
    nodal analysis, and compare the results.

    Steps come from `text`, or from the test split of the corpus in `data_dir` (default: the built-in one), run through
    the network on the exact engine. A build without a text model gets random voltages. `tolerance` is relative to full
    scale. Tables go to `out` (default: a new folder in `runs/`). Raises `InputError` for arguments out of range and for
    moving devices, `SimulatorError` if ngspice fails.
    """
    for name, value in (("tiles", tiles), ("steps", steps), ("tolerance", tolerance)):
        if value is not None and not value > 0:
            raise InputError(f"--{name} is {value:g}; allowed: above 0")
    if manifest.moving is not None:
        raise InputError(
            f"{manifest.folder} has memristors that move ({manifest.device_backend}), and the exact engine solves"
            " frozen ones; there is nothing to verify: build with --device-backend static"
        )
    check_writable(out or RUNS)
    cluster = cluster or Cluster.here()
    require_klu(array_decks(manifest), cluster)
    engine = exact_engine(manifest, None, cluster)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 4]))
    reads = text_reads(manifest, engine, max(_TEXT_STEPS, steps), rng, text, data_dir)
    volts = some_reads(reads.applied, steps, rng)
    cases = tile_cases(manifest, engine, volts, _choose(manifest, tiles, rng))
    with new_run(out, f"verify-{manifest.name}") as folder:  # fails before hours of work if another process holds it
        verdicts = cluster.map(judge, cases, progress=None if progress is None else partial(progress, "tiles"))
        total = sum(len(manifest.layout(unit).tiles) for _, unit in manifest.units())
        worst = cases[int(np.argmax([verdict.exact_ngspice for verdict in verdicts]))]
        shown = worst.array, worst.layout.tiles[worst.number].name
        (potentials,) = cluster.map(ngspice_potentials, [replace(worst, volts=worst.volts[:1])])
        verification = Verification(folder, manifest, tuple(verdicts), total, tolerance, shown)
        _write(verification, worst, potentials[0], seed, steps)
    return verification


def _choose(network: CrossbarNetwork, tiles: int | None, rng: np.random.Generator) -> list[tuple[CrossbarUnit, int]]:
    every = every_tile(network)
    if tiles is None or tiles >= len(every):
        return every
    return [every[index] for index in np.sort(rng.choice(len(every), tiles, replace=False)).tolist()]


def _write(verification: Verification, worst: TileCase, potentials: Mapping[str, float], seed: int, steps: int) -> None:
    """Write all tables, with the potentials in the tile of the largest difference."""
    rows = [{key: value for key, value in asdict(own).items() if key != "columns"} for own in verification.verdicts]
    write_rows(verification.folder / TILES, rows, SCHEMAS[TILES])
    columns = []
    for verdict in verification.verdicts:
        columns += [
            {"array": verdict.array, "tile": verdict.tile, "column": column, "deviation": float(value)}
            for column, value in enumerate(verdict.columns)
        ]
    write_rows(verification.folder / COLUMNS, columns, SCHEMAS[COLUMNS])
    write_rows(verification.folder / POTENTIALS, _potentials(worst, potentials), SCHEMAS[POTENTIALS])
    write_sealed(
        verification.folder / SUMMARY,
        {
            "netlist": verification.manifest.name,
            "hardware": verification.manifest.hardware.name,
            "scheme": verification.manifest.hardware.cells.scheme,
            "tiles": len(verification.verdicts),
            "tiles_in_all": verification.tiles_in_all,
            "steps": steps,
            "seed": seed,
            "tolerance": verification.tolerance,
            "worst": verification.worst,
            "passed": verification.passed,
            "shown_tile": {"array": verification.shown[0], "tile": verification.shown[1]},
        },
    )


def _potentials(case: TileCase, read: Mapping[str, float]) -> list[dict[str, Any]]:
    """Potentials in volts at every crossing of a tile, from those of ngspice for its first read."""
    layout = case.layout
    tile = layout.tiles[case.number]
    rows = []
    for row in tile.rows:
        for column, nodes in enumerate(cell_nodes(layout, tile, case.unit, row, case.word_lines[row])):
            crossing: dict[str, Any] = {"row": row - tile.rows.start, "column": column, "bit_line": nodes.label}
            crossing |= {"driven": float(case.volts[0, row]), "bit": read[f"v({nodes.bit})"]}
            for name, node in zip(("word", "inverted"), nodes.words, strict=False):
                crossing[name] = read[f"v({node})"]
            rows.append(crossing)
    return rows
