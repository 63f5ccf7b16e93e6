"""Training a model from its first weights: `train`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn

import torch

from hvae_mnn.errors import InputError, TrainingError
from hvae_mnn.models.activations import activation_ranges
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.device import pick_device, pick_precision
from hvae_mnn.models.families import DEFAULT_FAMILY, model_class
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.text.batches import Batch, collate
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training.accelerator import Together, accelerate
from hvae_mnn.training.history import TRAINING_STATE, TrainingPosition, save_metrics
from hvae_mnn.training.initial_weights import draw_weights
from hvae_mnn.training.learner import Learner
from hvae_mnn.training.loop import CALIBRATION_SENTENCES, ResumableRun, run_to_end
from hvae_mnn.training.optimizer_state import make_optimizer
from hvae_mnn.training.schedules import Plateau, epoch_mean, kl_weight, learning_rate, plateau
from hvae_mnn.training.seeds import EpochOrder, spawn_seed
from hvae_mnn.training.state import BEST, StateLayout, corpus_digest
from hvae_mnn.training.updates.joint import joint_update
from hvae_mnn.training.updates.lagging import is_aggressive, lagging_update
from hvae_mnn.training.validation import valid_figures

_WEIGHTS, _ORDER, _BATCH, _VALID = range(4)  # branches of the seed tree


@dataclass(frozen=True)
class TrainingEvent:
    """Argument of a progress callback."""

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
    family: str = DEFAULT_FAMILY,
) -> Path:
    """Train a model and return the path of its best checkpoint, `out/best.pt`.

    Also writes `out/last.pt`, the state to resume from (after each epoch and about every `save_every_s` seconds), and
    `out/metrics.json`, the history. In an epoch's record `train_rec` and `train_kl` are means over its sentences,
    `kl_weight` (as charged in the loss) and `learning_rate` (the optimiser's step size) over its batches, and `seconds`
    is the time of its batches and its validation over all sessions, without the time that a kill lost.

    With `resume` a stopped run in `out` is resumed, and a complete one returns at once; without it, `out` must hold no
    run. The vocabulary is the train split's unless one is given; `family` is a key of `models.families.FAMILIES`. The
    caller's random state and thread settings are left alone.

    Raises `RunError` if another process trains in `out` or it is for something else; `InputError` if `out` and `resume`
    do not fit or the specs differ from the stored run's; `TextError` if the vocabulary has none of a split's words;
    `TrainingError` if the loss is not finite; `CheckpointError` if the stored state is damaged.
    """
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
    with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
        run = TrainingRun(corpus, vocabulary, model_config, training_config, Path(out), target, family, progress)
        return run_to_end(run, "being trained", resume=resume, save_every_s=save_every_s)


class TrainingRun(ResumableRun[TrainingPosition]):
    """Epochs of batches, with a validation after each epoch."""

    layout: ClassVar[StateLayout] = TRAINING_STATE

    def __init__(
        self,
        corpus: Corpus,
        vocabulary: Vocabulary,
        model_config: ModelConfig,
        config: TrainingConfig,
        out: Path,
        device: torch.device,
        family: str = DEFAULT_FAMILY,
        progress: Callable[[TrainingEvent], None] | None = None,
    ) -> None:
        """Arguments as those of `train`. Takes random numbers from torch's own generator, for the weights."""
        torch.manual_seed(spawn_seed(config.seed, _WEIGHTS))
        model = model_class(family)(model_config)
        if config.batch_norm_gamma:
            model.normalise_means(config.batch_norm_gamma)
        draw_weights(model, config.initial_weights)
        precision = pick_precision(config, model_config, device)
        self._accelerator = accelerate(device, precision == "bf16")
        model.to(self._accelerator.device)
        if config.updates == "lagging" and not model.encoder_parameters():
            raise InputError("updates lagging trains the encoder ahead, and the model has none; name encoder_cells")
        optimizer = make_optimizer(model, config)
        train = [vocabulary.encode_sentence(sentence) for sentence in corpus.train]
        self.valid = [vocabulary.encode_sentence(sentence) for sentence in corpus.valid]
        identity = {
            "family": family,
            "model_config": model_config.to_dict(),
            "training_config": config.to_dict(),
            "corpus": corpus_digest(vocabulary, train, self.valid),
            "precision": precision,
        }
        super().__init__(out, model, optimizer, identity, TrainingPosition())
        self.corpus, self.vocabulary, self.config, self.device = corpus, vocabulary, config, device
        self._check_shared(model_config)
        self.writes = self._accelerator.rank == 0
        self.learner = Learner(model, optimizer, config, self._accelerator, precision == "bf16")
        self.order = EpochOrder(train, config.batch_size, config.seed, _ORDER, config.shuffle)
        self.chosen = "elbo_nll" if config.selection == "elbo" else "paper_ppl"
        self._progress, self._is_best = progress, False

    def _check_shared(self, model_config: ModelConfig) -> None:
        """Refuse what looks at a whole batch where processes share it."""
        shared = isinstance(self._accelerator, Together)
        if shared and (self.config.batch_norm_gamma or model_config.latent_use == "step"):
            raise InputError("batch_norm_gamma and latent_use step need whole batches; train in one process")

    def wait(self) -> None:
        """See `ResumableRun.wait`."""
        self._accelerator.wait()

    def as_read_now(self, identity: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `ResumableRun.as_read_now`. Only a constant step size lets a run be made longer: a cosine depends on
        where it ends, and so does the temperature of Langevin steps."""
        stored = {"family": DEFAULT_FAMILY, **identity}
        stored["model_config"] = {**ModelConfig(5).to_dict(), **stored["model_config"]}
        stored["training_config"] = {**TrainingConfig().to_dict(), **stored["training_config"]}
        specs = stored["training_config"]
        epochs = specs.get("epochs")
        open_end = self.config.schedule == "constant" and self.model.config.inference != "langevin"
        if open_end and isinstance(epochs, int) and self.config.epochs >= epochs:
            stored["training_config"] = {**specs, "epochs": self.config.epochs}
        return stored

    def wrote(self, best: Checkpoint) -> bool:
        """See `ResumableRun.wrote`: of this run's first epoch."""
        return (
            best.model.family == self.identity["family"]
            and (best.config, best.training_config) == (self.model.config, self.config)
            and best.vocabulary == self.vocabulary
            and (best.metrics.get("corpus"), best.metrics.get("epoch")) == (self.corpus.name, 1)
        )

    def is_complete(self) -> bool:
        """See `ResumableRun.is_complete`."""
        return self.position.epoch >= self.config.epochs or (self.position.batch == 0 and self._plateau().ended)

    def step(self) -> None:
        """One batch: loss, gradients, optimiser."""
        began = time.monotonic()
        position, config = self.position, self.config
        batch = self._batch(position.batch)
        done = position.epoch + position.batch / self.order.batches
        torch.manual_seed(spawn_seed(config.seed, _BATCH, position.epoch, position.batch))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, done) * self._plateau().factor
        self.model.train()
        weight = kl_weight(config, done)
        try:
            if config.updates == "lagging" and is_aggressive(position.history):
                costs = lagging_update(self.learner, batch, weight, done, self._random_batch)
            else:
                costs = joint_update(self.learner, batch, weight, done)
        except TrainingError as error:
            self._not_finite(str(error))
        position.batch += 1
        sums = {"sentences": costs.sentences, "rec": costs.rec, "kl": costs.kl, "seconds": time.monotonic() - began}
        for name, value in sums.items():
            position.sums[name] += value

    def _batch(self, number: int) -> Batch:
        return collate(self.order.batch(self.position.epoch, number))

    def _random_batch(self, step: int) -> Batch:
        """Any batch of the epoch, for an inner step of the batch in work; the same in every process."""
        position = self.position
        drawn = spawn_seed(self.config.seed, _BATCH, position.epoch, position.batch, step)
        return self._batch(drawn % self.order.batches)

    def _plateau(self) -> Plateau:
        return plateau(self.config, [record["valid"][self.chosen] for record in self.position.history])

    def validation_due(self) -> bool:
        """See `ResumableRun.validation_due`: after the last batch of an epoch."""
        return self.position.batch == self.order.batches

    def validate(self) -> None:
        """Valid figures, history and the best checkpoint; then the position moves to the next epoch."""
        position, config = self.position, self.config
        began = time.monotonic()
        deployed = self.model.deployed()
        figures = valid_figures(deployed, self.valid, config.batch_size, seed=spawn_seed(config.seed, _VALID)).to_dict()
        if not all(math.isfinite(value) for value in figures.values()):
            self._not_finite("a valid figure is not finite")
        count = position.sums["sentences"]
        record = {
            "epoch": position.epoch + 1,
            "train_rec": position.sums["rec"] / count,
            "train_kl": position.sums["kl"] / count,
            "kl_weight": epoch_mean(kl_weight, config, position.epoch, self.order.batches),
            "learning_rate": epoch_mean(learning_rate, config, position.epoch, self.order.batches)
            * self._plateau().factor,
            "valid": figures,
        }
        self._is_best = all(figures[self.chosen] < earlier["valid"][self.chosen] for earlier in position.history)
        if self._is_best and self.writes:
            self._save_best(deployed, record)
        seconds = position.sums["seconds"] + time.monotonic() - began
        history = [*position.history, {**record, "seconds": round(seconds, 3)}]
        self.position = TrainingPosition(epoch=position.epoch + 1, history=history)
        about = {"corpus": self.corpus.name, "tokenizer": self.corpus.tokenizer, "device": self.device.type}
        if self.writes:
            save_metrics(self.out, self.identity, history, self.chosen, complete=self.is_complete(), **about)
        if config.reload_best and self._plateau().halved:
            self.wait()
            self.model.load_state_dict(load_checkpoint(self.out / BEST).model.state_dict())

    def _save_best(self, deployed: RecurrentModel, record: dict[str, Any]) -> None:
        save_checkpoint(
            self.out / BEST,
            deployed,
            self.config,
            self.vocabulary,
            self.corpus.tokenizer,
            {"corpus": self.corpus.name, "chosen_by": self.chosen, **record},
            activation_ranges(deployed, self.valid[:CALIBRATION_SENTENCES]),
        )

    def report_step(self) -> None:
        """Call the progress callback with the epoch's mean loss so far."""
        position, sums = self.position, self.position.sums
        self._report("batch", position.epoch + 1, position.batch, (sums["rec"] + sums["kl"]) / sums["sentences"])

    def report_validation(self) -> None:
        """Call the progress callback with the record of the epoch."""
        record = self.position.history[-1]
        loss = record["train_rec"] + record["train_kl"]
        self._report("epoch", self.position.epoch, self.order.batches, loss, record, self._is_best)

    def _report(self, kind: Literal["batch", "epoch"], epoch: int, batch: int, loss: float, *of_epoch: Any) -> None:
        if self._progress is not None:
            self._progress(TrainingEvent(kind, epoch, self.config.epochs, batch, self.order.batches, loss, *of_epoch))

    def _not_finite(self, what: str) -> NoReturn:
        raise TrainingError(
            f"{what} in epoch {self.position.epoch + 1}, batch {self.position.batch + 1} of {self.order.batches}; "
            f"try a smaller --learning-rate or --clip 5, in another --out"
        )
