"""`hvae-mnn ir-drop`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from hvae_mnn.cli.options import COUNT, WORD, Choice, memristor_option, option, out_option, seed_option
from hvae_mnn.cli.show import add_row, new_table, percent, print_lines, print_tables
from hvae_mnn.errors import InputError
from hvae_mnn.names import quoted

if TYPE_CHECKING:
    from hvae_mnn.studies.ir_drop.run import IrDropResult

EPILOG = """
Examples:

    hvae-mnn ir-drop

    hvae-mnn ir-drop --sizes 16,64 --ohms 0.5,1,2 --scheme differential_pair

    hvae-mnn ir-drop --device hp_tio2 --spice-sizes none

With I and I0 the signed column currents with and without wires, over the columns and reads of a tile: rms error =
sqrt(sum (I - I0)² / sum I0²), largest error = max |I - I0| / max |I0|.
"""


def _numbers(text: str, name: str, kind: type[int] | type[float]) -> tuple[Any, ...]:
    """`1,2,5` as numbers; `none` as no number."""
    if text.strip() == "none":
        return ()
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise InputError(
            f"{name} is {quoted(text)}; allowed: {what} with commas between them, as in 16,32,64"
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
    help="Resistance of a line from cell to cell, ohm; 0: ideal wires.",
)
@click.option(
    "--scheme",
    type=Choice(["fixed_resistor_per_cell", "reference_column", "differential_pair"]),
    metavar="SCHEME",
    default="fixed_resistor_per_cell",
    show_default=True,
    help="Conductances of a signed weight: fixed_resistor_per_cell, reference_column or differential_pair. All three"
    " are compared at 1 ohm.",
)
@option(
    "--spice-sizes",
    type=WORD,
    text="Sizes, up to 128, that ngspice checks; above 64, at one resistance only. none: no check.",
    default="sizes up to 64",
)
@memristor_option("aist")
@click.option("--tiles", type=COUNT, default=8, show_default=True, help="Random tiles per point.")
@click.option("--reads", type=COUNT, default=8, show_default=True, help="Random reads per tile.")
@seed_option("weights and voltages")
@out_option()
def command(sizes: str, ohms: str, spice_sizes: str | None, device: str | None, out: Path | None, **given: Any) -> None:
    """Measure the error that wires make in column currents, against tile size and wire resistance, for each scheme.

    Random tiles are solved exactly; ngspice solves the first of them from its netlist as a check.
    """
    from hvae_mnn import api

    result = api.ir_drop(
        sizes=_numbers(sizes, "--sizes", int),
        ohms=_numbers(ohms, "--ohms", float),
        spice_sizes=None if spice_sizes is None else _numbers(spice_sizes, "--spice-sizes", int),
        device=device or "aist",
        out=out,
        **given,
    )
    _show(result)


def _show(result: IrDropResult) -> None:
    from hvae_mnn.crossbar.hardware.spec import SCHEMES
    from hvae_mnn.studies.ir_drop.run import means
    from hvae_mnn.studies.ir_drop.settings import SCHEME_OHM

    settings, summary = result.settings, result.summary
    by_point = means(result.rows, settings.scheme)
    by_ohm = new_table(
        f"rms error / rms of ideal currents: {settings.scheme}, {summary['device']['name']}",
        ("segment", *(f"{size} x {size}" for size in settings.sizes)),
        plain=True,
    )
    for ohm in settings.ohms:
        add_row(by_ohm, f"{ohm:g} ohm", *(percent(by_point[size, ohm]) for size in settings.sizes))
    by_scheme = new_table(
        f"the schemes at {SCHEME_OHM:g} ohm: rms error, largest error",
        ("tile", *(scheme.replace("_per_cell", "").replace("_", " ") for scheme in SCHEMES)),
        plain=True,
    )
    errors = [(means(result.rows, scheme), means(result.rows, scheme, "max_error")) for scheme in SCHEMES]
    for size in settings.sizes:
        pairs = (", ".join(percent(kind[size, SCHEME_OHM]) for kind in kinds) for kinds in errors)
        add_row(by_scheme, f"{size} x {size}", *pairs)
    print_tables(by_ohm, by_scheme)
    lines = []
    deviation = summary["ngspice_largest_deviation"]
    if deviation is not None:
        count = summary["ngspice_points"]
        lines.append(f"ngspice at {count} points: at most {deviation:.1e} of full scale from the exact solution")
    lines.append(f"{summary['seconds']:.1f} s; mean of {settings.tiles} tiles, {settings.reads} reads each")
    lines.append(f"wrote {result.folder}/: ir_drop (.parquet, .json, .png, .svg), ir_drop_schemes (.png, .svg)")
    print_lines(*lines)
