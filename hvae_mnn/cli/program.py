"""`hvae-mnn program`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hvae_mnn.cli.mistakes import refuse_beside
from hvae_mnn.cli.options import COUNT, FOLDER, NUMBER, PLACE, SEED, WORD, Choice
from hvae_mnn.cli.progress import progress_bar

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
_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))


@click.command(epilog=EPILOG)
@click.option_panel("Targets", options=["--random", "--device"])
@click.option_panel("Pulses", options=["--amplitude", "--scheme", "--tolerance", "--max-pulses", "--open-loop"])
@click.option_panel(
    "Spread (assumptions, no source gives any)",
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
@click.option(
    "--device",
    type=WORD,
    help="Memristor: preset (aist, aist_literal, hp_tio2 or hp) or TOML file.  [default: the netlist's own, else aist]",
)
@click.option("--amplitude", type=NUMBER, default=0.15, show_default=True, help="Volts of every pulse.")
@click.option(
    "--scheme",
    type=Choice(["V/3", "V/2", "1T1R"]),
    default="V/3",
    show_default=True,
    help="Part of the amplitude that cells on a selected line see; 1T1R: none.",
)
@click.option(
    "--tolerance", type=NUMBER, default=0.01, show_default=True, help="Allowed relative error of a conductance."
)
@click.option("--max-pulses", type=COUNT, default=20, show_default=True, help="Pulses after which a device has failed.")
@click.option("--open-loop", is_flag=True, help="One pulse per device, nothing is read.")
@click.option(
    "--device-sigma", type=NUMBER, default=0.05, show_default=True, help="Spread of ln(speed), device to device."
)
@click.option(
    "--cycle-sigma", type=NUMBER, default=0.02, show_default=True, help="Spread of ln(speed), pulse to pulse."
)
@click.option("--threshold-sigma", type=NUMBER, default=0.02, show_default=True, help="Relative spread of thresholds.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed for the spread and for --random.")
@click.option(
    "--ngspice",
    type=Choice(["behavioural", "osdi"]),
    help="Program a corner of an array in ngspice too, with moving devices (no spread), and read it back.",
)
@click.option("--wire-ohm", type=NUMBER, default=1.0, show_default=True, help="Ohm from cell to cell; 0: ideal.")
@click.option(
    "--corner",
    type=(COUNT, COUNT),
    metavar="ROWS COLUMNS",
    default=(16, 16),
    show_default=True,
    help="Part of the array that goes to ngspice: at most 256 devices (behavioural), 1,024 (osdi).",
)
@click.option("--array", type=WORD, help="Array that goes to ngspice.  [default: the first]")
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: a new one in runs/]")
@click.pass_context
def command(context: click.RichContext, /, targets: Path | None, **given: Any) -> None:
    """Program TARGETS (a netlist folder, or a .npy or .csv file of siemens) into devices by pulses of one amplitude.

    Widths come from the device model's own time map; write-verify reads and repeats until the tolerance is met.
    """
    # Not from hvae_mnn.api, which imports torch.
    from hvae_mnn.devices.programming import WriteVerify
    from hvae_mnn.devices.spread import Spread
    from hvae_mnn.plots.programming import save_programming_figures
    from hvae_mnn.studies.programming.run import Wired, program

    settings = WriteVerify(given["amplitude"], given["tolerance"], given["max_pulses"], given["open_loop"])
    spread = Spread(given["device_sigma"], given["cycle_sigma"], given["threshold_sigma"])
    backend = given["ngspice"]
    if backend is None:
        refuse_beside(context, ("wire_ohm", "corner", "array"), "only --ngspice programs a wired corner of an array")
    wired = Wired(backend, given["wire_ohm"], given["corner"], given["array"]) if backend else None
    with progress_bar(Console(stderr=True)) as bar:
        tasks = {
            what: bar.add_task(what, total=None, visible=False, start=False) for what in ("programming", "ngspice")
        }

        def progress(what: str, done: int, total: int) -> None:
            text = "rounds of pulses, at most" if what == "programming" else "rounds in ngspice, at most"
            bar.start_task(tasks[what])
            bar.update(tasks[what], description=text, completed=done, total=total, visible=True)

        result = program(
            targets,
            random=given["random"],
            device=given["device"],
            settings=settings,
            scheme=given["scheme"],
            spread=spread,
            seed=given["seed"],
            wired=wired,
            out=given["out"],
            progress=progress,
            draw=save_programming_figures,
        )
    _show(Console(), result)


def _show(console: Console, result: ProgrammingResult) -> None:
    summary = result.summary
    console.print(_table(summary))
    settings, spread, network = summary["settings"], summary["spread_assumed"], summary["network"]
    how = "open loop" if settings["open_loop"] else f"write-verify to {settings['tolerance'] * 100:.3g} %"
    lines = [
        f"{summary['device']}, {how} at {settings['amplitude_v']:g} V, scheme {summary['scheme']}; assumed spread"
        f" (log speed per device, per pulse; threshold): {spread['device_speed']:g}, {spread['cycle_speed']:g},"
        f" {spread['threshold']:g}",
        f"network: {network['devices']:,} devices, {network['pulses_mean']:.2f} pulses each,"
        f" {network['within'] / network['devices']:.2%} in tolerance,"
        f" {network['failed']:,} failed ({network['stuck']:,} stuck), {network['disturbed']:,} disturbed",
        f"per weight: {_si(network['energy_per_weight_j'], 'J')}, {_si(network['time_per_weight_s'], 's')}",
        f"time: {_si(network['serial_s'], 's')} device by device,"
        f" {_si(network['line_parallel_s'], 's')} with all devices of a word line at a time",
        f"energy: {_si(network['energy_j'], 'J')} in the pulsed devices,"
        f" {_si(network['half_selected_energy_j'], 'J')} in half-selected ones",
    ]
    if network["disturbed"]:
        remedy = (
            "a smaller --amplitude, --scheme V/3 or 1T1R keeps"
            if summary["threshold_v"]
            else "only --scheme 1T1R keeps"
        )
        lines.append(f"half-selected cells moved: {remedy} them still")
    if "wired" in summary:
        lines += _wired_lines(summary["wired"])
    lines.append(
        f"wrote {result.folder}/: summary.json; devices, rounds{', wired' if result.wired else ''} (.parquet);"
    )
    lines.append("  pulses_to_tolerance, error_before_after, target_achieved, disturbed_cells (.png, .svg)")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(summary: dict[str, Any]) -> Table:
    arrays = summary["arrays"]
    more = f" (the first {_SHOWN_ARRAYS} of {len(arrays)} arrays)" if len(arrays) > _SHOWN_ARRAYS else ""
    table = Table(
        title=Text(f"programming {summary['targets']}{more}"), title_justify="left", box=SIMPLE_HEAD, padding=0
    )
    headings = ("array", "devices", "pulses", "max", "within", "failed", "disturbed", "energy", "time")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "array" else "right", no_wrap=True)
    for name, array in list(arrays.items())[:_SHOWN_ARRAYS]:
        table.add_row(
            Text(name),
            f"{array['rows']} x {array['columns']}",
            f"{array['pulses_mean']:.2f}",
            str(array["pulses_max"]),
            f"{array['within'] / array['devices']:.2%}",
            f"{array['failed']:,}",
            f"{array['disturbed']:,}",
            _si(array["energy_per_weight_j"], "J"),
            _si(array["time_per_weight_s"], "s"),
        )
    return table


def _wired_lines(wired: dict[str, Any]) -> list[str]:
    rows, columns = wired["rows"], wired["columns"]
    return [
        f"ngspice ({wired['backend']} devices): {rows} x {columns} of {wired['array']}, wires of"
        f" {wired['wire_ohm']:g} ohm per cell: {wired['within']} of {rows * columns} read back within tolerance,"
        f" pulses per device {wired['pulses_max']} at most, {_si(wired['simulated_s'], 's')} simulated in"
        f" {wired['ngspice_s']:.1f} s",
        f"  largest error: {wired['error_first_max']:.2%} after one pulse, {wired['error_max']:.2%} at the end"
        f" ({wired['device_error_max']:.2%} in the devices themselves, without the wires)",
    ]


def _si(value: float, unit: str) -> str:
    """Three digits and the fitting prefix."""
    if abs(value) >= 1000:
        return f"{value:,.0f} {unit}"
    for scale, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * scale:
            return f"{value / scale:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
