"""Training with the hardware in the loop: values from the circuit, gradients in software (paper 3.2).

A pre-activation is what the crossbars give, p = q + (p - q), and only q = V x has a gradient. V are the weights that
the hardware has, V = W + (V - W) for the network's own W: through q a gradient goes back to the step before by V, and
to W as it comes. So converters and noise are the identity for gradients (straight-through; Bengio, Leonard and
Courville 2013), and so is the way from W to V; but what the array does to its inputs is differentiated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.errors import MappingError
from hvae_mnn.gates import GATE_UNITS, cell_of
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.stepwise import LAYERS, Preactivations, State, Stepper, WeightsSource, model_layers


@dataclass(frozen=True)
class UnitParameters:
    """What belongs to one gate unit of a recurrent module, as views of its parameters."""

    from_x: Tensor | None
    """(H, I)."""
    from_h: Tensor | None
    """(H, H)."""
    biases: list[Tensor]
    """Each (H,): two of PyTorch's, or one in the parts of the GRU's candidate. The array holds their sum."""
    peephole: Tensor | None
    """(H,)."""

    @property
    def weights(self) -> list[Tensor]:
        """From x and h, as far as there are any."""
        return [part for part in (self.from_x, self.from_h) if part is not None]


def unit_parameters(module: nn.Module) -> dict[str, UnitParameters]:
    """The parameters of a recurrent module of one layer by gate unit.

    Raises `MappingError` for pruned, normed and parametrized weights: they are made of other parameters.
    """
    parameters = dict(module.named_parameters())
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        if name not in parameters:
            raise MappingError(
                f"{type(module).__name__}.{name} is no plain parameter, so it cannot be trained here; make it one"
                " first (torch.nn.utils.prune.remove, parametrize.remove_parametrizations)"
            )
    hidden = parameters["weight_hh_l0"].shape[1]
    found = {}
    for unit in GATE_UNITS[cell_of(module)]:
        rows = slice(unit.row_block * hidden, (unit.row_block + 1) * hidden)
        seen = (("ih", unit.sees_x), ("hh", unit.sees_h))
        from_x, from_h = (parameters[f"weight_{name}_l0"][rows] if sees else None for name, sees in seen)
        biases = [parameters[f"bias_{name}_l0"][rows] for name, sees in seen if sees]
        found[unit.name] = UnitParameters(from_x, from_h, biases, parameters.get(f"peephole_{unit.name}"))
    return found


HardwareWeights = Mapping[tuple[str, str], Mapping[str, Tensor]]
"""(H, n) by layer and gate unit and then by what the word lines carry: `Chip.weights`."""


class TrainableWeights(WeightsSource):
    """Matrix products with the weights of the hardware, whose gradients belong to a model's own parameters."""

    def __init__(self, model: HSRVAE, hardware: HardwareWeights) -> None:
        """`hardware` may lack gate units: those have the model's weights."""
        self._gates = {
            name: {
                unit: (
                    _of_hardware(part.from_x, hardware.get((name, unit), {}), ("x", "z")),
                    _of_hardware(part.from_h, hardware.get((name, unit), {}), ("h",)),
                    torch.stack(part.biases).sum(dim=0),
                    part.peephole,
                )
                for unit, part in unit_parameters(getattr(model, name)).items()
            }
            for name in LAYERS
        }


def _of_hardware(weights: Tensor | None, parts: Mapping[str, Tensor], roles: Sequence[str]) -> Tensor | None:
    """`weights` (H, I) with the hardware's values of these inputs, if it has any."""
    found = [parts[role] for role in roles if role in parts]
    return weights if weights is None or not found else through(weights, torch.cat(found, dim=1))


class MixedSource:
    """Values of the crossbars with the gradients of matrix products."""

    def __init__(self, weights: TrainableWeights, crossbars: CrossbarSource) -> None:
        self._weights, self._crossbars = weights, crossbars
        self._plain: list[tuple[Tensor, Tensor]] = []

    def __call__(self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor]) -> Preactivations:
        """See `PreactivationSource`."""
        wanted = self._weights(layer, units, inputs)
        if list(units) != ["o"]:  # an output gate asked for alone belongs to the step before it (peepholes)
            self._plain.clear()
        found = self._crossbars(layer, units, {role: self._value(value) for role, value in inputs.items()})
        return {unit: through(wanted[unit], found[unit]) for unit in units}

    def _value(self, tensor: Tensor) -> Tensor:
        """Its values in float64; the same object for the same tensor, so that a DAC converts it once."""
        for known, value in self._plain:
            if known is tensor:
                return value
        self._plain.append((tensor, tensor.detach().double()))
        return self._plain[-1][1]


def through(gradient: Tensor, value: Tensor) -> Tensor:
    """A tensor with the gradient of one and the values of another."""
    return gradient + (value.to(gradient.dtype) - gradient).detach()


class MixedStepper(Stepper):
    """A model in training, step by step on crossbars; its parameters are the model's own."""

    def __init__(
        self, model: HSRVAE, crossbars: CrossbarSource, hardware: HardwareWeights, dropout: float = 0.0
    ) -> None:
        """`hardware` are the weights that `crossbars` have; of gate units without them, gradients are digital.

        `dropout` of embeddings, while the model is in training.
        """
        self.model, self._dropout = model, dropout
        self.layers = model_layers(model)
        self._crossbars = crossbars
        self.source = MixedSource(TrainableWeights(model, hardware), crossbars)

    def zero_state(self, layer: str, batch: int) -> State:
        """See `Stepper.zero_state`; of the model's own type."""
        state = super().zero_state(layer, batch)
        kind = self.model.to_logits.weight.dtype
        return State(state.hidden.to(kind), None if state.memory is None else state.memory.to(kind))

    def step(self, layer: str, inputs: Mapping[str, Tensor], state: State) -> tuple[State, Preactivations]:
        """See `Stepper.step`; with gates in the circuit an ADC stands behind the hidden state."""
        found, preactivations = super().step(layer, inputs, state)
        read = self._crossbars.hidden(layer, found.hidden.detach().double())
        return State(through(found.hidden, read), found.memory), preactivations

    def encoder_input(self, tokens: Tensor) -> Tensor:
        """See `Stepper.encoder_input`; with dropout."""
        return self._drop(super().encoder_input(tokens))

    def decoder_input(self, tokens: Tensor, z: Tensor) -> dict[str, Tensor]:
        """See `Stepper.decoder_input`; with dropout."""
        found = super().decoder_input(tokens, z)
        return {**found, "x": self._drop(found["x"])}

    def _drop(self, embedded: Tensor) -> Tensor:
        return nn.functional.dropout(embedded, self._dropout, self.model.training)
