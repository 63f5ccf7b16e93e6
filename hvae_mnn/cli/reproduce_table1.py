"""`hvae-mnn reproduce table1`: the corpora, counted."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from hvae_mnn.cli.options import FOLDER, out_option
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables

EPILOG = """
Examples:

    hvae-mnn reproduce table1 --data-dir corpora

    hvae-mnn reproduce table1 --data-dir corpora --out results
"""


@click.command(epilog=EPILOG)
@click.option("--data-dir", type=FOLDER, required=True, help="Folder that holds the corpora, each a folder of its own.")
@out_option("table", "runs/reproduce-table1")
def table1(data_dir: Path, out: Path | None) -> None:
    """Make Table 1 anew: sentences, tokens and vocabularies of the corpora found, beside the printed figures.

    Words are counted under both tokenizers, plain and twr. A corpus that is missing has a row that says so.
    """
    from hvae_mnn import api
    from hvae_mnn.reproduction.corpora_table import blocks, left_columns

    result = api.reproduce_table1(data_dir, out=out)
    for title, headings, rows in blocks(result.counts):
        table = new_table(title, headings, left=left_columns(headings), folded=left_columns(headings), plain=True)
        for cells in rows:
            add_row(table, *cells)
        print_tables(table)
    print_lines(f"wrote {', '.join(map(str, result.paths))}")
