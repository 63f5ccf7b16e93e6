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
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.stepwise import Preactivations, State, Stepper, drawn_latent
from hvae_mnn.text.vocabulary import EOS, Vocabulary


class _Checked:
    """The hardware's pre-activations, and their differences from matrix products of the same inputs."""

    def __init__(self, hardware: CrossbarSource, digital: Stepper) -> None:
        self._hardware, self._digital = hardware, digital
        self.array_errors: dict[tuple[str, str], Tensor] = {}
        """By layer and gate unit, since they were last cleared."""

    def __call__(
        self, layer: str, units: Sequence[str], inputs: Mapping[str, Tensor], *, new_step: bool = True
    ) -> Preactivations:
        preactivations = self._hardware(layer, units, inputs, new_step=new_step)
        expected = self._digital.source(layer, units, inputs, new_step=new_step)
        self.array_errors |= {(layer, unit): preactivations[unit] - expected[unit] for unit in units}
        return preactivations


@dataclass(frozen=True)
class SentenceResult:
    """Tokens of one sentence, one per decoder step."""

    digital: tuple[int, ...]
    hardware: tuple[int, ...]


class Lockstep:
    """The two models and the records of their steps."""

    def __init__(
        self,
        model: RecurrentModel,
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

    def steps(self, sentence: Sequence[int]) -> int:
        """Time steps that an encoded sentence takes at most, of encoder and decoder."""
        read = len(self._digital.encoder_tokens(sentence)) if self._digital.encoder else 0
        return read + len(sentence) - 1

    def run(self, index: int, sentence: Sequence[int], noise: Tensor | None) -> SentenceResult:
        """Encode and decode one encoded sentence; `noise` (1, W) for a sampled latent, None for its mean."""
        self._crossbars.begin([index])
        encoded = self._encode(index, self._digital.encoder_tokens(sentence))
        models = (self._digital, self._hardware)
        posteriors = [model.posterior(state, [sentence]) for model, state in zip(models, encoded, strict=True)]
        latents = [drawn_latent(*posterior, noise) for posterior in posteriors]
        return self._decode(index, sentence, latents)

    def _record(
        self, where: tuple[int, str, int], layer: str, digital: Preactivations, hardware: Preactivations
    ) -> None:
        """One time step of a layer, which both models have just taken."""
        errors = {unit: self._source.array_errors[layer, unit] for unit in digital}
        self._records.layer_step(*where, layer, digital, hardware, errors)
        self._records.drift_step(*where, layer, {unit: self._disturb.get((layer, unit)) for unit in digital})

    def _encode(self, index: int, tokens: Sequence[int]) -> list[State]:
        """What the posterior needs of the last encoder layer: digital, hardware."""
        models = (self._digital, self._hardware)
        if not self._digital.encoder:
            return [model.no_encoder(1) for model in models]
        digital, hardware = ([model.zero_state(layer, 1) for layer in model.encoder] for model in models)
        seen: tuple[list[Tensor], list[Tensor]] = ([], [])
        for position, token in enumerate(tokens):
            self._source.array_errors.clear()
            digital, expected = self._digital.encoder_step(torch.tensor([token]), digital)
            hardware, read = self._hardware.encoder_step(torch.tensor([token]), hardware)
            for layer in self._digital.encoder:
                self._record((index, "encoder", position), layer, expected[layer], read[layer])
            for kept, states in zip(seen, (digital, hardware), strict=True):
                kept.append(states[-1].hidden)
            self._tick()
        return [model.kept(states) for model, states in zip(models, seen, strict=True)]

    def _decode(self, index: int, sentence: Sequence[int], latents: Sequence[Tensor]) -> SentenceResult:
        models = (self._digital, self._hardware)
        states = [model.decoder_state(z) for model, z in zip(models, latents, strict=True)]
        previous, ended = [sentence[0]] * 2, [False, False]
        free = self._options.decoding == "free-running"
        tokens: list[list[int]] = [[], []]
        for position, target in enumerate(sentence[1:]):
            self._source.array_errors.clear()
            steps = [
                (state, {}) if done else model.decoder_step(torch.tensor([token]), z, state)
                for model, token, z, state, done in zip(models, previous, latents, states, ended, strict=True)
            ]
            states = [state for state, _ in steps]
            if not any(ended):  # otherwise there is nothing to compare a step of one model with
                self._record((index, "decoder", position), self._digital.decoder, steps[0][1], steps[1][1])
            logits = [
                None if done else model.logits(state)[0]
                for model, state, done in zip(models, states, ended, strict=True)
            ]
            best = [EOS if values is None else int(values.argmax()) for values in logits]
            for written, token in zip(tokens, best, strict=True):
                written.append(token)
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
