"""`hvae-mnn doctor`."""

from __future__ import annotations

import sys

import rich_click as click
from rich.text import Text

from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables

EPILOG = """
Examples:

    hvae-mnn doctor

Exit code 0: the main job runs here. Exit code 1: it would fail; every problem is listed with its remedy.
"""
_MARKS = {"good": ("ok", "green"), "note": ("note", "yellow"), "problem": ("problem", "bold red")}


@click.command(epilog=EPILOG)
def command() -> None:
    """Check this machine by really running ngspice: versions, direct solver, OSDI, memristors; list every problem with
    its remedy."""
    from hvae_mnn.api.machine import doctor

    diagnosis = doctor()
    headings = ("", "what", "found", "remedy")
    table = new_table("hvae-mnn doctor", headings, headings, folded=headings)
    for finding in diagnosis.findings:
        add_row(table, Text(*_MARKS[finding.level]), finding.what, finding.state, finding.remedy)
    print_tables(table)
    if not diagnosis.passed:
        print_lines(f"{len(diagnosis.problems)} problem(s): the main job would fail here")
        sys.exit(1)
    print_lines("the main job runs here")
