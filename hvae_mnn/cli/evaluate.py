"""`hvae-mnn evaluate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from hvae_mnn.cli.options import COUNT, FOLDER, PLACE, SEED, THREADS, WORD, Choice, Whole
from hvae_mnn.reading import absolute

if TYPE_CHECKING:
    from hvae_mnn.evaluation.paper import PaperReport
    from hvae_mnn.evaluation.proper import ProperReport
    from hvae_mnn.evaluation.scoring import Check

EPILOG = """
Examples:

    hvae-mnn evaluate checkpoints/demo/best.pt

    hvae-mnn evaluate checkpoints/ptb/best.pt --data-dir ptb --out results/ptb

    hvae-mnn evaluate checkpoints/ptb/best.pt --data-dir ptb --split valid --importance-samples 50

    hvae-mnn evaluate checkpoints/demo/best.pt --sentences 200 --importance-samples 0
"""


@click.command(epilog=EPILOG)
@click.argument("checkpoint", type=PLACE)
@click.option(
    "--data-dir",
    type=FOLDER,
    help="Corpus folder, split into words as in training.  [default: the built-in grammar corpus]",
)
@click.option("--split", type=Choice(["valid", "test"]), default="test", show_default=True, help="Part of the corpus.")
@click.option("--sentences", type=Whole(2), help="Number of sentences, the first of the split.  [default: all]")
@click.option(
    "--importance-samples",
    type=Whole(0, 1_000_000),
    default=500,
    show_default=True,
    help="Latents per sentence for the importance-weighted likelihood; 0 leaves it out.",
)
@click.option(
    "--importance-sentences",
    type=COUNT,
    default=100,
    show_default=True,
    help="Number of sentences, drawn at random, that this is done for; all, if there are fewer.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed for the latents drawn.")
@click.option(
    "--device", type=WORD, default="auto", show_default=True, help="Where torch computes: auto, cpu, cuda or cuda:N."
)
@click.option("--threads", type=THREADS, help="CPU threads.  [default: torch's choice]")
@click.option(
    "--out",
    type=FOLDER,
    help="Folder for evaluation.json and figures.  [default: the checkpoint's]",
)
def command(
    checkpoint: Path,
    data_dir: Path | None,
    split: str,
    sentences: int | None,
    importance_samples: int,
    importance_sentences: int,
    seed: int,
    device: str,
    threads: int | None,
    out: Path | None,
) -> None:
    """Report what CHECKPOINT is worth, in two reports that are never mixed.

    `paper` follows the published formulas to the letter, to stand beside the paper's own rows. `proper` gives bounds on
    the likelihood (ELBO, importance-weighted) and says what the latent carries.
    """

    import torch

    from hvae_mnn.evaluation.report import encode_split, evaluate
    from hvae_mnn.files import sha256, write_sealed
    from hvae_mnn.folders import refuse_other
    from hvae_mnn.models.checkpoint import load_checkpoint
    from hvae_mnn.models.device import pick_device
    from hvae_mnn.plots.evaluation import save_evaluation_figure
    from hvae_mnn.text.sources import load_corpus
    from hvae_mnn.training.state import BEST, LAST
    from hvae_mnn.version import versions

    console = Console()
    if threads is not None:
        torch.set_num_threads(threads)
    target = pick_device(device)
    folder = out if out is not None else checkpoint.parent
    refuse_other(folder, BEST, LAST)
    loaded = load_checkpoint(checkpoint)
    digest = sha256(checkpoint)  # now: a training run may replace the file before the reports are done
    corpus = load_corpus(data_dir, loaded.tokenizer, splits=(split,))
    text = encode_split(loaded, corpus, split, sentences)
    began = time.monotonic()
    with _Bar(console) as bar:
        evaluation = evaluate(
            loaded.model.to(target),
            text.sentences,
            importance_samples=importance_samples,
            importance_sentences=importance_sentences,
            seed=seed,
            progress=bar.show,
        )
    seconds = time.monotonic() - began
    console.print(
        f"{corpus.name} {split}: {len(text.sentences):,} sentences, {text.words:,} words, "
        f"{text.unknown:,} unknown to the model; seed {seed}, {seconds:.1f} s",
        highlight=False,
    )
    console.print(_paper_table(evaluation.paper))
    console.print(_proper_table(evaluation.proper))
    for check in (*evaluation.paper.checks, *evaluation.proper.checks):
        if not check.holds:
            console.print(f"[bold red]does not hold:[/] {_sentence(check)}", highlight=False)
    record: dict[str, Any] = {
        "checkpoint": {
            "file": f"{absolute(checkpoint).parent.name}/{checkpoint.name}",
            "sha256": digest,
            "epoch": loaded.metrics.get("epoch"),
            "trained_on": loaded.metrics.get("corpus"),
            "objective": loaded.training_config.objective,
        },
        "corpus": corpus.name,
        "tokenizer": loaded.tokenizer,
        "split": split,
        "sentences": len(text.sentences),
        "words": text.words,
        "unknown_words": text.unknown,
        "seed": seed,
        **evaluation.to_dict(),
        "device": target.type,
        "seconds": round(seconds, 3),
        "versions": versions(),
    }
    write_sealed(folder / "evaluation.json", record)
    figures = save_evaluation_figure(record["proper"], folder)
    console.print(f"wrote {folder / 'evaluation.json'}, {', '.join(map(str, figures))}", soft_wrap=True)


class _Bar:
    """One bar, a stage after the other."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.stage = ""
        self.task = self.progress.add_task("", total=None)

    def __enter__(self) -> _Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, stage: str, done: int, total: int) -> None:
        """Take one step of an evaluation."""
        if stage != self.stage:
            self.stage = stage
            self.progress.reset(self.task, total=total, description=stage)
        self.progress.update(self.task, completed=done)


