"""`hvae-mnn build-netlist`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hvae_mnn.cli.mistakes import refuse_beside
from hvae_mnn.cli.options import FOLDER, NUMBER, PLACE, WORD, BuildName, Choice
from hvae_mnn.cli.progress import progress_bar
from hvae_mnn.crossbar.network import CrossbarNetwork

if TYPE_CHECKING:
    from hvae_mnn.devices.moving import DeviceBackend

EPILOG = """
Examples:

    hvae-mnn build-netlist checkpoints/demo/best.pt

    hvae-mnn build-netlist checkpoints/ptb/best.pt --name ptb --calibration p99.99

    hvae-mnn build-netlist checkpoints/demo/best.pt --hardware tile64 --name demo-tile64

    hvae-mnn build-netlist checkpoints/demo/best.pt --name osdi --device-backend osdi

    hvae-mnn build-netlist checkpoints/demo/best.pt --name hot --device-backend osdi --read-voltage 0.12 --allow-disturb

Every deck runs alone:

    cd netlists/demo && ngspice -n -b encoder1_f.cir
"""


@click.command(epilog=EPILOG)
@click.option_panel("Build", options=["--name", "--out", "--force", "--hardware", "--calibration", "--data-dir"])
@click.option_panel(
    "Device", options=["--device", "--device-backend", "--read-voltage", "--read-time", "--allow-disturb"]
)
@click.argument("checkpoint", type=PLACE)
@click.option("--name", type=BuildName(), help="Name of the build: a folder in netlists/.  [default: the checkpoint's]")
@click.option("--out", type=FOLDER, help="Write here instead of netlists/NAME.")
@click.option("--force", is_flag=True, help="Replace netlists of another checkpoint.")
@click.option(
    "--calibration",
    type=Choice(["max", "p99.99", "p99.9", "p99"]),
    default="max",
    show_default=True,
    help="Part of the values met in validation that the converters' full scale covers.",
)
@click.option(
    "--hardware",
    type=WORD,
    default="paper",
    show_default=True,
    help="Preset or TOML file: scheme, wires, amplifiers, converters, tiles (hvae-mnn hardware).",
)
@click.option(
    "--data-dir",
    type=FOLDER,
    help="Corpus folder, for calibrating ADCs behind single tiles.  [default: the built-in corpus]",
)
@click.option(
    "--device",
    type=WORD,
    help="Another memristor: preset (aist, aist_literal, hp_tio2 or hp) or TOML file.  [default: the hardware's]",
)
@click.option(
    "--device-backend",
    type=Choice(["static", "behavioural", "osdi"]),
    default="static",
    show_default=True,
    help="static: memristors that stand still; behavioural, osdi: that move in ngspice, as subcircuits or compiled.",
)
@click.option("--read-voltage", type=NUMBER, help="Volts that the largest input becomes.  [default: the device's]")
@click.option(
    "--read-time", type=NUMBER, default=1e-6, show_default=True, help="Seconds of a read; matters if memristors move."
)
@click.option("--allow-disturb", is_flag=True, help="Accept a read voltage that moves the states.")
@click.pass_context
def command(
    context: click.Context,
    checkpoint: Path,
    name: str | None,
    out: Path | None,
    force: bool,
    hardware: str,
    calibration: str,
    data_dir: Path | None,
    device: str | None,
    device_backend: DeviceBackend,
    read_voltage: float | None,
    read_time: float,
    allow_disturb: bool,
) -> None:
    """Export CHECKPOINT as ngspice netlists: a crossbar array and a deck per gate unit, a deck per layer, and a
    manifest."""
    from hvae_mnn.api import build_netlist
    from hvae_mnn.cosim.export import NETLISTS, default_name
    from hvae_mnn.netlist.file_names import MANIFEST

    if out is not None:
        refuse_beside(context, ("name",), "--name is a folder in netlists/, --out is the whole path")
    folder = out if out is not None else NETLISTS / (name or default_name(checkpoint))
    console = Console()
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("writing arrays", total=None)
        manifest = build_netlist(
            checkpoint,
            folder,
            hardware=hardware,
            device=device,
            device_backend=device_backend,
            read_voltage=read_voltage,
            read_s=read_time,
            allow_disturb=allow_disturb,
            calibration=calibration,
            data_dir=data_dir,
            force=force,
            progress=lambda array, cells: bar.update(task, advance=1),
        )
    table = Table(title=Text(str(manifest.folder)), title_justify="left")
    for heading in ("layer", "cell", "arrays", "rows x columns", "tiles", "weights", "paper's count", "V per unit"):
        left = heading in ("layer", "cell", "arrays")
        table.add_column(heading, justify="left" if left else "right", no_wrap=left)
    for layer in manifest.layers:
        sizes = dict.fromkeys(f"{unit.row_count} x {unit.columns}" for unit in layer.units)
        table.add_row(
            layer.name,
            layer.cell,
            " ".join(unit.name for unit in layer.units),
            ", ".join(sizes),
            f"{sum(len(manifest.layout(unit).tiles) for unit in layer.units):,}",
            f"{layer.weights:,}",
            f"{layer.paper_weights:,}",
            f"{layer.volts_per_unit:.4g}",
        )
    console.print(table)
    for line in _device_lines(manifest):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"wrote {len(manifest.files)} files and {manifest.folder / MANIFEST}", soft_wrap=True, highlight=False
    )
    console.print(
        f"next: hvae-mnn simulate {manifest.folder} --steps 40", soft_wrap=True, highlight=False, markup=False
    )


_MANY_BEHAVIOURAL = 1000


def _device_lines(network: CrossbarNetwork) -> list[str]:
    """What a person should know of the memristors."""
    device, hardware = network.device, network.hardware
    count, wires = network.memristors, hardware.wires
    lines = [
        f"hardware {hardware.name}: {hardware.cells.scheme}, word lines {wires.word_ohm:g} and bit lines"
        f" {wires.bit_ohm:g} Ohm a cell, {hardware.amplifier.kind} amplifiers, {hardware.coding} coding",
        f"device {device.name}, {network.device_backend}; the largest input is read with {device.read_v * 1e3:g} mV",
    ]
    if network.device_backend != "static":
        lines.append(f"{count:,} memristors that may move; a read takes {network.read_s:g} s")
    if device.read_v >= device.threshold_v:
        lines.append(f"warning: reading moves the states (threshold {device.threshold_v * 1e3:g} mV)")
    if network.device_backend == "behavioural" and count > _MANY_BEHAVIOURAL:
        lines.append(
            f"warning: {count:,} behavioural devices are slow and take about 60 KB of memory each; --device-backend"
            " osdi is some hundred times faster"
        )
    return lines
