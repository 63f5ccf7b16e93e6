"""`hvae-mnn plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hvae_mnn.cli.mistakes import Group
from hvae_mnn.cli.options import PLACE, SEED, WORD, Choice, option, out_option
from hvae_mnn.cli.show import print_lines

if TYPE_CHECKING:
    from hvae_mnn.sweeps.bands import BandKind

EPILOG = """
Examples:

    hvae-mnn plot crossbar netlists/demo

    hvae-mnn plot converters runs/demo

    hvae-mnn plot accuracy-vs-noise runs/demo-noise
"""
CROSSBAR_EPILOG = """
Examples:

    hvae-mnn plot crossbar netlists/demo

    hvae-mnn plot crossbar netlists/demo-tile64 --array decoder_f --tile 1,0 --seed 3 --out figures
"""
CONVERTERS_EPILOG = """
Examples:

    hvae-mnn plot converters

    hvae-mnn plot converters runs/demo
"""
ACCURACY_EPILOG = """
Examples:

    hvae-mnn plot accuracy-vs-noise

    hvae-mnn plot accuracy-vs-noise runs/demo-noise --grid programming --metric top1 --metric bleu

    hvae-mnn plot accuracy-vs-noise runs/before runs/finetuned --relative --out figures
"""


@click.group(cls=Group, epilog=EPILOG)
def command() -> None:
    """Draw one tile of a build, the values that a run's converters met, or a sweep's accuracy against noise."""


@command.command(epilog=CROSSBAR_EPILOG)
@click.argument("netlist", required=False, type=PLACE)
@option("--array", type=WORD, text="Array, as <layer>_<gate unit>.", default="the first")
@click.option("--tile", type=WORD, default="0,0", show_default=True, help="Row block and column block of the tile.")
@option("--seed", type=SEED, text="Random seed for the voltages.", default="the build's test vector, nothing random")
@out_option("figure and its tables")
def crossbar(netlist: Path | None, array: str | None, tile: str, seed: int | None, out: Path | None) -> None:
    """Draw one tile of NETLIST (default: the newest build): conductances, potentials, column errors."""
    from hvae_mnn import api

    plot = api.plot_crossbar(netlist, array=array, tile=tile, seed=seed, out=out)
    print_lines(
        f"{plot.array}, tile {plot.tile}: columns are off by up to {plot.worst_error:.3g} of the largest ideal current",
        f"wrote {plot.folder}/: crossbar (.png, .svg); crossings, column_errors (.parquet)",
    )


@command.command(epilog=CONVERTERS_EPILOG)
@click.argument("run", required=False, type=PLACE)
def converters(run: Path | None) -> None:
    """Draw the values that the ADCs and DACs of RUN (default: the newest finished one) met, and how many they
    clipped."""
    from hvae_mnn import api

    print_lines(f"wrote {api.plot_converters(run).folder}/: converters (.png, .svg)")


@command.command("accuracy-vs-noise", epilog=ACCURACY_EPILOG)
@click.argument("sweeps", metavar="[SWEEP]...", nargs=-1, type=PLACE)
@option("--grid", type=WORD, metavar="NAME", text="Name of one grid in the sweep's file.", default="all")
@option(
    "--metric",
    "metrics",
    type=WORD,
    metavar="NAME",
    multiple=True,
    text="Metric to draw, a panel each; may be repeated.",
    default="top1, ppl",
)
@click.option("--relative", is_flag=True, help="Draw metrics as parts of the digital model's.")
@click.option(
    "--band",
    type=Choice(["expanded", "percentile", "student"]),
    default="expanded",
    show_default=True,
    help="95 % band of the mean over seeds: bootstrap percentiles, widened for few seeds (expanded) or as they are"
    " (percentile), or Student's t.",
)
@out_option("figures", "the sweep's own; of several sweeps, a new one in runs/")
def accuracy_vs_noise(
    sweeps: tuple[Path, ...],
    grid: str | None,
    metrics: tuple[str, ...],
    relative: bool,
    band: BandKind,
    out: Path | None,
) -> None:
    """Draw metrics of SWEEP (default: the newest finished one) along its axes, a figure per grid.

    Curves have bands over seeds and stand beside baselines; two axes with numbers give a map as well. Several sweeps
    are drawn over each other, grid by grid.
    """
    from hvae_mnn import api

    plots = api.plot_accuracy(*sweeps, grid=grid, metrics=metrics, relative=relative, band=band, out=out)
    for folder in plots.unfinished:
        print_lines(f"{folder} is not finished: only its finished tasks are drawn; resume it with hvae-mnn sweep")
    for one in plots.grids:
        left_out = f"; {one.failed} of {one.runs} runs failed and are left out" if one.failed else ""
        print_lines(f"{one.name}: {one.runs} runs{left_out}")
        for stem in dict.fromkeys(path.stem for path in one.files):
            endings = ", ".join(path.suffix for path in one.files if path.stem == stem)
            print_lines(f"wrote {plots.folder / stem} ({endings})")
