"""`hvae-mnn finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from hvae_mnn.cli.options import (
    COUNT,
    NUMBER,
    PLACE,
    THREADS,
    WORD,
    Whole,
    data_dir_option,
    hardware_option,
    option,
    out_option,
    resume_option,
    seed_option,
)
from hvae_mnn.cli.show import print_lines
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
@hardware_option()
@click.option("--noise", type=PLACE, help="TOML file of non-idealities (docs/nonidealities.md).")
@click.option(
    "--set", "changes", type=WORD, multiple=True, metavar="SECTION.KEY=VALUE", help="One non-ideality; may be repeated."
)
@click.option(
    "--updates",
    type=Whole(0),
    default=600,
    show_default=True,
    help="Number of batches; 0, with --clip-weights: clip the weights and do not train.",
)
@click.option("--learning-rate", type=NUMBER, default=3e-4, show_default=True, help="Adam's step size at the start.")
@click.option("--batch-size", type=COUNT, default=64, show_default=True, help="Sentences per batch.")
@click.option(
    "--dropout", type=NUMBER, default=0.0, show_default=True, help="Dropout on embeddings, at least 0 and below 1."
)
@click.option("--clip", type=NUMBER, default=5.0, show_default=True, help="Bound on the gradient's norm.")
@option(
    "--clip-weights",
    type=NUMBER,
    text="Bound on weights, in standard deviations of their array; try 2 first.",
    default="none",
)
@click.option(
    "--redraw-every", type=COUNT, default=1, show_default=True, help="Number of batches that share one drawn chip."
)
@click.option("--validate-every", type=COUNT, default=100, show_default=True, help="Updates between validations.")
@click.option("--valid-sentences", type=Whole(2), default=200, show_default=True, help="Sentences to validate on.")
@click.option("--valid-draws", type=COUNT, default=2, show_default=True, help="Number of drawn chips to validate on.")
@seed_option("batches, hardware draws, dropout and latents")
@data_dir_option()
@out_option("result", "the checkpoint's, with -finetuned")
@resume_option()
@click.option("--threads", type=THREADS, default=1, show_default=True, help="Number of CPU threads.")
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
    """Train CHECKPOINT on hardware: forward passes through circuits drawn anew for every batch, gradients in software.

    The best state is kept as OUT/best.pt, an ordinary checkpoint. Rerun an interrupted run with --resume and the same
    options to resume it; the result is the same to the bit.
    """
    import torch

    from hvae_mnn import api
    from hvae_mnn.crossbar.nonidealities.file import read_nonidealities

    torch.set_num_threads(threads)
    with resumable(lambda: "rerun with --resume to resume the run"):
        result = api.finetune(
            checkpoint,
            data_dir=data_dir,
            hardware=hardware,
            noise=read_nonidealities(noise, changes),
            out=out,
            resume=resume,
            **settings,
        )
    history, best = result.history, result.best
    first, clipped = history[0], next((record for record in history if record["clipped"]), None)
    between = f"{clipped['valid_top1']:.4f} with clipped weights -> " if clipped not in (None, best) else ""
    print_lines(
        f"validation on {settings['valid_draws']} drawn chips: next word right {first['valid_top1']:.4f} -> {between}"
        f"{best['valid_top1']:.4f}, perplexity {first['valid_ppl']:.2f} -> {best['valid_ppl']:.2f} ({_which(best)} of"
        f" {settings['updates']} updates)",
        f"wrote {result.folder}/: best.pt, last.pt, metrics.json, finetune (.png, .svg)",
    )


def _which(record: dict[str, Any]) -> str:
    """The update after which the state was the best."""
    if record["update"]:
        return f"after {record['update']}"
    return "clipped, before any" if record["clipped"] else "before any"
