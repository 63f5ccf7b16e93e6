"""`hvae-mnn reproduce claims`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from hvae_mnn.cli.options import FOLDER, out_option
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables

EPILOG = """
Examples:

    hvae-mnn reproduce claims

    hvae-mnn reproduce claims runs/reproduce-cpu runs/reproduce-paper --out results

Exit code 0: the claims are judged; 2: bad input.
"""


@click.command(epilog=EPILOG)
@click.argument("results", nargs=-1, type=FOLDER)
@out_option("claims file", "the first of RESULTS")
def claims(results: tuple[Path, ...], out: Path | None) -> None:
    """Judge the paper's claims about language models by the records in RESULTS, folders of reproduce.

    Each claim gets a verdict by a stated rule: it holds, does not hold, holds only in the paper's metric, or is not
    testable here, and why. Without RESULTS, runs/reproduce-cpu is read.
    """
    from hvae_mnn import api

    judged = api.reproduce_claims(results or None, out=out)
    headings = ("place", "claim", "verdict")
    table = new_table("claims of the paper", headings, left=headings, folded=headings)
    for one in judged.claims:
        add_row(table, one.place, one.text, one.verdict)
    print_tables(table)
    print_lines(f"rules and figures: {judged.paths[0]}; wrote {', '.join(map(str, judged.paths))}")
