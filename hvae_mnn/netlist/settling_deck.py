"""Deck of one tile with a capacitance on every wire segment: currents after a voltage step on the word lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout, Tile
from hvae_mnn.netlist.arrays import cell_nodes, inverted
from hvae_mnn.netlist.decks import TIA_LIBRARY, driver_lines, sense_lines, sensed
from hvae_mnn.netlist.device_lines import control_prologue
from hvae_mnn.netlist.tile_deck import tile_labels

Array = NDArray[np.float64]

FINAL, CURVE = "final", "curve"
_OPTIONS = ".options klu method=gear"
"""Gear's method damps modes that are faster than a time step; with the trapezoidal rule they ring."""
_RISE = 1e-4
_POINTS = 200


def settling_deck(
    elements: str,
    array: str,
    unit: str,
    word_lines: Sequence[str],
    layout: ArrayLayout,
    tile: Tile,
    volts: Array,
    farads: float,
    expected_s: float,
) -> str:
    """Deck in which the tile's rows step from 0 V to `volts` (M,), with `farads` on every segment.

    It writes the final bit-line outputs to `final.raw`, and their transient over 2 `expected_s` seconds to `curve.raw`.
    `elements` is the tile's part of the array's file; `word_lines` are those of the whole array.
    """
    own = [word_lines[row] for row in tile.rows]
    pairs = layout.lines_per_row == 2
    # The operating point uses the DC value, the transient the PWL curve.
    steps = [f"DC {v!r} PWL(0 0 {expected_s * _RISE!r} {v!r})" for v in volts.tolist()]
    step_s = expected_s / _POINTS
    vectors = [sensed(layout, unit, label) for label in tile_labels(layout, tile)]
    library = [] if layout.hardware.amplifier.kind == "ideal" else [f".include {TIA_LIBRARY}"]
    lines = [
        f"hvae-mnn tile {tile.name} of {array}: a step with {farads:g} F on every segment",
        _OPTIONS,
        *library,
        elements.rstrip("\n"),
        *driver_lines(own, steps, pairs),
        *sense_lines(layout, unit, tile_labels(layout, tile)),
        *_capacitors(layout, tile, unit, word_lines, farads),
        *(f".save {vector}" for vector in vectors),
        ".control",
        *control_prologue("behavioural"),
        "op",
        f"write {FINAL}.raw all",
        f"tran {step_s!r} {2 * expected_s!r} 0 {step_s!r}",
        f"write {CURVE}.raw all",
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"


def _capacitors(layout: ArrayLayout, tile: Tile, unit: str, word_lines: Sequence[str], farads: float) -> list[str]:
    """A capacitor per node without a source: `farads` for every segment that the node represents."""
    segments: Counter[str] = Counter()
    for row in tile.rows:
        line = word_lines[row]
        for nodes in cell_nodes(layout, tile, unit, row, line):
            segments.update(node for node in nodes.words if node not in (line, inverted(line)))
            segments[nodes.bit] += 1
    return [f"C{number} {node} 0 {count * farads!r}" for number, (node, count) in enumerate(segments.items())]
