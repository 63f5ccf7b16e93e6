"""Netlists to measure on: HSR-VAEs with random weights, built when first asked for, in one temporary folder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hvae_mnn import build_netlist
from hvae_mnn.crossbar.network import CrossbarLayer
from hvae_mnn.engines.ngspice import ArrayDeck, array_decks
from hvae_mnn.models.activations import activation_ranges
from hvae_mnn.models.checkpoint import save_checkpoint
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.presets import configure
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import Vocabulary

Array = NDArray[np.float64]
Reads = dict[str, Array]
"""Word-line voltages, array name -> (1, R): one step of one layer."""

PAPER_VOCABULARY = 10_000
"""Ids of Penn Treebank, which the logits of a paper-size model have to be computed for."""


class Workspace:
    """What the benchmarks of one run share."""

    def __init__(self, folder: Path, size: str, status: Callable[[str], None]) -> None:
        """`size`: `small` or `paper`; `status` is told what is going on."""
        self.folder, self.size, self.status = folder, size, status

    @functools.cache  # noqa: B019 - lives as long as the run
    def netlist(self, preset: str, hardware: str = "paper") -> Manifest:
        """Netlists of an HSR-VAE of that preset's size, with random weights and calibrated converters."""
        self.status(f"building a model of size {preset}")
        corpus = grammar_corpus(train=400, valid=4, test=60)
        words = Vocabulary.build(corpus.train).words
        if preset == "paper":
            words += tuple(f"word{number}" for number in range(PAPER_VOCABULARY - len(words)))
        vocabulary = Vocabulary(words)
        config, training = configure(preset, "sound", len(vocabulary))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = HSRVAE(config).eval()
        ranges = activation_ranges(model, [vocabulary.encode_sentence(sentence) for sentence in corpus.valid])
        path = save_checkpoint(self.folder / f"{preset}.pt", model, training, vocabulary, "plain", {}, ranges)
        return build_netlist(path, self.folder / f"{preset}-{hardware}", hardware=hardware)


def decks(manifest: Manifest, layer: CrossbarLayer) -> list[ArrayDeck]:
    """The layer's arrays as the engine takes them."""
    return array_decks(manifest, layer.name)


def random_reads(manifest: Manifest, layer: CrossbarLayer, generator: np.random.Generator) -> Reads:
    """One step's word-line voltages within the read voltage; the layer's arrays share their word lines."""
    read_v = manifest.device.read_v
    shared = generator.uniform(-read_v, read_v, (1, layer.units[0].row_count))
    return {unit.array: shared for unit in layer.units}
