"""`hvae-mnn verify-point`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hvae_mnn.cli.options import (
    COUNT,
    PLACE,
    WORD,
    option,
    out_option,
    scheduler_option,
    tolerance_option,
    workers_option,
)
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables

if TYPE_CHECKING:
    from hvae_mnn.sweeps.verify import PointVerification

EPILOG = """
Examples:

    hvae-mnn verify-point runs/noise 3f1c

    hvae-mnn verify-point runs/noise 3f1c --arrays 2 --steps 1

Exit code 0: all answers agree; 1: they do not; 2: bad input.
"""


@click.command(epilog=EPILOG)
@click.option_panel("What", options=["--arrays", "--steps", "--tolerance"])
@click.option_panel("Run", options=["--workers", "--scheduler", "--out"])
@click.argument("sweep", type=PLACE)
@click.argument("key", type=WORD)
@option("--arrays", type=COUNT, text="Number of arrays, chosen with the point's seed.", default="all")
@click.option(
    "--steps", type=COUNT, default=2, show_default=True, help="Time steps per array, chosen with the point's seed."
)
@tolerance_option()
@workers_option("solve arrays")
@scheduler_option("solve arrays")
@out_option("result")
def command(
    sweep: Path,
    key: str,
    arrays: int | None,
    steps: int,
    tolerance: float,
    workers: int | None,
    scheduler: str | None,
    out: Path | None,
) -> None:
    """Check one point of the sweep in the folder SWEEP against ngspice.

    KEY is the beginning of the point's key, in the column task of the sweep's results. The point's random draw is
    written as netlists, read noise included, and ngspice reads its arrays at the voltages that the sweep used. A wired
    array of 800 x 256 takes a minute and 4 GiB.
    """
    verify_point(sweep, key, steps, arrays, tolerance, workers, scheduler, out)


def verify_point(
    sweep: Path,
    key: str,
    steps: int,
    arrays: int | None,
    tolerance: float,
    workers: int | None,
    scheduler: str | None,
    out: Path | None,
) -> None:
    """Verify a point and print the answer; exits with 1 when ngspice disagrees."""
    from hvae_mnn import api

    result = api.verify_point(
        sweep, key, steps=steps, arrays=arrays, tolerance=tolerance, workers=workers, scheduler=scheduler, out=out
    )
    _show(result)
    if not result.passed:
        sys.exit(1)


def _show(result: PointVerification) -> None:
    table = new_table(
        f"point {result.task[:12]}, seed {result.seed}: pre-activations",
        ("array", "memristors", "reads", "full scale", "noise", "difference / full scale"),
        left=("array",),
    )
    for verdict in sorted(result.verdicts, key=lambda verdict: -verdict.difference):
        add_row(
            table,
            verdict.array,
            f"{verdict.cells:,}",
            str(verdict.reads),
            f"{verdict.full_scale:.3g}",
            f"{verdict.noise:.2g}" if verdict.noise else "-",
            f"{verdict.difference:.1e}",
            style="bold red" if verdict.difference > result.tolerance else "",
        )
    print_tables(table)
    answer = "ngspice and the sweep agree" if result.passed else "NOT WITHIN THE TOLERANCE"
    print_lines(
        f"worst difference {result.worst:.1e}, allowed {result.tolerance:g}: {answer}",
        f"wrote {result.folder}/: verify.json; netlist/, a build like any other",
    )
