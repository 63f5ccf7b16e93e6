"""A network on memristors that did not come out as its weights want them: one draw of the non-idealities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hvae_mnn.cosim.source import CrossbarSource, Observer
from hvae_mnn.crossbar.network import MappedNetwork
from hvae_mnn.crossbar.nonidealities.draw import draw_array
from hvae_mnn.crossbar.nonidealities.read_noise import ArrayNoise
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.crossbar.nonidealities.temperature import hardware_at
from hvae_mnn.engines.exact import ExactEngine
from hvae_mnn.engines.protocol import Engine


@dataclass(frozen=True)
class Chip:
    """One draw. Engines and netlists made of it have the same conductances, bit for bit."""

    mapped: MappedNetwork
    """With the conductances and the wires that were drawn."""
    spec: Nonidealities
    seed: int
    stuck_on: int
    """Memristors that are stuck at 1/R_on."""
    stuck_off: int
    """Memristors that are stuck at 1/R_off."""

    def exact_engine(self) -> ExactEngine:
        """Solves all tiles, in this process."""
        return ExactEngine(self.mapped.conductances, self.mapped.layouts)

    def weights(self, engine: ExactEngine) -> dict[tuple[str, str], dict[str, Tensor]]:
        """What the hardware has for weights: (H, n) in the model's units, by layer and gate unit and then by what the
        word lines carry; wires included. Arrays that are not linear are left out."""
        found = {}
        for layer in self.mapped.network.layers:
            for unit in layer.units:
                matrix = engine.matrix(unit.array)
                if matrix is not None:
                    parts = np.split(matrix * unit.scale, np.cumsum([group.size for group in unit.rows])[:-1])
                    roles = (group.role for group in unit.rows)
                    found[layer.name, unit.name] = {
                        role: torch.from_numpy(part.T) for role, part in zip(roles, parts, strict=True)
                    }
        return found

    def source(self, engine: Engine, observer: Observer | None = None) -> CrossbarSource:
        """Converters and read noise around an engine that has these conductances; `observer` hears every read.

        Read noise is a current at the end of a bit line, added to what the engine answers.
        """
        noise = None
        if self.spec.read_noise.is_on:
            noise = {
                name: ArrayNoise(layout, self.mapped.conductances[name], self.spec)
                for name, layout in self.mapped.layouts.items()
            }
        return CrossbarSource(self.mapped.network, engine, seed=self.seed, read_noise=noise, observer=observer)


def draw_chip(mapped: MappedNetwork, spec: Nonidealities, seed: int) -> Chip:
    """Draw the memristors of every array, and bring the wires to their temperature."""
    drawn = {
        name: draw_array(name, mapped.layouts[name], target, spec, seed) for name, target in mapped.conductances.items()
    }
    hardware = hardware_at(mapped.network.hardware, spec)
    changed = mapped.with_conductances({name: array.conductance for name, array in drawn.items()}, hardware)
    stuck_on, stuck_off = (sum(getattr(array, name) for array in drawn.values()) for name in ("stuck_on", "stuck_off"))
    return Chip(changed, spec, seed, stuck_on, stuck_off)
