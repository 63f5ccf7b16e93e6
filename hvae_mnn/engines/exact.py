"""The exact engine: wires, drivers and amplifiers solved once per tile, then one dense product per step.

A linear array with fixed states is a matrix. `crossbar.transfer` solves the matrix of every tile, tiles of one shape
together, and `crossbar.sensing` adds the amplifiers. With saturating amplifiers or a nonlinear read law, a read is more
than a product (`tile_solutions`). ngspice is the referee (`hvae-mnn verify`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.engines.dense import at_once, in_blocks
from hvae_mnn.engines.tile_solutions import NonlinearArray, SaturatingArray, solve_tiles
from hvae_mnn.engines.transfer_cache import TransferCache
from hvae_mnn.parallel.cluster import Cluster

Array = NDArray[np.float64]
_TILES_PER_TASK = 16
_CELLS_PER_TASK = 2**18
"""Largest number of tiles, and of cells, that are solved together."""


@dataclass(frozen=True)
class _Job:
    """Tiles of one shape that are solved together."""

    layout: ArrayLayout
    tiles: tuple[tuple[str, int], ...]
    """Array of each tile, and the tile's number in it."""
    cells: Array
    """(B, W, M, N) siemens."""


class ExactEngine:
    """Reads wired arrays with fixed states at the speed of a dense product."""

    name = "exact"

    def __init__(
        self,
        conductances: Mapping[str, Array],
        layouts: Mapping[str, ArrayLayout],
        *,
        cache: TransferCache | None = None,
        cluster: Cluster | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Solve every tile that is not in `cache`, on `cluster`.

        `conductances` are the memristors (R, D) in siemens by array, `layouts` the tiles by array; `progress(done,
        total)` counts batches of tiles. Raises `RunError` if a worker fails twice.
        """
        start = time.perf_counter()
        self._layouts = dict(layouts)
        self._matrix: dict[str, tuple[Array, Array]] = {}
        self._others: dict[str, NonlinearArray | SaturatingArray] = {}
        self.seconds = 0.0
        cache = cache or TransferCache(None)
        cluster = cluster or Cluster.here()
        wanted, self._from_cache = {}, 0
        for name, layout in layouts.items():
            if layout.hardware.cells.read_law == "sinh":
                self._others[name] = NonlinearArray(layout, conductances[name])
                continue
            known = cache.load(name, layout, conductances[name])
            if known is None:
                wanted[name] = conductances[name]
            else:
                self._from_cache += 1
                self._take(name, known)
        solved = _solve(wanted, layouts, cluster, progress)
        for name, parts in solved.items():
            cache.save(name, layouts[name], conductances[name], parts)
            self._take(name, parts)
        self.seconds_loading = time.perf_counter() - start
        self._damaged = len(cache.damaged)

    def _take(self, name: str, parts: Mapping[str, Array]) -> None:
        """Keep an array's solution `parts`: its matrix, or its tiles behind saturating amplifiers."""
        layout = self._layouts[name]
        if "matrix" in parts:
            self._matrix[name] = (parts["matrix"], parts["offset"])
        else:
            self._others[name] = SaturatingArray(layout, parts)

    def currents(self, volts: Mapping[str, Float64[Array, "B _"]]) -> dict[str, Float64[Array, "B _"]]:
        """See `Engine.currents`."""
        start = time.perf_counter()
        currents = {}
        for name, value in volts.items():
            if name in self._others:
                currents[name] = self._others[name].currents(value)
            else:
                layout, (matrix, offset) = self._layouts[name], self._matrix[name]
                constant = offset if layout.sums > 1 else offset.sum(axis=0)
                currents[name] = in_blocks(layout, matrix, value, at_once) + constant.ravel()
        self.seconds += time.perf_counter() - start
        return currents

    def tile_currents(self, name: str, number: int, volts: Float64[Array, "B M"]) -> Float64[Array, "B N"]:
        """Currents (B, columns of the tile) for signed weights of one tile, for `volts` (B, R) of the array `name`.

        Amperes and volts; `number` is the tile's index in the layout.
        """
        if name in self._others:
            return self._layouts[name].signed(self._others[name].tile_currents(number, volts))
        tile = self._layouts[name].tiles[number]
        matrix, offset = self._matrix[name]
        columns = slice(tile.columns.start, tile.columns.stop)
        own = matrix[tile.rows.start : tile.rows.stop, columns]
        currents: Array = volts[:, tile.rows.start : tile.rows.stop] @ own + offset[tile.row_block, columns]
        return currents

    def matrix(self, name: str) -> Float64[Array, "R C"] | None:
        """Transfer matrix (R, C) of all tiles of the array `name`, in amperes per volt; None for a nonlinear array."""
        return self._matrix[name][0] if name in self._matrix else None

    def drift(self, name: str) -> Array | None:
        """See `Engine.drift`: states are fixed here."""
        return None

    def position(self) -> dict[str, Array]:
        """See `Engine.position`."""
        return {}

    def restore(self, position: Mapping[str, Array]) -> None:
        """See `Engine.restore`."""

    def close(self) -> None:
        """See `Engine.close`: there is nothing to release."""

    def facts(self) -> dict[str, object]:
        """See `Engine.facts`."""
        return {
            "solver": "block recursion and dense product",
            "arrays": len(self._layouts),
            "arrays_from_cache": self._from_cache,
            "damaged_cache_files": self._damaged,
            "seconds_loading": round(self.seconds_loading, 3),
        }


def _solve(
    conductances: Mapping[str, Array],
    layouts: Mapping[str, ArrayLayout],
    cluster: Cluster,
    progress: Callable[[int, int], None] | None,
) -> dict[str, dict[str, Array]]:
    """Solutions by array name."""
    jobs = list(_jobs(conductances, layouts))
    answers = cluster.map(_solve_job, jobs, progress=progress)
    tiles: dict[str, list[dict[str, Array]]] = {name: [{} for _ in layouts[name].tiles] for name in conductances}
    for job, answer in zip(jobs, answers, strict=True):
        for number, (name, tile) in enumerate(job.tiles):
            tiles[name][tile] = {key: value[number] for key, value in answer.items()}
    return {name: _together(layouts[name], parts) for name, parts in tiles.items()}


def _jobs(conductances: Mapping[str, Array], layouts: Mapping[str, ArrayLayout]) -> Sequence[_Job]:
    # Never tiles of two arrays: the last bits depend on what is solved together, and must not depend on the cache.
    by_shape: dict[tuple[str, int, int], list[tuple[str, int]]] = {}
    for name in conductances:
        for number, tile in enumerate(layouts[name].tiles):
            by_shape.setdefault((name, len(tile.rows), len(tile.bit_lines)), []).append((name, number))
    jobs = []
    for (_, rows, columns), tiles in by_shape.items():
        count = max(1, min(_TILES_PER_TASK, _CELLS_PER_TASK // (rows * columns)))
        for start in range(0, len(tiles), count):
            part = tuple(tiles[start : start + count])
            cells = [layouts[name].cells(layouts[name].tiles[number], conductances[name]) for name, number in part]
            jobs.append(_Job(layouts[part[0][0]], part, np.stack(cells)))
    return jobs


def _solve_job(job: _Job) -> dict[str, Array]:
    return solve_tiles(job.layout, job.cells)


def _together(layout: ArrayLayout, tiles: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Solution of an array from the solutions of its `tiles`."""
    if "transfer" in tiles[0]:
        return {f"{key}_{number}": value for number, tile in enumerate(tiles) for key, value in tile.items()}
    matrix = np.empty((layout.rows, layout.columns))
    offset = np.zeros((len(layout.row_blocks), layout.columns))
    for tile, parts in zip(layout.tiles, tiles, strict=True):
        columns = slice(tile.columns.start, tile.columns.stop)
        matrix[tile.rows.start : tile.rows.stop, columns] = parts["matrix"]
        offset[tile.row_block, columns] = parts["offset"]
    return {"matrix": matrix, "offset": offset}
