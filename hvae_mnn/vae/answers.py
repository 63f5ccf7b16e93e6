"""What a model answers to many sentences, on any `Stepper`: posteriors, next words, likelihoods, reconstructions.

Three passes of the decoder. `teacher`: the right words go in, z is the posterior's mean. `sampled`: the right words go
in, z is drawn from the posterior. `free`: its own most likely words go in, z is the mean.

Axis letters: N sentences, S targets of all sentences one after the other (words and end symbol), B batch, H hidden,
V vocabulary, Z latent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from hvae_mnn.errors import InputError, StorageError
from hvae_mnn.files import disk_errors, replacing
from hvae_mnn.text.vocabulary import SOS
from hvae_mnn.vae.scoring import Progress, sentence_noise
from hvae_mnn.vae.stepwise import LAYERS, State, Stepper

Pass = Literal["teacher", "sampled", "free"]
_POSTERIOR = 0
"""The purpose of the noise of z, as in `evaluation_proper`: the same z for the same sentence."""
_ROWS = 512
"""Rows of logits that are made at a time: with 10,000 words, 40 MB."""
_TOP = 5


@dataclass(frozen=True)
class Answers:
    """Answers to N sentences, in their order; arrays of passes that were not run are empty."""

    mean: NDArray[np.float64]
    """(N, Z): of the posterior at its last step."""
    log_variance: NDArray[np.float64]
    """(N, Z)."""
    likeliest: NDArray[np.int64]
    """(S,): the most likely next word, `teacher`."""
    top: NDArray[np.bool_]
    """(S,): whether fewer than five words are more likely than the right one, `teacher`."""
    nats: NDArray[np.float64]
    """(N,): sum of -ln p of a sentence's targets, `sampled`."""
    written: NDArray[np.int64]
    """(S,): words put out, `free`; as many as the sentence has targets."""
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    """`recurrent`: steps of the three layers; `logits`: all that is done with the vocabulary."""

    def save(self, path: Path) -> None:
        """Write them to a safetensors file. Raises `StorageError`."""
        tensors = {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self) if f.name != "seconds"}
        tensors |= {f"seconds.{name}": np.array(value) for name, value in self.seconds.items()}
        with disk_errors(path), replacing(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path) -> Answers:
        """Read what `save` wrote. Raises `StorageError` for a file that is damaged or something else."""
        try:
            found = load_file(path)
            seconds = {name[8:]: float(found.pop(name)) for name in list(found) if name.startswith("seconds.")}
            return cls(**found, seconds=seconds)
        except (OSError, SafetensorError, TypeError) as error:
            raise StorageError(f"{path} cannot be read ({error}); delete it, and it is made again") from None


