"""Deck of repeated reads of a whole array, with each read's noise as current sources in the circuit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.netlist.decks import driver_lines, model_lines, noise_lines, options, sense_lines
from hvae_mnn.netlist.device_lines import control_prologue
from hvae_mnn.netlist.running import reading_lines, save_lines

Array = NDArray[np.float64]


def array_deck(
    array: str,
    unit: str,
    word_lines: Sequence[str],
    layout: ArrayLayout,
    include: str,
    volts: Array,
    noise: Array | None,
    names: Sequence[str],
) -> str:
    """Deck that reads the array in the file `include` once per row of `volts` (K, R), in volts.

    Read k writes its bit-line outputs (`running.sensed_vectors`) to `<name>.raw`, with the name `names[k]`. `noise`
    (K, outputs) in amperes is added by current sources, see `decks.noise_lines`; None: no noise.
    """
    sources = [] if noise is None else [list(noise_lines(layout, unit, row)) for row in noise]
    commands = []
    for number, name in enumerate(names):
        if number:
            changed = np.flatnonzero(volts[number] != volts[number - 1]).tolist()
            commands += [f"alter V{word_lines[row]} dc = {float(volts[number, row])!r}" for row in changed]
        if number and sources:
            for line in sources[number]:
                source, _, _, _, value = line.split()
                commands.append(f"alter {source} dc = {value}")
        commands += ["op", f"write {name}.raw"]
    lines = [
        f"hvae-mnn array {array}: {len(names)} reads",
        options(layout),
        *model_lines(layout, None),
        # Saved nodes precede all other nodes, see `running_deck`.
        *sense_lines(layout, unit),
        *reading_lines(layout, unit),
        f".include {include}",
        *driver_lines(word_lines, [f"DC {value!r}" for value in volts[0].tolist()], layout.lines_per_row == 2),
        *(sources[0] if sources else []),
        *save_lines(layout, unit, None),
        ".control",
        *control_prologue("behavioural"),
        *commands,
        ".endc",
        ".end",
    ]
    return "\n".join(lines) + "\n"
