"""The exact engine: wires, drivers and amplifiers solved once per tile, then one dense product per step.

A frozen linear array is a matrix. `crossbar.transfer` finds that of every tile, tiles of one shape at a time; what the
amplifiers add is `crossbar.sensing`. Amplifiers that saturate, and memristors with a nonlinear read law, make a read
more than a product: `crossbar.nonlinear` solves them for all reads at once. ngspice is the referee (`hvae-mnn verify`).
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
"""Tiles of one shape are solved together, up to so many cells of them."""


@dataclass(frozen=True)
class _Job:
    """Tiles of one shape, to be solved together."""

    layout: ArrayLayout
    places: tuple[tuple[str, int], ...]
    """Array and number of the tile in it."""
    cells: Array
    """(B, W, M, N) siemens."""


class ExactEngine:
    """Reads wired arrays at the speed of a dense product."""

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
        """By array: memristors (R, D) in siemens, and the layout. Solves every tile that `cache` does not have, on
        `cluster`; `progress(done, of)` counts batches of tiles.

        Raises `RunError` when a worker fails for good.
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
        """An array's solution: its matrix, or what saturating amplifiers need."""
        layout = self._layouts[name]
        if "matrix" in parts:
            self._matrix[name] = (parts["matrix"], parts["offset"])
        else:
            self._others[name] = SaturatingArray(layout, parts)

    def currents(self, volts: Mapping[str, Float64[Array, "B _"]]) -> dict[str, Float64[Array, "B _"]]:
        """See `Engine.currents`."""
        start = time.perf_counter()
        found = {}
        for name, value in volts.items():
            if name in self._others:
                found[name] = self._others[name].currents(value)
            else:
                layout, (matrix, offset) = self._layouts[name], self._matrix[name]
                constant = offset if layout.sums > 1 else offset.sum(axis=0)
                found[name] = in_blocks(layout, matrix, value, at_once) + constant.ravel()
        self.seconds += time.perf_counter() - start
        return found

    def tile_currents(self, name: str, number: int, volts: Float64[Array, "B M"]) -> Float64[Array, "B N"]:
        """Currents (B, columns of the tile) for signed weights, of one tile of an array, for volts (B, R)."""
        if name in self._others:
            return self._layouts[name].signed(self._others[name].tile_currents(number, volts))
        tile = self._layouts[name].tiles[number]
        matrix, offset = self._matrix[name]
        columns = slice(tile.columns.start, tile.columns.stop)
        own = matrix[tile.rows.start : tile.rows.stop, columns]
        found: Array = volts[:, tile.rows.start : tile.rows.stop] @ own + offset[tile.row_block, columns]
        return found

    def matrix(self, name: str) -> Float64[Array, "R C"] | None:
        """Amperes per volt (R, C) of a linear array, all of its tiles together; None of one that clips or bends."""
        return self._matrix[name][0] if name in self._matrix else None

    def drift(self, name: str) -> Array | None:
        """See `Engine.drift`: nothing moves here."""
        return None

    def position(self) -> dict[str, Array]:
        """See `Engine.position`."""
        return {}

    def restore(self, position: Mapping[str, Array]) -> None:
        """See `Engine.restore`."""

    def close(self) -> None:
        """Nothing to release."""

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
    """The solution of every array, by name."""
    jobs = list(_jobs(conductances, layouts))
    answers = cluster.map(_solve_job, jobs, progress=progress)
    tiles: dict[str, list[dict[str, Array]]] = {name: [{} for _ in layouts[name].tiles] for name in conductances}
    for job, answer in zip(jobs, answers, strict=True):
        for number, (name, tile) in enumerate(job.places):
            tiles[name][tile] = {key: value[number] for key, value in answer.items()}
    return {name: _together(layouts[name], parts) for name, parts in tiles.items()}


def _jobs(conductances: Mapping[str, Array], layouts: Mapping[str, ArrayLayout]) -> Sequence[_Job]:
    # Arrays apart: what else is solved together has a say in the last bits, and which arrays are in the cache must not.
    by_shape: dict[tuple[str, int, int], list[tuple[str, int]]] = {}
    for name in conductances:
        for number, tile in enumerate(layouts[name].tiles):
            by_shape.setdefault((name, len(tile.rows), len(tile.bit_lines)), []).append((name, number))
    found = []
    for (_, rows, columns), places in by_shape.items():
        count = max(1, min(_TILES_PER_TASK, _CELLS_PER_TASK // (rows * columns)))
        for start in range(0, len(places), count):
            part = tuple(places[start : start + count])
            cells = [layouts[name].cells(layouts[name].tiles[number], conductances[name]) for name, number in part]
            found.append(_Job(layouts[part[0][0]], part, np.stack(cells)))
    return found


def _solve_job(job: _Job) -> dict[str, Array]:
    return solve_tiles(job.layout, job.cells)


def _together(layout: ArrayLayout, tiles: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """An array's solution, of those of its tiles."""
    if "transfer" in tiles[0]:
        return {f"{key}_{number}": value for number, tile in enumerate(tiles) for key, value in tile.items()}
    matrix = np.empty((layout.rows, layout.columns))
    offset = np.zeros((len(layout.row_blocks), layout.columns))
    for tile, parts in zip(layout.tiles, tiles, strict=True):
        columns = slice(tile.columns.start, tile.columns.stop)
        matrix[tile.rows.start : tile.rows.stop, columns] = parts["matrix"]
        offset[tile.row_block, columns] = parts["offset"]
    return {"matrix": matrix, "offset": offset}