@torch.inference_mode()
def run_answers(
    stepper: Stepper,
    sentences: Sequence[Sequence[int]],
    passes: Set[str],
    *,
    begin: Callable[[Sequence[int]], None] | None = None,
    batch_size: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> Answers:
    """Run encoded sentences (with start and end symbols) in batches, the longest first.

    `begin(numbers)` is called before every batch with the numbers of its sentences, row by row. `seed` is that of the
    latents of `sampled`, which depend on it and on the sentence's words. Raises `InputError` without sentences.
    """
    if not sentences or batch_size < 1:
        raise InputError(f"{len(sentences)} sentences in batches of {batch_size}; each has to be 1 or more")
    work = _Work(stepper, sentences, passes, seed)
    order = sorted(range(len(sentences)), key=lambda place: (-len(sentences[place]), place))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        if begin is not None:
            begin(places)
        work.batch(places)
        if progress is not None:
            progress("sentences", min(start + batch_size, len(order)), len(order))
    return work.answers


class _Work:
    """Fills the answers, batch by batch."""

    def __init__(self, stepper: Stepper, sentences: Sequence[Sequence[int]], passes: Set[str], seed: int) -> None:
        self._stepper, self._sentences, self._passes, self._seed = stepper, sentences, passes, seed
        count, latent = len(sentences), stepper.model.config.latent_size
        lengths = np.array([len(sentence) - 1 for sentence in sentences])
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        targets = int(self._starts[-1])

        def size(kind: Pass, wanted: int) -> int:
            return wanted if kind in passes else 0

        self.answers = Answers(
            mean=np.empty((count, latent)),
            log_variance=np.empty((count, latent)),
            likeliest=np.empty(size("teacher", targets), dtype=np.int64),
            top=np.empty(size("teacher", targets), dtype=bool),
            nats=np.zeros(size("sampled", count)),
            written=np.empty(size("free", targets), dtype=np.int64),
            seconds={"recurrent": 0.0, "logits": 0.0},
        )

    def batch(self, places: list[int]) -> None:
        """Run the sentences at these places, longest first."""
        sentences = [self._sentences[place] for place in places]
        with self._timed("recurrent"):
            encoded = self._encode(sentences)
        mean = self._stepper.latent(encoded, None)
        log_variance: Tensor = self._stepper.model.to_log_variance(encoded.hidden)
        self.answers.mean[places], self.answers.log_variance[places] = mean.numpy(), log_variance.numpy()
        if "teacher" in self._passes:
            self._teacher(places, sentences, mean)
        if "sampled" in self._passes:
            size = (mean.shape[1],)
            noise = torch.stack([sentence_noise(self._seed, _POSTERIOR, sentence, size) for sentence in sentences])
            self._sampled(places, sentences, mean + torch.exp(log_variance / 2) * noise)
        if "free" in self._passes:
            self._free(places, sentences, mean)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.answers.seconds[what] += time.perf_counter() - start

    def _encode(self, sentences: Sequence[Sequence[int]]) -> State:
        """The second layer's state at every sentence's last step."""
        stepper = self._stepper
        seen = [stepper.encoder_tokens(sentence) for sentence in sentences]
        first, second = (stepper.zero_state(name, len(sentences)) for name in LAYERS[:2])
        last = torch.empty_like(second.hidden)
        for t in range(len(seen[0])):
            tokens = _column(seen, t)
            first, _ = stepper.step("encoder1", {"x": stepper.encoder_input(tokens)}, first.first(len(tokens)))
            second, _ = stepper.step("encoder2", {"x": first.hidden}, second.first(len(tokens)))
            last[: len(tokens)] = second.hidden
        return State(last, None)

    def _teacher(self, places: list[int], sentences: Sequence[Sequence[int]], z: Tensor) -> None:
        hidden, slots, targets = self._forced(places, sentences, z)
        with self._timed("logits"):
            for part in _slices(len(hidden)):
                logits = self._stepper.logits(State(hidden[part], None))
                self.answers.likeliest[slots[part]] = logits.argmax(dim=1).numpy()
                right = logits.gather(1, targets[part, None])
                self.answers.top[slots[part]] = ((logits > right).sum(dim=1) < _TOP).numpy()

    def _sampled(self, places: list[int], sentences: Sequence[Sequence[int]], z: Tensor) -> None:
        hidden, slots, targets = self._forced(places, sentences, z)
        with self._timed("logits"):
            nats = torch.empty(len(hidden), dtype=torch.float64)
            for part in _slices(len(hidden)):
                logits = self._stepper.logits(State(hidden[part], None))
                right = logits.gather(1, targets[part, None])[:, 0]
                nats[part] = torch.logsumexp(logits, dim=1) - right
            owner = np.searchsorted(self._starts, slots, side="right") - 1
            self.answers.nats[places] = np.bincount(owner, nats.numpy(), len(self._sentences))[places]

    def _forced(
        self, places: list[int], sentences: Sequence[Sequence[int]], z: Tensor
    ) -> tuple[Tensor, NDArray[np.int64], Tensor]:
        """Decoder states (S of the batch, H) with the right words going in, where each belongs in the answers, and the
        right next words."""
        with self._timed("recurrent"):
            state, hidden, slots, targets = self._stepper.decoder_state(z), [], [], []
            for t in range(len(sentences[0]) - 1):
                tokens = _column(sentences, t, beyond=1)
                inputs = self._stepper.decoder_input(tokens, z[: len(tokens)])
                state, _ = self._stepper.step("decoder", inputs, state.first(len(tokens)))
                hidden.append(state.hidden)
                slots.append(self._starts[places[: len(tokens)]] + t)
                targets.append(_column(sentences, t + 1))
            return torch.cat(hidden), np.concatenate(slots), torch.cat(targets)

    def _free(self, places: list[int], sentences: Sequence[Sequence[int]], z: Tensor) -> None:
        state = self._stepper.decoder_state(z)
        tokens = torch.full((len(sentences),), SOS)
        for t in range(len(sentences[0]) - 1):
            count = sum(len(sentence) > t + 1 for sentence in sentences)
            with self._timed("recurrent"):
                inputs = self._stepper.decoder_input(tokens[:count], z[:count])
                state, _ = self._stepper.step("decoder", inputs, state.first(count))
            with self._timed("logits"):
                tokens = self._stepper.logits(state).argmax(dim=1)
            self.answers.written[self._starts[places[:count]] + t] = tokens.numpy()


def _column(sentences: Sequence[Sequence[int]], t: int, beyond: int = 0) -> Tensor:
    """Tokens (B_t,) at step t of the sentences that have `beyond` more; longest first."""
    return torch.tensor([sentence[t] for sentence in sentences if len(sentence) > t + beyond])


def _slices(count: int) -> Iterator[slice]:
    for start in range(0, count, _ROWS):
        yield slice(start, min(start + _ROWS, count))
