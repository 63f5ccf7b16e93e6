"""`hvae-mnn finetune`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console

from hvae_mnn.cli.progress import progress_bar

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
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--hardware", default="paper", show_default=True, help="A preset, or a hardware file.")
@click.option("--noise", type=click.Path(path_type=Path), help="TOML file with non-idealities (docs/nonidealities.md).")
@click.option("--set", "changes", multiple=True, metavar="SECTION.KEY=VALUE", help="A non-ideality; may be repeated.")
@click.option("--updates", type=int, default=600, show_default=True, help="Batches to train on; 0 only clips.")
@click.option("--learning-rate", type=float, default=3e-4, show_default=True, help="Adam's step size at the start.")
@click.option("--batch-size", type=int, default=64, show_default=True, help="Sentences per batch.")
@click.option("--dropout", type=float, default=0.0, show_default=True, help="Of embeddings.")
@click.option("--clip", type=float, default=5.0, show_default=True, help="Bound on the gradient's norm.")
@click.option(
    "--clip-weights",
    type=float,
    help="Bound on weights, in standard deviations of their array; 2 is worth trying first.  [default: none]",
)
@click.option("--redraw-every", type=int, default=1, show_default=True, help="Batches per programming of the hardware.")
@click.option("--validate-every", type=int, default=100, show_default=True, help="Updates between validations.")
@click.option("--valid-sentences", type=int, default=200, show_default=True, help="Of the validation split.")
@click.option("--valid-draws", type=int, default=2, show_default=True, help="Hardware that a validation draws.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of batches, hardware, dropout and latents.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Corpus folder.  [default: the built-in corpus]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: the checkpoint's, with -finetuned]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, if there is one.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads.")
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

    The best state is kept as OUT/best.pt, an ordinary checkpoint. A killed run goes on with --resume and the same
    options, to the same bits.
    """
    import torch

    from hvae_mnn.api import finetune
    from hvae_mnn.crossbar.nonidealities.file import read_nonidealities
    from hvae_mnn.vae.training_state import METRICS

    torch.set_num_threads(threads)
    with progress_bar(Console(stderr=True)) as bar:
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
    stored = json.loads((folder / METRICS).read_text(encoding="utf-8"))
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
