"""Tiles of a build, with voltages from text, as cases for ngspice."""

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
    """Reads of every array during a run of text, in order."""

    origin: str
    """Origin of the text."""
    means: dict[str, Array]
    """Voltages (S, R) by array; with pulses, the mean over a read."""
    applied: dict[str, Array]
    """Voltages (K, R) of the word lines by array; with pulses, one row per phase."""


class _Recorder:
    """Engine that forwards reads to the exact engine and records their voltages."""

    name = "ngspice"
    """Name of an engine that gets pulses phase by phase."""

    def __init__(self, engine: ExactEngine) -> None:
        self._engine = engine
        self.seconds = self.seconds_loading = 0.0
        self.recorded: dict[str, list[Array]] = {}

    def currents(self, volts: Mapping[str, Array]) -> dict[str, Array]:
        for name, value in volts.items():
            self.recorded.setdefault(name, []).extend(value)
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
    """Reads of all time steps of `text`, or of the first `steps` steps of the test split of the corpus in `data_dir`
    (default: the built-in one), run through the network on `engine`. A build without a text model gets `steps` random
    voltages instead. Raises as `choose_sentences`."""
    if CHECKPOINT not in manifest.files:
        read_v = manifest.device.read_v
        drawn = {unit.array: rng.uniform(-read_v, read_v, (steps, unit.row_count)) for _, unit in manifest.units()}
        return TextReads("random voltages", drawn, drawn)
    checkpoint = load_checkpoint(manifest.folder / CHECKPOINT)
    limit = None if text is not None else steps
    origin, sentences = choose_sentences(
        checkpoint, text=text, data_dir=data_dir, split="test", sentences=None, steps=limit
    )
    recorder = _Recorder(engine)
    means: dict[str, list[Array]] = {}

    def observe(name: str, volts: Array, currents: Array, noise: Array | None) -> None:
        means.setdefault(name, []).extend(volts)

    source = CrossbarSource(manifest, recorder, observer=observe)
    stepper = HardwareStepper(checkpoint.model, source)
    with torch.inference_mode():
        for index, sentence in enumerate(sentences):
            source.begin([index])
            run_batch(stepper, [sentence])
    stacked = ({name: np.array(reads) for name, reads in kept.items()} for kept in (means, recorder.recorded))
    return TextReads(origin, *stacked)


def some_reads(volts: Mapping[str, Array], count: int, rng: np.random.Generator) -> dict[str, Array]:
    """`count` random reads (K, R) of every array, in their order."""
    reads_by_array = {}
    for name, reads in volts.items():
        chosen = np.sort(rng.choice(len(reads), min(count, len(reads)), replace=False))
        reads_by_array[name] = reads[chosen]
    return reads_by_array


def tile_cases(
    manifest: Manifest, engine: ExactEngine, volts: Mapping[str, Array], chosen: Sequence[tuple[CrossbarUnit, int]]
) -> list[TileCase]:
    """One case per chosen tile (unit of the array, number in the array), with the reads `volts` (K, R) of its array.

    Raises `ManifestError` if the build's files have changed.
    """
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
    """All tiles of a build, array by array: unit and number in the array."""
    return [(unit, number) for _, unit in network.units() for number in range(len(network.layout(unit).tiles))]
