"""`hvae-mnn verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hvae_mnn.cli.mistakes import refuse_beside
from hvae_mnn.cli.options import (
    COUNT,
    PLACE,
    WORD,
    data_dir_option,
    out_option,
    scheduler_option,
    seed_option,
    text_option,
    tolerance_option,
    workers_option,
)
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables, shown_first
from hvae_mnn.cli.verify_point import verify_point

if TYPE_CHECKING:
    from hvae_mnn.studies.verify import Verification

EPILOG = """
Examples:

    hvae-mnn verify netlists/demo

    hvae-mnn verify netlists/demo --tiles 20 --steps 5 --seed 3

    hvae-mnn verify netlists/demo --all --workers 2

A point of a sweep is checked with hvae-mnn verify-point.

Exit code 0: all answers agree; 1: they do not; 2: bad input.
"""
_SHOWN = 24


@click.command(epilog=EPILOG)
@click.option_panel("What", options=["--tiles", "--all", "--steps", "--text", "--data-dir", "--seed", "--tolerance"])
@click.option_panel("Run", options=["--workers", "--scheduler", "--out"])
@click.argument("netlist", required=False, type=PLACE)
@click.option("--tiles", type=COUNT, default=8, show_default=True, help="Number of tiles, chosen with --seed.")
@click.option("--all", "every", is_flag=True, help="Check every tile.")
@click.option("--steps", type=COUNT, default=2, show_default=True, help="Time steps per tile, chosen with --seed.")
@text_option()
@data_dir_option()
@seed_option("tiles and time steps")
@tolerance_option()
@click.option("--point", type=WORD, hidden=True, help="Key of a point: the older spelling of verify-point.")
@click.option("--arrays", type=COUNT, hidden=True, help="Number of the point's arrays.")
@workers_option("solve tiles")
@scheduler_option("solve tiles")
@out_option("result")
@click.pass_context
def command(
    context: click.RichContext,
    netlist: Path | None,
    tiles: int,
    every: bool,
    steps: int,
    text: str | None,
    data_dir: Path | None,
    seed: int,
    tolerance: float,
    point: str | None,
    arrays: int | None,
    workers: int | None,
    scheduler: str | None,
    out: Path | None,
) -> None:
    """Check the exact engine against ngspice on the netlists in NETLIST (default: the newest build).

    Tiles are cut out of the build's own files and solved by ngspice, at voltages that occur when the network reads
    text. Sparse nodal analysis gives a third answer.
    """
    from hvae_mnn import api

    if point is not None:
        own = ("tiles", "every", "text", "data_dir", "seed")
        refuse_beside(context, own, "a --point has its own text and seed, and --arrays chooses what is read")
        if netlist is None:
            raise click.UsageError("--point needs the folder of a sweep: hvae-mnn verify-point runs/<sweep> KEY")
        verify_point(netlist, point, steps, arrays, tolerance, workers, scheduler, out)
        return
    refuse_beside(context, ("arrays",), "--arrays belongs to verify-point; a build has --tiles")
    if every:
        refuse_beside(context, ("tiles",), "--all means every tile")
    if text is not None:
        refuse_beside(context, ("data_dir",), "--text is the one sentence that is read")
    result = api.verify(
        netlist,
        tiles=None if every else tiles,
        steps=steps,
        seed=seed,
        tolerance=tolerance,
        text=text,
        data_dir=data_dir,
        workers=workers,
        scheduler=scheduler,
        out=out,
    )
    _show(result)
    if not result.passed:
        sys.exit(1)


def _show(result: Verification) -> None:
    hardware = result.manifest.hardware
    table = new_table(
        f"{result.manifest.name}: {hardware.cells.scheme}, difference from ngspice / full scale of the tile",
        ("array", "tile", "size", "reads", "full scale", "exact", "nodal"),
        left=("array", "tile"),
    )
    # The worst first; a person looks for those.
    verdicts = sorted(result.verdicts, key=lambda verdict: -verdict.exact_ngspice)
    for verdict in verdicts[:_SHOWN]:
        add_row(
            table,
            verdict.array,
            verdict.tile,
            f"{verdict.rows} x {verdict.bit_lines}",
            str(verdict.reads),
            f"{verdict.full_scale * 1e6:.3g} uA",
            f"{verdict.exact_ngspice:.1e}",
            "-" if verdict.nodal_ngspice is None else f"{verdict.nodal_ngspice:.1e}",
            style="bold red" if verdict.exact_ngspice > result.tolerance else "",
        )
    print_tables(table)
    wires = hardware.wires
    answer = "the exact engine is right" if result.passed else "NOT WITHIN THE TOLERANCE"
    print_lines(
        *shown_first(len(verdicts), _SHOWN, "tiles", ", with smaller differences"),
        f"hardware {hardware.name}: word lines {wires.word_ohm:g}, bit lines {wires.bit_ohm:g}, drivers"
        f" {wires.driver_ohm:g} Ohm; {hardware.amplifier.kind} amplifiers; {hardware.cells.read_law} cells",
        f"{len(verdicts)} of {result.tiles_in_all} tiles, worst difference {result.worst:.1e}, allowed"
        f" {result.tolerance:g}: {answer}",
        f"wrote {result.folder}/: verify.json; tiles, columns, potentials (.parquet);",
        "  deviation, potentials (.png, .svg)",
    )
