"""`hvae-mnn plot`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from rich.console import Console

CROSSBAR_EPILOG = """
Examples:

    hvae-mnn plot crossbar netlists/demo

    hvae-mnn plot crossbar netlists/demo --array decoder_f --tile 1,0 --seed 3 --out figures
"""
CONVERTERS_EPILOG = """
Examples:

    hvae-mnn plot converters

    hvae-mnn plot converters runs/demo
"""


@click.group()
def command() -> None:
    """Draw a tile of a build, or what the converters of a run saw."""


@command.command(epilog=CROSSBAR_EPILOG)
@click.argument("netlist", required=False, type=click.Path(path_type=Path))
@click.option("--array", help="Array, <layer>_<gate unit>.  [default: the first]")
@click.option("--tile", default="0,0", show_default=True, help="Row block and column block.")
@click.option("--seed", type=int, help="Read with random voltages.  [default: the build's test vector]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of figure and tables.  [default: a new one in runs/]"
)
def crossbar(netlist: Path | None, array: str | None, tile: str, seed: int | None, out: Path | None) -> None:
    """Draw one tile of NETLIST (default: the newest build): conductances, potentials, column errors."""
    from hvae_mnn.cosim.inspection import inspect_tile, write_inspection
    from hvae_mnn.cosim.run_folder import new_folder
    from hvae_mnn.cosim.simulation import newest_netlist
    from hvae_mnn.netlist.manifest import read_manifest
    from hvae_mnn.plots.crossbar import save_crossbar_figure

    manifest = read_manifest(netlist if netlist is not None else newest_netlist())
    found = inspect_tile(manifest, array, tile, seed)
    folder = new_folder(out, f"crossbar-{manifest.name}")
    write_inspection(found, folder)
    save_crossbar_figure(found, folder)
    worst = float(abs(found.error).max())
    _say(f"{found.array}, tile {found.tile.name}: columns are off by up to {worst:.3g} of the largest ideal current")
    _say(f"wrote {folder}/: crossbar (.png, .svg); crossings, column_errors (.parquet)")


@command.command(epilog=CONVERTERS_EPILOG)
@click.argument("run", required=False, type=click.Path(path_type=Path))
def converters(run: Path | None) -> None:
    """Draw what the ADCs and DACs of RUN (default: the newest finished one) saw, and what they clipped."""
    from hvae_mnn.cosim.simulation import newest_finished
    from hvae_mnn.plots.converters import save_converters_figure

    folder = run if run is not None else newest_finished()
    save_converters_figure(folder)
    _say(f"wrote {folder}/: converters (.png, .svg)")


def _say(line: str) -> None:
    Console().print(line, highlight=False, markup=False, soft_wrap=True)
