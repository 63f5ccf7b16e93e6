"""How large a model's inputs and pre-activations get on text: what converters are calibrated with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.stepwise import Preactivations, PreactivationSource, Stepper, run_batch

PERCENTILES = {"max": 1.0, "p99.99": 0.9999, "p99.9": 0.999, "p99": 0.99}


class _Recorder:
    """Passes pre-activations through and keeps the magnitudes of inputs and pre-activations."""

    def __init__(self, source: PreactivationSource) -> None:
        self._source = source
        self.seen: dict[tuple[str, str, str], list[Tensor]] = defaultdict(list)

    def __call__(
        self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor], *, new_step: bool = True
    ) -> Preactivations:
        preactivations = self._source(layer, units, inputs, new_step=new_step)
        for role, value in inputs.items():
            self.seen[layer, "inputs", role].append(value.abs().flatten())
        for unit, value in preactivations.items():
            self.seen[layer, "preactivations", unit].append(value.abs().flatten())
        return preactivations


def activation_ranges(
    model: RecurrentModel, sentences: Sequence[Sequence[int]], seed: int = 0
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """How large every layer's inputs and pre-activations get over `sentences` (encoded, with sos and eos), z sampled
    from `seed`.

    Returns layer -> `inputs` | `preactivations` -> role | gate unit -> `max`, `p99.99`, `p99.9`, `p99` of the
    magnitude. Converters are calibrated with it.
    """
    stepper = Stepper(model)
    stepper.source = recorder = _Recorder(stepper.source)
    generator = torch.Generator().manual_seed(seed)
    run_batch(stepper, sorted(sentences, key=len, reverse=True), generator)
    ranges: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for (layer, kind, name), values in recorder.seen.items():
        together = torch.cat(values).sort().values
        spread = {key: float(together[round(part * (len(together) - 1))]) for key, part in PERCENTILES.items()}
        ranges.setdefault(layer, {}).setdefault(kind, {})[name] = spread
    return ranges
