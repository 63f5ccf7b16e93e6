"""Figures of one memristor: I-V loops, state and resistance, time to switch, pulse trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hvae_mnn.files import read_sealed
from hvae_mnn.plots.files import COLORS, literal, new_figure, of_run, save_figure
from hvae_mnn.studies.iv.records import SCHEMAS, SWITCHING, TRACES, TRAINS
from hvae_mnn.studies.iv.run import SUMMARY
from hvae_mnn.tables import read_columns

_LINES: dict[str, dict[str, Any]] = {
    "behavioural": {"lw": 3.2, "alpha": 0.45},
    "osdi": {"lw": 1.3},
    "reference": {"lw": 1.2, "ls": (0, (4, 3)), "color": "black"},
}
_NAMES = {"behavioural": "ngspice, behavioural", "osdi": "ngspice, OSDI", "reference": "reference (LSODA)"}


def _who(table: dict[str, NDArray[Any]]) -> list[str]:
    """Back ends in drawing order, with the reference on top."""
    return [name for name in _LINES if name in table["backend"]]


def _style(table: dict[str, NDArray[Any]], who: str, number: int) -> dict[str, Any]:
    """A colour per frequency. The reference is black over the back ends, but coloured if it is the only curve."""
    style = {"color": COLORS[number % len(COLORS)], **_LINES[who]}
    return style if len(_who(table)) > 1 else {"color": COLORS[number % len(COLORS)], "lw": 1.5}


def _legend(figure: Figure, handles: dict[str, Any], columns: int) -> None:
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize="small",
    )


def _drive(folder: Path) -> tuple[str, str]:
    """The device's name and a description of its drive."""
    summary = read_sealed(folder / SUMMARY, "summary")
    name, drive = literal(summary["device"]["name"]), summary["drive"]
    count, amplitude = drive["cycles"], drive["amplitude_v"]
    if drive["waveform"] == "pulses":
        return name, f"pulses: {count} of {amplitude:g} V, then {count} of {-amplitude:g} V"
    return name, f"{literal(drive['waveform'])} of {amplitude:g} V, {count} period{'' if count == 1 else 's'}"


@of_run
def iv_loops(folder: Path) -> Figure:
    """Current against voltage for all frequencies, and |current| on a logarithmic axis."""
    table = read_columns(folder / TRACES, SCHEMAS[TRACES])
    name, drive = _drive(folder)
    # Pulses have no visible loop near 0 V, but steep edges, which a logarithmic axis bends.
    panels = 1 if drive.startswith("pulses") else 2
    figure = new_figure(5.25 * panels + 1.0 * (panels == 1), 5.0)
    linear, *logarithmic = figure.subplots(1, panels, squeeze=False)[0]
    handles: dict[str, Any] = {}
    for number, frequency in enumerate(np.unique(table["frequency_hz"])):
        for who in _who(table):
            rows = (table["frequency_hz"] == frequency) & (table["backend"] == who)
            style = _style(table, who, number)
            volts, amperes = table["volts"][rows], table["amperes"][rows]
            (line,) = linear.plot(volts, amperes * 1e6, **style)
            for axes in logarithmic:
                axes.plot(volts, np.maximum(np.abs(amperes), 1e-12), **style)
            same = who == "reference" and style["color"] == "black"
            handles.setdefault(_NAMES[who] if same else f"{_NAMES[who]}, {frequency:g} Hz", line)
    linear.set_ylabel("current (µA)")
    largest = np.abs(table["amperes"]).max()
    for axes in logarithmic:
        axes.set_ylabel("|current| (A)")
        axes.set_yscale("log")
        axes.set_ylim(largest * 1e-4, largest * 1.5)
    for axes in (linear, *logarithmic):
        axes.set_xlabel("voltage (V)")
        axes.grid(alpha=0.3)
    figure.suptitle(f"current against voltage of {name}, {drive}")
    _legend(figure, handles, 3)
    return figure


