"""A text model taken step by step, with pre-activations from anywhere.

The text model and the hardware share every equation but one: where a gate unit's pre-activations come from. Here that
one is an argument (`PreactivationSource`). `WeightsSource` is the digital answer, a matrix product; a crossbar is
another.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hvae_mnn.errors import MappingError
from hvae_mnn.gates import RecurrentLayer, recurrent_layers
from hvae_mnn.models.cells import gru_hidden, lstm_hidden, lstm_memory, rnn_hidden
from hvae_mnn.models.inference.infer import refined
from hvae_mnn.models.latent import Posterior, sample_latent
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.text.vocabulary import EOS

GateTensors = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""A gate unit's weights from x (H, I) and h (H, H), bias (H,) and peephole (H,); None where it has none."""
Preactivations = dict[str, Tensor]
"""By gate unit, each of shape (B, H)."""


@runtime_checkable
class PreactivationSource(Protocol):
    """Where pre-activations come from."""

    def __call__(
        self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor], *, new_step: bool = True
    ) -> Preactivations:
        """Pre-activations (B, H) of the named `units` of `layer` from its inputs by role, each (B, n).

        Roles: `x` layer input, `z` latent, `h` previous hidden state, `c` memory (only with peepholes). `new_step` is
        False for a further call within the layer's time step, as the output gate with peepholes needs it.
        """
        ...


@dataclass(frozen=True)
class State:
    """State of a recurrent layer between two steps, each part (B, H); only an LSTM has a `memory`."""

    hidden: Tensor
    memory: Tensor | None
    steps: int = 0
    """Steps that a decoder has taken."""

    def first(self, count: int) -> State:
        """The state of the first `count` sentences."""
        return State(self.hidden[:count], None if self.memory is None else self.memory[:count], self.steps)


def _tensor(part: NDArray[np.float64] | None) -> Tensor | None:
    return None if part is None else torch.from_numpy(part)


class WeightsSource:
    """The digital answer: pre-activations as matrix products."""

    def __init__(self, gates: Mapping[str, Mapping[str, GateTensors]]) -> None:
        """`gates`: the weights by layer and gate unit."""
        self._gates = gates

    @classmethod
    def of_layers(cls, layers: Mapping[str, RecurrentLayer]) -> WeightsSource:
        """In float64, from layers by name as `recurrent_layers` reads them."""
        return cls(
            {
                name: {
                    unit: (_tensor(g.x), _tensor(g.h), _tensor(g.bias), _tensor(g.peephole))
                    for unit, g in layer.gates.items()
                }
                for name, layer in layers.items()
            }
        )

    def __call__(
        self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor], *, new_step: bool = True
    ) -> Preactivations:
        """See `PreactivationSource`."""
        x = torch.cat([inputs[role] for role in ("x", "z") if role in inputs], dim=-1)  # (B, I)
        preactivations = {}
        for unit in units:
            weight_x, weight_h, bias, peephole = self._gates[layer][unit]
            assert bias is not None
            total = bias.expand(x.shape[0], -1)
            if weight_x is not None:
                total = total + x @ weight_x.T
            if weight_h is not None:
                total = total + inputs["h"] @ weight_h.T
            if peephole is not None:
                total = total + inputs["c"] * peephole
            preactivations[unit] = total
        return preactivations


def layer_step(
    layer: RecurrentLayer, source: PreactivationSource, inputs: Mapping[str, Tensor], state: State
) -> tuple[State, Preactivations]:
    """One time step of one recurrent layer: the new state, and the pre-activations on the way (eqs. 10 and 11)."""
    known = {**inputs, "h": state.hidden}
    if layer.cell == "rnn":
        preactivations = source(layer.name, ["h"], known)
        return State(rnn_hidden(preactivations), None), preactivations
    if layer.cell == "gru":
        preactivations = source(layer.name, list(layer.gates), known)
        return State(gru_hidden(preactivations, state.hidden), None), preactivations
    assert state.memory is not None
    if not layer.peepholes:
        preactivations = source(layer.name, list(layer.gates), known)
        memory = lstm_memory(preactivations, state.memory)
    else:  # the output gate sees c_t, which the other three make
        preactivations = source(layer.name, ["i", "f", "g"], {**known, "c": state.memory})
        memory = lstm_memory(preactivations, state.memory)
        preactivations |= source(layer.name, ["o"], {**known, "c": memory}, new_step=False)
    return State(lstm_hidden(preactivations["o"], memory), memory), preactivations


