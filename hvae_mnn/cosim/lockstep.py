"""Runs a sentence through the digital model and the hardware side by side, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hvae_mnn.cosim.plan import Options
from hvae_mnn.cosim.records import Records
from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.stepwise import Preactivations, State, Stepper
from hvae_mnn.text.vocabulary import EOS, Vocabulary


class _Checked:
    """The hardware's pre-activations, and their differences from matrix products of the same inputs."""

    def __init__(self, hardware: CrossbarSource, digital: Stepper) -> None:
        self._hardware, self._digital = hardware, digital
        self.array_errors: dict[str, Tensor] = {}

    def __call__(self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor]) -> Preactivations:
        found = self._hardware(layer, units, inputs)
        expected = self._digital.source(layer, units, inputs)
        self.array_errors |= {unit: found[unit] - expected[unit] for unit in units}
        return found


@dataclass(frozen=True)
class SentenceResult:
    """Tokens of one sentence, one per decoder step."""

    digital: tuple[int, ...]
    hardware: tuple[int, ...]


class Lockstep:
    """The two models and the records of their steps."""

    def __init__(
        self,
        model: HSRVAE,
        vocabulary: Vocabulary,
        source: CrossbarSource,
        options: Options,
        records: Records,
        tick: Callable[[], None],
    ) -> None:
        """`options` and `records` of the run; `tick` is called after every time step of encoder or decoder."""
        self._digital = Stepper(model)
        self._disturb = source.disturb
        self._source = _Checked(source, self._digital)
        self._crossbars = source
        self._hardware = HardwareStepper(model, source, self._source)
        self._vocabulary, self._options, self._records, self._tick = vocabulary, options, records, tick

    def run(self, index: int, sentence: Sequence[int], noise: Tensor | None) -> SentenceResult:
        """Encode and decode one encoded sentence; `noise` (1, Z) for a sampled latent, None for its mean."""
        self._crossbars.begin([index])
        encoded = self._encode(index, self._digital.encoder_tokens(sentence))
        latents = [self._digital.latent(encoded[0], noise), self._hardware.latent(encoded[1], noise)]
        return self._decode(index, sentence, latents)

    def _step(
        self, where: tuple[int, str, int], layer: str, inputs: Sequence[Mapping[str, Tensor]], states: Sequence[State]
    ) -> list[State]:
        """One step of `layer` in both models; inputs and states are digital, hardware."""
        digital_state, digital = self._digital.step(layer, inputs[0], states[0])
        self._source.array_errors.clear()
        hardware_state, hardware = self._hardware.step(layer, inputs[1], states[1])
        self._records.layer_step(*where, layer, digital, hardware, self._source.array_errors)
        self._records.drift_step(*where, layer, {unit: self._disturb.get((layer, unit)) for unit in digital})
        return [digital_state, hardware_state]

    def _encode(self, index: int, tokens: Sequence[int]) -> list[State]:
        first = [self._digital.zero_state("encoder1", 1)] * 2
        second = [self._digital.zero_state("encoder2", 1)] * 2
        for position, token in enumerate(tokens):
            x = {"x": self._digital.encoder_input(torch.tensor([token]))}
            where = (index, "encoder", position)
            first = self._step(where, "encoder1", [x, x], first)
            second = self._step(where, "encoder2", [{"x": state.hidden} for state in first], second)
            self._tick()
        return second

    def _decode(self, index: int, sentence: Sequence[int], latents: Sequence[Tensor]) -> SentenceResult:
        models = (self._digital, self._hardware)
        states = [model.decoder_state(z) for model, z in zip(models, latents, strict=True)]
        previous, ended = [sentence[0]] * 2, [False, False]
        free = self._options.decoding == "free-running"
        tokens: list[list[int]] = [[], []]
        for position, target in enumerate(sentence[1:]):
            inputs = [m.decoder_input(torch.tensor([p]), z) for m, p, z in zip(models, previous, latents, strict=True)]
            if any(ended):  # nothing to compare a step of one model with
                states = [
                    state if done else model.step("decoder", own, state)[0]
                    for model, own, state, done in zip(models, inputs, states, ended, strict=True)
                ]
            else:
                states = self._step((index, "decoder", position), "decoder", inputs, states)
            logits = [
                None if done else model.logits(state)[0]
                for model, state, done in zip(models, states, ended, strict=True)
            ]
            best = [EOS if values is None else int(values.argmax()) for values in logits]
            for found, token in zip(tokens, best, strict=True):
                found.append(token)
            self._record_token(index, position, target, best, logits)
            self._tick()
            previous = best if free else [target] * 2
            ended = [free and token == EOS for token in best]
            if all(ended):
                break
        return SentenceResult(tuple(tokens[0]), tuple(tokens[1]))

    def _record_token(
        self, sentence: int, position: int, target: int, best: Sequence[int], logits: Sequence[Tensor | None]
    ) -> None:
        """Record a decoder step; a model whose sentence has ended gives eos, and None for its `logits`."""
        words = self._vocabulary.decode([target, *best])
        digital, hardware = logits
        nll = [None if values is None else -float(torch.log_softmax(values, 0)[target]) for values in logits]
        apart = None if digital is None or hardware is None else float((hardware - digital).abs().max())
        self._records.token(
            sentence=sentence,
            position=position,
            target=words[0],
            digital=words[1],
            hardware=words[2],
            agree=best[0] == best[1],
            digital_nll=nll[0],
            hardware_nll=nll[1],
            max_logit_error=apart,
        )
