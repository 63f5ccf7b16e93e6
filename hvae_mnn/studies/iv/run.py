"""A single memristor: I-V loops, switching times and pulse trains, by every back end and by the reference."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.bars import Progress
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import BACKENDS, Backend
from hvae_mnn.devices.presets import find_device
from hvae_mnn.devices.reference import integrate, switching_time
from hvae_mnn.devices.waveforms import PiecewiseLinear, Sine, pulses
from hvae_mnn.errors import InputError
from hvae_mnn.files import write_sealed
from hvae_mnn.folders import new_run
from hvae_mnn.names import unknown_name
from hvae_mnn.netlist.iv_deck import CURRENT, TIME, VOLTS, X, iv_deck
from hvae_mnn.results import Result
from hvae_mnn.spice.batch import run_deck
from hvae_mnn.spice.osdi import osdi_library, osdi_problem
from hvae_mnn.studies.iv.drive import STEPS_PER_PERIOD, STEPS_PER_PULSE, USUAL_AMPLITUDE_V, USUAL_FREQUENCIES_HZ, Drive
from hvae_mnn.studies.iv.records import IvRecords

Array = NDArray[np.float64]
SUMMARY = "summary.json"
DECKS = "ngspice"
"""Folder of decks and raw files in the run's folder."""

_TRAIN_PULSES = 15
_TRAIN_PARTS = 10
"""Switching time of the slower polarity, in pulses of the train."""
_X_FROM, _X_TO = 0.05, 0.95


@dataclass(frozen=True)
class Trace:
    """Result of one back end; arrays have shape (T,)."""

    time_s: Array
    volts: Array
    amperes: Array
    """Current through the device, positive from terminal te to be."""
    x: Array


@dataclass(frozen=True, repr=False)
class IvResult(Result):
    """A finished run. Tables: `iv`, `switching`, `pulse_train`."""

    folder: Path
    """Folder of summary, tables, decks, raw files and figures."""
    summary: dict[str, Any]
    """Content of `summary.json`."""

    def facts(self) -> Mapping[str, object]:
        """Device, drive, and largest difference of a state from the reference."""
        runs, back_ends = self.summary["runs"], self.summary["back_ends"]
        return {
            "folder": self.folder,
            "device": self.summary["device"]["name"],
            "amplitude_v": self.summary["drive"]["amplitude_v"],
            "frequencies_hz": [run["frequency_hz"] for run in runs],
            "max_dx": max((run[name]["max_dx"] for run in runs for name in back_ends), default=None),
        }


def iv(
    device: MemristorSpec | str | Path = "aist",
    *,
    backend: str = "all",
    drive: Drive | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    draw: Callable[[Path], list[Path]] | None = None,
) -> IvResult:
    """Drive one memristor and write tables of its response to `out` (default: a new folder in `runs/`).

    `backend` is `behavioural`, `osdi`, `reference` (LSODA, without ngspice), or `all` that run on this machine. The
    reference is always computed, for comparison. Besides the I-V runs of `drive`, the switching time is computed at
    several voltages, and a train of potentiating and depressing pulses is run. `draw(folder)` makes the figures at the
    end.

    Raises `DeviceError`, `InputError` and `RunError` for bad input, `EnvironmentProblem` if `osdi` is chosen and cannot
    run on this machine, `SimulatorError`, `StorageError`.
    """
    spec = device if isinstance(device, MemristorSpec) else find_device(device)
    drive = drive or Drive(USUAL_AMPLITUDE_V[spec.law], USUAL_FREQUENCIES_HZ[spec.law])
    chosen, missing = _backends(backend, spec)
    with new_run(None if out is None else Path(out), f"iv-{spec.name}") as folder:
        decks = folder / DECKS
        steps = _Steps(progress, (1 + len(chosen)) * (len(drive.frequencies_hz) + 1) + 1 + len(chosen))
        with IvRecords(folder) as records:
            runs = [
                _compare(spec, f"{frequency:g}hz", *drive.at(frequency), _x0(spec, drive), chosen, decks, steps)
                for frequency in drive.frequencies_hz
            ]
            for frequency, (traces, _) in zip(drive.frequencies_hz, runs, strict=True):
                for source, trace in traces.items():
                    records.trace(
                        source, frequency, trace.time_s, trace.volts, trace.amperes, trace.x, spec.resistance(trace.x)
                    )
            _train(spec, drive.amplitude_v, chosen, decks, records, steps)
            switching = _switching(spec, drive.amplitude_v, chosen, decks, records, steps)
        summary = {
            "device": spec.to_dict(),
            "drive": asdict(drive),
            "back_ends": list(chosen),
            "missing": missing,
            "runs": [
                {"frequency_hz": frequency, "lobe_area_va": _lobe_area(traces["reference"], drive), **figures}
                for frequency, (traces, figures) in zip(drive.frequencies_hz, runs, strict=True)
            ],
            "switching_largest_error": switching,
        }
        write_sealed(folder / SUMMARY, summary)
        if draw is not None:
            draw(folder)
    return IvResult(folder, summary)


