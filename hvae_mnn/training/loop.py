"""Training: one loop that can be killed at any moment and resumed to the same weights, bit for bit.

Every batch takes its random numbers (dropout, latent noise) from a seed of its own, spawned from the run's seed and the
batch's place, and every epoch its order of batches. So a stored state needs weights, optimiser and a place only. The
same bits come out on the same machine with the same number of threads; elsewhere sums may round differently.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hvae_mnn.errors import InputError, TrainingError
from hvae_mnn.files import require_room
from hvae_mnn.folders import taken
from hvae_mnn.models.checkpoint import save_checkpoint
from hvae_mnn.models.config import ModelConfig, TrainingConfig
from hvae_mnn.models.device import pick_device, pick_precision
from hvae_mnn.models.hsrvae import HSRVAE, sample_latent
from hvae_mnn.models.objective import batch_loss, charged_kl, kl_weight, reconstruction
from hvae_mnn.models.stepwise import activation_ranges
from hvae_mnn.text.batches import Batch, EncodedSentence, collate, shuffled_order, sorted_order
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training.state import (
    BEST,
    LAST,
    Place,
    RunIdentity,
    corpus_digest,
    find_state,
    restore,
    save_metrics,
    save_state,
    state_bytes,
)
from hvae_mnn.training.validation import valid_figures

CALIBRATION_SENTENCES = 200
"""Valid sentences whose activations calibrate the converters."""

_WEIGHTS, _ORDER, _BATCH, _VALID = range(4)  # branches of the seed tree


@dataclass(frozen=True)
class TrainingEvent:
    """What a progress callback is told."""

    kind: Literal["batch", "epoch"]
    """After every batch, and after every epoch once it is stored."""
    epoch: int
    """Epoch in work or just done, from 1."""
    epochs: int
    """Epochs of the whole run."""
    batch: int
    """Batches done in this epoch."""
    batches: int
    """Batches per epoch."""
    loss: float
    """Reconstruction plus charged KL, in nats per sentence, mean over the epoch so far."""
    record: dict[str, Any] | None = None
    """The epoch's line of the history (kind `epoch`)."""
    is_best: bool = False
    """Whether this epoch was the best so far (kind `epoch`)."""


def train(
    corpus: Corpus,
    model_config: ModelConfig,
    training_config: TrainingConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: Callable[[TrainingEvent], None] | None = None,
    vocabulary: Vocabulary | None = None,
    device: str = "auto",
    save_every_s: float = 60.0,
) -> Path:
    """Train an HSR-VAE and return the path of its best checkpoint, `out/best.pt`.

    Also writes `out/last.pt`, the state to resume from (after each epoch and about every `save_every_s` seconds), and
    `out/metrics.json`, the history. In an epoch's record `train_rec` and `train_kl` are means over its sentences,
    `kl_weight` and `learning_rate` (what the loss charged, the optimiser's step size) over its batches, and `seconds`
    is the time of its batches and its validation over all sessions, without what a kill lost.

    With `resume` a run in `out` goes on where it was stopped, and a complete one returns at once; without it, `out`
    must hold no run. The vocabulary is the train split's unless one is given. The caller's random state and thread
    settings are left alone.

    Errors: `RunError` if another process trains in `out` or it is for something else; `InputError` if `out` and
    `resume` do not fit or the specs differ from the stored run's; `TextError` if the vocabulary has none of a split's
    words; `TrainingError` if the loss is not finite; `CheckpointError` if the stored state is damaged.
    """
    out = Path(out)
    vocabulary = vocabulary if vocabulary is not None else Vocabulary.build(corpus.train)
    if len(vocabulary) != model_config.vocabulary_size:
        raise InputError(
            f"vocabulary_size is {model_config.vocabulary_size}, the corpus {corpus.name} has {len(vocabulary)} ids; "
            "set it to that"
        )
    for split in ("train", "valid"):
        if not corpus.split(split):
            raise InputError(f"corpus {corpus.name} has no {split} sentences; training needs train and valid")
        vocabulary.require_known(corpus.split(split), f"{corpus.name}/{split}")
    target = pick_device(device)
    run = _Run(corpus, vocabulary, model_config, training_config, out, target)
    own_rng = torch.random.fork_rng(devices=[target] if target.type == "cuda" else [])
    with taken(out, "being trained", BEST, LAST), own_rng:
        run.start(resume)
        run.work(progress, save_every_s)
    return out / BEST


