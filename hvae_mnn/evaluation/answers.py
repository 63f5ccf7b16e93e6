"""A model's answers to many sentences, on any `Stepper`: posteriors, next words, likelihoods, reconstructions.

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
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hvae_mnn.errors import InputError, TensorsError
from hvae_mnn.evaluation.scoring import Progress
from hvae_mnn.models.decoding import free_run, likeliest
from hvae_mnn.models.latent import sample_latent, sentence_noise
from hvae_mnn.models.stepwise import State, Stepper, encode_batch, forced_states, tokens_at
from hvae_mnn.names import unknown_name
from hvae_mnn.tensors import read_tensors, write_tensors
from hvae_mnn.text.vocabulary import EOS

Pass = Literal["teacher", "sampled", "free"]
_POSTERIOR = 0
"""The purpose of the noise of z, as in `evaluation.proper`: the same z for the same sentence."""
_ROWS = 128
"""Rows of logits made at a time, 10 MB at 10,000 words: with fewer the product is slower, with more it leaves the
cache before it is used."""
_TOP = 5


@dataclass(frozen=True)
class Answers:
    """Answers to N sentences, in their order; arrays of passes that were not run are empty."""

    starts: NDArray[np.int64]
    """(N + 1,): the targets of sentence n are `starts[n]` to `starts[n + 1]` of the S in all."""
    mean: NDArray[np.float64]
    """(N, Z): mean of the posterior at its last step."""
    log_variance: NDArray[np.float64]
    """(N, Z): its log-variance."""
    likeliest: NDArray[np.int64]
    """(S,): the most likely next word, `teacher`; or `NOT_FINITE`."""
    top: NDArray[np.bool_]
    """(S,): whether fewer than five words are more likely than the right one, `teacher`."""
    nats: NDArray[np.float64]
    """(N,): sum of -ln p of a sentence's targets, `sampled`."""
    written: NDArray[np.int64]
    """(S,): words put out, `free`, one per target; or `NOT_FINITE`."""
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    """Time of `recurrent`, the steps of the recurrent layers, and of `logits`, all work on the vocabulary."""

    def __post_init__(self) -> None:
        """Check that the arrays fit each other. Raises `InputError`."""
        count, targets = len(self.starts) - 1, int(self.starts[-1]) if self.starts.size else 0
        expected = {
            "starts": (np.int64, [(count + 1,)]),
            "mean": (np.float64, [(count, *self.mean.shape[1:2])]),
            "log_variance": (np.float64, [self.mean.shape]),
            "likeliest": (np.int64, [(0,), (targets,)]),
            "top": (np.bool_, [self.likeliest.shape]),
            "nats": (np.float64, [(0,), (count,)]),
            "written": (np.int64, [(0,), (targets,)]),
        }
        for name, (kind, shapes) in expected.items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape not in shapes:
                raise InputError(
                    f"answers to {count} sentences: {name} is {array.dtype} of shape {array.shape}; allowed:"
                    f" {np.dtype(kind)} of shape {' or '.join(map(str, shapes))}"
                )

    def has(self, kind: Pass) -> bool:
        """Whether a pass was run."""
        return bool({"teacher": self.likeliest, "sampled": self.nats, "free": self.written}[kind].size)

    def save(self, path: Path) -> None:
        """Write them to a safetensors file in one step. Raises `StorageError`."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "seconds"}
        write_tensors(path, tensors | {f"{_SECONDS}{name}": np.array(value) for name, value in self.seconds.items()})

    @classmethod
    def load(cls, path: Path) -> Answers:
        """Read what `save` wrote. Raises `TensorsError` for a file that is missing, damaged or something else."""
        tensors = read_tensors(path, "file of answers")
        try:
            named = sorted(name for name in tensors if name.startswith(_SECONDS))
            seconds = {name.removeprefix(_SECONDS): float(tensors.pop(name)) for name in named}
            return cls(**tensors, seconds=seconds)
        except (TypeError, ValueError, InputError) as error:
            raise TensorsError(f"{path} holds no answers ({error}); delete it, and it is made again") from error


_SECONDS = "seconds."


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

    `begin(numbers)` is called with the numbers of a batch's sentences, row by row, before the encoder and before every
    pass of the decoder: so no pass depends on which others are run. The latents of `sampled` depend on `seed` and on
    the sentence's words. Batches do not depend on the order of the sentences.

    Raises `InputError` for no sentences, a sentence without targets or with ids outside the vocabulary, an unknown
    pass, or a bad number.
    """
    _check(stepper, sentences, passes, batch_size, seed)
    work = _Work(stepper, sentences, passes, seed, begin or (lambda _: None))
    order = sorted(range(len(sentences)), key=lambda index: (-len(sentences[index]), tuple(sentences[index])))
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        work.batch(indices)
        if progress is not None:
            progress("sentences", min(start + batch_size, len(order)), len(order))
    return work.answers


def _check(stepper: Stepper, sentences: Sequence[Sequence[int]], passes: Set[str], batch_size: int, seed: int) -> None:
    if not sentences or batch_size < 1:
        raise InputError(f"{len(sentences)} sentences in batches of {batch_size}; allowed: 1 or more of each")
    if seed < 0:
        raise InputError(f"seed is {seed}; allowed: 0 or more")
    for name in sorted(passes):
        if name not in get_args(Pass):
            raise InputError(unknown_name("pass", name, get_args(Pass)))
    words = stepper.model.config.vocabulary_size
    for number, sentence in enumerate(sentences):
        if len(sentence) < 2:
            raise InputError(f"sentence {number} has {len(sentence)} ids; allowed: 2 (start and end symbol) or more")
        if not 0 <= min(sentence) <= max(sentence) < words:
            raise InputError(
                f"sentence {number} has ids from {min(sentence)} to {max(sentence)}; allowed: 0 to {words - 1}, the"
                " model's vocabulary; encode it with that"
            )


