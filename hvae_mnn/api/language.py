"""A model of text: trained, evaluated, and finetuned on its hardware."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from hvae_mnn.api.trained import EvaluationResult, FinetuneResult, TrainingResult
from hvae_mnn.bars import Bar, Progress, watched
from hvae_mnn.cosim.export import default_name
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.errors import InputError
from hvae_mnn.evaluation import report as reports
from hvae_mnn.files import read_sealed, sha256, write_sealed
from hvae_mnn.finetuning import run as finetuning
from hvae_mnn.finetuning.config import FinetuneConfig
from hvae_mnn.folders import refuse_other
from hvae_mnn.gates import Cell
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.models.config import DecoderStart, InferenceName, LatentUse, ModelConfig
from hvae_mnn.models.device import pick_device
from hvae_mnn.models.presets import configure, preset_sizes
from hvae_mnn.models.rows import configure_row
from hvae_mnn.models.training_config import (
    Annealing,
    InitialWeights,
    KlTarget,
    Optimizer,
    Precision,
    Schedule,
    Selection,
    TrainingConfig,
    UpdateRule,
)
from hvae_mnn.plots.evaluation import save_evaluation_figure
from hvae_mnn.plots.finetune import save_finetune_figure
from hvae_mnn.plots.training import save_training_figure
from hvae_mnn.reading import absolute
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.text.sources import load_corpus
from hvae_mnn.text.tokenizers import find_tokenizer
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training import run as training
from hvae_mnn.training.history import read_history
from hvae_mnn.training.run import TrainingEvent
from hvae_mnn.training.state import BEST, LAST, METRICS
from hvae_mnn.version import versions

__all__ = [
    "Checkpoint",
    "EvaluationResult",
    "FinetuneResult",
    "TrainingEvent",
    "TrainingResult",
    "TrainingSettings",
    "evaluate",
    "finetune",
    "load_checkpoint",
    "train",
]
EVALUATION = "evaluation.json"


class TrainingSettings(TypedDict, total=False):
    """Fields of `ModelConfig` and `TrainingConfig` that `train` sets in place of the preset's and the objective's.

    None leaves a field as it is.
    """

    embedding_size: int | None
    hidden_size: int | None
    latent_size: int | None
    encoder_cells: tuple[Cell, ...] | None
    decoder_cell: Cell | None
    peepholes: bool | None
    dropout: float | None
    encoder_dropout: float | None
    encoder_sees_eos: bool | None
    decoder_start: DecoderStart | None
    output_dropout: float | None
    inference: InferenceName | None
    inference_steps: int | None
    latent_use: LatentUse | None
    kl_target: KlTarget | None
    beta: float | None
    annealing: Annealing | None
    annealing_epochs: float | None
    annealing_start: float | None
    free_bits: float | None
    free_bits_per_unit: float | None
    batch_norm_gamma: float | None
    samples: int | None
    first_order: bool | None
    mask_pads: bool | None
    optimizer: Optimizer | None
    initial_weights: InitialWeights | None
    updates: UpdateRule | None
    learning_rate: float | None
    schedule: Schedule | None
    plateau_from: float | None
    patience: int | None
    halvings: int | None
    final_halvings: int | None
    reload_best: bool | None
    batch_size: int | None
    epochs: int | None
    seed: int | None
    clip: float | None
    weight_decay: float | None
    adam_eps: float | None
    precision: Precision | None
    selection: Selection | None
    shuffle: bool | None


def train(
    out: str | Path,
    *,
    preset: Literal["tiny", "small", "small-adam", "paper", "paper-adam", "ptb-char"] = "tiny",
    objective: Literal["sound", "paper"] | None = None,
    row: str | None = None,
    data_dir: str | Path | None = None,
    tokenizer: Literal["plain", "twr", "char"] = "plain",
    max_vocabulary: int | None = None,
    device: str = "auto",
    resume: bool = False,
    progress: bool | Callable[[TrainingEvent], None] = True,
    **settings: Unpack[TrainingSettings],
) -> TrainingResult:
    """Train a text model in the folder `out`, with its figure; `out/best.pt` is the best epoch's checkpoint.

    `preset` gives sizes and lengths, `objective` the loss (default: `sound`), and `settings` single fields in their
    place. A `row` of the paper's tables (a key of `hvae_mnn.models.rows.ROWS`: `bn-vae`, `hsr-gru-gru`) gives model,
    loss and optimiser by its own recipe; the preset then gives sizes and epochs only. Text comes from the corpus in
    `data_dir` (default: the built-in one), cut into words or characters by `tokenizer`; `max_vocabulary` bounds the
    number of their ids. `device` is `auto`, `cpu`, `cuda` or `cuda:N`. With `resume`, an interrupted run in `out` is
    resumed, to the same bits on the same machine; a complete one returns at once. `progress` is False for silence, True
    for a bar where a person watches, or a function, called with a `TrainingEvent` after every batch and every epoch.

    Raises `InputError` for bad settings and where `out` and `resume` do not fit, `TextError` for the corpus, `RunError`
    when another process has `out`, `CheckpointError` for a damaged state, `TrainingError` when the loss is not finite.
    """
    out = Path(out)
    corpus = load_corpus(None if data_dir is None else Path(data_dir), tokenizer, splits=("train", "valid"))
    vocabulary = Vocabulary.build(corpus.train, max_size=max_vocabulary)
    model_config, training_config = _specs(preset, objective, row, len(vocabulary), settings)
    before, _ = read_history(out)
    with watched(progress, draw_training) as tell:
        best = training.train(
            corpus,
            model_config,
            training_config,
            out,
            resume=resume,
            progress=tell,
            vocabulary=vocabulary,
            device=device,
        )
    history, best_epoch = read_history(out)
    save_training_figure(history, out, best_epoch)
    return TrainingResult(out, best, tuple(history), best_epoch, len(history) - len(before))


def _specs(
    preset: str, objective: str | None, row: str | None, vocabulary_size: int, settings: TrainingSettings
) -> tuple[ModelConfig, TrainingConfig]:
    """Both specs: of a preset and an objective, or of a row in the sizes of a preset."""
    if row is None:
        return configure(preset, objective or "sound", vocabulary_size, **settings)
    if objective is not None:
        raise InputError(f"--row {row} has an objective of its own; leave --objective out")
    chosen = {name: value for name, value in settings.items() if value is not None}
    return configure_row(row, vocabulary_size, **{**preset_sizes(preset), **chosen})


def draw_training(bar: Bar) -> Callable[[TrainingEvent], None]:
    """A function that draws the events of a training run on a bar: the batches of each epoch, and the loss."""

    def draw(event: TrainingEvent) -> None:
        bar.show(f"epoch {event.epoch}/{event.epochs}, loss {event.loss:.2f}", event.batch, event.batches)

    return draw


def evaluate(
    checkpoint: str | Path | Checkpoint,
    *,
    data_dir: str | Path | None = None,
    split: Literal["valid", "test"] = "test",
    sentences: int | None = None,
    importance_samples: int = 500,
    importance_sentences: int | None = 100,
    short_run_sentences: int = 10,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    progress: bool | Progress = True,
) -> EvaluationResult:
    """Report what a checkpoint is worth, in two reports that are never mixed, with a figure.

    `paper` follows the published formulas to the letter; `proper` gives bounds on the likelihood in nats per sentence
    and says what the latent carries. Text is the first `sentences` (None: all) of a split of the corpus in `data_dir`
    (default: the built-in one). `importance_samples` latents are drawn with `seed` for each of `importance_sentences`
    sentences (None: all); 0 leaves that bound out. A model without an encoder (Sri-VAE) has, on `short_run_sentences`
    of them, its authors' own estimate beside it. `device` is `auto`, `cpu`, `cuda` or `cuda:N`. `evaluation.json` and
    the figure go to `out` (default: the checkpoint's folder). `progress` is False for silence, True for a bar where a
    person watches, or a function, called with a stage's name, done, total.

    Raises `CheckpointError`, `TextError`, `InputError` for bad input, `RunError` when `out` is for something else.
    """
    path = checkpoint.path if isinstance(checkpoint, Checkpoint) else Path(checkpoint)
    target = pick_device(device)
    folder = path.parent if out is None else Path(out)
    refuse_other(folder, BEST, LAST)
    loaded = load_checkpoint(path)
    digest = sha256(path)  # now: a training run may replace the file before the reports are done
    corpus = load_corpus(None if data_dir is None else Path(data_dir), loaded.tokenizer, splits=(split,))
    text = reports.encode_split(loaded, corpus, split, sentences)
    began = time.monotonic()
    with watched(progress, lambda bar: bar.show) as tell:
        evaluation = reports.evaluate(
            loaded.model.to(target),
            text.sentences,
            importance_samples=importance_samples,
            importance_sentences=importance_sentences,
            short_run_sentences=short_run_sentences,
            seed=seed,
            characters=None if text.characters is None else text.characters.symbols,
            progress=tell,
        )
    record: dict[str, Any] = {
        "checkpoint": _described(loaded, path, digest),
        **_text_described(loaded, corpus, split, text),
        "seed": seed,
        **evaluation.to_dict(),
        "device": target.type,
        "seconds": round(time.monotonic() - began, 3),
        "versions": versions("torch", "numpy"),
    }
    write_sealed(folder / EVALUATION, record)
    figures = save_evaluation_figure(record["proper"], folder)
    return EvaluationResult(folder, evaluation.paper, evaluation.proper, record, tuple(figures))


def _text_described(loaded: Checkpoint, corpus: Corpus, split: str, text: reports.EncodedSplit) -> dict[str, Any]:
    """What an evaluation says of its text."""
    return {
        "corpus": corpus.name,
        "tokenizer": loaded.tokenizer,
        "split": split,
        "sentences": len(text.sentences),
        "words": text.words,
        "unknown_words": text.unknown,
        "unit": find_tokenizer(loaded.tokenizer).unit,
        "characters": None if text.characters is None else text.characters.to_dict(),
    }


def _described(loaded: Checkpoint, path: Path, digest: str) -> dict[str, Any]:
    """What an evaluation says of its checkpoint."""
    return {
        "file": f"{absolute(path).parent.name}/{path.name}",
        "sha256": digest,
        "epoch": loaded.metrics.get("epoch"),
        "trained_on": loaded.metrics.get("corpus"),
        "objective": loaded.training_config.objective,
    }


def finetune(
    checkpoint: str | Path,
    *,
    data_dir: str | Path | None = None,
    hardware: str | Path | Hardware = "paper",
    noise: Nonidealities | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    updates: int = FinetuneConfig.updates,
    learning_rate: float = FinetuneConfig.learning_rate,
    batch_size: int = FinetuneConfig.batch_size,
    dropout: float = FinetuneConfig.dropout,
    clip: float = FinetuneConfig.clip,
    clip_weights: float | None = FinetuneConfig.clip_weights,
    redraw_every: int = FinetuneConfig.redraw_every,
    validate_every: int = FinetuneConfig.validate_every,
    valid_sentences: int = FinetuneConfig.valid_sentences,
    valid_draws: int = FinetuneConfig.valid_draws,
    seed: int = FinetuneConfig.seed,
    progress: bool | Callable[[int, int, float], None] = True,
) -> FinetuneResult:
    """Train a checkpoint on drawn hardware, in the circuit's values and software's gradients, with a figure.

    `hardware` is a description, the name of a preset or a TOML file; `noise` its non-idealities. Text comes from the
    corpus in `data_dir` (default: the built-in one). `out` is by default the checkpoint's folder with `-finetuned`
    behind its name; with `resume`, an interrupted run there is resumed. The other settings are the fields of
    `hvae_mnn.finetuning.config.FinetuneConfig`. `progress` is False for silence, True for a bar where a person watches,
    or a function, called with updates done, updates in all, and the loss in nats per sentence.

    Raises `InputError`, `CheckpointError`, `HardwareError`, `TextError`, `RunError` for bad input, `TrainingError` when
    the loss is not finite.
    """
    config = FinetuneConfig(
        updates=updates,
        learning_rate=learning_rate,
        batch_size=batch_size,
        dropout=dropout,
        clip=clip,
        clip_weights=clip_weights,
        redraw_every=redraw_every,
        validate_every=validate_every,
        valid_sentences=valid_sentences,
        valid_draws=valid_draws,
        seed=seed,
    )
    described = hardware if isinstance(hardware, Hardware) else None
    with watched(progress, _draw_updates) as tell:
        return _finetune(
            Path(checkpoint), data_dir, described or read_hardware(str(hardware)), noise, config, out, resume, tell
        )


def _draw_updates(bar: Bar) -> Callable[[int, int, float], None]:
    return lambda update, updates, loss: bar.show(f"update, loss {loss:.2f}", update, updates)


def _finetune(
    checkpoint: Path,
    data_dir: str | Path | None,
    hardware: Hardware,
    noise: Nonidealities | None,
    config: FinetuneConfig,
    out: str | Path | None,
    resume: bool,
    tell: Callable[[int, int, float], None] | None,
) -> FinetuneResult:
    path = absolute(checkpoint)
    base = load_checkpoint(checkpoint)
    beside = path.parent if path.stem != "best" else path.parent.parent
    folder = beside / f"{default_name(path)}-finetuned" if out is None else Path(out)
    corpus = load_corpus(None if data_dir is None else Path(data_dir), base.tokenizer, splits=("train", "valid"))
    best = finetuning.finetune(
        base, corpus, hardware, noise or Nonidealities(), config, folder, resume=resume, progress=tell
    )
    stored = read_sealed(folder / METRICS, "history of finetuning")
    save_finetune_figure(stored["history"], stored["best"], folder)
    return FinetuneResult(folder, best, tuple(stored["history"]), stored["best"])