class Stepper:
    """A model whose recurrent layers run on `source`, step by step; everything else is software (paper 3.2, page 693).

    A stack of encoder layers, if any, each of which reads the one before it, and one decoder layer.
    """

    def __init__(
        self, model: RecurrentModel, source: PreactivationSource | None = None, *, copied: bool = True
    ) -> None:
        """`source` None: the digital answer from the model's own weights.

        The model is copied to float64 on the CPU in eval mode, or with `copied=False` taken as it is.

        Raises `MappingError` for a layer that cannot be mapped, and a model of no or several decoders.
        """
        self.model = _copied(model).cpu().double().eval().requires_grad_(False) if copied else model
        self.layers = model_layers(self.model)
        self.source: PreactivationSource = source if source is not None else WeightsSource.of_layers(self.layers)
        self._declared = {layer.name: layer for layer in self.model.declared_layers()}
        self.encoder = [name for name, layer in self._declared.items() if layer.role == "encoder"]
        """Names of the encoder layers, in order."""
        decoders = [name for name, layer in self._declared.items() if layer.role == "decoder"]
        if len(decoders) != 1:
            raise MappingError(f"the model has {len(decoders)} decoder layers; allowed: 1")
        (self.decoder,) = decoders
        """Name of the decoder layer."""

    def zero_state(self, layer: str, batch: int) -> State:
        """The state before the first step."""
        zeros = torch.zeros(batch, self.layers[layer].hidden_size, dtype=torch.float64)
        return State(zeros, zeros if self.layers[layer].cell == "lstm" else None)

    def no_encoder(self, batch: int) -> State:
        """What stands for the state of a last encoder layer where there is none: (B, 0)."""
        return State(torch.zeros(batch, 0, dtype=torch.float64), None)

    def step(self, layer: str, inputs: Mapping[str, Tensor], state: State) -> tuple[State, Preactivations]:
        """One time step of one layer."""
        return layer_step(self.layers[layer], self.source, inputs, state)

    def embedded(self, layer: str, tokens: Tensor) -> Tensor:
        """Embeddings (B, E) of token ids (B,), from the table in front of `layer`."""
        table = self._declared[layer].embedding
        assert table is not None
        return table(tokens)  # type: ignore[no-any-return]

    def encoder_step(self, tokens: Tensor, states: Sequence[State]) -> tuple[list[State], dict[str, Preactivations]]:
        """One time step of all encoder layers, in order: their new states, and the pre-activations by layer.

        `tokens` (B,) are those of the first B sentences in `states`, one state per layer; the other sentences have
        ended.
        """
        after: list[State] = []
        preactivations: dict[str, Preactivations] = {}
        for layer, state in zip(self.encoder, states, strict=True):
            embeds = self._declared[layer].embedding is not None
            x = self.embedded(layer, tokens) if embeds else after[-1].hidden
            new, preactivations[layer] = self.step(layer, {"x": x}, state.first(len(tokens)))
            after.append(new)
        return after, preactivations

    def posterior(self, encoded: State, sentences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, W) of encoded sentences, from what `encode_batch` kept of the last encoder layer.

        What refines an encoder's posterior, or finds a latent without one, runs in software.
        """
        mean, log_variance = self.model.posterior(encoded.hidden)
        if self.model.config.latent_use == "step":
            steps = torch.tensor([len(sentence) - 1 for sentence in sentences])
            return Posterior(mean, log_variance, steps, used=steps).last()
        return refined(self.model, sentences, (mean, log_variance))

    def kept(self, states: Sequence[Tensor]) -> State:
        """What the posterior needs of the last encoder layer's hidden states (B, H) at all steps: the last, or all of
        them, (B, T, H)."""
        return State(torch.stack(list(states), dim=1) if self.model.config.latent_use == "step" else states[-1], None)

    def decoder_state(self, z: Tensor) -> State:
        """The decoder's state before its first step, from z (B, W)."""
        z = z[:, : self.model.config.latent_size]
        memory = self.model.first_memory(z) if self.layers[self.decoder].cell == "lstm" else None
        return State(self.model.first_hidden(z), memory)

    def decoder_step(self, tokens: Tensor, z: Tensor, state: State) -> tuple[State, Preactivations]:
        """One time step of the decoder, from the previous tokens (B,), z (B, W) and the state of these B sentences."""
        inputs = {"x": self.embedded(self.decoder, tokens)}
        size = self._declared[self.decoder].latent_size
        if size:
            first = size * state.steps if self.model.config.latent_use == "step" else 0
            inputs["z"] = z[:, first : first + size]
        after, preactivations = self.step(self.decoder, inputs, state)
        return State(after.hidden, after.memory, state.steps + 1), preactivations

    def logits(self, state: State) -> Tensor:
        """(B, V) from the decoder's state."""
        return self.model.to_logits(state.hidden)  # type: ignore[no-any-return]

    def encoder_tokens(self, sentence: Sequence[int]) -> list[int]:
        """The tokens of an encoded sentence that the encoder reads: all of them, or all but a closing eos."""
        hide = not self.model.config.encoder_sees_eos and sentence[-1] == EOS
        return list(sentence[:-1] if hide else sentence)


