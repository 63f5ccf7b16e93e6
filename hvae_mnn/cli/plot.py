"""`hvae-mnn plot`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import Console

from hvae_mnn.cli.mistakes import Group
from hvae_mnn.cli.options import FOLDER, PLACE, SEED, WORD, Choice

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
    """Draw a tile of a build, what the converters of a run saw, or a sweep's accuracy against what is not ideal."""


@command.command(epilog=CROSSBAR_EPILOG)
@click.argument("netlist", required=False, type=PLACE)
@click.option("--array", type=WORD, help="Array, <layer>_<gate unit>.  [default: the first]")
@click.option("--tile", type=WORD, default="0,0", show_default=True, help="Row block and column block of the tile.")
@click.option(
    "--seed", type=SEED, help="Random seed for the voltages.  [default: the build's test vector, nothing random]"
)
@click.option("--out", type=FOLDER, help="Folder of figure and tables.  [default: a new one in runs/]")
def crossbar(netlist: Path | None, array: str | None, tile: str, seed: int | None, out: Path | None) -> None:
    """Draw one tile of NETLIST (default: the newest build): conductances, potentials, column errors."""
    from hvae_mnn.cosim.simulation import newest_netlist
    from hvae_mnn.folders import new_run
    from hvae_mnn.netlist.folder import read_manifest
    from hvae_mnn.plots.crossbar import save_crossbar_figure
    from hvae_mnn.studies.inspection import inspect_tile, write_inspection

    manifest = read_manifest(netlist if netlist is not None else newest_netlist())
    found = inspect_tile(manifest, array, tile, seed)
    with new_run(out, f"crossbar-{manifest.name}") as folder:
        write_inspection(found, folder)
        save_crossbar_figure(found, folder)
    worst = float(abs(found.error).max())
    _say(f"{found.array}, tile {found.tile.name}: columns are off by up to {worst:.3g} of the largest ideal current")
    _say(f"wrote {folder}/: crossbar (.png, .svg); crossings, column_errors (.parquet)")


@command.command(epilog=CONVERTERS_EPILOG)
@click.argument("run", required=False, type=PLACE)
def converters(run: Path | None) -> None:
    """Draw what the ADCs and DACs of RUN (default: the newest finished one) saw, and what they clipped."""
    from hvae_mnn.cosim.simulation import newest_finished
    from hvae_mnn.plots.converters import save_converters_figure

    folder = run if run is not None else newest_finished()
    save_converters_figure(folder)
    _say(f"wrote {folder}/: converters (.png, .svg)")


@command.command("accuracy-vs-noise", epilog=ACCURACY_EPILOG)
@click.argument("sweeps", metavar="[SWEEP]...", nargs=-1, type=PLACE)
@click.option("--grid", type=WORD, metavar="NAME", help="One grid of the sweep's file.  [default: all]")
@click.option(
    "--metric",
    "metrics",
    type=WORD,
    metavar="NAME",
    multiple=True,
    help="A panel; may be repeated.  [default: top1, ppl]",
)
@click.option("--relative", is_flag=True, help="Draw metrics as parts of the digital model's.")
@click.option(
    "--band",
    type=Choice(["expanded", "percentile", "student"]),
    default="expanded",
    show_default=True,
    help="95 % band of the mean over seeds: bootstrap percentiles, widened for few seeds (expanded) or plain"
    " (percentile), or Student's t.",
)
@click.option(
    "--out",
    type=FOLDER,
    help="Folder of the figures.  [default: the sweep's own; of several sweeps, a new one in runs/]",
)
def accuracy_vs_noise(
    sweeps: tuple[Path, ...],
    grid: str | None,
    metrics: tuple[str, ...],
    relative: bool,
    band: BandKind,
    out: Path | None,
) -> None:
    """Draw every grid of SWEEP (default: the newest finished one): metrics along its axis, with bands over seeds and
    baselines; a map where two axes have numbers. Several sweeps are drawn over each other, grid by grid."""
    from hvae_mnn.folders import new_run, refuse_other
    from hvae_mnn.plots.sweeps.accuracy import save_accuracy_figures
    from hvae_mnn.sweeps.curves import chosen_metrics, relative_to_digital
    from hvae_mnn.sweeps.gather import all_curves
    from hvae_mnn.sweeps.results import newest_sweep, read_sweeps
    from hvae_mnn.sweeps.run import SWEEP

    folders = sweeps or (newest_sweep(),)
    chosen = []
    found = read_sweeps(folders)
    for sweep in found:
        if not sweep.finished:
            _say(f"{sweep.folder} is not finished: what is there is drawn; resume it with hvae-mnn sweep")
    for curves in all_curves(found, grid):
        names = chosen_metrics(curves, metrics)
        chosen.append((relative_to_digital(curves, names) if relative else curves, names))
    with contextlib.ExitStack() as stack:
        folder = out or folders[0]
        if out is None and len(folders) > 1:
            folder = stack.enter_context(new_run(None, "accuracy-vs-noise"))
        refuse_other(folder, SWEEP)
        for curves, names in chosen:
            paths = save_accuracy_figures(curves, names, folder, chosen=bool(metrics), kind=band)
            stems = dict.fromkeys(path.stem for path in paths)
            left_out = f"; {curves.failed} of {curves.runs} runs failed and are left out" if curves.failed else ""
            _say(f"{curves.name}: {curves.runs} runs{left_out}")
            for stem in stems:
                endings = ", ".join(path.suffix for path in paths if path.stem == stem)
                _say(f"wrote {folder / stem} ({endings})")


def _say(line: str) -> None:
    Console().print(line, highlight=False, markup=False, soft_wrap=True)
