"""Deck of a single tile, cut out of its array's file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout, Tile
from hvae_mnn.errors import ManifestError
from hvae_mnn.netlist.arrays import amplifier_output, sense_labels, sense_source
from hvae_mnn.netlist.decks import TIA_LIBRARY, driver_lines, options, sense_lines
from hvae_mnn.netlist.device_lines import control_prologue

Array = NDArray[np.float64]


def tile_elements(include: Path, array: str, layout: ArrayLayout, sha256: str) -> list[str]:
    """Text of every tile in the file `include`, in the layout's order.

    Raises `ManifestError` if a tile is missing, or if the file's hash is not `sha256`, as in its manifest.
    """
    content = include.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ManifestError(f"{include} was changed since it was checked; build the netlists again")
    text = content.decode("ascii")
    starts: list[int] = []
    for tile in layout.tiles:
        start = text.find(f"* tile {tile.name} of {array}:", starts[-1] if starts else 0)
        if start < 0:
            raise ManifestError(f"{include}: tile {tile.name} is missing; build the netlists again")
        starts.append(start)
    return [text[start:stop] for start, stop in zip(starts, [*starts[1:], len(text)], strict=True)]


def tile_labels(layout: ArrayLayout, tile: Tile) -> list[str]:
    """Labels of the tile's sense ends: the part of their names behind the unit's name."""
    offset = 0
    for other in layout.tiles:
        if other == tile:
            break
        offset += len(other.bit_lines)
    return sense_labels(layout)[offset : offset + len(tile.bit_lines)]


def tile_vectors(layout: ArrayLayout, tile: Tile, unit: str) -> list[str]:
    """Names of the tile's bit-line outputs in ngspice's raw file."""
    if layout.hardware.amplifier.kind == "ideal":
        return [f"i({sense_source(unit, label).lower()})" for label in tile_labels(layout, tile)]
    return [f"v({amplifier_output(unit, label)})" for label in tile_labels(layout, tile)]


def tile_deck(
    elements: str,
    array: str,
    unit: str,
    word_lines: Sequence[str],
    layout: ArrayLayout,
    tile: Tile,
    volts: Array,
    names: Sequence[str],
) -> str:
    """Deck that reads one tile once per row of `volts` (K, M), in volts.

    Read k writes all potentials to `<name>.raw`, with the name `names[k]`. `elements` is the tile's part of the array's
    file; `word_lines` are those of the whole array.
    """
    own = [word_lines[row] for row in tile.rows]
    pairs = layout.lines_per_row == 2
    first = [f"DC {value!r}" for value in volts[0].tolist()]
    commands = []
    for number, name in enumerate(names):
        if number:
            changed = np.flatnonzero(volts[number] != volts[number - 1])
            commands += [f"alter V{own[row]} dc = {float(volts[number, row])!r}" for row in changed]
        commands += ["op", f"write {name}.raw all"]
    library = [] if layout.hardware.amplifier.kind == "ideal" else [f".include {TIA_LIBRARY}"]
    lines = [
        f"hvae-mnn tile {tile.name} of {array}: {len(names)} reads",
        options(layout),
        *library,
        elements.rstrip("\n"),
        *driver_lines(own, first, pairs),
        *sense_lines(layout, unit, tile_labels(layout, tile)),
        ".control",
        *control_prologue("behavioural"),
        *commands,
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"