def _copied(model: RecurrentModel) -> RecurrentModel:
    """A copy. Values that hooks compute before every pass (pruned weights) are copied too, which torch does not do."""
    computed = [value for part in model.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    return copy.deepcopy(model, {id(value): value.detach().clone() for value in computed})


def model_layers(model: RecurrentModel) -> dict[str, RecurrentLayer]:
    """The recurrent layers that a model declares, by name, with the weights that act.

    Raises `MappingError` for a layer that cannot be mapped, or is not one layer in one direction.
    """
    read = {}
    for declared in model.declared_layers():
        layers = recurrent_layers(declared.module, declared.name)
        if len(layers) > 1:
            raise MappingError(f"{declared.name} has {len(layers)} layers or directions; allowed: 1, in one direction")
        (read[declared.name],) = layers
    return read


def run_batch(
    stepper: Stepper, sentences: Sequence[Sequence[int]], generator: torch.Generator | None = None
) -> list[Tensor]:
    """Teacher-forced run of `sentences`, longest first; z sampled with `generator`, or its mean.

    Returns per decoder step the logits (B_t, V) of the B_t sentences that have such a step.
    """
    mean, log_variance = stepper.posterior(encode_batch(stepper, sentences), sentences)
    noise = None
    if generator is not None:
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
    z = drawn_latent(mean, log_variance, noise)
    return [stepper.logits(state) for state in forced_states(stepper, sentences, z)]


def drawn_latent(mean: Tensor, log_variance: Tensor, noise: Tensor | None) -> Tensor:
    """z (B, W) from a posterior and standard normal `noise` (B, W); None for the mean."""
    return mean if noise is None else sample_latent(mean, log_variance, noise=noise)


def encode_batch(stepper: Stepper, sentences: Sequence[Sequence[int]]) -> State:
    """The last encoder layer's hidden state (B, H) at the last step of each of `sentences`, longest first; (B, 0)
    without an encoder; (B, T, H) at all steps where the decoder uses them all."""
    if not stepper.encoder:
        return stepper.no_encoder(len(sentences))
    last = stepper.zero_state(stepper.encoder[-1], len(sentences)).hidden.clone()
    every = stepper.model.config.latent_use == "step"
    seen = []
    for state in encoder_states(stepper, sentences):
        last[: len(state.hidden)] = state.hidden
        seen += [last.clone()] if every else []
    return stepper.kept(seen or [last])


def encoder_states(stepper: Stepper, sentences: Sequence[Sequence[int]]) -> Iterator[State]:
    """The last encoder layer's states step by step, `sentences` longest first.

    State t is that of the B_t sentences in which the encoder reads a token at t.
    """
    seen = [stepper.encoder_tokens(sentence) for sentence in sentences]
    states = [stepper.zero_state(layer, len(sentences)) for layer in stepper.encoder]
    for t in range(len(seen[0])):
        states, _ = stepper.encoder_step(tokens_at(seen, t), states)
        yield states[-1]


def forced_states(stepper: Stepper, sentences: Sequence[Sequence[int]], z: Tensor) -> Iterator[State]:
    """The decoder's states step by step with the right words as input, `sentences` longest first, z (B, Z).

    State t is that of the B_t sentences that have a target at t + 1.
    """
    state = stepper.decoder_state(z)
    for t in range(len(sentences[0]) - 1):
        count = sum(len(sentence) > t + 1 for sentence in sentences)
        state, _ = stepper.decoder_step(tokens_at(sentences[:count], t), z[:count], state.first(count))
        yield state


def tokens_at(sentences: Sequence[Sequence[int]], t: int) -> Tensor:
    """Ids (B_t,) at index t of those `sentences`, longest first, that are long enough."""
    return torch.tensor([sentence[t] for sentence in sentences if len(sentence) > t])
