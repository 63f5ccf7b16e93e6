"""`hvae-mnn reproduce`: the paper's tables of language models, made anew, and its claims, judged by them."""

from __future__ import annotations

import rich_click as click

from hvae_mnn.cli import reproduce_claims, reproduce_table1, reproduce_table3, reproduce_tables
from hvae_mnn.cli.mistakes import Group

EPILOG = """
Examples:

    hvae-mnn reproduce table1 --data-dir corpora

    hvae-mnn reproduce table2 --profile demo

    hvae-mnn reproduce table4 --data-dir corpora --rows twr-lstm,hsr-lstm-lstm

    hvae-mnn reproduce claims runs/reproduce-cpu
"""


@click.group(cls=Group, epilog=EPILOG)
def command() -> None:
    """Make the paper's Tables 1 to 4 anew, with our figures beside the printed ones, and judge its claims."""


for name, sub in {
    "table1": reproduce_table1.table1,
    "table2": reproduce_tables.table2,
    "table3": reproduce_table3.table3,
    "table4": reproduce_tables.table4,
    "claims": reproduce_claims.claims,
}.items():
    command.add_command(sub, name)