class _Steps:
    """Counter of finished steps for a progress bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def __call__(self, what: str) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(what, self._done, self._total)


def _backends(chosen: str, spec: MemristorSpec) -> tuple[tuple[Backend, ...], dict[str, str]]:
    """The back ends of ngspice to run, and the reasons why others of `all` cannot run."""
    if chosen == "reference":
        return (), {}
    if chosen == "all":
        problem = osdi_problem(spec.law)
        return (BACKENDS, {}) if problem is None else (("behavioural",), {"osdi": problem})
    for name in BACKENDS:
        if chosen == name:
            if name == "osdi":
                osdi_library(spec.law)  # raises before a folder is made
            return (name,), {}
    raise InputError(unknown_name("back end", chosen, (*BACKENDS, "reference", "all")))


def _x0(spec: MemristorSpec, drive: Drive) -> float:
    return spec.x_init if drive.x0 is None else drive.x0


def _run(
    spec: MemristorSpec,
    backend: Backend,
    name: str,
    waveform: Sine | PiecewiseLinear,
    step_s: float,
    x0: float,
    folder: Path,
) -> Trace:
    name = f"{backend}-{name}"
    vectors = run_deck(iv_deck(name, spec, backend, waveform, x0, step_s), folder, name, spec, backend)
    return Trace(vectors[TIME], vectors[VOLTS], -vectors[CURRENT], vectors[X])


def _reference(spec: MemristorSpec, waveform: Sine | PiecewiseLinear, times: Array, x0: float) -> Trace:
    x = integrate(spec, waveform, x0, times)
    volts = waveform.volts(times)
    return Trace(times, volts, volts / spec.resistance(x), x)


def _compare(
    spec: MemristorSpec,
    name: str,
    waveform: Sine | PiecewiseLinear,
    step_s: float,
    x0: float,
    backends: Sequence[Backend],
    folder: Path,
    steps: _Steps,
) -> tuple[dict[str, Trace], dict[str, Any]]:
    """Traces by back end, including the reference, and their differences."""
    count = round(waveform.duration_s / step_s) + 1
    grid = np.unique(np.concatenate([np.linspace(0, waveform.duration_s, count), waveform.crossings(())]))
    traces: dict[str, Trace] = {"reference": _reference(spec, waveform, grid, x0)}
    steps(f"reference, {name}")
    figures: dict[str, Any] = {}
    for backend in backends:
        begun = time.perf_counter()
        trace = traces[backend] = _run(spec, backend, name, waveform, step_s, x0, folder)
        seconds = time.perf_counter() - begun
        apart = np.abs(trace.x - integrate(spec, waveform, x0, np.minimum(trace.time_s, waveform.duration_s)))
        figures[backend] = {
            "max_dx": float(apart.max()),
            "rms_dx": float(np.sqrt((apart**2).mean())),
            "points": int(trace.time_s.size),
            "seconds": round(seconds, 3),
            "deck": f"{backend}-{name}.cir",
        }
        steps(f"{backend}, {name}")
    if len(backends) > 1:
        first, second = (traces[backend] for backend in backends)
        between = np.interp(first.time_s, second.time_s, second.x)
        figures["between_back_ends_max_dx"] = float(np.abs(first.x - between).max())
    return traces, figures


def _lobe_area(trace: Trace, drive: Drive) -> float | None:
    """Area of the pinched loop in volt-amperes: |integral of i dv| of both polarities per period, mean over all
    periods. None for pulses, which have no loop."""
    if drive.waveform == "pulses":
        return None
    change = np.diff(trace.volts)
    middle, current = (trace.volts[1:] + trace.volts[:-1]) / 2, (trace.amperes[1:] + trace.amperes[:-1]) / 2
    return float(sum(abs((current * change)[side].sum()) for side in (middle > 0, middle < 0))) / drive.cycles


def _train(
    spec: MemristorSpec,
    amplitude: float,
    backends: Sequence[Backend],
    folder: Path,
    records: IvRecords,
    steps: _Steps,
) -> None:
    """Record potentiation, then depression by the same number of equal pulses, with the conductance after each. Without
    effect if a polarity does not move the state."""
    slower = max(float(switching_time(spec, sign * amplitude, _X_FROM, _X_TO)) for sign in (1, -1))
    if not np.isfinite(slower):
        steps("pulse trains")
        return
    width = slower / _TRAIN_PARTS
    train = pulses(amplitude, _TRAIN_PULSES, width, width / 4, edge_s=width * 1e-5)
    waveform, between = train.waveform(), train.read_times_s
    states = {"reference": integrate(spec, waveform, _X_FROM, between)}
    steps("reference, pulse trains")
    for backend in backends:
        trace = _run(spec, backend, "pulse-train", waveform, width / STEPS_PER_PULSE, _X_FROM, folder)
        states[backend] = np.interp(between, trace.time_s, trace.x)
        steps(f"{backend}, pulse trains")
    for source, x in states.items():
        records.train(source, train.amplitudes_v, width, x, spec.conductance(x))


def _switching(
    spec: MemristorSpec,
    amplitude: float,
    backends: Sequence[Backend],
    folder: Path,
    records: IvRecords,
    steps: _Steps,
) -> dict[str, float]:
    """Record switching times over voltage by quadrature, and in ngspice for a few voltages.

    Returns the largest relative error of ngspice by back end.
    """
    lowest = spec.threshold_v * 1.05 or amplitude / 20
    magnitudes = np.geomspace(lowest, max(2 * amplitude, 2 * lowest), 40)
    volts = np.concatenate([-magnitudes[::-1], magnitudes])
    records.switching("reference", volts, switching_time(spec, volts, _X_FROM, _X_TO))
    steps("switching times")
    worst: dict[str, float] = {}
    few = [sign * magnitude for sign in (1, -1) for magnitude in magnitudes[[8, 20, 32]].tolist()]
    expected = switching_time(spec, few, _X_FROM, _X_TO)
    for backend in backends:
        seconds = np.array(
            [_switch(spec, backend, own, guess, folder) for own, guess in zip(few, expected.tolist(), strict=True)]
        )
        records.switching(backend, np.array(few), seconds)
        worst[backend] = float(np.nanmax(np.abs(seconds / expected - 1)))
        steps(f"{backend}, switching times")
    return worst


def _switch(spec: MemristorSpec, backend: Backend, volts: float, expected_s: float, folder: Path) -> float:
    """Switching time in ngspice at a constant voltage, seconds; NaN if `expected_s` is infinite."""
    if not np.isfinite(expected_s):
        return float("nan")
    begin, end = (_X_FROM, _X_TO) if volts > 0 else (_X_TO, _X_FROM)
    rise = expected_s * 1e-6
    step = PiecewiseLinear((0.0, rise, 1.2 * expected_s), (0.0, volts, volts))
    trace = _run(
        spec,
        backend,
        f"switch-{'set' if volts > 0 else 'reset'}-{abs(volts) * 1e3:g}mv",
        step,
        expected_s / STEPS_PER_PERIOD,
        begin,
        folder,
    )
    towards = 1 if volts > 0 else -1
    return float(np.interp(towards * end, towards * trace.x, trace.time_s)) - rise
