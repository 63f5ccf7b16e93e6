"""Tensors of `conductances.safetensors`, and the checks on reading it: hash, names, shapes, finite values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.mapping import GateArray
from hvae_mnn.crossbar.network import CrossbarNetwork
from hvae_mnn.errors import InputError, ManifestError
from hvae_mnn.netlist.file_names import CONDUCTANCES
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.reading import read_bytes
from hvae_mnn.tensors import Tensors, parse_tensors

Array = NDArray[np.float64]
_HEADER_BYTES = 2**20
"""Upper limit for a header with the names of a build's tensors."""


@dataclass(frozen=True)
class StoredArray:
    """Stored values of an array of R x C weights with D memristors per row."""

    conductance: Array
    """(R, D) siemens."""
    test_volts: Array
    """(R,) volts: the test vector."""
    ideal_currents: Array
    """(C,) amperes for signed weights, from the test vector without wires."""


def stored_tensors(array: GateArray, test_volts: Array) -> Tensors:
    """Tensors of an array by their names in the file; `test_volts` (R,) is its test vector in volts."""
    # Summed row by row: a BLAS product may differ in its last bit from machine to machine, and with it the hash.
    cells = test_volts[:, np.newaxis] * array.layout.without_wires(array.conductance)  # (R, C)
    values = StoredArray(array.conductance, test_volts, cells.sum(axis=0))
    return {f"{array.name}.{name}": value for name, value in vars(values).items()}


def read_conductances(manifest: Manifest) -> dict[str, StoredArray]:
    """Stored values of every array of a build, by array name.

    Raises `ManifestError` for a file that does not match the manifest's hash, for tensors of other names, shapes or
    types, for NaN or infinite values, and for conductances below 0.
    """
    path, shapes = manifest.folder / CONDUCTANCES, _shapes(manifest)
    most = _HEADER_BYTES + 8 * sum(int(np.prod(shape)) for shape in shapes.values())
    try:
        data = read_bytes(path, most, "file of conductances")
        if hashlib.sha256(data).hexdigest() != manifest.files[CONDUCTANCES]:
            raise ManifestError(f"{path} was changed since it was checked; build the netlists again")
        tensors = parse_tensors(data, path)
    except InputError as error:
        raise error if isinstance(error, ManifestError) else ManifestError(f"{error}") from None
    for name in sorted(set(tensors) ^ set(shapes)):
        problem = "no" if name in shapes else "an unknown"
        raise ManifestError(f"{path} has {problem} tensor {name!r}; build the netlists again")
    for name, shape in shapes.items():
        _check(f"{path}: tensor {name}", tensors[name], shape)
    names = [unit.array for _, unit in manifest.units()]
    return {
        name: StoredArray(*(tensors[f"{name}.{kind}"] for kind in StoredArray.__dataclass_fields__)) for name in names
    }


def _shapes(network: CrossbarNetwork) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for _, unit in network.units():
        layout = network.layout(unit)
        shapes[f"{unit.array}.conductance"] = (layout.rows, layout.memristors)
        shapes[f"{unit.array}.test_volts"] = (layout.rows,)
        shapes[f"{unit.array}.ideal_currents"] = (layout.columns,)
    return shapes


def _check(what: str, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.dtype != np.float64 or values.shape != shape:
        raise ManifestError(
            f"{what} is {values.dtype} of shape {values.shape}, the manifest's is float64 of shape {shape}; build the"
            " netlists again"
        )
    bad = values[~np.isfinite(values)]
    if not bad.size and what.endswith(".conductance"):
        bad = values[values < 0]  # a device that is stuck open has 0
    if bad.size:
        raise ManifestError(
            f"{what} has {bad.size} impossible values, {bad[0]} the first; allowed: finite numbers"
            f"{', 0 or above' if what.endswith('.conductance') else ''}; build the netlists again"
        )
