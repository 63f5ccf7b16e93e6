"""`hvae-mnn evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import rich_click as click
from rich.table import Table

from hvae_mnn.cli.options import (
    COUNT,
    PLACE,
    Whole,
    data_dir_option,
    option,
    out_option,
    seed_option,
    split_option,
    threads_option,
    torch_device_option,
)
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables

if TYPE_CHECKING:
    from hvae_mnn.api.language import EvaluationResult
    from hvae_mnn.evaluation.paper import PaperReport
    from hvae_mnn.evaluation.proper import ProperReport
    from hvae_mnn.evaluation.short_run import ShortRunReport

EPILOG = """
Examples:

    hvae-mnn evaluate checkpoints/demo/best.pt

    hvae-mnn evaluate checkpoints/ptb/best.pt --data-dir ptb --out results/ptb

    hvae-mnn evaluate checkpoints/ptb/best.pt --data-dir ptb --split valid --importance-samples 50

    hvae-mnn evaluate checkpoints/demo/best.pt --sentences 200 --importance-samples 0
"""


@click.command(epilog=EPILOG)
@click.option_panel("Text", options=["--data-dir", "--split", "--sentences"])
@click.option_panel(
    "Importance-weighted likelihood",
    options=["--importance-samples", "--importance-sentences", "--short-run-sentences", "--seed"],
)
@click.option_panel("Run", options=["--device", "--threads", "--out"])
@click.argument("checkpoint", type=PLACE)
@data_dir_option()
@split_option("valid", "test")
@option("--sentences", type=Whole(2), text="Number of sentences, the first of the split.", default="all")
@click.option(
    "--importance-samples",
    type=Whole(0, 1_000_000),
    default=500,
    show_default=True,
    help="Number of latents drawn per sentence; 0: leave this likelihood out.",
)
@click.option(
    "--importance-sentences",
    type=COUNT,
    default=100,
    show_default=True,
    help="Largest number of sentences, drawn at random, that it is computed for.",
)
@click.option(
    "--short-run-sentences",
    type=Whole(0),
    default=10,
    show_default=True,
    help="Largest number of these with Sri-VAE's own estimate, for a model without an encoder; 0: none.",
)
@seed_option("latents and sentences")
@torch_device_option()
@threads_option("torch's choice")
@out_option("report and figures", "the checkpoint's")
def command(
    checkpoint: Path,
    data_dir: Path | None,
    split: Literal["valid", "test"],
    sentences: int | None,
    importance_samples: int,
    importance_sentences: int,
    short_run_sentences: int,
    seed: int,
    device: str,
    threads: int | None,
    out: Path | None,
) -> None:
    """Report what CHECKPOINT is worth, in two reports that are never mixed.

    The first report, paper, follows the published formulas to the letter, for comparison with the paper's own rows. The
    second, proper, gives bounds on the likelihood (ELBO, importance-weighted) and measures what the latent carries.
    """
    import torch

    from hvae_mnn import api

    if threads is not None:
        torch.set_num_threads(threads)
    result = api.evaluate(
        checkpoint,
        data_dir=data_dir,
        split=split,
        sentences=sentences,
        importance_samples=importance_samples,
        importance_sentences=importance_sentences,
        short_run_sentences=short_run_sentences,
        seed=seed,
        device=device,
        out=out,
    )
    _show(result)


def _show(result: EvaluationResult) -> None:
    record = result.summary
    unit = record["unit"]
    print_lines(
        f"{record['corpus']} {record['split']}: {record['sentences']:,} sentences, {record['words']:,} {unit}s, "
        f"{record['unknown_words']:,} unknown to the model; seed {record['seed']}, {record['seconds']:.1f} s"
    )
    print_tables(_paper_table(result.paper, unit), _proper_table(result.proper, unit))
    print_lines(*_symbols(record["characters"]))
    for check in result.checks:
        if not check.holds:
            against = f"{check.left:.6g} against {check.right:.6g} (slack {check.slack:.2g})"
            print_lines(f"DOES NOT HOLD: {check.name}: {against}")
    print_lines(f"wrote {result.folder / 'evaluation.json'}, {', '.join(map(str, result.figures))}")


def _new_table(title: str, caption: str) -> Table:
    return new_table(
        title, ("figure", "value", "meaning"), ("figure", "meaning"), folded=("figure", "meaning"), caption=caption
    )


def _symbols(characters: dict[str, int] | None) -> Iterator[str]:
    """What the bits per character count."""
    if characters is None:
        return
    symbols, marks = characters["symbols"], characters["unknown_marks"]
    yield (
        f"bits per character: {symbols:,} symbols, which are all characters ({characters['spaces']:,} are spaces) and"
        f" {characters['ends']:,} ends of sentences"
    )
    if marks:
        factor = symbols / characters["symbols_if_unk_is_one"]
        yield f"  {marks:,} <unk> are five characters each; with each as one symbol, multiply by {factor:.4f}"


def _paper_table(report: PaperReport, unit: str) -> Table:
    table = _new_table(
        "paper: the published formulas to the letter",
        "No bounds: compare them with the paper's own rows only. Nats per sentence.",
    )
    add_row(table, "NLL", f"{report.nll:.2f}", "at the mean latent, with the averaged KL")
    add_row(table, "PPL", f"{report.ppl:.2f}", f"per {unit}s + 2")
    if report.bits_per_character is not None:
        add_row(table, "bits per character", f"{report.bits_per_character:.3f}", "NLL, per characters + 1")
    add_row(table, "KL", f"{report.kl:.3f}", "mean over all steps, pads included")
    add_row(
        table,
        "MI",
        f"{report.mutual_information:.3f}",
        f"± {report.information_error:.3f}, within batches of {report.batch_size}, cap {report.information_cap:.3f}",
    )
    return table


def _proper_table(report: ProperReport, unit: str) -> Table:
    table = _new_table(
        "proper: bounds on the likelihood, and what the latent carries",
        "Compare them with ELBO and importance-weighted figures on the same words. Nats per sentence.",
    )
    add_row(table, "ELBO NLL", f"{report.elbo_nll:.2f}", "at a drawn latent, with its whole KL")
    add_row(table, "ELBO PPL", f"{report.elbo_ppl:.2f}", f"per {unit}s + 1")
    if report.bits_per_character is not None:
        add_row(table, "ELBO bits per character", f"{report.bits_per_character:.3f}", "per characters + 1")
    importance = report.importance
    if importance is None:
        add_row(table, "IW NLL", "-", "not asked for (--importance-samples)")
    else:
        basis = f"{importance.sentences} sentences, {importance.samples} samples each"
        add_row(table, "IW NLL", f"{importance.nll:.2f}", f"{basis}; ± {importance.standard_error:.2f}")
        add_row(table, "IW PPL", f"{importance.ppl:.2f}", f"of these sentences, per {unit}s + 1")
        add_row(table, "IW PPL of the set", f"{importance.set_ppl:.2f}", f"ELBO less the gap {importance.gap:.2f}")
        if importance.set_bits_per_character is not None:
            bits = f"{importance.set_bits_per_character:.3f}"
            add_row(table, "IW bits per character", bits, "of the set, per characters + 1")
    _add_short_run(table, report.short_run, unit)
    add_row(table, "reconstruction", f"{report.reconstruction:.2f}", "-ln p(x | z)")
    add_row(table, "KL", f"{report.kl:.3f}", "of the latent that is used")
    add_row(
        table,
        "MI",
        f"{report.mutual_information:.3f}",
        f"± {report.information_error:.3f}, over the whole set, cap {report.information_cap:.3f}",
    )
    add_row(table, "active units", f"{report.active_units} / {report.latent_size}", "variance of the mean >= 0.01")
    ablation = report.ablation
    add_row(table, "other latent", f"{ablation.gain:+.2f}", "reconstruction, another sentence's latent")
    add_row(
        table, "prior's latent", f"{ablation.prior - report.elbo_nll:+.2f}", "NLL, latent drawn from N(0, I), no KL"
    )
    return table


def _add_short_run(table: Table, report: ShortRunReport | None, unit: str) -> None:
    """Sri-VAE's own estimate, and the bound of the same sentences."""
    if report is None:
        return
    basis = f"{report.sentences} sentences, {report.samples} starts each"
    add_row(table, "short-run NLL", f"{report.nll:.2f}", f"Sri-VAE's estimate, {report.note}; {basis}")
    add_row(table, "short-run PPL", f"{report.ppl:.2f}", f"of these sentences, per {unit}s + 1")
    add_row(table, "short-run KL", f"{report.kl:.3f}", f"{100 * report.folded:.0f} % of the runs overshoot")
    if report.importance_nll is not None:
        add_row(table, "IW NLL of the same", f"{report.importance_nll:.2f}", "the bound of these sentences")
