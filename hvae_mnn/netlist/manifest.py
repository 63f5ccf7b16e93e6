"""What a netlist folder holds: `manifest.json`, read back with every value and every hash checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hvae_mnn.crossbar.mapping import ROLES, RowGroup
from hvae_mnn.errors import ManifestError
from hvae_mnn.files import sha256
from hvae_mnn.gates import CELLS, GATE_UNITS

FORMAT = "hvae-mnn-netlist/1"
MANIFEST = "manifest.json"
CONDUCTANCES = "conductances.safetensors"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_AN_ELEMENT = re.compile(rb"^[^*R\n]", re.MULTILINE)


@dataclass(frozen=True)
class UnitEntry:
    """One gate unit: an array and its decks."""

    name: str
    """Gate unit within its layer: `i`, `f`, ..."""
    array: str
    """Name of the array, `<layer>_<unit>`; also the prefix of its tensors in the safetensors file."""
    rows: tuple[RowGroup, ...]
    """What the word lines carry, in order."""
    columns: int
    """Number of bit lines, the hidden size."""
    weight_scale: float
    """s of w = s (1/R_s - G), weight per siemens."""
    preactivation_range: float | None
    """Largest pre-activation met in calibration, in the model's units: full scale of the ADC. None: not calibrated."""
    include: str
    """File with the array's elements."""
    deck: str
    """File that drives the array alone with its test vector."""

    @property
    def row_count(self) -> int:
        """Number of word lines."""
        return sum(group.size for group in self.rows)

    @property
    def word_lines(self) -> list[str]:
        """Names of the word lines."""
        return [f"{group.role}{index}" for group in self.rows for index in range(group.size)]


@dataclass(frozen=True)
class LayerEntry:
    """One recurrent layer."""

    name: str
    cell: str
    """`lstm`, `gru` or `rnn`."""
    input_size: int
    hidden_size: int
    peepholes: bool
    volts_per_unit: float
    """Word-line voltage that stands for the number 1."""
    input_range: dict[str, float]
    """By role (`x`, `z`, `h`, `cp`, `ct`): the largest magnitude met in calibration, in the model's units: full scale
    of the DAC."""
    weights: int
    """Number of weights, sum of rows times columns."""
    paper_weights: int
    """The paper's count for the cell's gates: gates (in + M + 1) M; 4 gates for the LSTM (page 693)."""
    deck: str
    """File that wires the whole layer."""
    units: tuple[UnitEntry, ...]

    def unit(self, name: str) -> UnitEntry:
        """The gate unit called `name`."""
        return next(unit for unit in self.units if unit.name == name)


