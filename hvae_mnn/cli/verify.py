"""`hvae-mnn verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import Console
from rich.table import Table

from hvae_mnn.cli.mistakes import refuse_beside
from hvae_mnn.cli.options import COUNT, FOLDER, NUMBER, PLACE, SEED, WORD, scheduler_option, workers_option
from hvae_mnn.cli.progress import progress_bar

if TYPE_CHECKING:
    from hvae_mnn.studies.verify import Verification

EPILOG = """
Examples:

    hvae-mnn verify netlists/demo

    hvae-mnn verify netlists/demo --tiles 20 --steps 5 --seed 3

    hvae-mnn verify netlists/demo --all --workers 2

    hvae-mnn verify runs/noise --point 3f1c --arrays 2

Exit code 0: all answers agree; 1: they do not; 2: bad input.
"""
_SHOWN = 24


@click.command(epilog=EPILOG)
@click.option_panel("What", options=["--tiles", "--all", "--steps", "--text", "--data-dir", "--seed", "--tolerance"])
@click.option_panel("A point of a sweep", options=["--point", "--arrays"])
@click.option_panel("Run", options=["--workers", "--scheduler", "--out"])
@click.argument("netlist", required=False, type=PLACE)
@click.option("--tiles", type=COUNT, default=8, show_default=True, help="Number of tiles, chosen with --seed.")
@click.option("--all", "every", is_flag=True, help="Every tile.")
@click.option("--steps", type=COUNT, default=2, show_default=True, help="Time steps per tile, chosen with --seed.")
@click.option("--text", type=WORD, help="One sentence that steps are taken from, instead of a corpus.")
@click.option("--data-dir", type=FOLDER, help="Corpus folder.  [default: the built-in corpus]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed for tiles and steps.")
@click.option(
    "--tolerance",
    type=NUMBER,
    default=1e-9,
    show_default=True,
    help="Allowed difference, parts of a tile's full scale.",
)
@click.option(
    "--point",
    type=WORD,
    help="Beginning of a key in the column task of a sweep's results; NETLIST is the sweep's folder.",
)
@click.option("--arrays", type=COUNT, help="Number of the point's arrays, chosen with its seed.  [default: all]")
@workers_option("solve tiles")
@scheduler_option("solve tiles")
@click.option("--out", type=FOLDER, help="Folder of the result.  [default: a new one in runs/]")
@click.pass_context
def command(
    context: click.Context,
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
    """Prove that the exact engine is right for the netlists in NETLIST (default: the newest build).

    Tiles are cut out of the build's own files and solved by ngspice, at voltages that the network really meets; sparse
    nodal analysis is the third answer.

    With --point, NETLIST is the folder of a sweep: the point's draw is written as netlists, noise of the reads
    included, and ngspice reads its arrays where the sweep's engine read them. A wired array of 800 x 256 takes a
    minute and 4 GiB.
    """
    from hvae_mnn import api

    console = Console()
    if point is not None:
        own = ("tiles", "every", "text", "data_dir", "seed")
        refuse_beside(context, own, "text and seed of a --point are its own, and --arrays chooses what is read")
        _verify_point(console, netlist, point, steps, arrays, tolerance, workers, scheduler, out)
        return
    refuse_beside(context, ("arrays",), "--arrays belongs to --point; a build has --tiles")
    if every:
        refuse_beside(context, ("tiles",), "--all means every tile")
    if text is not None:
        refuse_beside(context, ("data_dir",), "--text is the one sentence that steps are taken from")
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("tiles", total=None)
        found = api.verify(
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
            progress=lambda _, done, total: bar.update(task, completed=done, total=total),
        )
    _show(console, found)
    if not found.passed:
        sys.exit(1)


def _verify_point(
    console: Console,
    sweep: Path | None,
    point: str,
    steps: int,
    arrays: int | None,
    tolerance: float,
    workers: int | None,
    scheduler: str | None,
    out: Path | None,
) -> None:
    from hvae_mnn import api

    if sweep is None:
        raise click.UsageError("--point needs the folder of a sweep: hvae-mnn verify runs/<sweep> --point KEY")
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("arrays", total=None)
        found = api.verify_point(
            sweep,
            point,
            steps=steps,
            arrays=arrays,
            tolerance=tolerance,
            workers=workers,
            scheduler=scheduler,
            out=out,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    table = Table(title=f"point {found.task[:12]}, seed {found.seed}: pre-activations", title_justify="left")
    for heading in ("array", "memristors", "reads", "full scale", "noise", "difference / full scale"):
        table.add_column(heading, justify="left" if heading == "array" else "right", no_wrap=True)
    for verdict in sorted(found.verdicts, key=lambda verdict: -verdict.difference):
        table.add_row(
            verdict.array,
            f"{verdict.cells:,}",
            str(verdict.reads),
            f"{verdict.full_scale:.3g}",
            f"{verdict.noise:.2g}" if verdict.noise else "-",
            f"{verdict.difference:.1e}",
            style="bold red" if verdict.difference > found.tolerance else "",
        )
    console.print(table)
    answer = "ngspice has what the sweep had" if found.passed else "NOT WITHIN THE TOLERANCE"
    for line in (
        f"worst difference {found.worst:.1e}, allowed {found.tolerance:g}: {answer}",
        f"wrote {found.folder}/: verify.json; netlist/, a build like any other",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not found.passed:
        sys.exit(1)


def _show(console: Console, found: Verification) -> None:
    hardware = found.manifest.hardware
    table = Table(
        title=f"{found.manifest.name}: {hardware.cells.scheme}, difference from ngspice / full scale of the tile",
        title_justify="left",
    )
    for heading in ("array", "tile", "size", "reads", "full scale", "exact", "nodal"):
        table.add_column(heading, justify="left" if heading in ("array", "tile") else "right", no_wrap=True)
    # The worst first; a person looks for those.
    verdicts = sorted(found.verdicts, key=lambda verdict: -verdict.exact_ngspice)
    for verdict in verdicts[:_SHOWN]:
        style = "bold red" if verdict.exact_ngspice > found.tolerance else ""
        table.add_row(
            verdict.array,
            verdict.tile,
            f"{verdict.rows} x {verdict.bit_lines}",
            str(verdict.reads),
            f"{verdict.full_scale * 1e6:.3g} uA",
            f"{verdict.exact_ngspice:.1e}",
            "-" if verdict.nodal_ngspice is None else f"{verdict.nodal_ngspice:.1e}",
            style=style,
        )
    console.print(table)
    if len(verdicts) > _SHOWN:
        console.print(f"and {len(verdicts) - _SHOWN} more tiles, all nearer", highlight=False)
    wires = hardware.wires
    lines = [
        f"hardware {hardware.name}: word lines {wires.word_ohm:g}, bit lines {wires.bit_ohm:g}, drivers"
        f" {wires.driver_ohm:g} Ohm; {hardware.amplifier.kind} amplifiers; {hardware.cells.read_law} cells",
        f"{len(verdicts)} of {found.tiles_in_all} tiles, worst difference {found.worst:.1e}, allowed"
        f" {found.tolerance:g}: {'the exact engine is right' if found.passed else 'NOT WITHIN THE TOLERANCE'}",
        f"wrote {found.folder}/: verify.json; tiles, columns, potentials (.parquet);",
        "  deviation, potentials (.png, .svg)",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
