"""Whole arrays read by ngspice from the netlist as it lies on disk, with their read noise in the circuit."""

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
"""Longest time that ngspice may take for an array."""


@dataclass(frozen=True)
class ArrayCase:
    """An array, and the reads that ngspice is asked for."""

    deck: ArrayDeck
    volts: Array
    """(K, R) on the word lines."""
    noise: Array | None
    """(K, outputs) amperes that the read noise adds; None: no noise."""


def ngspice_currents(case: ArrayCase) -> Array:
    """Currents (K, outputs) in amperes for signed weights.

    Raises `SimulatorError`, after which the deck's folder stays, or `EnvironmentProblem` when ngspice cannot.
    """
    deck, layout = case.deck, case.deck.layout
    names = [f"read{number}" for number in range(len(case.volts))]
    # An amplifier has no node where a current would only be added: there, noise is added to what is read.
    inside = case.noise if layout.hardware.amplifier.kind == "ideal" else None
    vectors = [f"v({name})" for name in sensed_vectors(layout, deck.unit)]
    with deck_folder("verify") as folder:
        include = copy_files(deck, folder)
        text = array_deck(deck.name, deck.unit, deck.word_lines, layout, include, case.volts, inside, names)
        reads = [read_point(path) for path in run_text(text, folder, "array", names, LIMIT_S)]
    sensed = np.array([[read[name] for name in vectors] for read in reads])
    # The node of an ammeter's reading has the current itself as its voltage.
    found = layout.read_out(sensed * amperes_per_sensed(layout))
    return found if case.noise is None or inside is not None else found + case.noise
