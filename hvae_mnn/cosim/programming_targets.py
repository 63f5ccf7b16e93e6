"""Where the conductances to program come from: a netlist folder, a file, an array, or chance."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.presets import AIST, find_device
from hvae_mnn.errors import InputError
from hvae_mnn.netlist.manifest import CONDUCTANCES, MANIFEST, read_manifest

Array = NDArray[np.float64]
_MOST_DEVICES = 100_000_000


@dataclass(frozen=True)
class Targets:
    """What is to be programmed, and into what."""

    name: str
    """Of the netlist folder or the file."""
    origin: str
    """Where it came from, for the summary."""
    spec: MemristorSpec
    arrays: dict[str, Array]
    """(R, C) siemens, by name."""

    @property
    def devices(self) -> int:
        """How many devices there are in all."""
        return sum(array.size for array in self.arrays.values())


def find_targets(
    source: str | Path | Array | None,
    random: tuple[int, int] | None,
    device: MemristorSpec | str | Path | None,
    seed: int,
) -> Targets:
    """The conductances in `source`, or `random` (R, C) ones, even over the device's range.

    `source` is a netlist folder (all of its arrays; its device unless `device` says otherwise), a `.npy` or `.csv`
    file, or an array. Raises `InputError`, `ManifestError`, `DeviceError`.
    """
    given = find_device(device) if isinstance(device, str | Path) else device
    if (source is None) == (random is None):
        raise InputError("give either a netlist folder or file with target conductances, or --random R C")
    if random is not None:
        return _random(random, given or AIST, seed)
    if isinstance(source, np.ndarray):
        return Targets("array", "an array", given or AIST, {"array": _checked(source, "the array")})
    path = Path(str(source))
    if path.is_dir() or path.name == MANIFEST:
        manifest = read_manifest(path)
        tensors = load_file(manifest.folder / CONDUCTANCES)
        arrays = {unit.array: tensors[f"{unit.array}.conductance"] for _, unit in manifest.units()}
        return Targets(manifest.name, str(manifest.folder), given or manifest.device, arrays)
    return Targets(path.stem, str(path), given or AIST, {path.stem: _checked(_read(path), str(path))})


def _random(shape: tuple[int, int], spec: MemristorSpec, seed: int) -> Targets:
    rows, columns = shape
    if rows < 1 or columns < 1 or rows * columns > _MOST_DEVICES:
        raise InputError(
            f"--random is {rows} x {columns}; allowed are 1 row and column or more, {_MOST_DEVICES:,} devices at most"
        )
    # A stream of its own: the targets stay when the spread of the devices changes.
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    values = rng.uniform(spec.g_min, spec.g_max, shape)
    name = f"random-{rows}x{columns}"
    return Targets(name, f"{rows} x {columns}, even over the device's range, seed {seed}", spec, {"random": values})


def _read(path: Path) -> Array:
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if path.suffix == ".csv":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # an empty file: refused below
                return np.loadtxt(path, delimiter=",", ndmin=2)
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; give a netlist folder, a .npy or .csv file of siemens, or --random R C"
        ) from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}; needed is a table of conductances in siemens") from None
    raise InputError(f"{path} is no netlist folder; files of target conductances end in .npy or .csv")


def _checked(values: NDArray[np.generic], what: str) -> Array:
    if values.ndim not in (1, 2) or values.size == 0 or values.dtype.kind not in "fiu":
        raise InputError(
            f"{what} holds {values.dtype} of shape {values.shape}; needed is a row or a table of numbers:"
            " conductances in siemens"
        )
    return np.atleast_2d(values).astype(np.float64)
