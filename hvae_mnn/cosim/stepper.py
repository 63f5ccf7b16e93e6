"""Steps of a text model whose pre-activations come from crossbars."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.stepwise import Preactivations, PreactivationSource, State, Stepper


class HardwareStepper(Stepper):
    """A `Stepper` on crossbars; with gates in the circuit, an ADC converts the hidden state."""

    def __init__(
        self, model: RecurrentModel, crossbars: CrossbarSource, source: PreactivationSource | None = None
    ) -> None:
        """`source`: a wrapper of `crossbars`, if any."""
        super().__init__(model, source or crossbars)
        self._crossbars = crossbars

    def step(self, layer: str, inputs: Mapping[str, Tensor], state: State) -> tuple[State, Preactivations]:
        """See `Stepper.step`."""
        after, preactivations = super().step(layer, inputs, state)
        return State(self._crossbars.hidden(layer, after.hidden), after.memory), preactivations
