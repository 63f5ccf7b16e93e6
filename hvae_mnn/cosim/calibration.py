"""Calibrated ranges of partial sums: of each row block's part of a pre-activation, if it has an ADC of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.crossbar.mapping import row_weights
from hvae_mnn.models.activations import PERCENTILES
from hvae_mnn.models.checkpoint import Checkpoint
from hvae_mnn.models.stepwise import Preactivations, Stepper, run_batch
from hvae_mnn.text.sources import load_corpus

Array = NDArray[np.float64]
SENTENCES = 32
"""Number of sentences for a calibration; each gives tens of steps with hundreds of hidden units."""


class _Parts:
    """A source of pre-activations that also keeps the magnitudes of their partial sums by row block."""

    def __init__(self, stepper: Stepper, hardware: Hardware) -> None:
        self._source = stepper.source
        self._blocks: dict[tuple[str, str], list[tuple[slice, Tensor]]] = {}
        self.seen: dict[tuple[str, str], list[list[Tensor]]] = defaultdict(list)
        for name, layer in stepper.layers.items():
            for unit, gate in layer.gates.items():
                weights = row_weights(gate)
                layout = ArrayLayout(len(weights), weights.shape[1], hardware)
                self._blocks[name, unit] = [
                    (slice(rows.start, rows.stop), torch.from_numpy(weights[rows.start : rows.stop].copy()))
                    for rows in layout.row_blocks
                ]
        self._gates = {name: layer.gates for name, layer in stepper.layers.items()}

    def __call__(
        self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor], *, new_step: bool = True
    ) -> Preactivations:
        for unit in units:
            gate = self._gates[layer][unit]
            count = len(inputs["h"])
            rows = [inputs[role] for role in ("x", "z") if role in inputs and gate.x is not None]
            rows += [inputs["h"]] if gate.h is not None else []
            rows += [torch.ones(count, 1, dtype=torch.float64)]
            rows += [inputs["c"]] if gate.peephole is not None else []
            volts = torch.cat(rows, dim=1)  # (B, R)
            parts = [(volts[:, block] @ weights).abs().flatten() for block, weights in self._blocks[layer, unit]]
            self.seen[layer, unit].append(parts)
        return self._source(layer, units, inputs, new_step=new_step)


def needs_text(hardware: Hardware) -> bool:
    """Whether calibration of the hardware's ADCs needs text: for ADCs of single tiles without a fixed range."""
    return hardware.tiling.partial_sums == "after_adc" and hardware.adc.range == "calibrated"


def calibration_sentences(checkpoint: Checkpoint, data_dir: Path | None = None) -> list[list[int]]:
    """The first sentences, encoded, of the validation split of the corpus in `data_dir` (default: the built-in one).

    Raises `TextError` for a corpus that cannot be read or does not belong to the checkpoint.
    """
    corpus = load_corpus(data_dir, checkpoint.tokenizer, splits=("valid",))
    lines = list(corpus.valid[:SENTENCES])
    checkpoint.vocabulary.count_unknown(lines, f"{corpus.name}/valid")
    return [checkpoint.vocabulary.encode_sentence(line) for line in lines]


def partial_sum_ranges(
    checkpoint: Checkpoint, hardware: Hardware, calibration: str, sentences: Sequence[Sequence[int]]
) -> dict[str, dict[str, list[float]]]:
    """Full scale of each row block's partial sum, by layer and gate unit, in the model's units.

    It is the percentile `calibration` (one of `PERCENTILES`) of the magnitudes in encoded `sentences`, with z at its
    mean.
    """
    stepper = Stepper(checkpoint.model)
    stepper.source = parts = _Parts(stepper, hardware)
    with torch.inference_mode():
        run_batch(stepper, sorted(sentences, key=len, reverse=True))
    ranges: dict[str, dict[str, list[float]]] = {}
    for (layer, unit), steps in parts.seen.items():
        blocks = [torch.cat(values).sort().values for values in zip(*steps, strict=True)]
        largest = [float(values[round(PERCENTILES[calibration] * (len(values) - 1))]) for values in blocks]
        ranges.setdefault(layer, {})[unit] = [value or 1.0 for value in largest]
    return ranges
