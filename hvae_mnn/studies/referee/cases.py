"""Tiles of a build with the voltages that text puts on them: what ngspice is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hvae_mnn.cosim.export import CHECKPOINT
from hvae_mnn.cosim.plan import choose_sentences
from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.crossbar.network import CrossbarNetwork, CrossbarUnit
from hvae_mnn.engines.exact import ExactEngine
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.stepwise import run_batch
from hvae_mnn.netlist.conductances import read_conductances
from hvae_mnn.netlist.file_names import elements_file
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.netlist.tile_deck import tile_elements
from hvae_mnn.studies.referee.tile import TileCase

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TextReads:
    """Every read of every array while text ran, in order."""

    origin: str
    """Where the text came from."""
    means: dict[str, Array]
    """(S, R) volts by array; with pulses, in the mean over a read."""
    applied: dict[str, Array]
    """(K, R) volts by array as they are on the word lines: with pulses, phase by phase."""


class _Listener:
    """Passes reads on to the exact engine and keeps their voltages."""

    name = "ngspice"
    """As which it is asked: with pulses, phase by phase."""

    def __init__(self, engine: ExactEngine) -> None:
        self._engine = engine
        self.seconds = self.seconds_loading = 0.0
        self.heard: dict[str, list[Array]] = {}

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        for name, value in volts.items():
            self.heard.setdefault(name, []).extend(value)
        return self._engine.currents(volts)

    def drift(self, name: str) -> Array | None:
        return None

    def position(self) -> dict[str, Array]:
        return {}

    def restore(self, position: Mapping[str, Array]) -> None:
        pass

    def close(self) -> None:
        pass

    def facts(self) -> dict[str, object]:
        return {}


def text_reads(
    manifest: Manifest,
    engine: ExactEngine,
    steps: int,
    rng: np.random.Generator,
    text: str | None,
    data_dir: Path | None,
) -> TextReads:
    """The reads of the first `steps` time steps of `text` (all of it), or of the test split of the corpus in `data_dir`
    (default: the built-in one), run through the network on `engine`; for a build without a text model, of so many
    random voltages."""
    if CHECKPOINT not in manifest.files:
        read_v = manifest.device.read_v
        drawn = {unit.array: rng.uniform(-read_v, read_v, (steps, unit.row_count)) for _, unit in manifest.units()}
        return TextReads("random voltages", drawn, drawn)
    checkpoint = load_checkpoint(manifest.folder / CHECKPOINT)
    limit = None if text is not None else steps
    origin, sentences = choose_sentences(
        checkpoint, text=text, data_dir=data_dir, split="test", sentences=None, steps=limit
    )
    listener = _Listener(engine)
    means: dict[str, list[Array]] = {}

    def observe(name: str, volts: Array, currents: Array, noise: Array | None) -> None:
        means.setdefault(name, []).extend(volts)

    source = CrossbarSource(manifest, listener, observer=observe)
    stepper = HardwareStepper(checkpoint.model, source)
    with torch.inference_mode():
        for index, sentence in enumerate(sentences):
            source.begin([index])
            run_batch(stepper, [sentence])
    stacked = ({name: np.array(reads) for name, reads in kept.items()} for kept in (means, listener.heard))
    return TextReads(origin, *stacked)


def some_reads(volts: Mapping[str, Array], count: int, rng: np.random.Generator) -> dict[str, Array]:
    """`count` of the reads of every array, in their order."""
    found = {}
    for name, reads in volts.items():
        chosen = np.sort(rng.choice(len(reads), min(count, len(reads)), replace=False))
        found[name] = reads[chosen]
    return found


def tile_cases(
    manifest: Manifest, engine: ExactEngine, volts: Mapping[str, Array], chosen: Sequence[tuple[CrossbarUnit, int]]
) -> list[TileCase]:
    """A case for each of the chosen tiles (array's unit, number in the array), with the reads (K, R) `volts` of its
    array. Raises `ManifestError` when the build's files are not what they were."""
    stored = read_conductances(manifest)
    texts: dict[str, list[str]] = {}

    def case(unit: CrossbarUnit, number: int) -> TileCase:
        layout = manifest.layout(unit)
        if unit.array not in texts:
            name = elements_file(unit)
            texts[unit.array] = tile_elements(manifest.folder / name, unit.array, layout, manifest.files[name])
        read = volts[unit.array]
        return TileCase(
            array=unit.array,
            unit=unit.name,
            layout=layout,
            number=number,
            word_lines=tuple(unit.word_lines),
            elements=texts[unit.array][number],
            memristors=stored[unit.array].conductance,
            volts=read,
            exact=engine.tile_currents(unit.array, number, read),
        )

    return [case(unit, number) for unit, number in chosen]


def every_tile(network: CrossbarNetwork) -> list[tuple[CrossbarUnit, int]]:
    """All tiles of a build, array by array."""
    return [(unit, number) for _, unit in network.units() for number in range(len(network.layout(unit).tiles))]
