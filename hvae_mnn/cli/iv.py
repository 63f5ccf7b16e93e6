"""`hvae-mnn iv`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.console import Console
from rich.table import Table

from hvae_mnn.cli.options import COUNT, FOLDER, NUMBER, WORD, Choice
from hvae_mnn.cli.progress import progress_bar

if TYPE_CHECKING:
    from hvae_mnn.studies.iv.run import IvResult, Shape

EPILOG = """
Examples:

    hvae-mnn iv

    hvae-mnn iv --device hp --amplitude 1.5 --frequency 1 --frequency 4 --frequency 20

    hvae-mnn iv --device my_device.toml --waveform triangle --backend behavioural

    hvae-mnn iv --waveform pulses --amplitude 0.2 --frequency 500 --cycles 5

my_device.toml names a preset and the values that differ: base = "aist", r_off_ohm = 120e3 (device_models/README.md).

Decks and raw files lie in the run's folder, ngspice/; any of them runs again with ngspice -n -b.
"""


@click.command(epilog=EPILOG)
@click.option_panel("Device", options=["--device", "--preset", "--x0"])
@click.option_panel("Drive", options=["--waveform", "--amplitude", "--frequency", "--cycles"])
@click.option_panel("Run", options=["--backend", "--out"])
@click.option(
    "--device",
    type=WORD,
    help="Memristor: preset (aist, aist_literal, hp_tio2 or hp) or TOML file.  [default: aist]",
)
@click.option("--preset", type=WORD, help="The same as --device, under its older name.")
@click.option("--x0", type=NUMBER, help="State at the beginning, 0 to 1.  [default: the preset's]")
@click.option(
    "--waveform",
    type=Choice(["sine", "triangle", "pulses"]),
    default="sine",
    show_default=True,
    help="Shape of the voltage over time.",
)
@click.option("--amplitude", type=NUMBER, help="Largest voltage, V.  [default: 0.5; hp_tio2: 1]")
@click.option(
    "--frequency",
    "frequencies",
    type=NUMBER,
    multiple=True,
    help="Hertz; repeat for several on one plot. With pulses, width and pause are half a period.  [default: 10, 50,"
    " 250; hp_tio2: 1, 2, 5]",
)
@click.option(
    "--cycles", type=COUNT, default=2, show_default=True, help="Periods; with pulses, their number per polarity."
)
@click.option(
    "--backend",
    type=Choice(["behavioural", "osdi", "reference", "all"]),
    default="all",
    show_default=True,
    help="behavioural: ngspice, subcircuit; osdi: ngspice, compiled; reference: LSODA alone; all: every one that runs"
    " here.",
)
@click.option("--out", type=FOLDER, help="Folder of the run.  [default: a new one in runs/]")
def command(
    device: str | None,
    preset: str | None,
    x0: float | None,
    waveform: Shape,
    amplitude: float | None,
    frequencies: tuple[float, ...],
    cycles: int,
    backend: str,
    out: Path | None,
) -> None:
    """Draw the hysteresis of one memristor: I-V loops, state and resistance, switching times, pulse trains.

    Every back end of ngspice is compared with an independent integration. The AIST numbers are circuit-friendly ones
    from one secondary source, not measured; in its equation SET slows as the voltage rises.
    """
    # Not from hvae_mnn.api, which imports torch.
    from hvae_mnn.devices.presets import find_device
    from hvae_mnn.errors import InputError
    from hvae_mnn.plots.iv import save_iv_figures
    from hvae_mnn.studies.iv.run import USUAL_AMPLITUDE_V, USUAL_FREQUENCIES_HZ, Drive, iv

    spec = find_device(device or preset or "aist")
    if device is not None and preset is not None and find_device(preset) != spec:
        raise InputError(f"--device {device} and --preset {preset} name two memristors; leave out one of them")
    volts = USUAL_AMPLITUDE_V[spec.law] if amplitude is None else amplitude
    drive = Drive(volts, frequencies or USUAL_FREQUENCIES_HZ[spec.law], waveform, cycles, x0)
    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task("running", total=None)
        result = iv(
            spec,
            backend=backend,
            drive=drive,
            out=out,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
            draw=save_iv_figures,
        )
    _show(Console(), result)


def _show(console: Console, result: IvResult) -> None:
    summary = result.summary
    table = Table(title=f"{summary['device']['name']}: state against the reference", title_justify="left")
    for heading in ("frequency", "back end", "max |dx|", "rms dx", "time points", "seconds"):
        table.add_column(heading, justify="left" if heading == "back end" else "right", no_wrap=True)
    for run in summary["runs"]:
        for backend in summary["back_ends"]:
            found = run[backend]
            figures = (
                f"{found['max_dx']:.1e}",
                f"{found['rms_dx']:.1e}",
                f"{found['points']:,}",
                f"{found['seconds']:.2f}",
            )
            table.add_row(f"{run['frequency_hz']:g} Hz", backend, *figures)
    if summary["back_ends"]:
        console.print(table)
    lines = []
    if summary["drive"]["waveform"] != "pulses":
        lobes = (f"{run['lobe_area_va']:.3g} VA at {run['frequency_hz']:g} Hz" for run in summary["runs"])
        lines.append(f"loop area: {', '.join(lobes)}")
    between = [run["between_back_ends_max_dx"] for run in summary["runs"] if "between_back_ends_max_dx" in run]
    if between:
        lines.append(f"back ends differ from each other by at most {max(between):.1e} in x")
    for backend, error in summary["switching_largest_error"].items():
        lines.append(f"switching times, {backend}: within {error:.1e} of the quadrature")
    lines += [f"not run: {backend}: {why}" for backend, why in summary["missing"].items()]
    lines.append(f"numbers: {summary['device']['source']}")
    if summary["device"]["law"] == "aist":
        lines.append("mind: in this equation SET slows as the voltage rises, the opposite of every measured device")
    drawn = [path.stem for path in sorted(result.folder.glob("*.svg"))]
    if "potentiation_depression" not in drawn:
        lines.append("no pulse train: this amplitude does not switch both ways; choose a larger one")
    decks = " ngspice/ (.cir, .raw);" if summary["back_ends"] else ""
    lines.append(f"wrote {result.folder}/: summary.json; iv, switching, pulse_train (.parquet);{decks}")
    lines.append(f"  {', '.join(drawn)} (.png, .svg)")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
