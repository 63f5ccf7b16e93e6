"""Cache of solved arrays on disk, under a hash of everything that determines a solution."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.file import hardware_to_dict
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.errors import CacheWarning, StorageError, TensorsError
from hvae_mnn.reading import is_file
from hvae_mnn.tensors import read_tensors, write_tensors

Array = NDArray[np.float64]
_FORMAT = "hvae-mnn-transfer/1"
"""Version of the solutions, raised with every change of their values."""
_KEPT = 200
"""Largest number of files; the oldest are removed first. An array of 800 x 256 takes 1.6 MB."""


class TransferCache:
    """Keeps solutions of arrays in a folder; damaged files are detected and removed."""

    def __init__(self, folder: Path | None) -> None:
        """`folder`: where to keep files; None: an empty cache that keeps nothing."""
        self._folder = folder
        self.damaged: list[Path] = []
        """Damaged files that were removed."""

    def load(self, name: str, layout: ArrayLayout, memristors: Array) -> dict[str, Array] | None:
        """The solution (`tile_solutions.solve_tiles`) for `memristors` (R, D) in siemens, or None if it is not kept."""
        path = self._path(layout, memristors)
        if path is None:
            return None
        if not is_file(path):
            return None
        with contextlib.suppress(TensorsError):
            stored = read_tensors(path, "solved array")
            if _fits(stored, layout):
                return stored
        self.damaged.append(path)
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def save(self, name: str, layout: ArrayLayout, memristors: Array, parts: Mapping[str, Array]) -> None:
        """Keep the solution `parts` of an array. If the folder is not writable, warn once (`CacheWarning`) and keep
        nothing from then on."""
        path = self._path(layout, memristors)
        if path is None:
            return
        try:
            write_tensors(path, parts)
        except StorageError as error:
            warnings.warn(
                f"{error} with HVAE_MNN_CACHE; solved arrays are not kept for the next run", CacheWarning, stacklevel=2
            )
            self._folder = None
            return
        _remove_oldest(path.parent)

    def _path(self, layout: ArrayLayout, memristors: Array) -> Path | None:
        if self._folder is None:
            return None
        described = hardware_to_dict(layout.hardware)
        parts = {key: described.get(key) for key in ("array", "wires", "drivers", "sense", "tiles")}
        parts |= {"fixed": layout.hardware.device.g_mid, "shape": memristors.shape, "format": _FORMAT}
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(memristors).tobytes())
        return self._folder / f"{digest.hexdigest()}.safetensors"


def _fits(stored: Mapping[str, Array], layout: ArrayLayout) -> bool:
    """Whether the tensors are a solution for the layout, see `tile_solutions.solve_tiles`."""
    expected: dict[str, tuple[int, ...]] = {}
    if layout.hardware.amplifier.kind == "ideal" or not np.isfinite(layout.hardware.amplifier.swing_v):
        expected = {"matrix": (layout.rows, layout.columns), "offset": (len(layout.row_blocks), layout.columns)}
    else:
        for number, tile in enumerate(layout.tiles):
            lines = len(tile.bit_lines)
            expected |= {f"transfer_{number}": (len(tile.rows), lines), f"admittance_{number}": (lines, lines)}
    if {key: value.shape for key, value in stored.items()} != expected:
        return False
    if not all(value.dtype == np.float64 and np.isfinite(value).all() for value in stored.values()):
        return False
    try:
        for key, value in stored.items():
            if key.startswith("admittance"):  # positive definite, or the amplifiers have no solution
                np.linalg.cholesky(value)
    except np.linalg.LinAlgError:
        return False
    return True


def _remove_oldest(folder: Path) -> None:
    with contextlib.suppress(OSError):
        files = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[:-_KEPT]:
            path.unlink(missing_ok=True)
