"""`hvae-mnn ir-drop`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hvae_mnn.cli.options import COUNT, FOLDER, SEED, WORD, Choice
from hvae_mnn.cli.progress import progress_bar
from hvae_mnn.errors import InputError
from hvae_mnn.names import quoted

if TYPE_CHECKING:
    from hvae_mnn.studies.ir_drop import IrDropSettings

EPILOG = """
Examples:

    hvae-mnn ir-drop

    hvae-mnn ir-drop --sizes 16,64 --ohms 0.5,1,2 --scheme differential_pair

    hvae-mnn ir-drop --device hp_tio2 --spice-sizes none

With I and I0 the signed column currents with and without wires, over the columns and reads of a tile: rms error =
sqrt(sum (I - I0)² / sum I0²), largest error = max |I - I0| / max |I0|.
"""


def _numbers(text: str, option: str, kind: type[int] | type[float]) -> tuple[Any, ...]:
    """`1,2,5` as numbers; `none` as no number."""
    if text.strip() == "none":
        return ()
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise InputError(
            f"{option} is {quoted(text)}; allowed: {what} with commas between them, as in 16,32,64"
        ) from None


@click.command(epilog=EPILOG)
@click.option_panel("Tiles", options=["--sizes", "--ohms", "--scheme", "--device", "--tiles", "--reads", "--seed"])
@click.option_panel("Run", options=["--spice-sizes", "--out"])
@click.option(
    "--sizes", type=WORD, default="16,32,64,128,256", show_default=True, help="Rows and columns of weights, 1 to 512."
)
@click.option(
    "--ohms",
    type=WORD,
    default="0.1,0.2,0.5,1,2,5,10",
    show_default=True,
    help="Ohms of a segment of every line; 0: ideal.",
)
@click.option(
    "--scheme",
    type=Choice(["fixed_resistor_per_cell", "reference_column", "differential_pair"]),
    metavar="SCHEME",
    default="fixed_resistor_per_cell",
    show_default=True,
    help="How a signed weight becomes conductances: fixed_resistor_per_cell, reference_column or differential_pair;"
    " all three are compared at 1 ohm.",
)
@click.option(
    "--spice-sizes",
    type=WORD,
    help="Those of --sizes, up to 128, that ngspice checks (above 64 at one resistance only); none: no check."
    "  [default: those up to 64]",
)
@click.option(
    "--device",
    type=WORD,
    default="aist",
    show_default=True,
    help="Memristor: preset (aist, aist_literal, hp_tio2 or hp) or TOML file.",
)
@click.option("--tiles", type=COUNT, default=8, show_default=True, help="Random tiles per point.")
@click.option("--reads", type=COUNT, default=8, show_default=True, help="Random reads per tile.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed for weights and voltages.")
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: a new one in runs/]")
def command(sizes: str, ohms: str, spice_sizes: str | None, out: Path | None, **given: Any) -> None:
    """Measure what wires cost: error of column currents against tile size and wire resistance, and of the schemes.

    Curves are exact solutions of random tiles; ngspice answers for the first of them from its netlist.
    """
    from hvae_mnn.devices.presets import find_device
    from hvae_mnn.folders import new_run
    from hvae_mnn.plots.ir_drop import save_ir_drop_figures
    from hvae_mnn.studies.ir_drop import IrDropSettings, run_study

    settings = IrDropSettings(
        sizes=_numbers(sizes, "--sizes", int),
        ohms=_numbers(ohms, "--ohms", float),
        spice_sizes=None if spice_sizes is None else _numbers(spice_sizes, "--spice-sizes", int),
        **given,
    )
    device = find_device(settings.device)  # before a folder is made
    with new_run(out, f"ir-drop-{device.name}") as folder, progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("solving tiles", total=None)
        rows, summary = run_study(
            settings,
            folder,
            lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
        save_ir_drop_figures(folder)
    _show(Console(), settings, rows, summary, folder)


def _show(
    console: Console, settings: IrDropSettings, rows: list[dict[str, Any]], summary: dict[str, Any], folder: Path
) -> None:
    from hvae_mnn.crossbar.hardware.spec import SCHEMES
    from hvae_mnn.studies.ir_drop import SCHEME_OHM, means

    by_point = means(rows, settings.scheme)
    table = Table(
        title=f"rms error / rms of ideal currents: {settings.scheme}, {summary['device']['name']}",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for heading in ("segment", *(f"{size} x {size}" for size in settings.sizes)):
        table.add_column(heading, justify="right", no_wrap=True)
    for ohm in settings.ohms:
        table.add_row(f"{ohm:g} ohm", *(_percent(by_point[size, ohm]) for size in settings.sizes))
    console.print(table)
    table = Table(
        title=f"the schemes at {SCHEME_OHM:g} ohm: rms error, largest error", title_justify="left", box=SIMPLE_HEAD
    )
    for heading in ("tile", *(scheme.replace("_per_cell", "").replace("_", " ") for scheme in SCHEMES)):
        table.add_column(heading, justify="right", no_wrap=True)
    found = [(means(rows, scheme), means(rows, scheme, "max_error")) for scheme in SCHEMES]
    for size in settings.sizes:
        pairs = (", ".join(_percent(kind[size, SCHEME_OHM]) for kind in kinds) for kinds in found)
        table.add_row(f"{size} x {size}", *pairs)
    console.print(table)
    said = []
    deviation = summary["ngspice_largest_deviation"]
    if deviation is not None:
        count = summary["ngspice_points"]
        said.append(f"ngspice at {count} points: at most {deviation:.1e} of full scale from the exact solution")
    said.append(f"{summary['seconds']:.1f} s; mean of {settings.tiles} tiles, {settings.reads} reads each")
    said.append(f"wrote {folder}/: ir_drop (.parquet, .json, .png, .svg), ir_drop_schemes (.png, .svg)")
    for line in said:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _percent(part: float) -> str:
    return f"{part * 100:.3g} %"
