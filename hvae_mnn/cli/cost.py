"""`hvae-mnn cost`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hvae_mnn.cli.mistakes import refuse_beside
from hvae_mnn.cli.options import COUNT, FOLDER, NUMBER, PLACE, SEED, WORD, scheduler_option, workers_option
from hvae_mnn.cli.progress import progress_bar

if TYPE_CHECKING:
    from hvae_mnn.studies.cost.result import Cost, LayerCost

EPILOG = """
Examples:

    hvae-mnn cost netlists/demo

    hvae-mnn cost netlists/demo --steps 100 --tiles 8 --seed 3

    hvae-mnn cost netlists/demo --read-time 1e-8 --adc-fom 2e-14

    hvae-mnn cost netlists/demo --cell-pitch 2e-7 --line-capacitance 5e-17

    hvae-mnn cost netlists/demo --text "the old sailor sings" --out runs/cost-sailor

Numbers are in SI units: s, J, m², m, F. Exit code 0: closed form and ngspice agree; 1: they do not; 2: bad input.
"""
_WHAT = ["--steps", "--text", "--data-dir", "--tiles", "--seed"]
_ASSUMED = [
    "--read-time",
    "--adc-fom",
    "--dac-fom",
    "--adc-area",
    "--cell-pitch",
    "--line-capacitance",
    "--mac-energy",
]


@click.command(epilog=EPILOG)
@click.option_panel("What", options=_WHAT)
@click.option_panel("In place of assumptions", options=_ASSUMED)
@click.option_panel("Run", options=["--workers", "--scheduler", "--out"])
@click.argument("netlist", required=False, type=PLACE)
@click.option(
    "--steps", type=COUNT, default=40, show_default=True, help="Time steps of text over which energies are averaged."
)
@click.option("--text", type=WORD, help="One sentence, all of it, instead of a corpus.")
@click.option("--data-dir", type=FOLDER, help="Corpus folder.  [default: the built-in corpus]")
@click.option(
    "--tiles", type=COUNT, default=4, show_default=True, help="Tiles that ngspice checks, chosen with --seed."
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Random seed for tiles and their reads in ngspice."
)
@click.option(
    "--read-time", type=NUMBER, help="Time for which a read drives the word lines, s.  [default: the build's]"
)
@click.option("--adc-fom", type=NUMBER, help="ADC figure of merit (Walden), J per conversion step.  [default: 6.1e-15]")
@click.option("--dac-fom", type=NUMBER, help="DAC figure of merit (Walden), J per conversion step.  [default: 6.1e-15]")
@click.option("--adc-area", type=NUMBER, help="Area of an ADC, m².  [default: 2.16e-9]")
@click.option(
    "--cell-pitch",
    type=NUMBER,
    help="Distance of neighbouring lines, m.  [default: that of the hardware's wires.metal, or else 8e-8]",
)
@click.option(
    "--line-capacitance",
    type=NUMBER,
    help="Capacitance of a line segment to ground, F.  [default: 2e-10 F/m times the pitch]",
)
@click.option(
    "--mac-energy",
    type=NUMBER,
    help="Energy of a digital multiply-accumulate and its weight, J.  [default: 1.28e-11, 8 bits from 1 MB of SRAM]",
)
@workers_option("solve tiles")
@scheduler_option("solve tiles")
@click.option("--out", type=FOLDER, help="Folder of the result.  [default: a new one in runs/]")
@click.pass_context
def command(
    context: click.RichContext,
    /,
    netlist: Path | None,
    steps: int,
    text: str | None,
    data_dir: Path | None,
    tiles: int,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    out: Path | None,
    **given: float | None,
) -> None:
    """What a token costs on the netlists in NETLIST (default: the newest build): energy, settling time, area.

    A token is one time step of every layer. Energies of reads come from the circuit, in closed form for every tile,
    with ngspice's sources as the second answer; those of converters and of a digital processor from cited figures.
    Every assumption is printed with its source.
    """
    from hvae_mnn import api
    from hvae_mnn.studies.cost.assumptions import Given

    if text is not None:
        refuse_beside(context, ("steps", "data_dir"), "--text is the one sentence, all of it")
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("arrays", total=None)
        found = api.cost(
            netlist,
            given=Given(**given),
            steps=steps,
            tiles=tiles,
            seed=seed,
            text=text,
            data_dir=data_dir,
            workers=workers,
            scheduler=scheduler,
            out=out,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    _show(Console(), found)
    if not found.passed:
        sys.exit(1)


def _show(console: Console, found: Cost) -> None:
    from hvae_mnn.plots.cost import multiple, quantity
    from hvae_mnn.studies.cost.result import NOT_COUNTED, SETTLING_TOLERANCE, baselines

    hardware, token = found.manifest.hardware, found.token
    table = Table(
        title=f"{found.manifest.name} on {hardware.name}: one time step, mean over {found.reads} of {found.origin}",
        title_justify="left",
        caption="ratio: digital / circuit",
        caption_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for heading in ("", "arrays", "DAC", "ADC", "circuit", "digital", "ratio", "area", "settling"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)

    def row(layer: LayerCost) -> None:
        energies = (layer.array_j, layer.dac_j, layer.adc_j, layer.circuit_j, layer.digital_j)
        table.add_row(
            layer.layer,
            *(quantity(joules, "J") if joules else "-" for joules in energies),
            multiple(layer.ratio),
            f"{layer.area_m2 * 1e6:.3g} mm²",
            "-" if layer.settling_s is None else quantity(layer.settling_s, "s"),
        )

    for number, layer in enumerate(found.layers, 1):
        row(layer)
        if number == len(found.layers):
            table.add_section()
    row(token)
    console.print(table)
    _print_assumptions(console, found)
    lines = [
        f"{token.dac_conversions:,} DAC and {token.adc_conversions:,} ADC conversions of {hardware.dac.bits} and"
        f" {hardware.adc.bits} bits, {token.macs:,} multiply-accumulates a token",
        *(
            f"  digital, {baseline.name}: {quantity(joules, 'J')},"
            f" {multiple(joules / token.circuit_j)} times the circuit"
            for baseline, joules in baselines(token.macs)
        ),
        f"not counted: {'; '.join(NOT_COUNTED)}",
        f"power of {len(found.checks)} of {token.tiles} tiles in ngspice: at most {found.worst:.1e} from the closed"
        " form",
    ]
    check = found.settling
    if check is None:
        lines.append("settling: nothing to settle; the lines have no resistance, or no current has far to go")
    else:
        lines.append(
            f"settling of {check.array}, tile {check.tile}, to {quantity(check.tolerance_a, 'A')}:"
            f" {quantity(check.implicit_s, 's')}; ngspice {quantity(check.ngspice_s, 's')},"
            f" {check.difference * 100:.2g} % apart; lines only: amplifiers and drivers have no bandwidth here"
        )
        read_s = next(one.value for one in found.assumptions if one.name == "read_time")
        if check.implicit_s > read_s:
            lines.append(f"a read of {quantity(read_s, 's')} is shorter than that: give a longer --read-time")
    if not found.passed:
        lines.append(f"NOT WITHIN THE TOLERANCE: 1e-09 for power, {SETTLING_TOLERANCE:.0%} for settling")
    figures = "cost" if check is None else "cost, settling"
    lines.append(f"wrote {found.folder}/: cost (.json, .parquet); {figures} (.png, .svg)")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_assumptions(console: Console, found: Cost) -> None:
    from hvae_mnn.plots.cost import quantity

    table = Table(title="what it rests on", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("assumption", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("source", overflow="fold")
    for one in found.assumptions:
        value = f"{one.value * 1e12:.4g} µm²" if one.unit == "m^2" else quantity(one.value, one.unit)
        table.add_row(one.name.replace("_", " "), value, one.source)
    console.print(table)
