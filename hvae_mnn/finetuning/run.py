"""Finetuning a trained network on hardware that is drawn anew for every batch (paper 3.2: on-line and off-line)."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from hvae_mnn.cosim.calibration import SENTENCES
from hvae_mnn.cosim.chip import draw_chip
from hvae_mnn.cosim.export import map_checkpoint
from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.crossbar.hardware.file import hardware_to_dict
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.nonidealities.file import nonidealities_to_dict
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.errors import CheckpointError, InputError, TrainingError
from hvae_mnn.evaluation.answers import run_answers
from hvae_mnn.evaluation.text_metrics import compute_metrics
from hvae_mnn.files import sha256, write_sealed
from hvae_mnn.finetuning.clipping import clip_weights, weight_bounds
from hvae_mnn.finetuning.config import FinetuneConfig
from hvae_mnn.finetuning.costs import costs
from hvae_mnn.finetuning.position import FINETUNING_STATE, FinetuningPosition
from hvae_mnn.finetuning.stepper import HardwareWeights, MixedStepper
from hvae_mnn.models.activations import activation_ranges
from hvae_mnn.models.checkpoint import Checkpoint, save_checkpoint
from hvae_mnn.models.objective import batch_loss, charged_kl
from hvae_mnn.text.batches import EncodedSentence
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.training.loop import CALIBRATION_SENTENCES, ResumableRun, run_to_end
from hvae_mnn.training.schedules import kl_weight
from hvae_mnn.training.seeds import EpochOrder, spawn_seed
from hvae_mnn.training.state import BEST, METRICS, StateLayout, corpus_digest

_ORDER, _BATCH, _DRAW, _VALID = range(4)  # branches of the seed tree
_VALIDATION_BATCH = 64
_OLD_LOCK = ".lock"
"""A file that version 0.1 left behind."""


def finetune(
    checkpoint: Checkpoint,
    corpus: Corpus,
    hardware: Hardware,
    noise: Nonidealities,
    config: FinetuneConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: Callable[[int, int, float], None] | None = None,
) -> Path:
    """Finetune `checkpoint` on the train split of `corpus`; returns the path of the best checkpoint, `out/best.pt`.

    The loss is the checkpoint's objective, with `beta` as the KL's weight (see `schedules.kl_weight`). The best is the
    one whose next words are right most often on the validation split, on hardware that is drawn with fixed seeds. Also
    writes `out/last.pt`, to resume from, and `out/metrics.json`, in which `train_loss` and `learning_rate` are means
    over the batches since the validation before. `progress(update, updates, loss)` is called after every batch. The
    caller's random state is left alone.

    Raises `InputError` when `out` and `resume` do not fit or the latent is not the encoder's, `CheckpointError` for a
    checkpoint without activation ranges, `TrainingError` when the loss is not finite, and the errors of
    mapping to the hardware.
    """
    if checkpoint.activation_ranges is None:
        raise CheckpointError(
            f"{checkpoint.path}: no activation ranges inside, so converters cannot be calibrated; finish the training"
            " with hvae-mnn train --resume"
        )
    if checkpoint.config.inference != "amortised" or checkpoint.config.latent_use != "sentence":
        raise InputError(
            f"{checkpoint.path} has inference {checkpoint.config.inference} and latent_use"
            f" {checkpoint.config.latent_use}; allowed for finetuning: amortised, sentence"
        )
    for split in ("train", "valid"):
        checkpoint.vocabulary.count_unknown(corpus.split(split), f"{corpus.name}/{split}")
    run = FinetuningRun(checkpoint, corpus, hardware, noise, config, Path(out), progress)
    with torch.random.fork_rng():
        return run_to_end(run, "being finetuned", resume=resume)


class FinetuningRun(ResumableRun[FinetuningPosition]):
    """Updates on drawn hardware, with a validation before the first and after every `validate_every` of them."""

    layout: ClassVar[StateLayout] = FINETUNING_STATE

    def __init__(
        self,
        checkpoint: Checkpoint,
        corpus: Corpus,
        hardware: Hardware,
        noise: Nonidealities,
        config: FinetuneConfig,
        out: Path,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> None:
        """Arguments as those of `finetune`."""
        vocabulary = checkpoint.vocabulary
        self.checkpoint = replace(checkpoint, model=copy.deepcopy(checkpoint.model))
        train = [vocabulary.encode_sentence(words) for words in corpus.train]
        self.valid = [vocabulary.encode_sentence(words) for words in corpus.valid]
        identity = {
            "base": sha256(checkpoint.path),
            "corpus": corpus_digest(vocabulary, train, self.valid),
            "hardware": hardware_to_dict(hardware),
            "noise": nonidealities_to_dict(noise),
            "config": config.to_dict(),
            "kl_weight": checkpoint.training_config.beta,
        }
        model = self.checkpoint.model
        optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
        position = FinetuningPosition(ranges=dict(checkpoint.activation_ranges or {}))
        super().__init__(out, model, optimizer, identity, position)
        self.corpus, self.hardware, self.noise, self.config = corpus, hardware, noise, config
        self.order = EpochOrder(train, config.batch_size, config.seed, _ORDER)
        # Bounds from the base's weights: bounds that followed the weights would shrink with every clipping.
        layers = () if config.clip_weights is None else model.declared_layers()
        self.bounds = {layer.name: weight_bounds(layer.module, config.clip_weights or 0.0) for layer in layers}
        self._programmed: tuple[int, tuple[CrossbarSource, HardwareWeights]] | None = None
        self._progress, self._loss = progress, math.nan

    def as_read_now(self, identity: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `ResumableRun.as_read_now`. Versions that do not name the KL's weight charged the ramp's last point."""
        training = self.checkpoint.training_config
        return {"kl_weight": kl_weight(training, training.epochs), **identity}

    def wrote(self, best: Checkpoint) -> bool:
        """See `ResumableRun.wrote`."""
        return bool(best.metrics.get("finetuned") == self.identity)

    def start(self, resume: bool) -> None:
        """See `ResumableRun.start`."""
        (self.out / _OLD_LOCK).unlink(missing_ok=True)
        super().start(resume)

    def begin(self) -> None:
        """Measure the network as it comes, and again once its weights are clipped."""
        self.validate()
        if self.bounds:
            self._clip()
            self.validate()

    def is_complete(self) -> bool:
        """See `ResumableRun.is_complete`."""
        return self.position.update >= self.config.updates

    def step(self) -> None:
        """One update: loss, gradients, optimiser, and the bounds on weights."""
        position, config, training = self.position, self.config, self.checkpoint.training_config
        update = position.update
        sentences = sorted(self.order.batch(*divmod(update, self.order.batches)), key=len, reverse=True)
        crossbars, weights = self._hardware(update)
        crossbars.begin(range(update * config.batch_size, update * config.batch_size + len(sentences)))
        torch.manual_seed(spawn_seed(config.seed, _BATCH, update))
        self.model.train()
        stepper = MixedStepper(self.model, crossbars, weights, config.dropout)
        rec, posterior = costs(stepper, sentences)
        loss = batch_loss(rec.sum(), posterior, training.beta, replace(training, reduction="mean"))
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss is {loss.item()} in update {update + 1}; try a smaller --learning-rate")
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(update)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        self._clip()
        self._loss = float(rec.mean().item() + charged_kl(posterior, training.kl_target).mean().item())
        position.update += 1
        position.loss_sum, position.loss_count = position.loss_sum + self._loss, position.loss_count + 1

    def report_step(self) -> None:
        """Call the progress callback with the loss of the batch."""
        if self._progress is not None:
            self._progress(self.position.update, self.config.updates, self._loss)

    def _clip(self) -> None:
        for layer in self.model.declared_layers():
            if layer.name in self.bounds:
                clip_weights(layer.module, self.bounds[layer.name])

    def _hardware(self, update: int) -> tuple[CrossbarSource, HardwareWeights]:
        """The crossbars of this update: programmed with the present weights, or with those of a few updates ago."""
        turn = update // self.config.redraw_every
        if self._programmed is None or self._programmed[0] != turn:
            self._programmed = turn, self._crossbars(spawn_seed(self.config.seed, _DRAW, turn))
        return self._programmed[1]

    def _crossbars(self, seed: int) -> tuple[CrossbarSource, HardwareWeights]:
        ranged = replace(self.checkpoint, activation_ranges=self.position.ranges)
        chip = draw_chip(map_checkpoint(ranged, self.hardware, text=self.valid[:SENTENCES]), self.noise, seed)
        engine = chip.exact_engine()
        return chip.source(engine), chip.weights(engine)

    def validation_due(self) -> bool:
        """See `ResumableRun.validation_due`."""
        update = self.position.update
        return update % self.config.validate_every == 0 or update == self.config.updates

    def validate(self) -> None:
        """Recalibrate, measure, keep the best checkpoint, and write the history."""
        position = self.position
        self.model.eval()
        position.ranges = activation_ranges(self.model, self.valid[:CALIBRATION_SENTENCES])
        since = range(position.update - position.loss_count, position.update)  # since the last validation
        record = {
            "update": position.update,
            "clipped": bool(self.bounds) and bool(position.history),
            "train_loss": position.loss_sum / position.loss_count if since else None,
            "learning_rate": statistics.mean(map(self.config.learning_rate_at, since)) if since else None,
            **self._measured(self.valid[: self.config.valid_sentences]),
        }
        is_best = all(record["valid_top1"] > earlier["valid_top1"] for earlier in position.history)
        position.history.append(record)
        position.loss_sum, position.loss_count = 0.0, 0
        if is_best:
            self._save_best(record)
        self._save_metrics()

    def _measured(self, sentences: Sequence[EncodedSentence]) -> dict[str, float]:
        """Figures on validation hardware, each the mean over its draws."""
        figures = []
        for number in range(self.config.valid_draws):
            crossbars, _ = self._crossbars(spawn_seed(self.config.seed, _VALID, number))
            stepper = HardwareStepper(self.model, crossbars)
            passes = {"teacher", "sampled"}
            answers = run_answers(stepper, sentences, passes, begin=crossbars.begin, batch_size=_VALIDATION_BATCH)
            figures.append(compute_metrics(answers, answers, sentences, ["top1", "ppl"]))
        means = {f"valid_{name}": sum(one[name] for one in figures) / len(figures) for name in ("top1", "ppl")}
        for name, value in means.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} is {value} after update {self.position.update}; try a smaller --learning-rate"
                )
        return means

    def _save_best(self, record: Mapping[str, Any]) -> None:
        checkpoint = self.checkpoint
        save_checkpoint(
            self.out / BEST,
            self.model,
            checkpoint.training_config,
            checkpoint.vocabulary,
            checkpoint.tokenizer,
            {"corpus": self.corpus.name, "chosen_by": "valid_top1", "finetuned": self.identity, **record},
            self.position.ranges,
        )

    def _save_metrics(self) -> None:
        history = self.position.history
        best = max(history, key=lambda record: float(record["valid_top1"]))
        about = {key: self.identity[key] for key in ("hardware", "noise", "config", "kl_weight")}
        content = {"base": str(self.checkpoint.path), **about, "best": best, "history": history}
        write_sealed(self.out / METRICS, content)
