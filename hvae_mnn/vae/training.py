"""Training: one loop that can be killed at any moment and resumed to the same weights, bit for bit.

Every batch takes its random numbers (dropout, latent noise) from a seed of its own, spawned from the run's seed and the
batch's place, and every epoch its order of batches. So a stored state needs weights, optimiser and a place only. The
same bits come out on the same machine with the same number of threads; elsewhere sums may round differently.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hvae_mnn.errors import InputError, TrainingError
from hvae_mnn.files import replacing, write_json
from hvae_mnn.text.batches import Batch, EncodedSentence, collate, shuffled_order, sorted_order
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.vae.checkpoint import check_weights, load_plain, save_checkpoint
from hvae_mnn.vae.config import ModelConfig, TrainingConfig
from hvae_mnn.vae.model import HSRVAE, sample_latent
from hvae_mnn.vae.objective import batch_loss, charged_kl, kl_weight, reconstruction
from hvae_mnn.vae.stepwise import activation_ranges
from hvae_mnn.vae.validation import valid_figures

STATE_FORMAT = "hvae-mnn training state"
STATE_VERSION = 1
BEST, LAST, METRICS = "best.pt", "last.pt", "metrics.json"

CALIBRATION_SENTENCES = 200
"""Valid sentences whose activations calibrate the converters."""

BF16_CPU_OUTPUT_WEIGHTS = 500_000
"""Size of the output layer (H x V) from which bfloat16 pays on a CPU that multiplies it natively. Measured on two cores
of an AVX512-BF16 CPU: a batch at paper size takes 0.25 s instead of 0.35 s. Recurrent layers gained under 5 % and stay
in float32."""

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


@dataclass
class _State:
    """Where a run stands; with model and optimiser it is everything that a resume needs."""

    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=lambda: {"sentences": 0.0, "rec": 0.0, "kl": 0.0, "seconds": 0.0})
    history: list[dict[str, Any]] = field(default_factory=list)


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
    `out/metrics.json`, the history. With `resume` a run in `out` goes on where it was stopped, and a complete one
    returns at once; without it, `out` must hold no run. The vocabulary is the train split's unless one is given. The
    caller's random state and thread settings are left alone.

    Errors: `InputError` if `out` and `resume` do not fit or the specs differ from the stored run's; `TrainingError` if
    the loss is not finite; `CheckpointError` if the stored state is damaged.
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
    target = pick_device(device)
    run = _Run(corpus, vocabulary, model_config, training_config, out, target)
    with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
        run.start(resume)
        run.work(progress, save_every_s)
    return out / BEST


def pick_device(name: str) -> torch.device:
    """The device called `name` (`auto`, `cpu`, `cuda`, `cuda:1`); `auto` is the GPU where there is one.

    Errors: `InputError` for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"unknown device {name!r}; allowed: auto, cpu, cuda, cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not supported; allowed: auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r} is not there: torch sees {torch.cuda.device_count()} GPUs; use cpu or auto")
    return device


def pick_precision(config: TrainingConfig, model_config: ModelConfig, device: torch.device) -> Literal["fp32", "bf16"]:
    """What `precision` comes to: for `auto`, bf16 on a GPU that has it, and on a CPU where it pays."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = bool(torch.cpu.get_capabilities().get("avx512_bf16", False)) and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    large = model_config.hidden_size * model_config.vocabulary_size >= BF16_CPU_OUTPUT_WEIGHTS
    return "bf16" if native and large else "fp32"


def spawn_seed(seed: int, *place: int) -> int:
    """A 63-bit seed for one place in a run, independent of the seeds of all other places."""
    return int(np.random.SeedSequence(seed, spawn_key=place).generate_state(1, np.uint64)[0] >> np.uint64(1))


def learning_rate(config: TrainingConfig, epochs_done: float) -> float:
    """Adam's step size after `epochs_done` epochs (a fraction inside an epoch)."""
    if config.schedule == "constant":
        return config.learning_rate
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, epochs_done / config.epochs)))
    return config.learning_rate * (0.05 + 0.95 * cosine)


