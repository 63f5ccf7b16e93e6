"""The proof that the exact engine is right for this build: seeded tiles and steps, answered by ngspice as well."""

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
from hvae_mnn.folders import RUNS, check_place, new_run
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
            ("exact_ngspice", pa.float64()),  # largest difference, parts of full scale
            ("nodal_ngspice", pa.float64()),  # null where nodal analysis has no answer
            ("exact_nodal", pa.float64()),  # as that
            ("seconds_ngspice", pa.float64()),
        ]
    ),
    # One row per tile and column.
    COLUMNS: pa.schema([*_TILE, ("column", pa.int64()), ("deviation", pa.float64())]),
    # One row per crossing of the tile that is furthest off; volts.
    POTENTIALS: pa.schema(
        [
            ("row", pa.int64()),
            ("column", pa.int64()),
            ("bit_line", pa.string()),
            ("driven", pa.float64()),
            ("bit", pa.float64()),
            ("word", pa.float64()),
            ("inverted", pa.float64()),  # null where the scheme has no inverted word lines
        ]
    ),
}
_TEXT_STEPS = 24
"""Time steps of text that the steps are chosen from."""


@dataclass(frozen=True, repr=False)
class Verification(Result):
    """The answers of the exact engine, ngspice and nodal analysis. Tables: `tiles`, `columns`, `potentials`."""

    folder: Path
    manifest: Manifest
    verdicts: tuple[TileVerdict, ...]
    tiles_in_all: int
    tolerance: float
    shown: tuple[str, str]
    """Array and tile that is furthest off, whose potentials are kept."""

    @property
    def worst(self) -> float:
        """Largest difference of exact engine and ngspice, parts of full scale."""
        return max(verdict.exact_ngspice for verdict in self.verdicts)

    @property
    def passed(self) -> bool:
        """Whether every difference is within the tolerance."""
        answers = [(v.exact_ngspice, v.nodal_ngspice or 0.0) for v in self.verdicts]
        return all(exact <= self.tolerance and nodal <= self.tolerance for exact, nodal in answers)

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
    """Answer for `tiles` tiles (None: all), chosen with `seed`, in `steps` time steps each, three times over.

    The steps are those of `text`, or of the test split of the corpus in `data_dir` (default: the built-in one), run
    through the network on the exact engine; a build without a text model is read with random voltages. Tables go to
    `out` (default: a new folder in `runs/`). Raises `InputError` for devices that move, `SimulatorError` when ngspice
    fails.
    """
    for name, value in (("tiles", tiles), ("steps", steps), ("tolerance", tolerance)):
        if value is not None and not value > 0:
            raise InputError(f"--{name} is {value:g}; allowed: above 0")
    if manifest.moving is not None:
        raise InputError(
            f"{manifest.folder} has memristors that move ({manifest.device_backend}), and the exact engine solves"
            " frozen ones; there is nothing to verify: build with --device-backend static"
        )
    check_place(out or RUNS)
    cluster = cluster or Cluster.here()
    require_klu(array_decks(manifest), cluster)
    engine = exact_engine(manifest, None, cluster)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 4]))
    reads = text_reads(manifest, engine, max(_TEXT_STEPS, steps), rng, text, data_dir)
    volts = some_reads(reads.applied, steps, rng)
    cases = tile_cases(manifest, engine, volts, _choose(manifest, tiles, rng))
    with new_run(out, f"verify-{manifest.name}") as folder:  # one that is taken is noticed before hours of work
        verdicts = cluster.map(judge, cases, progress=None if progress is None else partial(progress, "tiles"))
        total = sum(len(manifest.layout(unit).tiles) for _, unit in manifest.units())
        worst = cases[int(np.argmax([verdict.exact_ngspice for verdict in verdicts]))]
        shown = worst.array, worst.layout.tiles[worst.number].name
        (potentials,) = cluster.map(ngspice_potentials, [replace(worst, volts=worst.volts[:1])])
        found = Verification(folder, manifest, tuple(verdicts), total, tolerance, shown)
        _write(found, worst, potentials[0], seed, steps)
    return found


def _choose(network: CrossbarNetwork, tiles: int | None, rng: np.random.Generator) -> list[tuple[CrossbarUnit, int]]:
    every = every_tile(network)
    if tiles is None or tiles >= len(every):
        return every
    return [every[place] for place in np.sort(rng.choice(len(every), tiles, replace=False)).tolist()]


def _write(found: Verification, worst: TileCase, potentials: Mapping[str, float], seed: int, steps: int) -> None:
    """The tables, and the potentials in the tile that is furthest off."""
    rows = [{key: value for key, value in asdict(v).items() if key != "columns"} for v in found.verdicts]
    write_rows(found.folder / TILES, rows, SCHEMAS[TILES])
    columns = []
    for verdict in found.verdicts:
        columns += [
            {"array": verdict.array, "tile": verdict.tile, "column": column, "deviation": float(value)}
            for column, value in enumerate(verdict.columns)
        ]
    write_rows(found.folder / COLUMNS, columns, SCHEMAS[COLUMNS])
    write_rows(found.folder / POTENTIALS, _potentials(worst, potentials), SCHEMAS[POTENTIALS])
    write_sealed(
        found.folder / SUMMARY,
        {
            "netlist": found.manifest.name,
            "hardware": found.manifest.hardware.name,
            "scheme": found.manifest.hardware.cells.scheme,
            "tiles": len(found.verdicts),
            "tiles_in_all": found.tiles_in_all,
            "steps": steps,
            "seed": seed,
            "tolerance": found.tolerance,
            "worst": found.worst,
            "passed": found.passed,
            "shown_tile": {"array": found.shown[0], "tile": found.shown[1]},
        },
    )


def _potentials(case: TileCase, read: Mapping[str, float]) -> list[dict[str, Any]]:
    """Potentials in volts at every crossing of a tile, of those that ngspice gave for its first read."""
    layout = case.layout
    tile = layout.tiles[case.number]
    rows = []
    for row in tile.rows:
        for place, nodes in enumerate(cell_nodes(layout, tile, case.unit, row, case.word_lines[row])):
            found: dict[str, Any] = {"row": row - tile.rows.start, "column": place, "bit_line": nodes.label}
            found |= {"driven": float(case.volts[0, row]), "bit": read[f"v({nodes.bit})"]}
            for name, node in zip(("word", "inverted"), nodes.words, strict=False):
                found[name] = read[f"v({node})"]
            rows.append(found)
    return rows
