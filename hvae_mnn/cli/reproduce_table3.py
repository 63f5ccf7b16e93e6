"""`hvae-mnn reproduce table3`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hvae_mnn.cli.options import NUMBER, PLACE, option, out_option, seed_option
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables

if TYPE_CHECKING:
    from hvae_mnn.api.table3 import Table3Result

EPILOG = """
Examples:

    hvae-mnn reproduce table3 --twr checkpoints/ptb-twr/best.pt --hsr checkpoints/ptb-hsr/best.pt

    hvae-mnn reproduce table3 --twr ptb-twr.pt --hsr ptb-hsr.pt --temperature 0.7 --seed 3 --out results
"""


@click.command(epilog=EPILOG)
@click.option("--twr", type=PLACE, required=True, help="Checkpoint of a TWR-VAE (twr-lstm), trained on Penn Treebank.")
@click.option(
    "--hsr", type=PLACE, required=True, help="Checkpoint of an HSR-VAE (hsr-lstm-lstm), trained on Penn Treebank."
)
@option(
    "--temperature",
    type=NUMBER,
    text="Divisor of the logits of drawn words: below 1 likelier words, above 1 more varied ones.",
    default="1",
)
@seed_option("drawn words")
@out_option("table", "runs/table3")
def table3(twr: Path, hsr: Path, temperature: float | None, seed: int, out: Path | None) -> None:
    """Reconstruct the six sentences of the paper's Table 3 with two models, beside the printed texts.

    The sentences are in the Penn Treebank's test split. Each is written in three forms: the most likely next word after
    each right word, which is what the paper prints; the most likely words after the decoder's own; and drawn words.
    """
    from hvae_mnn import api

    _show(api.reproduce_table3(twr, hsr, temperature=1.0 if temperature is None else temperature, seed=seed, out=out))


def _show(result: Table3Result) -> None:
    for title, cells in result.blocks():
        headings = cells[0]
        table = new_table(title, headings, headings, folded=headings)
        for row in cells[1:-1]:
            add_row(table, *row)
        table.add_section()
        add_row(table, *cells[-1])
        print_tables(table)
    print_lines(
        *(f"{model}: {told}" for model, told in result.about.items()),
        "in brackets: words of the source that stand at their places",
        f"wrote {', '.join(map(str, result.paths))}",
    )
