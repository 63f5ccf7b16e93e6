"""`hvae-mnn train`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from hvae_mnn.cli.options import (
    COUNT,
    FOLDER,
    NUMBER,
    SEED,
    WORD,
    Choice,
    Whole,
    data_dir_option,
    option,
    resume_option,
    threads_option,
    torch_device_option,
)
from hvae_mnn.cli.show import print_lines
from hvae_mnn.cli.signals import resumable
from hvae_mnn.models.training_config import CHOICES

if TYPE_CHECKING:
    from hvae_mnn.bars import Bar
    from hvae_mnn.training.run import TrainingEvent

EPILOG = """
Examples:

    hvae-mnn train --preset tiny --out checkpoints/demo

    hvae-mnn train --preset paper --data-dir ptb --tokenizer twr --out checkpoints/ptb

    hvae-mnn train --preset paper --objective paper --data-dir ptb --tokenizer twr --out checkpoints/ptb-paper

    hvae-mnn train --preset ptb-char --data-dir ptb --tokenizer char --out checkpoints/ptb-char

    hvae-mnn train --preset small --encoder-cells gru,gru --decoder-cell gru --out checkpoints/gru

    hvae-mnn train --preset small --row bn-vae --data-dir ptb --out checkpoints/bn-vae
"""
WIDTH = Whole(1, 65_536)


@click.command(epilog=EPILOG)
@click.option_panel(
    "Run",
    options=["--preset", "--objective", "--row", "--out", "--resume", "--seed", "--device", "--precision", "--threads"],
)
@click.option_panel("Text", options=["--data-dir", "--tokenizer", "--max-vocabulary"])
@click.option_panel(
    "Model",
    options=[
        "--encoder-cells",
        "--decoder-cell",
        "--peepholes",
        "--encoder-sees-eos",
        "--embedding",
        "--hidden",
        "--latent",
        "--dropout",
        "--output-dropout",
        "--decoder-start",
    ],
)
@click.option_panel(
    "Objective and optimiser",
    options=[
        "--kl-target",
        "--beta",
        "--annealing",
        "--annealing-epochs",
        "--annealing-start",
        "--free-bits",
        "--free-bits-per-unit",
        "--batch-norm-gamma",
        "--samples",
        "--mask-pads",
        "--epochs",
        "--batch-size",
        "--optimizer",
        "--initial-weights",
        "--learning-rate",
        "--schedule",
        "--plateau-from",
        "--patience",
        "--final-halvings",
        "--clip",
        "--shuffle",
        "--selection",
    ],
)
@click.option(
    "--preset",
    type=Choice(["tiny", "small", "small-adam", "paper", "paper-adam", "ptb-char"]),
    default="tiny",
    show_default=True,
    help="Sizes, lengths and optimiser: tiny for a demo; paper has embedding 512, hidden 256, latent 32 and SGD,"
    " paper-adam the Adam of earlier versions; ptb-char is for --tokenizer char.",
)
@click.option(
    "--objective",
    type=Choice(["sound", "paper"]),
    help="Loss: sound, an ELBO whose encoder does not read the end symbol; or paper, as published.  [default: sound]",
)
@click.option(
    "--row",
    type=WORD,
    metavar="ROW",
    help="Model of the paper's tables by its own recipe, in the preset's sizes: lm, bn-vae, hsr-gru-gru, ...",
)
@click.option("--out", type=FOLDER, required=True, help="Folder of the run: best.pt, last.pt, metrics.json.")
@resume_option()
@option("--seed", type=SEED, text="Random seed for weights, batches, dropout and latents.", default="0")
@torch_device_option()
@option("--precision", type=Choice(["auto", "fp32", "bf16"]), text="Precision of matrix products.", default="auto")
@threads_option("all; 1 for tiny")
@data_dir_option()
@click.option(
    "--tokenizer",
    default="plain",
    show_default=True,
    type=Choice(["plain", "twr", "char"]),
    help="Tokens of the text: words between white space, words as TWR-VAE splits them, or characters.",
)
@click.option("--max-vocabulary", type=Whole(5), help="Largest number of word ids, special symbols included.")
@option(
    "--encoder-cells",
    type=WORD,
    metavar="CELL,CELL",
    text="Cells of the encoder layers, at most two: rnn, lstm or gru each; or none.",
    default="lstm,lstm",
)
@option("--decoder-cell", type=Choice(["rnn", "lstm", "gru"]), text="Cell of the decoder layer.", default="lstm")
@click.option("--peepholes", is_flag=True, default=None, help="Connect the LSTMs' gates to their memory (eq. 11).")
@click.option("--embedding", "embedding_size", type=WIDTH, help="Width of the embeddings.")
@click.option("--hidden", "hidden_size", type=WIDTH, help="Hidden units of each layer.")
@click.option("--latent", "latent_size", type=WIDTH, help="Width of the latent.")
@click.option("--dropout", type=NUMBER, help="Dropout on embeddings, at least 0 and below 1.")
@click.option("--output-dropout", type=NUMBER, help="Dropout before the output layer, at least 0 and below 1.")
@click.option(
    "--decoder-start",
    type=Choice(["shared", "tanh", "hidden"]),
    help="First decoder state from z: h and c the same; h its tanh; or h alone.",
)
@click.option(
    "--kl-target",
    type=Choice(CHOICES["kl_target"]),
    help="KL in the loss: the mean over time steps, the last step's, their sum, the last step's over their number, or "
    "the mean over the last 25, 50 or 75 %.",
)
@click.option("--beta", type=NUMBER, help="Weight of the KL.")
@click.option(
    "--annealing",
    type=Choice(["none", "linear", "cyclical"]),
    help="Growth of the KL's weight from 0 to --beta: none (constant), one ramp, or repeated ramps.",
)
@click.option("--annealing-epochs", type=NUMBER, help="Length of the ramp, or of one cycle, in epochs.")
@click.option("--annealing-start", type=NUMBER, help="Part of --beta that a ramp begins from.")
@click.option("--free-bits", type=NUMBER, help="KL that the loss does not charge, nats per sentence.")
@click.option("--free-bits-per-unit", type=NUMBER, help="The same for each latent unit by itself, in nats.")
@click.option(
    "--batch-norm-gamma", type=NUMBER, help="Fixed scale of batch-normalised posterior means (BN-VAE); 0 for none."
)
@click.option("--samples", type=COUNT, help="Latents drawn for each sentence of a batch (M of eq. 7).")
@click.option("--encoder-sees-eos/--encoder-not-eos", default=None, help="Whether the encoder reads the end symbol.")
@click.option(
    "--mask-pads/--count-pads", default=None, help="Whether the latent and the KL leave padding out or count it."
)
@click.option("--epochs", type=COUNT, help="Passes over the training text.")
@click.option("--batch-size", type=COUNT, help="Sentences per batch.")
@click.option("--optimizer", type=Choice(CHOICES["optimizer"]), help="Adam, or plain stochastic gradient descent.")
@click.option(
    "--initial-weights",
    type=Choice(CHOICES["initial_weights"]),
    help="Weights at the start: torch's own, uniform within 0.1, or small ones as lagging inference has.",
)
@click.option("--learning-rate", type=NUMBER, help="The optimiser's step size at the start.")
@click.option(
    "--schedule",
    type=Choice(CHOICES["schedule"]),
    help="Course of the step size over the run: constant, half a cosine, one in every annealing cycle, or halved on a"
    " plateau of the validation figure.",
)
@click.option("--plateau-from", type=NUMBER, help="Epochs before the first halving on a plateau.")
@click.option("--patience", type=COUNT, help="Epochs without a better figure before a halving.")
@click.option("--final-halvings", type=Whole(0), help="Last epochs that begin with a halving each.")
@click.option("--clip", type=NUMBER, help="Bound on the gradient's norm.")
@click.option(
    "--shuffle/--no-shuffle", default=None, help="Order of batches: new and random in each epoch, or short to long."
)
@click.option("--selection", type=Choice(["elbo", "paper_ppl"]), help="Validation figure that the best epoch has.")
def command(preset: Any, out: Path, threads: int | None, encoder_cells: str | None, **settings: Any) -> None:
    """Train a text model and keep the best epoch as OUT/best.pt.

    Rerun an interrupted run with --resume and the same options to resume it; the result is the same as without the
    interruption.
    """
    import torch

    from hvae_mnn import api
    from hvae_mnn.models.presets import parse_cells
    from hvae_mnn.training.state import METRICS

    if threads is None and preset == "tiny":
        threads = 1  # measured: on such small matrices a second thread only waits, and on a busy machine costs 5 times
    if threads is not None:
        torch.set_num_threads(threads)
    if encoder_cells is not None:
        settings["encoder_cells"] = parse_cells(encoder_cells)
    with _shown() as show, resumable(lambda: f"rerun with --resume to resume the run in {out}"):
        result = api.train(out, preset=preset, progress=show, **settings)
    epochs = len(result.history)
    if not result.epochs_trained:
        print_lines(f"{out} is complete: {epochs} epochs, best {result.best_epoch}; nothing to do")
    figures = result.best["valid"]
    print_lines(
        f"best epoch {result.best_epoch} of {epochs}: ELBO NLL {figures['elbo_nll']:.2f} "
        f"(PPL {figures['elbo_ppl']:.2f}, KL {figures['elbo_kl']:.2f}); paper PPL {figures['paper_ppl']:.2f}",
        f"wrote {result.checkpoint}, {out / METRICS}, {out / 'training.png'}",
    )


@contextlib.contextmanager
def _shown() -> Iterator[Callable[[TrainingEvent], None]]:
    """What shows a training run: a line after every epoch, and a bar between, where a person watches."""
    from hvae_mnn.api.language import draw_training
    from hvae_mnn.bars import watched

    def with_lines(bar: Bar) -> Callable[[TrainingEvent], None]:
        draw = draw_training(bar)

        def show(event: TrainingEvent) -> None:
            if event.record is None:
                draw(event)
            else:
                with bar.paused():
                    _print_epoch(event)

        return show

    with watched(True, with_lines) as show:
        yield _print_epoch if show is None else show


def _print_epoch(event: TrainingEvent) -> None:
    if event.record is not None:
        valid = event.record["valid"]
        print_lines(
            f"epoch {event.epoch}/{event.epochs}  train {event.loss:.2f}  "
            f"valid ELBO {valid['elbo_nll']:.2f} (PPL {valid['elbo_ppl']:.2f}, KL {valid['elbo_kl']:.2f}, "
            f"MI {valid['mutual_information']:.2f}±{valid['information_error']:.2f}, AU {valid['active_units']})  "
            f"paper PPL {valid['paper_ppl']:.2f}  {event.record['seconds']:.0f} s{'  best' if event.is_best else ''}"
        )
