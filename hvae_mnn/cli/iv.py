"""`hvae-mnn iv`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from hvae_mnn.cli.options import COUNT, NUMBER, WORD, Choice, memristor_option, option, out_option
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables

if TYPE_CHECKING:
    from hvae_mnn.studies.iv.drive import Shape
    from hvae_mnn.studies.iv.run import IvResult

EPILOG = """
Examples:

    hvae-mnn iv

    hvae-mnn iv --device hp --amplitude 1.5 --frequency 1 --frequency 4 --frequency 20

    hvae-mnn iv --device my_device.toml --waveform triangle --backend behavioural

    hvae-mnn iv --waveform pulses --amplitude 0.2 --frequency 500 --cycles 5

my_device.toml names a preset and the values that differ: base = "aist", r_off_ohm = 120e3 (device_models/README.md).

Decks and raw files are in the folder ngspice/ of the run; rerun any deck with ngspice -n -b.
"""


@click.command(epilog=EPILOG)
@click.option_panel("Device", options=["--device", "--preset", "--x0"])
@click.option_panel("Drive", options=["--waveform", "--amplitude", "--frequency", "--cycles"])
@click.option_panel("Run", options=["--backend", "--out"])
@memristor_option("aist")
@click.option("--preset", type=WORD, help="Older name of --device.")
@option("--x0", type=NUMBER, text="State at the beginning, 0 to 1.", default="the preset's")
@click.option(
    "--waveform",
    type=Choice(["sine", "triangle", "pulses"]),
    default="sine",
    show_default=True,
    help="Shape of the voltage over time.",
)
@option("--amplitude", type=NUMBER, text="Largest voltage, V.", default="0.5; hp_tio2: 1")
@option(
    "--frequency",
    "frequencies",
    type=NUMBER,
    multiple=True,
    text="Frequency, Hz; may be repeated, for several curves in one figure. Pulses and pauses last half a period each.",
    default="10, 50, 250; hp_tio2: 1, 2, 5",
)
@click.option(
    "--cycles", type=COUNT, default=2, show_default=True, help="Number of periods; of pulses: number per polarity."
)
@click.option(
    "--backend",
    type=Choice(["behavioural", "osdi", "reference", "all"]),
    metavar="NAME",
    default="all",
    show_default=True,
    help="Simulation: behavioural (ngspice, subcircuit), osdi (ngspice, compiled), reference (LSODA alone), or all of"
    " them that run here.",
)
@out_option()
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

    Every ngspice back end is compared with an independent integration. The AIST values come from one secondary source
    and were chosen for circuits, not measured; in its equation SET slows as the voltage rises.
    """
    from hvae_mnn.api import devices
    from hvae_mnn.errors import InputError
    from hvae_mnn.studies.iv.drive import USUAL_AMPLITUDE_V, USUAL_FREQUENCIES_HZ

    spec = devices.find_device(device or preset or "aist")
    if device is not None and preset is not None and devices.find_device(preset) != spec:
        raise InputError(f"--device {device} and --preset {preset} name two memristors; leave out one of them")
    volts = USUAL_AMPLITUDE_V[spec.law] if amplitude is None else amplitude
    drive = devices.Drive(volts, frequencies or USUAL_FREQUENCIES_HZ[spec.law], waveform, cycles, x0)
    _show(devices.iv(spec, backend=backend, drive=drive, out=out))


def _show(result: IvResult) -> None:
    summary = result.summary
    if summary["back_ends"]:
        table = new_table(
            f"{summary['device']['name']}: state against the reference",
            ("frequency", "back end", "max |dx|", "rms dx", "time points", "seconds"),
            left=("back end",),
        )
        for run in summary["runs"]:
            for backend in summary["back_ends"]:
                figures = run[backend]
                add_row(
                    table,
                    f"{run['frequency_hz']:g} Hz",
                    backend,
                    f"{figures['max_dx']:.1e}",
                    f"{figures['rms_dx']:.1e}",
                    f"{figures['points']:,}",
                    f"{figures['seconds']:.2f}",
                )
        print_tables(table)
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
    lines.append(f"source of the device's values: {summary['device']['source']}")
    if summary["device"]["law"] == "aist":
        lines.append("note: in this equation SET slows as the voltage rises, unlike in every measured device")
    drawn = [path.stem for path in sorted(result.folder.glob("*.svg"))]
    if "potentiation_depression" not in drawn:
        lines.append("no pulse train: this amplitude does not switch both ways; choose a larger one")
    decks = " ngspice/ (.cir, .raw);" if summary["back_ends"] else ""
    lines.append(f"wrote {result.folder}/: summary.json; iv, switching, pulse_train (.parquet);{decks}")
    print_lines(*lines, f"  {', '.join(drawn)} (.png, .svg)")
