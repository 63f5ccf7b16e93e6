"""Training with the hardware in the loop: values from the circuit, gradients in software (paper 3.2).

A pre-activation p comes from the crossbars. It is written as p = q + (p - q), and only q = V x has a gradient. V are
the weights that the hardware has, written as V = W + (V - W) for the network's own W. So through q a gradient reaches
the previous step by V, and reaches W unchanged. Converters, noise and the step from W to V are the identity for
gradients (straight-through; Bengio, Leonard and Courville 2013); the array's product with its inputs is differentiated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.errors import MappingError
from hvae_mnn.gates import GATE_UNITS, cell_of
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.stepwise import Preactivations, State, Stepper, WeightsSource


@dataclass(frozen=True)
class UnitParameters:
    """The parts of a recurrent module's parameters that one gate unit uses, as views."""

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
        """Those from x and h that the unit has."""
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
    units = {}
    for unit in GATE_UNITS[cell_of(module)]:
        rows = slice(unit.row_block * hidden, (unit.row_block + 1) * hidden)
        seen = (("ih", unit.sees_x), ("hh", unit.sees_h))
        from_x, from_h = (parameters[f"weight_{name}_l0"][rows] if sees else None for name, sees in seen)
        biases = [parameters[f"bias_{name}_l0"][rows] for name, sees in seen if sees]
        units[unit.name] = UnitParameters(from_x, from_h, biases, parameters.get(f"peephole_{unit.name}"))
    return units


HardwareWeights = Mapping[tuple[str, str], Mapping[str, Tensor]]
"""By layer and gate unit, then by role of the word lines, each (H, n): `Chip.weights`."""


def trainable_weights(model: RecurrentModel, hardware: HardwareWeights) -> WeightsSource:
    """Matrix products with the weights of the hardware, whose gradients belong to a model's own parameters.

    A gate unit that `hardware` lacks has the model's weights. Raises `MappingError` as `unit_parameters` does.
    """
    return WeightsSource(
        {
            layer.name: {
                unit: (
                    _of_hardware(part.from_x, hardware.get((layer.name, unit), {}), ("x", "z")),
                    _of_hardware(part.from_h, hardware.get((layer.name, unit), {}), ("h",)),
                    torch.stack(part.biases).sum(dim=0),
                    part.peephole,
                )
                for unit, part in unit_parameters(layer.module).items()
            }
            for layer in model.declared_layers()
        }
    )


def _of_hardware(weights: Tensor | None, parts: Mapping[str, Tensor], roles: Sequence[str]) -> Tensor | None:
    """`weights` (H, I) with the hardware's values for the inputs in `roles`, if it has any."""
    values = [parts[role] for role in roles if role in parts]
    return weights if weights is None or not values else through(weights, torch.cat(values, dim=1))


class MixedSource:
    """Values of the crossbars with the gradients of matrix products."""

    def __init__(self, weights: WeightsSource, crossbars: CrossbarSource) -> None:
        self._weights, self._crossbars = weights, crossbars
        self._plain: list[tuple[Tensor, Tensor]] = []

    def __call__(
        self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor], *, new_step: bool = True
    ) -> Preactivations:
        """See `PreactivationSource`."""
        digital = self._weights(layer, units, inputs, new_step=new_step)
        if new_step:
            self._plain.clear()
        values = {role: self._value(value) for role, value in inputs.items()}
        read = self._crossbars(layer, units, values, new_step=new_step)
        return {unit: through(digital[unit], read[unit]) for unit in units}

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
        self, model: RecurrentModel, crossbars: CrossbarSource, hardware: HardwareWeights, dropout: float = 0.0
    ) -> None:
        """`hardware`: the weights that `crossbars` have; gate units without them get digital gradients.

        `dropout`: dropout on embeddings while the model is in training mode.
        """
        super().__init__(model, MixedSource(trainable_weights(model, hardware), crossbars), copied=False)
        self._crossbars, self._dropout = crossbars, dropout

    def zero_state(self, layer: str, batch: int) -> State:
        """See `Stepper.zero_state`; in the model's own type."""
        state = super().zero_state(layer, batch)
        dtype = next(self.model.parameters()).dtype
        return State(state.hidden.to(dtype), None if state.memory is None else state.memory.to(dtype))

    def step(self, layer: str, inputs: Mapping[str, Tensor], state: State) -> tuple[State, Preactivations]:
        """See `Stepper.step`; with gates in the circuit an ADC stands behind the hidden state."""
        after, preactivations = super().step(layer, inputs, state)
        read = self._crossbars.hidden(layer, after.hidden.detach().double())
        return State(through(after.hidden, read), after.memory), preactivations

    def embedded(self, layer: str, tokens: Tensor) -> Tensor:
        """See `Stepper.embedded`; with dropout."""
        return nn.functional.dropout(super().embedded(layer, tokens), self._dropout, self.model.training)