def read_history(out: Path) -> tuple[list[dict[str, Any]], int]:
    """The epochs stored in `out/metrics.json` and the best one's number; an empty list and 0 where there are none."""
    path = Path(out) / METRICS
    if not path.exists():
        return [], 0
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return list(stored["history"]), int(stored["best_epoch"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); remove it, or choose another --out") from error


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
        self.model_config = model_config
        self.batches = math.ceil(len(self.train) / config.batch_size)
        self.state = _State()

    def start(self, resume: bool) -> None:
        """Make the model and optimiser, from scratch or from `last.pt`."""
        last = self.out / LAST
        stored: dict[str, Any] | None = None
        if last.exists():
            if not resume:
                raise InputError(
                    f"{self.out} already holds a training run; go on with --resume, or choose another --out"
                )
            stored = load_plain(last)
            self._check_stored(last, stored)
        elif (self.out / BEST).exists():
            raise InputError(f"{self.out} holds a {BEST} but no {LAST} to resume from; choose another --out")
        torch.manual_seed(spawn_seed(self.config.seed, _WEIGHTS))
        self.model = HSRVAE(self.model_config).to(self.device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=self.config.learning_rate,
            eps=self.config.adam_eps,
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        if stored is not None:
            check_weights(last, self.model, stored["model"])
            self.model.load_state_dict(stored["model"])
            self.optimizer.load_state_dict(stored["optimizer"])
            self.state = _State(**stored["state"])

    def work(self, progress: Callable[[TrainingEvent], None] | None, save_every_s: float) -> None:
        """Run the epochs that are left."""
        state, config = self.state, self.config
        while state.epoch < config.epochs:
            began = time.monotonic()
            self.model.train()
            for batch in self._batches_left():
                self._step(batch)
                if time.monotonic() - began > save_every_s and state.batch < self.batches:
                    state.sums["seconds"] += time.monotonic() - began
                    began = time.monotonic()
                    self._save_state()
                if progress is not None:
                    progress(self._event("batch"))
            state.sums["seconds"] += time.monotonic() - began
            record, is_best = self._finish_epoch()
            if progress is not None:
                progress(self._event("epoch", record, is_best))

    def _batches_left(self) -> Iterator[Batch]:
        """The batches of this epoch that are still to be done, on the device."""
        if self.config.shuffle:
            generator = torch.Generator().manual_seed(spawn_seed(self.config.seed, _ORDER, self.state.epoch))
            order = shuffled_order(self.train, self.config.batch_size, generator)
        else:
            order = sorted_order(self.train, self.config.batch_size)
        for places in order[self.state.batch :]:
            yield collate([self.train[place] for place in places]).to(self.device)

    def _step(self, batch: Batch) -> None:
        """One batch: loss, gradients, optimiser."""
        state, config = self.state, self.config
        done = state.epoch + state.batch / self.batches
        torch.manual_seed(spawn_seed(config.seed, _BATCH, state.epoch, state.batch))
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
        state.batch += 1
        for name, value in (("sentences", batch.lengths.shape[0]), ("rec", sum_rec), ("kl", sum_kl)):
            state.sums[name] += value

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
        state, config = self.state, self.config
        began = time.monotonic()
        figures = valid_figures(
            self.model, self.valid, config.batch_size, seed=spawn_seed(config.seed, _VALID)
        ).to_dict()
        if not all(math.isfinite(value) for value in figures.values()):
            self._not_finite("a valid figure is not finite")
        count = state.sums["sentences"]
        record = {
            "epoch": state.epoch + 1,
            "train_rec": state.sums["rec"] / count,
            "train_kl": state.sums["kl"] / count,
            "kl_weight": kl_weight(config, state.epoch + 1),
            "learning_rate": learning_rate(config, state.epoch + 1),
            "valid": figures,
        }
        chosen = "elbo_nll" if config.selection == "elbo" else "paper_ppl"
        is_best = all(figures[chosen] < earlier["valid"][chosen] for earlier in state.history)
        if is_best:
            save_checkpoint(
                self.out / BEST,
                self.model,
                config,
                self.vocabulary,
                self.corpus.tokenizer,
                {"corpus": self.corpus.name, "chosen_by": chosen, **record},
                activation_ranges(self.model, self.valid[:CALIBRATION_SENTENCES]),
            )
        seconds = state.sums["seconds"] + time.monotonic() - began
        state.history.append({**record, "seconds": round(seconds, 3)})
        state.epoch, state.batch = state.epoch + 1, 0
        state.sums = _State().sums
        self._save_state()
        self._save_metrics(chosen)
        return state.history[-1], is_best

    def _save_state(self) -> None:
        with replacing(self.out / LAST) as temporary:
            torch.save(
                {
                    "format": STATE_FORMAT,
                    "version": STATE_VERSION,
                    "model_config": self.model_config.to_dict(),
                    "training_config": self.config.to_dict(),
                    "corpus": self._fingerprint(),
                    "precision": self.precision,
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "state": vars(self.state),
                },
                temporary,
            )

    def _save_metrics(self, chosen: str) -> None:
        history = self.state.history
        best = min(history, key=lambda record: float(record["valid"][chosen]))
        write_json(
            self.out / METRICS,
            {
                "corpus": self.corpus.name,
                "tokenizer": self.corpus.tokenizer,
                "model": self.model_config.to_dict(),
                "training": self.config.to_dict(),
                "precision": self.precision,
                "device": self.device.type,
                "torch": torch.__version__,
                "chosen_by": chosen,
                "best_epoch": best["epoch"],
                "complete": self.state.epoch >= self.config.epochs,
                "history": history,
            },
        )

    def _fingerprint(self) -> str:
        """Digest of what is learnt from, so that a resume on another corpus is noticed."""
        digest = hashlib.sha256("\n".join(self.vocabulary.words).encode())
        for sentences in (self.train, self.valid):
            digest.update(b"".join(np.asarray(sentence, dtype="<i4").tobytes() for sentence in sentences))
        return digest.hexdigest()

    def _check_stored(self, last: Path, stored: dict[str, Any]) -> None:
        """Check that a stored state belongs to this run."""
        if stored.get("format") != STATE_FORMAT or stored.get("version") != STATE_VERSION:
            raise InputError(f"{last} is no training state of this hvae-mnn; choose another --out")
        for spec, wanted in (("model_config", self.model_config.to_dict()), ("training_config", self.config.to_dict())):
            for name, value in wanted.items():
                found = stored[spec].get(name)
                longer = name == "epochs" and self.config.schedule == "constant" and value >= found
                if found != value and not longer:
                    raise InputError(
                        f"the run in {self.out} has {name} {found!r}, asked for is {value!r}; "
                        f"resume it with its own settings, or choose another --out"
                    )
        if stored["corpus"] != self._fingerprint():
            raise InputError(f"the run in {self.out} was on other text; resume it on its own, or choose another --out")
        if stored["precision"] != self.precision:
            raise InputError(
                f"the run in {self.out} computes in {stored['precision']}, this machine would in {self.precision}; "
                "resume it where it began, or choose another --out"
            )
        if stored["state"]["history"] and not (self.out / BEST).exists():
            raise InputError(f"{self.out} has lost its {BEST}; choose another --out and train again")

    def _event(
        self, kind: Literal["batch", "epoch"], record: dict[str, Any] | None = None, is_best: bool = False
    ) -> TrainingEvent:
        state = self.state
        if record is not None:
            loss = record["train_rec"] + record["train_kl"]
            return TrainingEvent(
                kind, state.epoch, self.config.epochs, self.batches, self.batches, loss, record, is_best
            )
        loss = (state.sums["rec"] + state.sums["kl"]) / state.sums["sentences"]
        return TrainingEvent(kind, state.epoch + 1, self.config.epochs, state.batch, self.batches, loss)

    def _not_finite(self, what: str) -> None:
        raise TrainingError(
            f"{what} in epoch {self.state.epoch + 1}, batch {self.state.batch + 1} of {self.batches}; "
            f"try a smaller --learning-rate or --clip 5, in another --out"
        )
