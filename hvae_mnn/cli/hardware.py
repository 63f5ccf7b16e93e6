"""`hvae-mnn hardware`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import rich_click as click

from hvae_mnn.cli.mistakes import Group
from hvae_mnn.cli.options import WORD
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables
from hvae_mnn.cli.streams import show_error

if TYPE_CHECKING:
    from hvae_mnn.crossbar.hardware.spec import Amplifier, ConverterSpec, Hardware

Row = tuple[str, str, str]
"""What, value and unit."""

EPILOG = """
Examples:

    hvae-mnn hardware presets

    hvae-mnn hardware show pair128

    hvae-mnn hardware show tile64 --toml > my-chip.toml

    hvae-mnn hardware check my-chip.toml

Every key, with its unit, range and default: docs/hardware.md.
"""
SHOW_EPILOG = """
Examples:

    hvae-mnn hardware show

    hvae-mnn hardware show my-chip.toml

    hvae-mnn hardware show pair128 --toml > my-chip.toml

    hvae-mnn hardware show --schema > hardware.schema.json
"""
CHECK_EPILOG = """
Examples:

    hvae-mnn hardware check my-chip.toml

    hvae-mnn hardware check chips/*.toml

Exit code 0: all files are good. Exit code 2: some are not; every problem is printed on a line of its own.
"""


@click.group(cls=Group, epilog=EPILOG)
def command() -> None:
    """Show and check hardware: TOML files that describe cells, wires, amplifiers, converters and tiles."""


@command.command(epilog=EPILOG)
def presets() -> None:
    """List the presets that come with hvae-mnn, one per line."""
    from hvae_mnn.crossbar.hardware.presets import HARDWARE_PRESETS, preset_summary

    width = max(map(len, HARDWARE_PRESETS))
    for name in HARDWARE_PRESETS:
        click.echo(f"{name:{width}}  {preset_summary(name)}")


@command.command(epilog=SHOW_EPILOG)
@click.argument("name", metavar="[NAME_OR_FILE]", type=WORD, default="paper")
@click.option("--json", "as_json", is_flag=True, help="Print the whole description as JSON.")
@click.option("--toml", "as_toml", is_flag=True, help="Print the description as a TOML file to start from.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of hardware files.")
def show(name: str, as_json: bool, as_toml: bool, schema: bool) -> None:
    """Print every value of a preset or file (default: paper), with the quantities that follow from them."""
    from hvae_mnn.crossbar.hardware.file import hardware_to_dict, hardware_to_toml, read_hardware
    from hvae_mnn.crossbar.hardware.presets import HARDWARE_PRESETS, preset_text
    from hvae_mnn.errors import InputError

    if as_json + as_toml + schema > 1:
        raise InputError("--json, --toml and --schema exclude each other; give one of them")
    if schema:
        from hvae_mnn.crossbar.hardware.schema import hardware_schema

        click.echo(json.dumps(hardware_schema(), indent=2, ensure_ascii=False))
        return
    hardware = read_hardware(name)
    if as_json:
        click.echo(json.dumps(hardware_to_dict(hardware), indent=2, ensure_ascii=False))
    elif as_toml:
        own = [preset_text(preset) for preset in HARDWARE_PRESETS if preset == name]
        click.echo(own[0] if own else hardware_to_toml(hardware), nl=False)
    else:
        _show(hardware)


@command.command(epilog=CHECK_EPILOG)
@click.argument("names", metavar="FILE...", type=WORD, nargs=-1, required=True)
def check(names: tuple[str, ...]) -> None:
    """Check hardware files, and print every problem of each."""
    from hvae_mnn.crossbar.hardware.file import read_hardware
    from hvae_mnn.errors import HardwareError

    wrong = False
    for name in names:
        try:
            hardware = read_hardware(name)
        except HardwareError as error:
            wrong = True
            show_error(error)
        else:
            click.echo(f"{name}: ok ({hardware.name})")
    if wrong:
        sys.exit(2)


def _show(hardware: Hardware) -> None:
    headings = ("section", "what", "value", "unit")
    left = ("section", "what", "unit")
    table = new_table(f"{hardware.name}: {hardware.source}", headings, left, folded=headings)
    for section, rows in _sections(hardware):
        table.add_section()
        for index, (what, value, unit) in enumerate(rows):
            add_row(table, "" if index else section, what, value, unit)
    print_tables(table)
    sources = (("device", hardware.device.source), ("wires", hardware.wires_source))
    print_lines(*(f"{what}: {source}" for what, source in sources if source))
    print_lines("-> follows from the other lines")


def _sections(hardware: Hardware) -> Iterator[tuple[str, list[Row]]]:
    """Rows by section of the file; "->" marks a quantity that follows from other rows."""
    device, wires, tiling = hardware.device, hardware.wires, hardware.tiling
    threshold = f"{device.threshold_v:g}" if device.threshold_v else "none"
    yield (
        "device",
        [
            ("name", device.name, ""),
            ("law", device.law, ""),
            ("R_on", f"{device.r_on_ohm:g}", "ohm"),
            ("R_off", f"{device.r_off_ohm:g}", "ohm"),
            ("threshold", threshold, "V"),
            ("read_voltage", f"{device.read_v:g}", "V"),
        ],
    )
    yield "array", _array(hardware)
    yield (
        "wires",
        [
            ("word_ohm", f"{wires.word_ohm:.6g}", "ohm per segment"),
            ("bit_ohm", f"{wires.bit_ohm:.6g}", "ohm per segment"),
        ],
    )
    yield "drivers", [("output_ohm", f"{wires.driver_ohm:g}", "ohm")]
    yield "sense", _sense(hardware.amplifier)
    yield "input", [("coding", hardware.coding, "")]
    yield "dac", list(_converter(hardware.dac, "model's units"))
    yield "adc", list(_converter(hardware.adc, "A"))
    yield (
        "tiles",
        [
            ("rows", "all" if tiling.rows is None else str(tiling.rows), "inputs"),
            ("columns", "all" if tiling.columns is None else str(tiling.columns), "weights per row"),
            ("partial_sums", tiling.partial_sums, ""),
        ],
    )
    yield "gates", [("where", hardware.gates, "")]


def _array(hardware: Hardware) -> list[Row]:
    device, cells = hardware.device, hardware.cells
    rows: list[Row] = [
        ("scheme", cells.scheme, ""),
        ("scale", cells.scale, ""),
        ("g_min_siemens", f"{device.g_min:g}", "S"),
        ("g_max_siemens", f"{device.g_max:g}", "S"),
        ("levels", str(cells.levels) if cells.levels else "any conductance", ""),
    ]
    if cells.levels:
        rows.append(("-> between levels", f"{(device.g_max - device.g_min) / (cells.levels - 1):.4g}", "S"))
    if cells.scheme != "differential_pair":
        rows.append(("-> fixed resistor", f"{1 / device.g_mid:.6g}", "ohm"))
    rows.append(("read_law", cells.read_law, ""))
    if cells.read_law == "sinh":
        a = cells.sinh_per_volt
        ratio = math.sinh(a * device.read_v) / (a * device.read_v) if a * device.read_v < 700 else math.inf
        rows += [("sinh_per_volt", f"{a:g}", "1/V"), ("-> current over G V when reading", f"{ratio:.4g}", "")]
    return rows


def _sense(amplifier: Amplifier) -> list[Row]:
    rows: list[Row] = [("kind", amplifier.kind, "")]
    if amplifier.kind == "transimpedance":
        limited = amplifier.swing_v < math.inf
        rows += [
            ("feedback_ohm", f"{amplifier.feedback_ohm:g}", "ohm"),
            ("gain", f"{amplifier.gain:g}", ""),
            ("offset_v", f"{amplifier.offset_v:g}", "V"),
            ("swing_v", f"{amplifier.swing_v:g}" if limited else "no limit", "V"),
        ]
        if limited:
            rows.append(("-> largest current", f"{amplifier.swing_v / amplifier.feedback_ohm:.4g}", "A"))
    rows.append(("-> input resistance R_in", f"{amplifier.input_ohm:.4g}", "ohm"))
    return rows


def _converter(spec: ConverterSpec, unit: str) -> Iterator[Row]:
    yield "bits", str(spec.bits) if spec.bits else "0: none", "bits"
    yield "range", spec.range, ""
    if spec.full_scale is not None:
        yield "full_scale", f"{spec.full_scale:g}", unit
    if spec.bits:
        largest_code = 2 ** (spec.bits - 1) - 1
        yield "-> codes", f"{-largest_code} ... {largest_code}", ""
        if spec.full_scale is None:
            yield "-> step", f"1/{largest_code}", "full scales"
        else:
            yield "-> step", f"{spec.full_scale / largest_code:.4g}", unit
        yield "noise_lsb", f"{spec.noise_lsb:g}", "steps"
        yield "inl_lsb", f"{spec.inl_lsb:g}", "steps"
