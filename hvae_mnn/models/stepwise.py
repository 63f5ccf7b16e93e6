"""An HSR-VAE taken step by step in float64, with pre-activations from anywhere.

The text model and the hardware share every equation but one: where a gate unit's pre-activations come from. Here that
one is an argument (`PreactivationSource`). `WeightsSource` is the digital answer, a matrix product; a crossbar is
another.
"""

from __future__ import annotations

import copy
from collections import defaultdict
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
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.text.vocabulary import EOS

LAYERS = ("encoder1", "encoder2", "decoder")
PERCENTILES = {"max": 1.0, "p99.99": 0.9999, "p99.9": 0.999, "p99": 0.99}

GateTensors = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""A gate unit's weights from x (H, I) and h (H, H), bias (H,) and peephole (H,); None where it has none."""
Preactivations = dict[str, Tensor]
"""By gate unit, each of shape (B, H)."""


@runtime_checkable
class PreactivationSource(Protocol):
    """Where pre-activations come from."""

    def __call__(self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor]) -> Preactivations:
        """Pre-activations (B, H) of the named `units` of `layer` from its inputs by role, each (B, n).

        Roles: `x` layer input, `z` latent, `h` previous hidden state, `c` memory (only with peepholes).
        """
        ...


@dataclass(frozen=True)
class State:
    """What a recurrent layer keeps from step to step, each (B, H); `memory` is None but for the LSTM."""

    hidden: Tensor
    memory: Tensor | None

    def first(self, count: int) -> State:
        """The state of the first `count` sentences."""
        return State(self.hidden[:count], None if self.memory is None else self.memory[:count])


def _tensor(part: NDArray[np.float64] | None) -> Tensor | None:
    return None if part is None else torch.from_numpy(part)


class WeightsSource:
    """The digital answer: pre-activations as matrix products in float64."""

    def __init__(self, layers: Mapping[str, RecurrentLayer]) -> None:
        """`layers` by name, as `recurrent_layers` reads them."""
        self._gates: dict[str, dict[str, GateTensors]] = {
            name: {
                unit: (_tensor(g.x), _tensor(g.h), _tensor(g.bias), _tensor(g.peephole))
                for unit, g in layer.gates.items()
            }
            for name, layer in layers.items()
        }

    def __call__(self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor]) -> Preactivations:
        """See `PreactivationSource`."""
        x = torch.cat([inputs[role] for role in ("x", "z") if role in inputs], dim=-1)  # (B, I)
        found = {}
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
            found[unit] = total
        return found


def layer_step(
    layer: RecurrentLayer, source: PreactivationSource, inputs: Mapping[str, Tensor], state: State
) -> tuple[State, Preactivations]:
    """One time step of one recurrent layer: the new state, and the pre-activations on the way (eqs. 10 and 11)."""
    known = {**inputs, "h": state.hidden}
    if layer.cell == "rnn":
        found = source(layer.name, ["h"], known)
        return State(rnn_hidden(found), None), found
    if layer.cell == "gru":
        found = source(layer.name, list(layer.gates), known)
        return State(gru_hidden(found, state.hidden), None), found
    assert state.memory is not None
    if not layer.peepholes:
        found = source(layer.name, list(layer.gates), known)
        memory = lstm_memory(found, state.memory)
    else:  # the output gate sees c_t, which the other three make
        found = source(layer.name, ["i", "f", "g"], {**known, "c": state.memory})
        memory = lstm_memory(found, state.memory)
        found |= source(layer.name, ["o"], {**known, "c": memory})
    return State(lstm_hidden(found["o"], memory), memory), found


class Stepper:
    """An HSR-VAE in float64 whose recurrent layers run on `source`; everything else is software (paper 3.2, page
    693)."""

    def __init__(self, model: HSRVAE, source: PreactivationSource | None = None) -> None:
        """`source` None: the digital answer from the model's own weights."""
        self.model = _copied(model).double().cpu().eval().requires_grad_(False)
        self.layers = model_layers(self.model)
        self.source: PreactivationSource = source if source is not None else WeightsSource(self.layers)

    def zero_state(self, layer: str, batch: int) -> State:
        """The state before the first step."""
        zeros = torch.zeros(batch, self.layers[layer].hidden_size, dtype=torch.float64)
        return State(zeros, zeros if self.layers[layer].cell == "lstm" else None)

    def step(self, layer: str, inputs: Mapping[str, Tensor], state: State) -> tuple[State, Preactivations]:
        """One time step of one layer."""
        return layer_step(self.layers[layer], self.source, inputs, state)

    def encoder_input(self, tokens: Tensor) -> Tensor:
        """Embeddings (B, E) of token ids (B,)."""
        return self.model.encoder_embedding(tokens)  # type: ignore[no-any-return]

    def latent(self, encoded: State, noise: Tensor | None) -> Tensor:
        """z (B, Z) from the second encoder layer's last state; `noise` (B, Z) standard normal, None for the mean."""
        mean: Tensor = self.model.to_mean(encoded.hidden)
        if noise is None:
            return mean
        return mean + torch.exp(self.model.to_log_variance(encoded.hidden) / 2) * noise

    def decoder_state(self, z: Tensor) -> State:
        """The decoder's state before its first step: W z, for hidden state and memory alike."""
        hidden: Tensor = self.model.latent_to_hidden(z)
        return State(hidden, hidden if self.layers["decoder"].cell == "lstm" else None)

    def decoder_input(self, tokens: Tensor, z: Tensor) -> dict[str, Tensor]:
        """The decoder's inputs at one step: embeddings of the previous tokens (B,), and z."""
        return {"x": self.model.decoder_embedding(tokens), "z": z}

    def logits(self, state: State) -> Tensor:
        """(B, V) from the decoder's state."""
        return self.model.to_logits(state.hidden)  # type: ignore[no-any-return]

    def encoder_tokens(self, sentence: Sequence[int]) -> list[int]:
        """What the encoder sees of an encoded sentence: all of it, or all but a closing eos."""
        hide = not self.model.config.encoder_sees_eos and sentence[-1] == EOS
        return list(sentence[:-1] if hide else sentence)


