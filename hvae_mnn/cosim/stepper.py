"""Steps of a text model whose pre-activations come from crossbars."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.stepwise import Preactivations, PreactivationSource, State, Stepper


class HardwareStepper(Stepper):
    """A `Stepper` on crossbars; with gates in the circuit, an ADC converts the hidden state."""

    def __init__(self, model: HSRVAE, crossbars: CrossbarSource, source: PreactivationSource | None = None) -> None:
        """`source`: what stands around `crossbars`, if anything."""
        super().__init__(model, source or crossbars)
        self._crossbars = crossbars

    def step(self, layer: str, inputs: Mapping[str, Tensor], state: State) -> tuple[State, Preactivations]:
        """See `Stepper.step`."""
        found, preactivations = super().step(layer, inputs, state)
        return State(self._crossbars.hidden(layer, found.hidden), found.memory), preactivations