def _table(title: str, caption: str) -> Table:
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("what it is")
    return table


def _paper_table(report: PaperReport) -> Table:
    table = _table(
        "paper: the published formulas to the letter",
        "Not bounds: beside the paper's own rows only. Nats per sentence.",
    )
    table.add_row("NLL", f"{report.nll:.2f}", "at the mean latent, with the averaged KL")
    table.add_row("PPL", f"{report.ppl:.2f}", "per words + 2")
    table.add_row("KL", f"{report.kl:.3f}", "mean over all steps, pads included")
    table.add_row(
        "MI",
        f"{report.mutual_information:.3f}",
        f"within batches of {report.batch_size}, cap {report.information_cap:.3f}",
    )
    return table


def _proper_table(report: ProperReport) -> Table:
    table = _table(
        "proper: bounds on the likelihood, and what the latent carries",
        "Beside ELBO and importance-weighted figures on the same words. Nats per sentence.",
    )
    table.add_row("ELBO NLL", f"{report.elbo_nll:.2f}", "at a drawn latent, with its whole KL")
    table.add_row("ELBO PPL", f"{report.elbo_ppl:.2f}", "per words + 1")
    importance = report.importance
    if importance is None:
        table.add_row("IW NLL", "-", "not asked for (--importance-samples)")
    else:
        basis = f"{importance.sentences} sentences, {importance.samples} samples each"
        table.add_row("IW NLL", f"{importance.nll:.2f}", f"{basis}; ± {importance.standard_error:.2f}")
        table.add_row("IW PPL", f"{importance.ppl:.2f}", "of these sentences, per words + 1")
        table.add_row("IW PPL of the set", f"{importance.set_ppl:.2f}", f"ELBO less the gap {importance.gap:.2f}")
    table.add_row("reconstruction", f"{report.reconstruction:.2f}", "-ln p(x | z)")
    table.add_row("KL", f"{report.kl:.3f}", "of the latent that is used")
    table.add_row(
        "MI",
        f"{report.mutual_information:.3f}",
        f"± {report.information_error:.3f}, over the whole set, cap {report.information_cap:.3f}",
    )
    table.add_row("active units", f"{report.active_units} / {report.latent_size}", "variance of the mean >= 0.01")
    ablation = report.ablation
    table.add_row("other latent", f"+{ablation.gain:.2f}", "reconstruction, another sentence's latent")
    table.add_row("prior's latent", f"{ablation.prior - report.elbo_nll:+.2f}", "NLL, latent drawn from N(0, I), no KL")
    return table


def _sentence(check: Check) -> str:
    return f"{check.name}: {check.left:.6g} against {check.right:.6g} (slack {check.slack:.2g})"
