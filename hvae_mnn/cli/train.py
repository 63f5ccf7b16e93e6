"""`hvae-mnn train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hvae_mnn.cli.options import COUNT, FOLDER, NUMBER, SEED, THREADS, WORD, Choice, Whole
from hvae_mnn.cli.signals import resumable

if TYPE_CHECKING:
    from hvae_mnn.training.run import TrainingEvent

EPILOG = """
Examples:

    hvae-mnn train --preset tiny --out checkpoints/demo

    hvae-mnn train --preset paper --data-dir ptb --tokenizer twr --out checkpoints/ptb

    hvae-mnn train --preset paper --objective paper --data-dir ptb --tokenizer twr --out checkpoints/ptb-paper

    hvae-mnn train --preset small --encoder-cells gru,gru --decoder-cell gru --out checkpoints/gru
"""
WIDTH = Whole(1, 65_536)


@click.command(epilog=EPILOG)
@click.option_panel(
    "Run", options=["--preset", "--objective", "--out", "--resume", "--seed", "--device", "--precision", "--threads"]
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
    ],
)
@click.option_panel(
    "Objective and optimiser",
    options=[
        "--kl-target",
        "--beta",
        "--annealing",
        "--annealing-epochs",
        "--free-bits",
        "--mask-pads",
        "--epochs",
        "--batch-size",
        "--learning-rate",
        "--schedule",
        "--clip",
        "--shuffle",
        "--selection",
    ],
)
@click.option(
    "--preset",
    type=Choice(["tiny", "small", "paper"]),
    default="tiny",
    show_default=True,
    help="Sizes and lengths: tiny for a demo, paper for 512/256/32.",
)
@click.option(
    "--objective",
    type=Choice(["sound", "paper"]),
    default="sound",
    show_default=True,
    help="sound: an ELBO, the end symbol hidden from the encoder. paper: the published loss verbatim.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder for best.pt, last.pt, metrics.json.")
@click.option("--resume", is_flag=True, help="Resume the run in --out, if there is one.")
@click.option("--seed", type=SEED, help="Random seed for weights, batches, dropout and latents.  [default: 0]")
@click.option(
    "--device", type=WORD, default="auto", show_default=True, help="Where torch computes: auto, cpu, cuda or cuda:N."
)
@click.option(
    "--precision", type=Choice(["auto", "fp32", "bf16"]), help="Precision of matrix products.  [default: auto]"
)
@click.option("--threads", type=THREADS, help="CPU threads.  [default: all; 1 for tiny]")
@click.option(
    "--data-dir",
    type=FOLDER,
    help="Folder with train, valid and test text, gzip or not.  [default: the built-in grammar corpus]",
)
@click.option(
    "--tokenizer",
    default="plain",
    show_default=True,
    type=Choice(["plain", "twr"]),
    help="How --data-dir is split: white space, or TWR-VAE's way.",
)
@click.option("--max-vocabulary", type=Whole(5), help="Number of ids at most, special symbols included.")
@click.option(
    "--encoder-cells",
    type=WORD,
    metavar="CELL,CELL",
    help="Both encoder layers: rnn, lstm or gru.  [default: lstm,lstm]",
)
@click.option("--decoder-cell", type=Choice(["rnn", "lstm", "gru"]), help="Decoder layer.  [default: lstm]")
@click.option("--peepholes", is_flag=True, default=None, help="Let the LSTM's gates see its memory (eq. 11).")
@click.option("--embedding", "embedding_size", type=WIDTH, help="Width of the embeddings.")
@click.option("--hidden", "hidden_size", type=WIDTH, help="Hidden units of each layer.")
@click.option("--latent", "latent_size", type=WIDTH, help="Width of the latent.")
@click.option("--dropout", type=NUMBER, help="Dropout on embeddings, 0 to below 1.")
@click.option("--kl-target", type=Choice(["mean_t", "last", "sum"]), help="Which steps' KL is charged.")
@click.option("--beta", type=NUMBER, help="Weight of the KL.")
@click.option("--annealing", type=Choice(["none", "linear", "cyclical"]), help="How that weight grows.")
@click.option("--annealing-epochs", type=NUMBER, help="Length of the ramp, or of one cycle.")
@click.option("--free-bits", type=NUMBER, help="Nats of KL per sentence that cost nothing.")
@click.option("--encoder-sees-eos/--encoder-not-eos", default=None, help="Whether the encoder reads the end symbol.")
@click.option("--mask-pads/--count-pads", default=None, help="Whether pads are left out of the latent and the KL.")
@click.option("--epochs", type=COUNT, help="Passes over the training text.")
@click.option("--batch-size", type=COUNT, help="Sentences per batch.")
@click.option("--learning-rate", type=NUMBER, help="Adam's step size.")
@click.option("--schedule", type=Choice(["constant", "cosine"]), help="Schedule of the step size.")
@click.option("--clip", type=NUMBER, help="Bound on the gradient's norm.")
@click.option("--shuffle/--no-shuffle", default=None, help="New random batches each epoch, or short to long always.")
@click.option("--selection", type=Choice(["elbo", "paper_ppl"]), help="Figure that chooses the best epoch.")
def command(
    preset: str,
    objective: str,
    out: Path,
    resume: bool,
    device: str,
    threads: int | None,
    data_dir: Path | None,
    tokenizer: str,
    max_vocabulary: int | None,
    encoder_cells: str | None,
    **settings: Any,
) -> None:
    """Train an HSR-VAE and keep the best epoch as OUT/best.pt.

    Rerun a killed run with --resume and the same options to resume it; the result is that of an undisturbed run.
    """
    from hvae_mnn.errors import InputError
    from hvae_mnn.models.config import configure, parse_cells
    from hvae_mnn.plots.training import save_training_figure
    from hvae_mnn.text.sources import load_corpus
    from hvae_mnn.text.vocabulary import Vocabulary
    from hvae_mnn.training.history import read_history
    from hvae_mnn.training.run import train
    from hvae_mnn.training.state import METRICS

    console = Console()
    if threads is None and preset == "tiny":
        threads = 1  # measured: on such small matrices a second thread only waits, and on a busy machine costs 5 times
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if data_dir is None and tokenizer != "plain":
        raise InputError(f"--tokenizer {tokenizer} needs --data-dir; the built-in corpus is split on white space")
    if encoder_cells is not None:
        settings["encoder_cells"] = parse_cells(encoder_cells)
    corpus = load_corpus(data_dir, tokenizer, splits=("train", "valid"))
    vocabulary = Vocabulary.build(corpus.train, max_size=max_vocabulary)
    model_config, training_config = configure(preset, objective, len(vocabulary), **settings)
    before, _ = read_history(out)
    with _Display(console) as display, resumable(lambda: f"rerun with --resume to resume the run in {out}"):
        best = train(
            corpus,
            model_config,
            training_config,
            out,
            resume=resume,
            progress=display.show,
            vocabulary=vocabulary,
            device=device,
        )
    history, best_epoch = read_history(out)
    if len(history) == len(before):
        console.print(f"{out} is complete: {len(history)} epochs, best {best_epoch}; nothing to do", soft_wrap=True)
    save_training_figure(history, out, best_epoch)
    figures = history[best_epoch - 1]["valid"]
    console.print(
        f"best epoch {best_epoch} of {len(history)}: ELBO NLL {figures['elbo_nll']:.2f} "
        f"(PPL {figures['elbo_ppl']:.2f}, KL {figures['elbo_kl']:.2f}); paper PPL {figures['paper_ppl']:.2f}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"wrote {best}, {out / METRICS}, {out / 'training.png'}", soft_wrap=True)


class _Display:
    """A bar per epoch with the time left, and one line of figures after each."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.2f}"),
            console=console,
            transient=True,
        )
        self.task = self.bar.add_task("train", total=None, epoch="", loss=float("nan"))

    def __enter__(self) -> _Display:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, event: TrainingEvent) -> None:
        """Take one event of the training loop."""
        if event.record is None:
            if event.batch == 1:
                self.bar.reset(self.task)
            self.bar.update(
                self.task,
                completed=event.batch,
                total=event.batches,
                epoch=f"{event.epoch}/{event.epochs}",
                loss=event.loss,
            )
            return
        valid = event.record["valid"]
        self.console.print(
            f"epoch {event.epoch}/{event.epochs}  train {event.loss:.2f}  "
            f"valid ELBO {valid['elbo_nll']:.2f} (PPL {valid['elbo_ppl']:.2f}, KL {valid['elbo_kl']:.2f})  "
            f"paper PPL {valid['paper_ppl']:.2f}  {event.record['seconds']:.0f} s{'  best' if event.is_best else ''}",
            highlight=False,
            soft_wrap=True,
        )