class _Work:
    """Fills the answers, batch by batch."""

    def __init__(
        self,
        stepper: Stepper,
        sentences: Sequence[Sequence[int]],
        passes: Set[str],
        seed: int,
        begin: Callable[[Sequence[int]], None],
    ) -> None:
        self._stepper, self._sentences, self._passes, self._seed = stepper, sentences, passes, seed
        self._begin = begin
        count = len(sentences)
        width = stepper.model.latent_width(max(map(len, sentences)) - 1)
        starts = np.concatenate([[0], np.cumsum([len(sentence) - 1 for sentence in sentences])]).astype(np.int64)
        targets = int(starts[-1])

        def size(kind: Pass, wanted: int) -> int:
            return wanted if kind in passes else 0

        self.answers = Answers(
            starts=starts,
            mean=np.zeros((count, width)),
            log_variance=np.zeros((count, width)),
            likeliest=np.empty(size("teacher", targets), dtype=np.int64),
            top=np.empty(size("teacher", targets), dtype=bool),
            nats=np.empty(size("sampled", count)),
            written=np.empty(size("free", targets), dtype=np.int64),
            seconds={"recurrent": 0.0, "logits": 0.0},
        )

    def batch(self, indices: list[int]) -> None:
        """Run the sentences with these indices, longest first."""
        sentences = [self._sentences[index] for index in indices]
        self._begin(indices)
        with self._timed("recurrent"):
            encoded = encode_batch(self._stepper, sentences)
        mean, log_variance = self._stepper.posterior(encoded, sentences)
        self.answers.mean[indices, : mean.shape[1]] = mean.numpy()
        self.answers.log_variance[indices, : mean.shape[1]] = log_variance.numpy()
        if "teacher" in self._passes:
            self._begin(indices)
            self._teacher(indices, sentences, mean)
        if "sampled" in self._passes:
            self._begin(indices)
            size = (mean.shape[1],)
            noise = torch.stack([sentence_noise(self._seed, _POSTERIOR, sentence, size) for sentence in sentences])
            self._sampled(indices, sentences, sample_latent(mean, log_variance, noise=noise))
        if "free" in self._passes:
            self._begin(indices)
            self._free(indices, sentences, mean)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        """Add the time of a block to `what`, without the time of other timed blocks within it."""
        seconds = self.answers.seconds
        start, counted = time.perf_counter(), sum(seconds.values())
        yield
        seconds[what] += time.perf_counter() - start - (sum(seconds.values()) - counted)

    def _teacher(self, indices: list[int], sentences: Sequence[Sequence[int]], z: Tensor) -> None:
        hidden, targets, rows, steps = self._forced(sentences, z)
        slots = self.answers.starts[indices][rows] + steps
        with self._timed("logits"):
            for part in _slices(len(hidden)):
                logits = self._stepper.logits(State(hidden[part], None))
                best, finite = likeliest(logits)
                right = logits.gather(1, targets[part, None])
                self.answers.likeliest[slots[part]] = best.numpy()
                self.answers.top[slots[part]] = (((logits > right).sum(dim=1) < _TOP) & finite).numpy()

    def _sampled(self, indices: list[int], sentences: Sequence[Sequence[int]], z: Tensor) -> None:
        hidden, targets, rows, _ = self._forced(sentences, z)
        with self._timed("logits"):
            nats = np.empty(len(hidden))
            for part in _slices(len(hidden)):
                logits = self._stepper.logits(State(hidden[part], None))
                nats[part] = torch.nn.functional.cross_entropy(logits, targets[part], reduction="none").numpy()
            self.answers.nats[indices] = np.bincount(rows, nats)

    def _forced(
        self, sentences: Sequence[Sequence[int]], z: Tensor
    ) -> tuple[Tensor, Tensor, NDArray[np.int64], NDArray[np.int64]]:
        """Decoder states (K, H) and targets (K,) of all steps with the right words going in; row and step of each."""
        with self._timed("recurrent"):
            hidden = [state.hidden for state in forced_states(self._stepper, sentences, z)]
        targets = torch.cat([tokens_at(sentences, t + 1) for t in range(len(hidden))])
        rows = np.concatenate([np.arange(len(part)) for part in hidden])
        steps = np.concatenate([np.full(len(part), t) for t, part in enumerate(hidden)])
        return torch.cat(hidden), targets, rows, steps

    def _free(self, indices: list[int], sentences: Sequence[Sequence[int]], z: Tensor) -> None:
        written: list[Tensor] = []

        def choose(state: State) -> Tensor:
            with self._timed("logits"):
                best, finite = likeliest(self._stepper.logits(state))
            written.append(best)
            return torch.where(finite, best, EOS)  # a NaN state stays NaN, whatever the input

        with self._timed("recurrent"):
            free_run(self._stepper, [len(sentence) - 1 for sentence in sentences], z, choose)
        for t, words in enumerate(written):
            self.answers.written[self.answers.starts[indices[: len(words)]] + t] = words.numpy()


def _slices(count: int) -> Iterator[slice]:
    for start in range(0, count, _ROWS):
        yield slice(start, min(start + _ROWS, count))
