"""`hvae-mnn cost`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hvae_mnn.cli.mistakes import refuse_beside
from hvae_mnn.cli.options import (
    COUNT,
    NUMBER,
    PLACE,
    data_dir_option,
    option,
    out_option,
    scheduler_option,
    seed_option,
    text_option,
    workers_option,
)
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables

if TYPE_CHECKING:
    from hvae_mnn.studies.cost.result import Cost

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
@click.option_panel("Assumptions", options=_ASSUMED)
@click.option_panel("Run", options=["--workers", "--scheduler", "--out"])
@click.argument("netlist", required=False, type=PLACE)
@click.option(
    "--steps", type=COUNT, default=40, show_default=True, help="Time steps of text over which energies are averaged."
)
@text_option()
@data_dir_option()
@click.option(
    "--tiles", type=COUNT, default=4, show_default=True, help="Number of tiles that ngspice checks, chosen with --seed."
)
@seed_option("tiles and their reads in ngspice")
@option("--read-time", type=NUMBER, text="Time for which a read drives the word lines, s.", default="the build's")
@option("--adc-fom", type=NUMBER, text="Walden figure of merit of an ADC, J per conversion step.", default="6.1e-15")
@option("--dac-fom", type=NUMBER, text="Walden figure of merit of a DAC, J per conversion step.", default="6.1e-15")
@option("--adc-area", type=NUMBER, text="Area of an ADC, m².", default="2.16e-9")
@option(
    "--cell-pitch",
    type=NUMBER,
    text="Distance between neighbouring lines, m.",
    default="that of the hardware's wires.metal, or else 8e-8",
)
@option(
    "--line-capacitance",
    type=NUMBER,
    text="Capacitance of a line to ground, from cell to cell, F.",
    default="2e-10 F/m times the pitch",
)
@option(
    "--mac-energy",
    type=NUMBER,
    text="Energy of a digital multiply-accumulate with the read of its weight, J.",
    default="1.28e-11, 8 bits from 1 MB of SRAM",
)
@workers_option("solve tiles")
@scheduler_option("solve tiles")
@out_option("result")
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
    """Compute what a token costs on the netlists in NETLIST (default: the newest build): energy, settling time, area.

    A token is one time step of every layer. The energy of reads follows from the circuit in closed form, for every
    tile, and ngspice checks it on some tiles; the energy of converters and of a digital processor follows from cited
    figures. Every assumption is printed with its source.
    """
    from hvae_mnn import api

    if text is not None:
        refuse_beside(context, ("steps", "data_dir"), "--text is the one sentence that is read, all of it")
    result = api.cost(
        netlist,
        given=api.Given(**given),
        steps=steps,
        tiles=tiles,
        seed=seed,
        text=text,
        data_dir=data_dir,
        workers=workers,
        scheduler=scheduler,
        out=out,
    )
    _show(result)
    if not result.passed:
        sys.exit(1)


def _show(result: Cost) -> None:
    from hvae_mnn.plots.cost import multiple, quantity

    layers = new_table(
        f"{result.manifest.name} on {result.manifest.hardware.name}: one time step, mean over {result.reads} of"
        f" {result.origin}",
        ("", "arrays", "DAC", "ADC", "circuit", "digital", "ratio", "area", "settling"),
        left=("",),
        plain=True,
        caption="ratio: digital / circuit",
        collapse_padding=True,
        pad_edge=False,
    )
    for layer in (*result.layers, result.token):
        if layer.layer == "token":
            layers.add_section()
        energies = (layer.array_j, layer.dac_j, layer.adc_j, layer.circuit_j, layer.digital_j)
        add_row(
            layers,
            layer.layer,
            *(quantity(joules, "J") if joules else "-" for joules in energies),
            multiple(layer.ratio),
            f"{layer.area_m2 * 1e6:.3g} mm²",
            "-" if layer.settling_s is None else quantity(layer.settling_s, "s"),
        )
    assumptions = new_table(
        "assumptions", ("assumption", "value", "source"), ("assumption", "source"), folded=("source",), plain=True
    )
    for one in result.assumptions:
        value = f"{one.value * 1e12:.4g} µm²" if one.unit == "m^2" else quantity(one.value, one.unit)
        add_row(assumptions, one.name.replace("_", " "), value, one.source)
    print_tables(layers, assumptions)
    print_lines(*_token_lines(result), *_settling_lines(result), *_last_lines(result))


def _token_lines(result: Cost) -> Iterator[str]:
    from hvae_mnn.plots.cost import multiple, quantity
    from hvae_mnn.studies.cost.result import NOT_COUNTED, baselines

    hardware, token = result.manifest.hardware, result.token
    yield (
        f"{token.dac_conversions:,} DAC and {token.adc_conversions:,} ADC conversions of {hardware.dac.bits} and"
        f" {hardware.adc.bits} bits, {token.macs:,} multiply-accumulates a token"
    )
    for baseline, joules in baselines(token.macs):
        ratio = multiple(joules / token.circuit_j)
        yield f"  digital, {baseline.name}: {quantity(joules, 'J')}, {ratio} times the circuit"
    yield f"not counted: {'; '.join(NOT_COUNTED)}"
    yield (
        f"power of {len(result.checks)} of {token.tiles} tiles in ngspice: at most {result.worst:.1e} from the closed"
        " form"
    )


def _settling_lines(result: Cost) -> Iterator[str]:
    from hvae_mnn.plots.cost import quantity

    check = result.settling
    if check is None:
        yield "settling: nothing to settle; the lines have no resistance, or no current has far to go"
        return
    yield (
        f"settling of {check.array}, tile {check.tile}, to {quantity(check.tolerance_a, 'A')}:"
        f" {quantity(check.implicit_s, 's')}; ngspice {quantity(check.ngspice_s, 's')},"
        f" {check.difference * 100:.2g} % apart; lines only: amplifiers and drivers have no bandwidth here"
    )
    read_s = next(one.value for one in result.assumptions if one.name == "read_time")
    if check.implicit_s > read_s:
        yield f"a read of {quantity(read_s, 's')} is shorter than that: give a longer --read-time"


def _last_lines(result: Cost) -> Iterator[str]:
    from hvae_mnn.studies.cost.result import SETTLING_TOLERANCE

    if not result.passed:
        yield f"NOT WITHIN THE TOLERANCE: 1e-09 for power, {SETTLING_TOLERANCE:.0%} for settling"
    figures = "cost" if result.settling is None else "cost, settling"
    yield f"wrote {result.folder}/: cost (.json, .parquet); {figures} (.png, .svg)"