@of_run
def state_and_resistance(folder: Path) -> Figure:
    """Voltage, state and resistance over time; a column per frequency."""
    table = read_columns(folder / TRACES, SCHEMAS[TRACES])
    frequencies = np.unique(table["frequency_hz"])
    figure = new_figure(max(6.0, 4.0 * len(frequencies)), 7.0)
    panels = figure.subplots(3, len(frequencies), sharex="col", sharey="row", squeeze=False)
    handles: dict[str, Any] = {}
    for column, frequency in enumerate(frequencies):
        for who in _who(table):
            rows = (table["frequency_hz"] == frequency) & (table["backend"] == who)
            style = _style(table, who, column)
            milliseconds = table["time_s"][rows] * 1e3
            panels[0, column].plot(milliseconds, table["volts"][rows], **style)
            panels[1, column].plot(milliseconds, table["x"][rows], **style)
            (line,) = panels[2, column].plot(milliseconds, table["ohm"][rows] / 1e3, **style)
            handles.setdefault(_NAMES[who], line)
        panels[0, column].set_title(f"{frequency:g} Hz")
        panels[2, column].set_xlabel("time (ms)")
    for row, label in enumerate(("voltage (V)", "state x", "resistance (kΩ)")):
        panels[row, 0].set_ylabel(label)
        for axes in panels[row]:
            axes.grid(alpha=0.3)
    name, drive = _drive(folder)
    figure.suptitle(f"state and resistance of {name}, {drive}")
    _legend(figure, handles, 3)
    return figure


@of_run
def switching_time(folder: Path) -> Figure:
    """Time from x = 0.05 to 0.95 (SET) and back (RESET) against the magnitude of the voltage.

    RESET is drawn dashed and small on top of SET, so that both are visible if they take the same time.
    """
    name, _ = _drive(folder)
    table = read_columns(folder / SWITCHING, SCHEMAS[SWITCHING], unlimited=("seconds",))
    figure = new_figure(6.4, 4.6)
    axes = figure.subplots()
    for number, (polarity, side) in enumerate((("SET", table["volts"] > 0), ("RESET", table["volts"] < 0))):
        rows = side & (table["backend"] == "reference") & np.isfinite(table["seconds"])
        style: dict[str, Any] = {"color": COLORS[number]}
        line, size = ({"lw": 3.2, "alpha": 0.5}, 10) if polarity == "SET" else ({"lw": 1.4, "ls": "--"}, 6)
        volts, milliseconds = np.abs(table["volts"][rows]), table["seconds"][rows] * 1e3
        axes.plot(volts, milliseconds, **style, **line, label=f"{polarity}, quadrature")
        for who, marker in (("behavioural", "s"), ("osdi", "x")):
            rows = side & (table["backend"] == who)
            if rows.any():
                volts, milliseconds = np.abs(table["volts"][rows]), table["seconds"][rows] * 1e3
                hollow: dict[str, Any] = {"mfc": "none"} if marker == "s" else {}
                axes.plot(volts, milliseconds, marker, ms=size, **style, **hollow, label=f"{polarity}, {_NAMES[who]}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("|voltage| (V)")
    axes.set_ylabel("time to switch (ms)")
    axes.set_title(f"switching time of {name}, x = 0.05 to 0.95 and back", fontsize="medium")
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False, fontsize="small")
    return figure


@of_run
def potentiation_depression(folder: Path) -> Figure:
    """Conductance after each pulse of a train, and the voltage of the pulses."""
    name, _ = _drive(folder)
    table = read_columns(folder / TRAINS, SCHEMAS[TRAINS])
    figure = new_figure(6.8, 4.6)
    axes = figure.subplots()
    markers = {"behavioural": ("s", 9), "osdi": ("o", 5), "reference": ("+", 9)}
    for number, who in enumerate(_who(table)):
        rows = table["backend"] == who
        marker, size = markers[who]
        color = "black" if who == "reference" else COLORS[number]
        hollow: dict[str, Any] = {"mfc": "none"} if who == "behavioural" else {}
        axes.plot(
            table["pulse"][rows],
            table["siemens"][rows] * 1e6,
            marker,
            ms=size,
            color=color,
            ls=":",
            lw=0.7,
            **hollow,
            label=_NAMES[who],
        )
    up = table["volts"] > 0
    if up.any():
        last = table["pulse"][up].max()
        axes.axvline(last + 0.5, color="0.7", lw=1)
        volts, width = table["volts"][up][0], table["width_s"][0]
        axes.set_title(f"{name}: {last} pulses of {volts:g} V, then {last} of {-volts:g} V, {width * 1e3:.3g} ms each")
    axes.set_xlabel("pulse")
    axes.set_ylabel("conductance (µS)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    return figure


def save_iv_figures(folder: Path) -> list[Path]:
    """Write all figures of a run as PNG and SVG into its folder."""
    paths = [
        *save_figure(iv_loops(folder), folder, "iv_loops"),
        *save_figure(state_and_resistance(folder), folder, "state_and_resistance"),
        *save_figure(switching_time(folder), folder, "switching_time"),
    ]
    if read_columns(folder / TRAINS, SCHEMAS[TRAINS], "pulse")["pulse"].size:
        paths += save_figure(potentiation_depression(folder), folder, "potentiation_depression")
    return paths
