"""Conductances to program, from a netlist folder, a file, an array, or random numbers."""

from __future__ import annotations

import io
import math
import tokenize
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.presets import AIST, find_device
from hvae_mnn.errors import InputError
from hvae_mnn.netlist.conductances import read_conductances
from hvae_mnn.netlist.file_names import MANIFEST
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.reading import is_folder, is_missing, read_bytes, read_text, shown

Array = NDArray[np.float64]
_MOST_DEVICES = 100_000_000
_TABLE_BYTES = 2**30
"""Largest file of target conductances, in bytes."""
_LONGEST_NAME = 100
"""Largest length of a name from a file name, which becomes part of a folder name."""


@dataclass(frozen=True)
class Targets:
    """Target conductances and the device that holds them."""

    name: str
    """Name of the netlist folder or the file."""
    origin: str
    """Source of the targets, for the summary."""
    spec: MemristorSpec
    arrays: dict[str, Array]
    """Conductances (R, C) by array name, siemens."""

    @property
    def devices(self) -> int:
        """Number of devices."""
        return sum(array.size for array in self.arrays.values())


def find_targets(
    source: str | Path | Array | None,
    random: tuple[int, int] | None,
    device: MemristorSpec | str | Path | None,
    seed: int,
) -> Targets:
    """The conductances in `source`, or R x C of `random` = (R, C), uniform over the device's range.

    `source` is a netlist folder (all its arrays; `device` replaces its device), a `.npy` or `.csv` file, or an array
    (R, C), in siemens. Raises `InputError`, `ManifestError`, `DeviceError`.
    """
    given = find_device(device) if isinstance(device, str | Path) else device
    if (source is None) == (random is None):
        raise InputError("give either a netlist folder or file with target conductances, or --random R C")
    if random is not None:
        return _random(random, given or AIST, seed)
    if isinstance(source, np.ndarray):
        return Targets("array", "an array", given or AIST, {"array": _checked(source, "the array")})
    path = Path(str(source))
    if is_folder(path) or path.name == MANIFEST:
        manifest = read_manifest(path)
        arrays = {name: stored.conductance for name, stored in read_conductances(manifest).items()}
        return Targets(manifest.name, str(manifest.folder), given or manifest.device, arrays)
    name = "".join(letter if letter.isprintable() else "-" for letter in path.stem)[:_LONGEST_NAME]
    return Targets(name, str(path), given or AIST, {name: _checked(_read(path), shown(path))})


def _random(shape: tuple[int, int], spec: MemristorSpec, seed: int) -> Targets:
    rows, columns = shape
    if rows < 1 or columns < 1 or rows * columns > _MOST_DEVICES:
        raise InputError(
            f"--random is {rows} x {columns}; allowed: 1 row and column or more, {_MOST_DEVICES:,} devices at most"
        )
    # A separate stream: the targets do not depend on the spread of the devices.
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    values = rng.uniform(spec.g_min, spec.g_max, shape)
    name = f"random-{rows}x{columns}"
    return Targets(name, f"{rows} x {columns}, even over the device's range, seed {seed}", spec, {"random": values})


def _read(path: Path) -> NDArray[np.generic]:
    if path.suffix not in (".npy", ".csv"):
        raise InputError(
            f"{shown(path)} is not a netlist folder; allowed: a netlist folder, or a file that ends in .npy or .csv"
        )
    if is_missing(path):
        raise InputError(
            f"{shown(path)} does not exist; give a netlist folder, a .npy or .csv file of siemens, or --random R C"
        )
    try:
        if path.suffix == ".npy":
            return _npy(read_bytes(path, _TABLE_BYTES, "table of conductances"))
        text = read_text(path, _TABLE_BYTES, "table of conductances")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty file is refused below
            return np.loadtxt(io.StringIO(text, newline=None), delimiter=",", ndmin=2)
    except (ValueError, SyntaxError, RecursionError, tokenize.TokenError) as error:
        raise InputError(
            f"{shown(path)} cannot be read: {shown(error)}; allowed: a table of conductances in siemens"
        ) from None


def _npy(data: bytes) -> NDArray[np.generic]:
    """The array in a `.npy` file's content. Raises `ValueError` for objects, and for a size other than the data's."""
    file = io.BytesIO(data)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"it has version {version} of the format; allowed: {', '.join(map(str, readers))}")
    shape, fortran, dtype = readers[version](file)
    if dtype.kind not in "fiu":
        raise ValueError(f"it holds {shown(dtype)}, not numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"its shape is {shown(shape)} of {dtype}, for which it has {len(data) - file.tell():,} bytes")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")


def _checked(values: NDArray[np.generic], what: str) -> Array:
    if values.ndim not in (1, 2) or values.size == 0 or values.dtype.kind not in "fiu":
        raise InputError(
            f"{what} holds {values.dtype} of shape {values.shape}; allowed: a row or a table of numbers:"
            " conductances in siemens"
        )
    table = np.ascontiguousarray(np.atleast_2d(values), dtype=np.float64)
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise InputError(
            f"{what}, row {row + 1}, column {column + 1}: {table[row, column]} is not a conductance; allowed: finite"
            " numbers"
        )
    return table