def spawn_seed(seed: int, *place: int) -> int:
    """A 63-bit seed for one place in a run, independent of the seeds of all other places."""
    return int(np.random.SeedSequence(seed, spawn_key=place).generate_state(1, np.uint64)[0] >> np.uint64(1))


def learning_rate(config: TrainingConfig, epochs_done: float) -> float:
    """Adam's step size after `epochs_done` epochs (a fraction inside an epoch)."""
    if config.schedule == "constant":
        return config.learning_rate
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, epochs_done / config.epochs)))
    return config.learning_rate * (0.05 + 0.95 * cosine)


def epoch_mean(
    schedule: Callable[[TrainingConfig, float], float], config: TrainingConfig, epoch: int, batches: int
) -> float:
    """Mean of what `schedule` (`kl_weight`, `learning_rate`) gave the `batches` of the epoch after `epoch` others."""
    return statistics.mean(schedule(config, epoch + batch / batches) for batch in range(batches))


class _Run:
    """One training run: corpus, model, optimiser and place."""

    def __init__(
        self,
        corpus: Corpus,
        vocabulary: Vocabulary,
        model_config: ModelConfig,
        config: TrainingConfig,
        out: Path,
        device: torch.device,
    ) -> None:
        self.corpus, self.vocabulary, self.config, self.out, self.device = corpus, vocabulary, config, out, device
        self.train: list[EncodedSentence] = [vocabulary.encode_sentence(sentence) for sentence in corpus.train]
        self.valid: list[EncodedSentence] = [vocabulary.encode_sentence(sentence) for sentence in corpus.valid]
        self.precision = pick_precision(config, model_config, device)
        digest = corpus_digest(vocabulary, self.train, self.valid)
        self.identity = RunIdentity(model_config, config, digest, self.precision)
        self.batches = math.ceil(len(self.train) / config.batch_size)
        self.place = Place()

    def start(self, resume: bool) -> None:
        """Make the model and optimiser, from scratch or from `last.pt`."""
        stored = find_state(self.out, self.identity, resume)
        torch.manual_seed(spawn_seed(self.config.seed, _WEIGHTS))
        self.model = HSRVAE(self.identity.model_config).to(self.device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=self.config.learning_rate,
            eps=self.config.adam_eps,
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        last = state_bytes(self.model)
        if stored is not None:
            self.place = restore(self.out, stored, self.model, self.optimizer)
        if self.place.epoch < self.config.epochs:
            require_room(self.out, last if stored is not None else last + last // 3)  # a new run writes `best.pt`, too

    def work(self, progress: Callable[[TrainingEvent], None] | None, save_every_s: float) -> None:
        """Run the epochs that are left."""
        while self.place.epoch < self.config.epochs:
            place, began = self.place, time.monotonic()
            self.model.train()
            for batch in self._batches_left():
                self._step(batch)
                if time.monotonic() - began > save_every_s and place.batch < self.batches:
                    place.sums["seconds"] += time.monotonic() - began
                    began = time.monotonic()
                    self._save_state()
                if progress is not None:
                    progress(self._event("batch"))
            place.sums["seconds"] += time.monotonic() - began
            record, is_best = self._finish_epoch()
            if progress is not None:
                progress(self._event("epoch", record, is_best))

    def _batches_left(self) -> Iterator[Batch]:
        """The batches of this epoch that are still to be done, on the device."""
        if self.config.shuffle:
            generator = torch.Generator().manual_seed(spawn_seed(self.config.seed, _ORDER, self.place.epoch))
            order = shuffled_order(self.train, self.config.batch_size, generator)
        else:
            order = sorted_order(self.train, self.config.batch_size)
        for places in order[self.place.batch :]:
            yield collate([self.train[place] for place in places]).to(self.device)

    def _step(self, batch: Batch) -> None:
        """One batch: loss, gradients, optimiser."""
        place, config = self.place, self.config
        done = place.epoch + place.batch / self.batches
        torch.manual_seed(spawn_seed(config.seed, _BATCH, place.epoch, place.batch))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, done)
        rec, kl = self._costs(batch)
        loss = batch_loss(rec, kl, kl_weight(config, done), config)
        sum_rec, sum_kl = rec.sum().item(), kl.sum().item()
        if not math.isfinite(loss.item()):
            self._not_finite(f"the loss is {loss.item()}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.clip is not None:
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
            if not math.isfinite(norm.item()):
                self._not_finite(f"the gradient's norm is {norm.item()}")
        self.optimizer.step()
        place.batch += 1
        for name, value in (("sentences", batch.lengths.shape[0]), ("rec", sum_rec), ("kl", sum_kl)):
            place.sums[name] += value

    def _costs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Reconstruction and charged KL of each sentence, both (B,), float32."""
        with self._bf16(on_cpu=False):
            posterior = self.model.encode(batch.tokens, batch.lengths, masked=self.config.mask_pads)
            mean, log_variance = posterior.last()
            latent = sample_latent(mean.float(), log_variance.float())
            hidden = self.model.decoder_hidden(batch.tokens, latent)
        with self._bf16(on_cpu=True):
            logits = self.model.to_logits(hidden)
        return reconstruction(logits, batch.tokens), charged_kl(posterior, self.config.kl_target)

    @contextmanager
    def _bf16(self, on_cpu: bool) -> Iterator[None]:
        enabled = self.precision == "bf16" and (on_cpu or self.device.type == "cuda")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
            yield

    def _finish_epoch(self) -> tuple[dict[str, Any], bool]:
        """Valid figures, history, and the files; then the place moves to the next epoch."""
        place, config = self.place, self.config
        began = time.monotonic()
        figures = valid_figures(
            self.model, self.valid, config.batch_size, seed=spawn_seed(config.seed, _VALID)
        ).to_dict()
        if not all(math.isfinite(value) for value in figures.values()):
            self._not_finite("a valid figure is not finite")
        count = place.sums["sentences"]
        record = {
            "epoch": place.epoch + 1,
            "train_rec": place.sums["rec"] / count,
            "train_kl": place.sums["kl"] / count,
            "kl_weight": epoch_mean(kl_weight, config, place.epoch, self.batches),
            "learning_rate": epoch_mean(learning_rate, config, place.epoch, self.batches),
            "valid": figures,
        }
        chosen = "elbo_nll" if config.selection == "elbo" else "paper_ppl"
        is_best = all(figures[chosen] < earlier["valid"][chosen] for earlier in place.history)
        if is_best:
            self._save_best(record, chosen)
        seconds = place.sums["seconds"] + time.monotonic() - began
        place.history.append({**record, "seconds": round(seconds, 3)})
        save_metrics(
            self.out,
            self.identity,
            place.history,
            chosen,
            corpus=self.corpus.name,
            tokenizer=self.corpus.tokenizer,
            device=self.device.type,
        )
        # Last of all: a kill before this line repeats the epoch's end, and every file comes out the same again.
        self.place = Place(epoch=place.epoch + 1, history=place.history)
        self._save_state()
        return place.history[-1], is_best

    def _save_best(self, record: dict[str, Any], chosen: str) -> None:
        model = self.model if self.device.type == "cpu" else copy.deepcopy(self.model).cpu()
        save_checkpoint(
            self.out / BEST,
            model,
            self.config,
            self.vocabulary,
            self.corpus.tokenizer,
            {"corpus": self.corpus.name, "chosen_by": chosen, **record},
            activation_ranges(model, self.valid[:CALIBRATION_SENTENCES]),
        )

    def _save_state(self) -> None:
        save_state(self.out, self.identity, self.model, self.optimizer, self.place)

    def _event(
        self, kind: Literal["batch", "epoch"], record: dict[str, Any] | None = None, is_best: bool = False
    ) -> TrainingEvent:
        place = self.place
        if record is not None:
            loss = record["train_rec"] + record["train_kl"]
            return TrainingEvent(
                kind, place.epoch, self.config.epochs, self.batches, self.batches, loss, record, is_best
            )
        loss = (place.sums["rec"] + place.sums["kl"]) / place.sums["sentences"]
        return TrainingEvent(kind, place.epoch + 1, self.config.epochs, place.batch, self.batches, loss)

    def _not_finite(self, what: str) -> None:
        raise TrainingError(
            f"{what} in epoch {self.place.epoch + 1}, batch {self.place.batch + 1} of {self.batches}; "
            f"try a smaller --learning-rate or --clip 5, in another --out"
        )
