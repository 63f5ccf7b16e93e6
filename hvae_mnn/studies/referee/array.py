"""Reads of whole arrays in ngspice from their netlists on disk, with read noise in the circuit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.engines.array_process import ArrayDeck, copy_files
from hvae_mnn.netlist.array_deck import array_deck
from hvae_mnn.netlist.decks import amperes_per_sensed
from hvae_mnn.netlist.running import sensed_vectors
from hvae_mnn.spice.batch import deck_folder, read_point, run_text

Array = NDArray[np.float64]
LIMIT_S = 3600.0
"""Time limit of ngspice for an array, seconds."""


@dataclass(frozen=True)
class ArrayCase:
    """An array with K reads for ngspice."""

    deck: ArrayDeck
    volts: Array
    """Voltages (K, R) of the word lines."""
    noise: Array | None
    """Currents (K, outputs) that read noise adds, amperes; None: no noise."""


def ngspice_currents(case: ArrayCase) -> Array:
    """Currents (K, outputs) for signed weights, amperes.

    Raises `SimulatorError`, and keeps the folder of the deck, or `EnvironmentProblem` if ngspice does not run here.
    """
    deck, layout = case.deck, case.deck.layout
    names = [f"read{number}" for number in range(len(case.volts))]
    # An amplifier has no node at which a current is merely added: its noise is added to the reading.
    inside = case.noise if layout.hardware.amplifier.kind == "ideal" else None
    vectors = [f"v({name})" for name in sensed_vectors(layout, deck.unit)]
    with deck_folder("verify") as folder:
        include = copy_files(deck, folder)
        text = array_deck(deck.name, deck.unit, deck.word_lines, layout, include, case.volts, inside, names)
        reads = [read_point(path) for path in run_text(text, folder, "array", names, LIMIT_S)]
    sensed = np.array([[read[name] for name in vectors] for read in reads])
    # The voltage of an ammeter's output node equals the current.
    currents = layout.read_out(sensed * amperes_per_sensed(layout))
    return currents if case.noise is None or inside is not None else currents + case.noise
