"""Training with the hardware in the loop: values from the circuit, gradients from the digital model (paper 3.2).

A pre-activation is what the crossbars give, p = p_digital + (p_circuit - p_digital), and only p_digital has a gradient.
So wires, noise and converters act on every value, and are the identity for every gradient (straight-through; Bengio,
Leonard and Courville 2013).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hvae_mnn.cosim.crossbar_source import CrossbarSource
from hvae_mnn.gates import GATE_UNITS, Cell, cell_of
from hvae_mnn.vae.model import HSRVAE
from hvae_mnn.vae.stepwise import LAYERS, Preactivations, State, Stepper, model_layers


class TrainableWeights:
    """Pre-activations as matrix products of a model's own parameters, with gradients."""

    def __init__(self, model: HSRVAE) -> None:
        self._units = {name: _units(getattr(model, name)) for name in LAYERS}

    def __call__(self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor]) -> Preactivations:
        """See `PreactivationSource`."""
        x = torch.cat([inputs[role] for role in ("x", "z") if role in inputs], dim=-1)  # (B, I)
        found = {}
        for name in units:
            weight_x, weight_h, bias, peephole = self._units[layer][name]
            total = bias.expand(len(x), -1)
            if weight_x is not None:
                total = total + x @ weight_x.T
            if weight_h is not None:
                total = total + inputs["h"] @ weight_h.T
            if peephole is not None:
                total = total + inputs["c"] * peephole
            found[name] = total
        return found


_Unit = tuple[Tensor | None, Tensor | None, Tensor, Tensor | None]


def _units(module: nn.Module) -> dict[str, _Unit]:
    """Views of a recurrent module's parameters by gate unit: from x, from h, bias, peephole."""
    parameters = dict(module.named_parameters())
    cell: Cell = cell_of(module)
    hidden = parameters["weight_hh_l0"].shape[1]
    found: dict[str, _Unit] = {}
    for unit in GATE_UNITS[cell]:
        rows = slice(unit.row_block * hidden, (unit.row_block + 1) * hidden)
        seen = [("ih", unit.sees_x), ("hh", unit.sees_h)]
        weight_x, weight_h = (parameters[f"weight_{name}_l0"][rows] if sees else None for name, sees in seen)
        biases = [parameters[f"bias_{name}_l0"][rows] for name, sees in seen if sees]
        peephole = parameters.get(f"peephole_{unit.name}")
        found[unit.name] = (weight_x, weight_h, torch.stack(biases).sum(dim=0), peephole)
    return found


class MixedSource:
    """Values of the crossbars with the gradients of the weights."""

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

    def __init__(self, model: HSRVAE, crossbars: CrossbarSource) -> None:
        self.model = model
        self.layers = model_layers(model)
        self._crossbars = crossbars
        self.source = MixedSource(TrainableWeights(model), crossbars)

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
        """See `Stepper.encoder_input`; with the model's dropout."""
        return self.model._drop(super().encoder_input(tokens))

    def decoder_input(self, tokens: Tensor, z: Tensor) -> dict[str, Tensor]:
        """See `Stepper.decoder_input`; with the model's dropout."""
        found = super().decoder_input(tokens, z)
        return {**found, "x": self.model._drop(found["x"])}
