"""One random draw of a network's non-idealities (a chip)."""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hvae_mnn.cosim.source import CrossbarSource, Observer
from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.crossbar.network import MappedNetwork
from hvae_mnn.crossbar.nonidealities.draw import draw_array
from hvae_mnn.crossbar.nonidealities.read_noise import ArrayNoise
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.crossbar.nonidealities.temperature import hardware_at
from hvae_mnn.engines.exact import ExactEngine
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.evaluation.answers import Answers, Pass, run_answers
from hvae_mnn.models.recurrent import RecurrentModel


@dataclass(frozen=True)
class Chip:
    """One random draw of a network's non-idealities; its engines and netlists have the same conductances to the bit."""

    mapped: MappedNetwork
    """The network with the drawn conductances, and with wires at their temperature."""
    spec: Nonidealities
    """Distributions of the draw."""
    seed: int
    """Random seed of the draw, and of read noise."""
    stuck_on: int
    """Number of memristors stuck at 1/R_on."""
    stuck_off: int
    """Number of memristors stuck at 1/R_off."""

    def exact_engine(self) -> ExactEngine:
        """The exact engine of this chip, with all tiles solved in this process."""
        return ExactEngine(self.mapped.conductances, self.mapped.layouts)

    def weights(self, engine: ExactEngine) -> dict[tuple[str, str], dict[str, Tensor]]:
        """Effective weights (H, n) with wires, in the model's units, by layer and gate unit and then by role.

        Nonlinear arrays are omitted.
        """
        weights = {}
        for layer in self.mapped.network.layers:
            for unit in layer.units:
                matrix = engine.matrix(unit.array)
                if matrix is not None:
                    parts = np.split(matrix * unit.scale, np.cumsum([group.size for group in unit.rows])[:-1])
                    roles = (group.role for group in unit.rows)
                    weights[layer.name, unit.name] = {
                        role: torch.from_numpy(part.T) for role, part in zip(roles, parts, strict=True)
                    }
        return weights

    def source(self, engine: Engine, observer: Observer | None = None) -> CrossbarSource:
        """Converters and read noise around an `engine` with these conductances; `observer` is called for every read.

        Read noise is a current at the end of a bit line, added to the engine's currents.
        """
        noise = None
        if self.spec.read_noise.is_on:
            noise = {
                name: ArrayNoise(layout, self.mapped.conductances[name], self.spec)
                for name, layout in self.mapped.layouts.items()
            }
        return CrossbarSource(self.mapped.network, engine, seed=self.seed, read_noise=noise, observer=observer)


def draw_chip(mapped: MappedNetwork, spec: Nonidealities, seed: int) -> Chip:
    """Draw the conductances of every array with `seed`, and set the wires to the temperature of `spec`."""
    drawn = {
        name: draw_array(name, mapped.layouts[name], target, spec, seed) for name, target in mapped.conductances.items()
    }
    hardware = hardware_at(mapped.network.hardware, spec)
    changed = mapped.with_conductances({name: array.conductance for name, array in drawn.items()}, hardware)
    stuck_on, stuck_off = (sum(getattr(array, name) for array in drawn.values()) for name in ("stuck_on", "stuck_off"))
    return Chip(changed, spec, seed, stuck_on, stuck_off)


@dataclass(frozen=True)
class ChipAnswers:
    """A model's answers with its recurrent layers on a chip, on the exact engine."""

    answers: Answers
    clipped: dict[str, float]
    """Samples that converters clipped: `dac_clipped`, `adc_clipped`."""
    transfer_s: float
    """Seconds of solving the wires."""


def answers_on(
    chip: Chip, model: RecurrentModel, sentences: Sequence[Sequence[int]], passes: Set[Pass], batch_size: int
) -> ChipAnswers:
    """Answers of `model`, whose arrays `chip` has, to encoded sentences; batches and errors as `run_answers`."""
    start = time.perf_counter()
    engine = chip.exact_engine()
    seconds = time.perf_counter() - start
    source = chip.source(engine)
    stepper = HardwareStepper(model, source)
    answers = run_answers(stepper, sentences, passes, begin=source.begin, batch_size=batch_size)
    clipped = {
        "dac_clipped": float(sum(converter.clipped for converter in source.dacs.values())),
        "adc_clipped": float(sum(converter.clipped for converter in source.adcs.values())),
    }
    return ChipAnswers(answers, clipped, seconds)
