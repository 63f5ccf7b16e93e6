"""`hvae-mnn build-netlist`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hvae_mnn.cli.progress import progress_bar

EPILOG = """
Examples:

    hvae-mnn build-netlist checkpoints/demo/best.pt

    hvae-mnn build-netlist checkpoints/ptb/best.pt --name ptb --calibration p99.99

Every deck runs alone:

    cd netlists/demo && ngspice -b encoder1_f.cir
"""


@click.command(epilog=EPILOG)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the build: a folder in netlists/.  [default: the checkpoint's]")
@click.option("--out", type=click.Path(path_type=Path), help="Write here instead of netlists/NAME.")
@click.option(
    "--calibration",
    type=click.Choice(["max", "p99.99", "p99.9", "p99"]),
    default="max",
    show_default=True,
    help="Which part of the values met in validation the converters' full scale covers.",
)
def command(checkpoint: Path, name: str | None, out: Path | None, calibration: str) -> None:
    """Export CHECKPOINT as ngspice netlists: a crossbar array and a deck per gate unit, a deck per layer, and a
    manifest."""
    from hvae_mnn.api import build_netlist
    from hvae_mnn.cosim.export import NETLISTS, default_name
    from hvae_mnn.errors import InputError
    from hvae_mnn.netlist.manifest import MANIFEST

    if name is not None and Path(name).name != name:
        raise InputError(f"--name is {name!r}; allowed is one folder name, e.g. demo; use --out for a path")
    folder = out if out is not None else NETLISTS / (name or default_name(checkpoint))
    console = Console()
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("writing arrays", total=None)
        manifest = build_netlist(
            checkpoint, folder, calibration=calibration, progress=lambda array, cells: bar.update(task, advance=1)
        )
    table = Table(title=Text(str(manifest.folder)), title_justify="left")
    for heading in ("layer", "cell", "arrays", "word x bit lines", "weights", "paper's count", "V per unit"):
        left = heading in ("layer", "cell", "arrays")
        table.add_column(heading, justify="left" if left else "right", no_wrap=left)
    for layer in manifest.layers:
        sizes = dict.fromkeys(f"{unit.row_count} x {unit.columns}" for unit in layer.units)
        table.add_row(
            layer.name,
            layer.cell,
            " ".join(unit.name for unit in layer.units),
            ", ".join(sizes),
            f"{layer.weights:,}",
            f"{layer.paper_weights:,}",
            f"{layer.volts_per_unit:.4g}",
        )
    console.print(table)
    console.print(
        f"wrote {len(manifest.files)} files and {manifest.folder / MANIFEST}", soft_wrap=True, highlight=False
    )
    console.print(
        f"next: hvae-mnn simulate {manifest.folder} --steps 40", soft_wrap=True, highlight=False, markup=False
    )