@dataclass(frozen=True)
class Manifest:
    """A netlist folder."""

    folder: Path
    name: str
    source: dict[str, Any]
    """Where the weights came from."""
    device: dict[str, Any]
    """Parameters of the memristor, SI units."""
    fixed_siemens: float
    """1/R_s of every cell."""
    layers: tuple[LayerEntry, ...]
    files: dict[str, str]
    """SHA-256 of every file but the manifest."""

    def layer(self, name: str) -> LayerEntry:
        """The layer called `name`; raises `ManifestError` if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ManifestError(
            f"{self.folder / MANIFEST}: no layer {name!r}; found {', '.join(layer.name for layer in self.layers)}"
        )

    def units(self) -> list[tuple[LayerEntry, UnitEntry]]:
        """Every gate unit of every layer."""
        return [(layer, unit) for layer in self.layers for unit in layer.units]

    def to_dict(self) -> dict[str, Any]:
        """What `manifest.json` holds."""
        return {
            "format": FORMAT,
            "name": self.name,
            "source": self.source,
            "mapping": "eq. 12: I_k = sum_j (1/R_s - G_jk) V_j; w = weight_scale (1/R_s - G); V = volts_per_unit u",
            "device": self.device,
            "fixed_siemens": self.fixed_siemens,
            "conductances": CONDUCTANCES,
            "layers": [asdict(layer) for layer in self.layers],
            "files": self.files,
        }


def read_manifest(folder: Path, verify: bool = True) -> Manifest:
    """Read the manifest of `folder`; with `verify`, check every file's hash, and that array files hold resistors only.

    Raises `ManifestError`, naming the file, what was found and what to do.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(
            f"{folder} is no netlist folder: it has no {MANIFEST}; make one with hvae-mnn build-netlist"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ManifestError(f"{path} cannot be read: {error}; build the netlists again") from None
    manifest = _parse(folder, path, stored)
    if verify:
        _verify(manifest)
    return manifest


def _parse(folder: Path, path: Path, stored: Any) -> Manifest:
    found = stored.get("format") if isinstance(stored, dict) else type(stored).__name__
    if found != FORMAT:
        raise ManifestError(f"{path}: format is {found!r}, allowed is {FORMAT!r}; build the netlists again")
    try:
        manifest = Manifest(
            folder=folder,
            name=str(stored["name"]),
            source=dict(stored["source"]),
            device=dict(stored["device"]),
            fixed_siemens=float(stored["fixed_siemens"]),
            layers=tuple(_layer(layer) for layer in stored["layers"]),
            files={str(name): str(value) for name, value in stored["files"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestError(f"{path}: {type(error).__name__} {error}; build the netlists again") from None
    named = {CONDUCTANCES} | {file for _, unit in manifest.units() for file in (unit.include, unit.deck)}
    for file in sorted(named | {layer.deck for layer in manifest.layers} | set(manifest.files)):
        if not _PLAIN_NAME.fullmatch(file):
            raise ManifestError(
                f"{path}: file name {file!r}; allowed are plain names inside the folder; build the netlists again"
            )
        if file not in manifest.files:
            raise ManifestError(f"{path}: no hash for {file}; build the netlists again")
    return manifest


def _layer(stored: Mapping[str, Any]) -> LayerEntry:
    units = tuple(
        UnitEntry(**{**unit, "rows": tuple(RowGroup(str(row["role"]), int(row["size"])) for row in unit["rows"])})
        for unit in stored["units"]
    )
    layer = LayerEntry(**{**stored, "units": units})
    if layer.cell not in CELLS:
        raise ValueError(f"layer {layer.name}: cell {layer.cell!r}, allowed are {', '.join(CELLS)}")
    expected = [unit.name for unit in GATE_UNITS[layer.cell]]
    if [unit.name for unit in layer.units] != expected:
        raise ValueError(f"layer {layer.name}: gate units {[unit.name for unit in layer.units]}, expected {expected}")
    for unit in layer.units:
        if not _PLAIN_NAME.fullmatch(unit.array):
            raise ValueError(f"layer {layer.name}: array name {unit.array!r}, allowed are plain names")
        for group in unit.rows:
            if group.role not in ROLES or group.size < 1:
                raise ValueError(
                    f"{unit.array}: {group.size} rows of role {group.role!r}, allowed are {', '.join(ROLES)}"
                )
        if not isinstance(unit.columns, int) or unit.columns < 1:
            raise ValueError(f"{unit.array}: {unit.columns!r} columns")
    return layer


def _verify(manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        path = manifest.folder / name
        try:
            found = sha256(path)
        except OSError as error:
            raise ManifestError(
                f"{path}: {error.strerror}, but the manifest lists it; build the netlists again"
            ) from None
        if found != expected:
            raise ManifestError(
                f"{path}: SHA-256 is {found[:16]}..., the manifest says {expected[:16]}...; the file was changed or cut"
                " short: build the netlists again"
            )
    for _, unit in manifest.units():
        # A hash proves only that file and manifest belong together; a control line in a foreign folder could run
        # anything.
        found_line = _NOT_AN_ELEMENT.search((manifest.folder / unit.include).read_bytes())
        if found_line:
            raise ManifestError(
                f"{manifest.folder / unit.include}: a line at byte {found_line.start()} is no resistor; not run"
            )
