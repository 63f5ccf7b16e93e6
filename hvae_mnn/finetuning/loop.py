"""Finetuning a trained network on hardware that is chip anew for every batch (paper 3.2: on-line and off-line).

A run can be killed and resumed to the same bits: every update takes batch, hardware, dropout and latent noise from
seeds of its own, and what lies on disk is weights, optimiser and the number of updates.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
from hvae_mnn.files import require_room, sha256, write_sealed
from hvae_mnn.finetuning.config import FinetuneConfig
from hvae_mnn.finetuning.state import Place, read_state, write_state
from hvae_mnn.finetuning.stepper import HardwareWeights, MixedStepper, unit_parameters
from hvae_mnn.folders import taken
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from hvae_mnn.models.hsrvae import Posterior, sample_latent
from hvae_mnn.models.objective import batch_loss, charged_kl
from hvae_mnn.models.stepwise import LAYERS, activation_ranges, forced_states, tokens_at
from hvae_mnn.reading import is_missing
from hvae_mnn.text.batches import EncodedSentence, shuffled_order
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.training.loop import CALIBRATION_SENTENCES, spawn_seed
from hvae_mnn.training.state import BEST, LAST, METRICS, corpus_digest, state_bytes

_ORDER, _BATCH, _DRAW, _VALID = range(4)  # branches of the seed tree
_VALIDATION_BATCH = 64
_OLD_LOCK = ".lock"
"""Of version 0.1, which left it there."""


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

    The loss is the checkpoint's objective, with `beta` as the KL's weight (see `objective.kl_weight`). The best is the
    one whose next words are right most often on the validation split, on hardware that is chip with fixed seeds. Also
    writes `out/last.pt`, to resume from, and `out/metrics.json`, in which `train_loss` and `learning_rate` are means
    over the batches since the validation before. `progress(update, updates, loss)` is called after every batch. The
    caller's random state is left alone.

    Raises `InputError` when `out` and `resume` do not fit, `TrainingError` when the loss is not finite, and what
    mapping to the hardware raises.
    """
    if checkpoint.activation_ranges is None:
        raise CheckpointError(
            f"{checkpoint.path}: no activation ranges inside, so converters cannot be calibrated; finish the training"
            " with hvae-mnn train --resume"
        )
    for split in ("train", "valid"):
        checkpoint.vocabulary.count_unknown(corpus.split(split), f"{corpus.name}/{split}")
    run = _Run(checkpoint, corpus, hardware, noise, config, Path(out))
    with taken(run.out, "being finetuned", BEST, LAST), torch.random.fork_rng():
        (run.out / _OLD_LOCK).unlink(missing_ok=True)
        run.start(resume)
        run.work(progress)
    return run.out / BEST


