"""`hvae-mnn build-netlist`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hvae_mnn.cli.mistakes import refuse_beside
from hvae_mnn.cli.options import (
    NUMBER,
    PLACE,
    BuildName,
    Choice,
    data_dir_option,
    hardware_option,
    memristor_option,
    option,
    out_option,
)
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables

if TYPE_CHECKING:
    from hvae_mnn.devices.moving import DeviceBackend
    from hvae_mnn.netlist.manifest import Manifest

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
@option("--name", type=BuildName(), text="Name of the build, a folder in netlists/.", default="the checkpoint's")
@out_option("build", default="netlists/NAME")
@click.option("--force", is_flag=True, help="Replace netlists of another checkpoint.")
@click.option(
    "--calibration",
    type=Choice(["max", "p99.99", "p99.9", "p99"]),
    default="max",
    show_default=True,
    help="Full scale of the converters: the largest value in validation, or a percentile of all values.",
)
@hardware_option()
@data_dir_option(" for calibrating ADCs behind single tiles")
@memristor_option("the hardware's")
@click.option(
    "--device-backend",
    type=Choice(["static", "behavioural", "osdi"]),
    default="static",
    show_default=True,
    help="Memristors in ngspice: static (fixed resistors), behavioural (moving, as subcircuits) or osdi (moving,"
    " compiled).",
)
@option("--read-voltage", type=NUMBER, text="Word-line voltage of the largest input, V.", default="the device's")
@click.option(
    "--read-time",
    type=NUMBER,
    default=1e-6,
    show_default=True,
    help="Duration of a read, s; matters only for memristors that move.",
)
@click.option("--allow-disturb", is_flag=True, help="Allow a read voltage that moves the memristors' states.")
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
    """Export CHECKPOINT as ngspice netlists: an array and a deck per gate unit, a deck per layer, and a manifest."""
    from hvae_mnn.api import build_netlist
    from hvae_mnn.cosim.export import NETLISTS, default_name
    from hvae_mnn.netlist.file_names import MANIFEST

    if out is not None:
        refuse_beside(context, ("name",), "--name is a folder in netlists/, --out is the whole path")
    folder = out if out is not None else NETLISTS / (name or default_name(checkpoint))
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
    )
    _show(manifest)
    print_lines(
        *_device_lines(manifest),
        f"wrote {len(manifest.files)} files and {manifest.folder / MANIFEST}",
        f"next: hvae-mnn simulate {manifest.folder} --steps 40",
    )


def _show(manifest: Manifest) -> None:
    table = new_table(
        str(manifest.folder),
        ("layer", "cell", "arrays", "rows x columns", "tiles", "weights", "paper's count", "V per unit"),
        left=("layer", "cell", "arrays"),
        folded=("rows x columns", "tiles", "weights", "paper's count", "V per unit"),
    )
    for layer in manifest.layers:
        sizes = dict.fromkeys(f"{unit.row_count} x {unit.columns}" for unit in layer.units)
        add_row(
            table,
            layer.name,
            layer.cell,
            " ".join(unit.name for unit in layer.units),
            ", ".join(sizes),
            f"{sum(len(manifest.layout(unit).tiles) for unit in layer.units):,}",
            f"{layer.weights:,}",
            f"{layer.paper_weights:,}",
            f"{layer.volts_per_unit:.4g}",
        )
    print_tables(table)


_MANY_BEHAVIOURAL = 1000


def _device_lines(manifest: Manifest) -> list[str]:
    """The hardware, and warnings about its memristors."""
    device, hardware = manifest.device, manifest.hardware
    count, wires = manifest.memristors, hardware.wires
    lines = [
        f"hardware {hardware.name}: {hardware.cells.scheme}, word lines {wires.word_ohm:g} and bit lines"
        f" {wires.bit_ohm:g} Ohm a cell, {hardware.amplifier.kind} amplifiers, {hardware.coding} coding",
        f"device {device.name}, {manifest.device_backend}; the largest input is read with {device.read_v * 1e3:g} mV",
    ]
    if manifest.device_backend != "static":
        lines.append(f"{count:,} memristors that may move; a read takes {manifest.read_s:g} s")
    if device.read_v >= device.threshold_v:
        lines.append(f"warning: reading moves the states (threshold {device.threshold_v * 1e3:g} mV)")
    if manifest.device_backend == "behavioural" and count > _MANY_BEHAVIOURAL:
        lines.append(
            f"warning: {count:,} behavioural devices are slow and take about 60 KB of memory each; --device-backend"
            " osdi is some hundred times faster"
        )
    return lines
