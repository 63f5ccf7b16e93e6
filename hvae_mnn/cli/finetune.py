"""`hvae-mnn finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from hvae_mnn.cli.options import COUNT, FOLDER, NUMBER, PLACE, SEED, THREADS, WORD, Whole
from hvae_mnn.cli.progress import progress_bar
from hvae_mnn.cli.signals import resumable

EPILOG = """
Examples:

    hvae-mnn finetune checkpoints/demo/best.pt --set programming.error=lognormal --set programming.sigma=0.1

    hvae-mnn finetune checkpoints/ptb/best.pt --hardware tile64 --noise chip-noise.toml --clip-weights 2 --data-dir ptb

    hvae-mnn build-netlist checkpoints/demo-finetuned/best.pt --hardware tile64
"""


@click.command(epilog=EPILOG)
@click.option_panel("Hardware", options=["--hardware", "--noise", "--set"])
@click.option_panel(
    "Training",
    options=[
        "--updates",
        "--learning-rate",
        "--batch-size",
        "--dropout",
        "--clip",
        "--clip-weights",
        "--redraw-every",
        "--seed",
    ],
)
@click.option_panel("Validation", options=["--validate-every", "--valid-sentences", "--valid-draws"])
@click.option_panel("Run", options=["--data-dir", "--out", "--resume", "--threads"])
@click.argument("checkpoint", type=PLACE)
@click.option("--hardware", type=WORD, default="paper", show_default=True, help="Hardware preset, or TOML file.")
@click.option("--noise", type=PLACE, help="TOML file with non-idealities (docs/nonidealities.md).")
@click.option(
    "--set", "changes", type=WORD, multiple=True, metavar="SECTION.KEY=VALUE", help="A non-ideality; may be repeated."
)
@click.option(
    "--updates",
    type=Whole(0),
    default=600,
    show_default=True,
    help="Batches to train on; 0, with --clip-weights: only clip.",
)
@click.option("--learning-rate", type=NUMBER, default=3e-4, show_default=True, help="Adam's step size at the start.")
@click.option("--batch-size", type=COUNT, default=64, show_default=True, help="Sentences per batch.")
@click.option("--dropout", type=NUMBER, default=0.0, show_default=True, help="Dropout on embeddings.")
@click.option("--clip", type=NUMBER, default=5.0, show_default=True, help="Bound on the gradient's norm.")
@click.option(
    "--clip-weights",
    type=NUMBER,
    help="Bound on weights, in standard deviations of their array; 2 is worth trying first.  [default: none]",
)
@click.option(
    "--redraw-every", type=COUNT, default=1, show_default=True, help="Batches per programming of the hardware."
)
@click.option("--validate-every", type=COUNT, default=100, show_default=True, help="Updates between validations.")
@click.option("--valid-sentences", type=Whole(2), default=200, show_default=True, help="Sentences to validate on.")
@click.option("--valid-draws", type=COUNT, default=2, show_default=True, help="Chips that a validation draws.")
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Random seed for batches, hardware, dropout and latents."
)
@click.option("--data-dir", type=FOLDER, help="Corpus folder.  [default: the built-in corpus]")
@click.option("--out", type=FOLDER, help="Folder of the result.  [default: the checkpoint's, with -finetuned]")
@click.option("--resume", is_flag=True, help="Resume the run in --out, if there is one.")
@click.option("--threads", type=THREADS, default=1, show_default=True, help="CPU threads.")
def command(
    checkpoint: Path,
    hardware: str,
    noise: Path | None,
    changes: tuple[str, ...],
    data_dir: Path | None,
    out: Path | None,
    resume: bool,
    threads: int,
    **settings: Any,
) -> None:
    """Train CHECKPOINT on hardware: values from the circuit, drawn anew for every batch, gradients in software.

    The best state is kept as OUT/best.pt, an ordinary checkpoint. Rerun a killed run with --resume and the same options
    to resume it; the result is the same to the bit.
    """
    import torch

    from hvae_mnn.api import finetune
    from hvae_mnn.crossbar.nonidealities.file import read_nonidealities
    from hvae_mnn.files import read_sealed
    from hvae_mnn.training.state import METRICS

    torch.set_num_threads(threads)
    with progress_bar(Console(stderr=True)) as bar, resumable(lambda: "rerun with --resume to resume the run"):
        task = bar.add_task("validating", total=settings["updates"])
        folder = finetune(
            checkpoint,
            data_dir=data_dir,
            hardware=hardware,
            noise=read_nonidealities(noise, changes),
            out=out,
            resume=resume,
            progress=lambda update, _, loss: bar.update(task, completed=update, description=f"loss {loss:.2f}"),
            **settings,
        ).parent
    stored = read_sealed(folder / METRICS, "history of finetuning")
    history, kept = stored["history"], stored["best"]
    first, clipped = history[0], next((record for record in history if record["clipped"]), None)
    between = f"{clipped['valid_top1']:.4f} with clipped weights -> " if clipped not in (None, kept) else ""
    console = Console()
    for line in (
        f"validation on {settings['valid_draws']} drawn chips: next word right {first['valid_top1']:.4f} -> {between}"
        f"{kept['valid_top1']:.4f}, perplexity {first['valid_ppl']:.2f} -> {kept['valid_ppl']:.2f} ({_which(kept)} of"
        f" {settings['updates']} updates)",
        f"wrote {folder}/: best.pt, last.pt, metrics.json, finetune (.png, .svg)",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _which(record: dict[str, Any]) -> str:
    """Which state was the best."""
    if record["update"]:
        return f"after {record['update']}"
    return "clipped, before any" if record["clipped"] else "before any"
