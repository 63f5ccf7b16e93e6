"""Deck of a worker: an array with externally driven word lines, and one window of time per read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.devices.moving import MovingDevices
from hvae_mnn.netlist.arrays import amplifier_output, sense_labels, sense_source, state_nodes
from hvae_mnn.netlist.decks import driver_lines, model_lines, options, sense_lines
from hvae_mnn.netlist.device_lines import READ_OPTIONS

WINDOW_S = 1e-3
"""Length of one read in seconds; without reactive elements it only spaces the time points."""
WINDOWS_PER_RUN = 2048
"""Largest number of windows in a transient of resistors; the first window is idle."""
_SAVED_PER_LINE = 100


def running_deck(
    unit: str,
    word_lines: Sequence[str],
    layout: ArrayLayout,
    include: str,
    windows: int,
    moving: MovingDevices | None = None,
) -> list[str]:
    """Lines of the deck, for a transient of `windows` windows.

    A window takes `WINDOW_S`; with `moving` memristors, whose states are saved as well, it takes their `read_s`.

    Bit-line outputs come first: ngspice searches every name of a `.save` among all nodes in the order of the deck, and
    3,000 names behind a quarter of a million nodes take minutes.

    The clock's edge at the end of every window makes ngspice take a time point there, and begin the next window with a
    short first-order step, so that no step averages over two reads.
    """
    window_s = WINDOW_S if moving is None else moving.read_s
    clock = [] if moving is None else [f"Vclock clock 0 PWL(0 0 {window_s!r} 1) r=0"]
    return [
        f"hvae-mnn worker {unit}",
        options(layout) if moving is None else READ_OPTIONS,
        *model_lines(layout, moving),
        *sense_lines(layout, unit),
        *reading_lines(layout, unit),
        f".include {include}",
        *driver_lines(word_lines, ["DC 0 external"] * len(word_lines), layout.lines_per_row == 2),
        *clock,
        *save_lines(layout, unit, moving),
        f".tran {window_s!r} {windows * window_s!r} 0 {window_s!r}",
        ".end",
    ]


def reading_lines(layout: ArrayLayout, unit: str) -> Iterator[str]:
    """Nodes whose voltages are the bit-line currents, for bit lines without an amplifier: ngspice searches the names of
    currents behind those of all nodes."""
    if layout.hardware.amplifier.kind == "ideal":
        for label in sense_labels(layout):
            yield f"Hs{unit}{label} {amplifier_output(unit, label)} 0 {sense_source(unit, label)} 1"


def save_lines(layout: ArrayLayout, unit: str, moving: MovingDevices | None) -> Iterator[str]:
    """Lines that save only the bit-line outputs, and the states of moving memristors."""
    saved = [*sensed_vectors(layout, unit), *([] if moving is None else state_nodes(layout, unit))]
    # Many short lines: ngspice would truncate one long line.
    for start in range(0, len(saved), _SAVED_PER_LINE):
        yield f".save {' '.join(f'v({name})' for name in saved[start : start + _SAVED_PER_LINE])}"


def sensed_vectors(layout: ArrayLayout, unit: str) -> list[str]:
    """Names of ngspice's vectors of the bit-line outputs, tile by tile."""
    return [amplifier_output(unit, label) for label in sense_labels(layout)]