def _copied(model: HSRVAE) -> HSRVAE:
    """A copy; of what hooks compute before every pass (pruned weights), which torch does not copy, the values."""
    computed = [value for part in model.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    return copy.deepcopy(model, {id(value): value.detach().clone() for value in computed})


def model_layers(model: HSRVAE) -> dict[str, RecurrentLayer]:
    """The three recurrent layers of a model by name, as they act.

    Raises `MappingError` for a layer that cannot be mapped, or is not one layer in one direction.
    """
    found = {}
    for name in LAYERS:
        layers = recurrent_layers(getattr(model, name), name)
        if len(layers) > 1:
            raise MappingError(f"{name} has {len(layers)} layers or directions; the model's step loop allows one")
        (found[name],) = layers
    return found


class _Recorder:
    """Passes pre-activations through and keeps the magnitudes of what went in and came out."""

    def __init__(self, source: PreactivationSource) -> None:
        self._source = source
        self.seen: dict[tuple[str, str, str], list[Tensor]] = defaultdict(list)

    def __call__(self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor]) -> Preactivations:
        found = self._source(layer, units, inputs)
        for role, value in inputs.items():
            self.seen[layer, "inputs", role].append(value.abs().flatten())
        for unit, value in found.items():
            self.seen[layer, "preactivations", unit].append(value.abs().flatten())
        return found


def activation_ranges(
    model: HSRVAE, sentences: Sequence[Sequence[int]], seed: int = 0
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


def run_batch(
    stepper: Stepper, sentences: Sequence[Sequence[int]], generator: torch.Generator | None = None
) -> list[Tensor]:
    """Teacher-forced run of `sentences`, longest first; z sampled with `generator`, or its mean.

    Returns per decoder step the logits (B_t, V) of the B_t sentences that have such a step.
    """
    encoded = encode_batch(stepper, sentences)
    noise = None
    if generator is not None:
        size = stepper.model.config.latent_size
        noise = torch.randn(len(sentences), size, generator=generator, dtype=torch.float64)
    return [stepper.logits(state) for state in forced_states(stepper, sentences, stepper.latent(encoded, noise))]


def encode_batch(stepper: Stepper, sentences: Sequence[Sequence[int]]) -> State:
    """The second encoder layer's hidden state (B, H) at the last step of each of `sentences`, longest first."""
    seen = [stepper.encoder_tokens(sentence) for sentence in sentences]
    first, second = (stepper.zero_state(name, len(sentences)) for name in LAYERS[:2])
    last = torch.empty_like(second.hidden)
    for t in range(len(seen[0])):
        tokens = tokens_at(seen, t)
        first, _ = stepper.step("encoder1", {"x": stepper.encoder_input(tokens)}, first.first(len(tokens)))
        second, _ = stepper.step("encoder2", {"x": first.hidden}, second.first(len(tokens)))
        last[: len(tokens)] = second.hidden
    return State(last, None)


def forced_states(stepper: Stepper, sentences: Sequence[Sequence[int]], z: Tensor) -> Iterator[State]:
    """The decoder's states step by step with the right words going in, `sentences` longest first, z (B, Z).

    State t is of the B_t sentences that have a target at t + 1.
    """
    state = stepper.decoder_state(z)
    for t in range(len(sentences[0]) - 1):
        count = sum(len(sentence) > t + 1 for sentence in sentences)
        tokens = tokens_at(sentences[:count], t)
        state, _ = stepper.step("decoder", stepper.decoder_input(tokens, z[:count]), state.first(count))
        yield state


def tokens_at(sentences: Sequence[Sequence[int]], t: int) -> Tensor:
    """Ids (B_t,) at place t of the `sentences`, longest first, that are long enough."""
    return torch.tensor([sentence[t] for sentence in sentences if len(sentence) > t])