class _Run:
    def __init__(
        self,
        checkpoint: Checkpoint,
        corpus: Corpus,
        hardware: Hardware,
        noise: Nonidealities,
        config: FinetuneConfig,
        out: Path,
    ) -> None:
        vocabulary = checkpoint.vocabulary
        self.checkpoint = replace(checkpoint, model=copy.deepcopy(checkpoint.model))
        self.model = self.checkpoint.model
        self.hardware, self.noise, self.config, self.out, self.corpus = hardware, noise, config, out, corpus
        self.train: list[EncodedSentence] = [vocabulary.encode_sentence(words) for words in corpus.train]
        self.valid: list[EncodedSentence] = [vocabulary.encode_sentence(words) for words in corpus.valid]
        self.identity = {
            "base": sha256(checkpoint.path),
            "corpus": corpus_digest(vocabulary, self.train, self.valid),
            "hardware": hardware_to_dict(hardware),
            "noise": nonidealities_to_dict(noise),
            "config": config.to_dict(),
            "kl_weight": checkpoint.training_config.beta,
        }
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.place = Place(ranges=dict(checkpoint.activation_ranges or {}))
        # Of the base: a bound that followed the weights would shrink with every clipping.
        layers = () if config.clip_weights is None else LAYERS
        self.bounds = {name: weight_bounds(getattr(self.model, name), config.clip_weights or 0.0) for name in layers}
        self._programmed: tuple[int, tuple[CrossbarSource, HardwareWeights]] | None = None

    def start(self, resume: bool) -> None:
        """Take up what `out` holds, or begin there."""
        path, last = self.out / LAST, state_bytes(self.model)
        if is_missing(path):
            # Killed before its first state was whole, a run begins again.
            if not is_missing(self.out / BEST) and not (resume and self._is_ours(self.out / BEST)):
                raise InputError(f"{self.out} holds a {BEST} but no {LAST} to resume from; choose another --out")
            require_room(self.out, last + last // 3)  # `best.pt`, too
            self._validate()
            if self.bounds:
                self._clip()
                self._validate()
            self._save_state()
            return
        if not resume:
            raise InputError(f"{self.out} already holds a run; go on with --resume, or choose another --out")
        self.place = read_state(path, self.identity, self.checkpoint.training_config, self.model, self.optimizer)
        if self.place.update < self.config.updates:
            require_room(self.out, last)

    def _is_ours(self, path: Path) -> bool:
        return bool(load_checkpoint(path).metrics.get("finetuned") == self.identity)

    def work(self, progress: Callable[[int, int, float], None] | None) -> None:
        """The updates that are left."""
        config, place = self.config, self.place
        while place.update < config.updates:
            loss = self._update(self._batch(place.update))
            place.update += 1
            place.loss_sum, place.loss_count = place.loss_sum + loss, place.loss_count + 1
            if progress is not None:
                progress(place.update, config.updates, loss)
            if place.update % config.validate_every == 0 or place.update == config.updates:
                self._validate()
                self._save_state()

    def _clip(self) -> None:
        for name, bounds in self.bounds.items():
            clip_weights(getattr(self.model, name), bounds)

    def _batch(self, update: int) -> list[EncodedSentence]:
        """The sentences of an update, longest first."""
        batches = math.ceil(len(self.train) / self.config.batch_size)
        epoch, number = divmod(update, batches)
        generator = torch.Generator().manual_seed(spawn_seed(self.config.seed, _ORDER, epoch))
        places = shuffled_order(self.train, self.config.batch_size, generator)[number]
        return sorted((self.train[place] for place in places), key=len, reverse=True)

    def _update(self, sentences: Sequence[EncodedSentence]) -> float:
        """One batch: loss, gradients, optimiser. The loss in nats per sentence."""
        update, config, training = self.place.update, self.config, self.checkpoint.training_config
        crossbars, weights = self._hardware(update)
        crossbars.begin(range(update * config.batch_size, update * config.batch_size + len(sentences)))
        torch.manual_seed(spawn_seed(config.seed, _BATCH, update))
        self.model.train()
        stepper = MixedStepper(self.model, crossbars, weights, config.dropout)
        rec, kl = costs(stepper, sentences, training.kl_target)
        loss = batch_loss(rec, kl, training.beta, replace(training, reduction="mean"))
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss is {loss.item()} in update {update + 1}; try a smaller --learning-rate")
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(update)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.optimizer.step()
        self._clip()
        return float(rec.mean().item() + kl.mean().item())

    def _hardware(self, update: int) -> tuple[CrossbarSource, HardwareWeights]:
        """The crossbars of this update: programmed with the present weights, or a few updates ago."""
        turn = update // self.config.redraw_every
        if self._programmed is None or self._programmed[0] != turn:
            self._programmed = turn, self._crossbars(spawn_seed(self.config.seed, _DRAW, turn))
        return self._programmed[1]

    def _crossbars(self, seed: int) -> tuple[CrossbarSource, HardwareWeights]:
        ranged = replace(self.checkpoint, activation_ranges=self.place.ranges)
        chip = draw_chip(map_checkpoint(ranged, self.hardware, text=self.valid[:SENTENCES]), self.noise, seed)
        engine = chip.exact_engine()
        return chip.source(engine), chip.weights(engine)

    def _validate(self) -> None:
        """Recalibrate, measure, and keep the best."""
        place, config = self.place, self.config
        self.model.eval()
        place.ranges = activation_ranges(self.model, self.valid[:CALIBRATION_SENTENCES])
        sentences = self.valid[: config.valid_sentences]
        found = []
        for number in range(config.valid_draws):
            crossbars, _ = self._crossbars(spawn_seed(config.seed, _VALID, number))
            stepper = HardwareStepper(self.model, crossbars)
            passes = {"teacher", "sampled"}
            answers = run_answers(stepper, sentences, passes, begin=crossbars.begin, batch_size=_VALIDATION_BATCH)
            found.append(compute_metrics(answers, answers, sentences, ["top1", "ppl"]))
        since = range(place.update - place.loss_count, place.update)  # the last validation
        record = {
            "update": place.update,
            "clipped": bool(self.bounds) and bool(place.history),
            "train_loss": place.loss_sum / place.loss_count if since else None,
            "learning_rate": statistics.mean(map(config.learning_rate_at, since)) if since else None,
            "valid_top1": sum(one["top1"] for one in found) / len(found),
            "valid_ppl": sum(one["ppl"] for one in found) / len(found),
        }
        for name in ("valid_top1", "valid_ppl"):
            if not math.isfinite(record[name] or 0.0):
                raise TrainingError(
                    f"{name} is {record[name]} after update {place.update}; try a smaller --learning-rate"
                )
        is_best = all(record["valid_top1"] > earlier["valid_top1"] for earlier in place.history)
        place.history.append(record)
        place.loss_sum, place.loss_count = 0.0, 0
        if is_best:
            self._save_best(record)

    def _save_best(self, record: dict[str, Any]) -> None:
        checkpoint = self.checkpoint
        about = {"corpus": self.corpus.name, "chosen_by": "valid_top1", "finetuned": self.identity, **record}
        save_checkpoint(
            self.out / BEST,
            self.model,
            checkpoint.training_config,
            checkpoint.vocabulary,
            checkpoint.tokenizer,
            about,
            self.place.ranges,
        )

    def _save_state(self) -> None:
        best = max(self.place.history, key=lambda record: float(record["valid_top1"]))
        about = {key: self.identity[key] for key in ("hardware", "noise", "config", "kl_weight")}
        history = self.place.history
        write_sealed(
            self.out / METRICS,
            {"base": str(self.checkpoint.path), **about, "best": best, "history": history},
        )
        write_state(self.out / LAST, self.identity, self.model, self.optimizer, self.place)


def costs(stepper: MixedStepper, sentences: Sequence[EncodedSentence], kl_target: Any) -> tuple[Tensor, Tensor]:
    """Reconstruction and charged KL (B,) in nats of `sentences`, longest first, with a latent chip for each."""
    posterior = _posterior(stepper, sentences)
    mean, log_variance = posterior.last()
    z = sample_latent(mean, log_variance)
    hidden, targets, owner = [], [], []
    for t, state in enumerate(forced_states(stepper, sentences, z)):
        hidden.append(state.hidden)
        targets.append(tokens_at(sentences, t + 1))
        owner.append(torch.arange(len(state.hidden)))
    logits = stepper.model.to_logits(torch.cat(hidden))
    nats = nn.functional.cross_entropy(logits, torch.cat(targets), reduction="none")
    rec = torch.zeros(len(sentences), dtype=nats.dtype).index_add(0, torch.cat(owner), nats)
    return rec, charged_kl(posterior, kl_target)


def _posterior(stepper: MixedStepper, sentences: Sequence[EncodedSentence]) -> Posterior:
    """Of every step; past a sentence's end, of states that count nothing."""
    seen = [stepper.encoder_tokens(sentence) for sentence in sentences]
    first, second = (stepper.zero_state(name, len(sentences)) for name in LAYERS[:2])
    steps = []
    for t in range(len(seen[0])):
        tokens = tokens_at(seen, t)
        first, _ = stepper.step("encoder1", {"x": stepper.encoder_input(tokens)}, first.first(len(tokens)))
        second, _ = stepper.step("encoder2", {"x": first.hidden}, second.first(len(tokens)))
        steps.append(nn.functional.pad(second.hidden, (0, 0, 0, len(sentences) - len(tokens))))
    hidden = torch.stack(steps, dim=1)  # (B, T, H)
    model = stepper.model
    lengths = torch.tensor([len(tokens) for tokens in seen])
    return Posterior(model.to_mean(hidden), model.to_log_variance(hidden), lengths)


def weight_bounds(module: nn.Module, deviations: float) -> dict[str, float]:
    """By gate unit of a recurrent module: so many standard deviations of its weights from x and h together."""
    return {
        unit: deviations * float(torch.cat([weights.detach().flatten() for weights in part.weights]).std())
        for unit, part in unit_parameters(module).items()
    }


@torch.no_grad()
def clip_weights(module: nn.Module, bounds: Mapping[str, float]) -> None:
    """Bring the weights of every gate unit of a recurrent module within its bound, peepholes as well.

    Each of PyTorch's two biases gets half of the bound, because an array holds their sum.
    """
    for unit, part in unit_parameters(module).items():
        for weights in (*part.weights, *([] if part.peephole is None else [part.peephole])):
            weights.clamp_(-bounds[unit], bounds[unit])
        for bias in part.biases:
            bias.clamp_(-bounds[unit] / len(part.biases), bounds[unit] / len(part.biases))
