"""`hvae-mnn program`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.table import Table

from hvae_mnn.cli.mistakes import refuse_beside
from hvae_mnn.cli.options import COUNT, NUMBER, PLACE, WORD, Choice, memristor_option, option, out_option, seed_option
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables, shown_first, si

if TYPE_CHECKING:
    from hvae_mnn.studies.programming.run import ProgrammingResult

EPILOG = """
Examples:

    hvae-mnn program netlists/demo

    hvae-mnn program --random 128 128 --scheme V/2 --amplitude 0.18 --threshold-sigma 0.05

    hvae-mnn program --random 16 16 --ngspice osdi --wire-ohm 2

    hvae-mnn program targets.csv --device my_device.toml --open-loop
"""
_SHOWN_ARRAYS = 24


@click.command(epilog=EPILOG)
@click.option_panel("Targets", options=["--random", "--device"])
@click.option_panel("Pulses", options=["--amplitude", "--scheme", "--tolerance", "--max-pulses", "--open-loop"])
@click.option_panel(
    "Spread (assumed; no source gives values)",
    options=["--device-sigma", "--cycle-sigma", "--threshold-sigma", "--seed"],
)
@click.option_panel("Circuit", options=["--ngspice", "--wire-ohm", "--corner", "--array"])
@click.option_panel("Run", options=["--out"])
@click.argument("targets", required=False, type=PLACE)
@click.option(
    "--random",
    type=(COUNT, COUNT),
    metavar="ROWS COLUMNS",
    help="Random conductances over the whole range, instead of TARGETS.",
)
@memristor_option("the netlist's own, else aist")
@click.option("--amplitude", type=NUMBER, default=0.15, show_default=True, help="Voltage of every pulse, V.")
@click.option(
    "--scheme",
    type=Choice(["V/3", "V/2", "1T1R"]),
    default="V/3",
    show_default=True,
    help="Voltage on half-selected cells, as a part of the amplitude; 1T1R: none.",
)
@click.option(
    "--tolerance", type=NUMBER, default=0.01, show_default=True, help="Allowed relative error of a conductance."
)
@click.option(
    "--max-pulses", type=COUNT, default=20, show_default=True, help="Number of pulses after which a device has failed."
)
@click.option("--open-loop", is_flag=True, help="Give every device one pulse, and read nothing.")
@click.option(
    "--device-sigma",
    type=NUMBER,
    default=0.05,
    show_default=True,
    help="Standard deviation of ln(speed), device to device.",
)
@click.option(
    "--cycle-sigma",
    type=NUMBER,
    default=0.02,
    show_default=True,
    help="Standard deviation of ln(speed), pulse to pulse.",
)
@click.option(
    "--threshold-sigma",
    type=NUMBER,
    default=0.02,
    show_default=True,
    help="Relative standard deviation of thresholds.",
)
@seed_option("the spread and for --random")
@click.option(
    "--ngspice",
    type=Choice(["behavioural", "osdi"]),
    help="Also program a corner of an array in ngspice, with moving devices (no spread), and read it back.",
)
@click.option(
    "--wire-ohm",
    type=NUMBER,
    default=1.0,
    show_default=True,
    help="Resistance of a line from cell to cell, ohm; 0: ideal wires.",
)
@click.option(
    "--corner",
    type=(COUNT, COUNT),
    metavar="ROWS COLUMNS",
    default=(16, 16),
    show_default=True,
    help="Size of the corner for ngspice: at most 256 devices (behavioural) or 1,024 (osdi).",
)
@option("--array", type=WORD, text="Array whose corner ngspice programs.", default="the first")
@out_option()
@click.pass_context
def command(context: click.RichContext, /, targets: Path | None, **given: Any) -> None:
    """Program TARGETS (a netlist folder, or a .npy or .csv file of siemens) into devices, by pulses of one amplitude.

    Pulse widths follow from the device equation. Write-verify reads each device and repeats until it is within the
    tolerance.
    """
    from hvae_mnn.api import devices

    settings = devices.WriteVerify(given["amplitude"], given["tolerance"], given["max_pulses"], given["open_loop"])
    spread = devices.Spread(given["device_sigma"], given["cycle_sigma"], given["threshold_sigma"])
    backend = given["ngspice"]
    if backend is None:
        refuse_beside(context, ("wire_ohm", "corner", "array"), "only --ngspice programs a wired corner of an array")
    wired = devices.Wired(backend, given["wire_ohm"], given["corner"], given["array"]) if backend else None
    result = devices.program(
        targets,
        random=given["random"],
        device=given["device"],
        settings=settings,
        scheme=given["scheme"],
        spread=spread,
        seed=given["seed"],
        wired=wired,
        out=given["out"],
    )
    _show(result)


def _show(result: ProgrammingResult) -> None:
    summary = result.summary
    print_tables(_table(summary))
    settings, spread, network = summary["settings"], summary["spread_assumed"], summary["network"]
    how = "open loop" if settings["open_loop"] else f"write-verify to {settings['tolerance'] * 100:.3g} %"
    lines = [
        *shown_first(len(summary["arrays"]), _SHOWN_ARRAYS, "arrays"),
        f"{summary['device']}, {how} at {settings['amplitude_v']:g} V, scheme {summary['scheme']}; assumed spread"
        f" (log speed per device, per pulse; threshold): {spread['device_speed']:g}, {spread['cycle_speed']:g},"
        f" {spread['threshold']:g}",
        f"network: {network['devices']:,} devices, {network['pulses_mean']:.2f} pulses each,"
        f" {network['within'] / network['devices']:.2%} in tolerance,"
        f" {network['failed']:,} failed ({network['stuck']:,} stuck), {network['disturbed']:,} disturbed",
        f"per weight: {si(network['energy_per_weight_j'], 'J')}, {si(network['time_per_weight_s'], 's')}",
        f"time: {si(network['serial_s'], 's')} device by device,"
        f" {si(network['line_parallel_s'], 's')} with all devices of a word line at a time",
        f"energy: {si(network['energy_j'], 'J')} in the pulsed devices,"
        f" {si(network['half_selected_energy_j'], 'J')} in half-selected ones",
    ]
    if network["disturbed"]:
        remedy = (
            "a smaller --amplitude, --scheme V/3 or 1T1R avoids"
            if summary["threshold_v"]
            else "only --scheme 1T1R avoids"
        )
        lines.append(f"half-selected cells moved: {remedy} that")
    if "wired" in summary:
        lines += _wired_lines(summary["wired"])
    lines.append(
        f"wrote {result.folder}/: summary.json; devices, rounds{', wired' if result.wired else ''} (.parquet);"
    )
    lines.append("  pulses_to_tolerance, error_before_after, target_achieved, disturbed_cells (.png, .svg)")
    print_lines(*lines)


def _table(summary: dict[str, Any]) -> Table:
    table = new_table(
        f"programming {summary['targets']}",
        ("array", "devices", "pulses", "max", "within", "failed", "disturbed", "energy", "time"),
        left=("array",),
        plain=True,
        padding=0,
    )
    for name, array in list(summary["arrays"].items())[:_SHOWN_ARRAYS]:
        add_row(
            table,
            name,
            f"{array['rows']} x {array['columns']}",
            f"{array['pulses_mean']:.2f}",
            str(array["pulses_max"]),
            f"{array['within'] / array['devices']:.2%}",
            f"{array['failed']:,}",
            f"{array['disturbed']:,}",
            si(array["energy_per_weight_j"], "J"),
            si(array["time_per_weight_s"], "s"),
        )
    return table


def _wired_lines(wired: dict[str, Any]) -> list[str]:
    rows, columns = wired["rows"], wired["columns"]
    return [
        f"ngspice ({wired['backend']} devices): {rows} x {columns} of {wired['array']}, wires of"
        f" {wired['wire_ohm']:g} ohm per cell: {wired['within']} of {rows * columns} read back within tolerance,"
        f" pulses per device {wired['pulses_max']} at most, {si(wired['simulated_s'], 's')} simulated in"
        f" {wired['ngspice_s']:.1f} s",
        f"  largest error: {wired['error_first_max']:.2%} after one pulse, {wired['error_max']:.2%} at the end"
        f" ({wired['device_error_max']:.2%} in the devices themselves, without the wires)",
    ]
