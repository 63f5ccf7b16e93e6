"""What a memristor costs in ngspice: as a resistor, as a compiled device, as behavioural sources.

N devices in parallel on one source above their threshold, a process per measurement: CPU time of a transient by device
and accepted time point, CPU time of loading, memory by device (0 where it was there before). The floor is the resistor.
Times count only when the resistors carry the current of the states they stand for, to 1e-9, and both kinds of moving
devices end with the same current, to 1e-6.

Two whole jobs follow: 40 reads of a 128 x 128 gate array, and 40 time steps of an HSR-VAE with 64 hidden units, every
memristor moving.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Answer, Figure
from benchmarks.workspace import Workspace
from hvae_mnn import build_netlist, simulate
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.mapping import GateArray, RowGroup
from hvae_mnn.devices.moving import MovingDevices
from hvae_mnn.devices.presets import AIST
from hvae_mnn.engines.ngspice import ArrayDeck, NgspiceEngine
from hvae_mnn.netlist.arrays import array_lines
from hvae_mnn.netlist.device_lines import TRANSIENT_OPTIONS, device_header, device_line, library, model_file
from hvae_mnn.spice.library import SharedLibrary
from hvae_mnn.spice.osdi import osdi_library, osdi_problem

COUNTS = {
    "small": {"static": (1, 100, 1_000, 10_000), "osdi": (1, 100, 1_000, 10_000), "behavioural": (1, 100, 1_000)},
    "paper": {
        "static": (1, 100, 1_000, 10_000, 100_000),
        "osdi": (1, 100, 1_000, 10_000, 100_000),
        "behavioural": (1, 100, 1_000, 10_000),
    },
}
STEPS = {1: 2_000, 100: 200, 1_000: 60, 10_000: 30, 100_000: 30}
"""Time points asked for by number of devices; ngspice takes a few more at the beginning."""
_STEP_S = 1e-5
_READS = 40


def run(workspace: Workspace) -> Answer:
    """Measure."""
    problem = osdi_problem()
    figures: list[Figure] = []
    found: dict[tuple[str, int], dict[str, float]] = {}
    for count in COUNTS[workspace.size]["static"]:
        kinds = [kind for kind, counts in COUNTS[workspace.size].items() if count in counts]
        for kind in kinds:
            if kind == "osdi" and problem:
                continue
            workspace.status(f"{count:,} devices, {kind}")
            found[kind, count] = _measure(kind, count)
            _check_currents(found, count)
            figures += _figures(kind, count, found[kind, count])
    if problem:
        return Answer(figures, problem)
    ratio = found["behavioural", 1_000]["step_s"] / found["osdi", 1_000]["step_s"]
    figures.append(Figure("osdi_speedup", "1,000 devices: behavioural against osdi", ratio, "x", at_least=20))
    largest = max(count for kind, count in found if kind == "osdi")
    floor = found["osdi", largest]["step_s"] / found["static", largest]["step_s"]
    figures.append(Figure("osdi_over_static", f"{largest:,} devices: osdi against resistors", floor, "x"))
    return Answer([*figures, *_gate_array(workspace), *_hidden_64(workspace)])


def _check_currents(found: dict[tuple[str, int], dict[str, float]], count: int) -> None:
    ends = [found[kind, count]["current"] for kind in ("osdi", "behavioural") if (kind, count) in found]
    if ends and abs(ends[0] / ends[-1] - 1) > 1e-6:
        raise RuntimeError(f"{count} devices: {ends[0]} A compiled, {ends[-1]} A behavioural")


def _figures(kind: str, count: int, found: dict[str, float]) -> list[Figure]:
    key, what = f"{kind}_{count}", f"{count:,} {kind}"
    return [
        Figure(f"{key}_us", f"{what}: per device and time point", found["step_s"] / count * 1e6, "us"),
        Figure(f"{key}_load_us", "  loading, per device", found["load_s"] / count * 1e6, "us"),
        Figure(f"{key}_kib", "  memory per device", found["bytes"] / count / 1024, "KiB"),
    ]


def _measure(kind: str, count: int) -> dict[str, float]:
    """One measurement in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="hvae-mnn-bench-") as folder:
        if kind == "behavioural":
            (Path(folder) / library(AIST)).write_bytes(model_file(library(AIST)).read_bytes())
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.devices", kind, str(count)],
            env={**_environment(), "HVAE_MNN_BENCH_FOLDER": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{count} {kind} devices: {done.stderr.strip()[-300:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def _measure_here(kind: str, count: int) -> dict[str, float]:
    """CPU seconds per time point, CPU seconds of loading, bytes; all without what an empty ngspice takes."""
    ngspice = SharedLibrary()
    ngspice.command("set num_threads=1")
    if kind == "osdi":
        ngspice.command(f"osdi {osdi_library(AIST.law)}")
    lines, expected = _circuit(kind, count)
    memory, start = _peak_bytes(), time.process_time()
    ngspice.load(lines)
    loaded = time.process_time()
    points, current = 0, 0.0

    def on_point(vectors: Any, number: int) -> None:
        nonlocal points, current, start
        if points == 0:  # the operating point is found
            start = time.process_time()
        points += 1
        current = vectors.vecsa[place_of(vectors, number)].creal

    def place_of(vectors: Any, number: int) -> int:
        if "place" not in known:
            known["place"] = ngspice.vector_names(vectors, number).index("vd#branch")
        return known["place"]

    known: dict[str, int] = {}
    load_s = loaded - start
    ngspice.on_point = on_point
    ngspice.command("run")
    run_s = time.process_time() - start
    if ngspice.errors:
        raise RuntimeError(ngspice.errors[0])
    if kind != "static" and not abs(current / expected) > 1:
        raise RuntimeError("no state was raised by a voltage above the threshold")
    if kind == "static" and abs(current - expected) > 1e-9 * abs(expected):
        raise RuntimeError(f"current {current}, expected {expected}")
    return {"step_s": run_s / max(1, points - 1), "load_s": load_s, "bytes": _peak_bytes() - memory, "current": current}


def _circuit(kind: str, count: int) -> tuple[list[str], float]:
    """The deck's lines, and the current that its source carries before any state moves."""
    volts, states = 0.2, np.linspace(0.1, 0.6, count)
    if kind == "static":
        header: list[str] = []
        lines = [f"R{k} te 0 {ohm!r}" for k, ohm in enumerate(AIST.resistance(states).tolist())]
    else:
        backend: Any = kind
        header = device_header(AIST, backend)
        lines = [device_line(f"m{k}", "te", "0", f"x{k}", AIST, backend, x) for k, x in enumerate(states.tolist())]
    steps = STEPS[count]
    deck = [
        f"hvae-mnn: {count} {kind} devices",
        TRANSIENT_OPTIONS,
        *header,
        f"Vd te 0 PWL(0 {volts!r} 1 {volts!r})",
        *lines,
        ".save i(vd)",
        f".tran {_STEP_S!r} {steps * _STEP_S!r} 0 {_STEP_S!r}",
        ".end",
    ]
    return deck, -float((volts / AIST.resistance(states)).sum())


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _gate_array(workspace: Workspace) -> list[Figure]:
    """40 reads of a 128 x 128 array, some of its word lines above the threshold in every read."""
    size, generator = 128, np.random.default_rng(7)
    conductance = generator.uniform(AIST.g_min, AIST.g_max, (size, size))
    array = GateArray("gate", "f", (RowGroup("x", size),), conductance, read_hardware("paper"), 1.0)
    moving = MovingDevices(AIST, "osdi", read_s=1e-6)
    include = workspace.folder / "gate_f.inc"
    with include.open("w", encoding="ascii") as file:
        file.writelines(array_lines(array, moving))
    workspace.status("a gate array of moving memristors")
    engine = NgspiceEngine([ArrayDeck(array.name, array.unit, tuple(array.word_lines), array.layout, include, moving)])
    try:
        for read in generator.uniform(-0.11, 0.11, (_READS, size)):
            engine.currents({array.name: read[np.newaxis]})
        drift = engine.drift(array.name)
        if drift is None or not drift[2]:
            raise RuntimeError("no state was moved by reads above the threshold")
        return [
            Figure("gate_array_load_s", f"{size} x {size} array, osdi: loading", engine.seconds_loading, "s"),
            Figure("gate_array_s", f"  {_READS} reads", engine.seconds, "s"),
        ]
    finally:
        engine.close()


def _hidden_64(workspace: Workspace) -> list[Figure]:
    static = workspace.netlist("tiny")
    manifest = build_netlist(
        static.folder / "checkpoint.pt", workspace.folder / "moving", device_backend="osdi", read_voltage=0.05
    )
    workspace.status("an HSR-VAE of moving memristors")
    count = sum(layer.weights for layer in manifest.layers)
    start = time.perf_counter()
    result = simulate(manifest, steps=_READS, out=workspace.folder / "run-moving")
    whole = time.perf_counter() - start
    if result.summary["devices"]["moved"]:
        raise RuntimeError("a state moved at the safe read voltage")
    what = f"hidden 64, {count:,} osdi devices, {_READS} time steps"
    return [
        Figure("hidden_64_s", f"{what}: all", whole, "s"),
        Figure("hidden_64_engine_s", "  in the engine", float(result.summary["seconds_in_engine"]), "s"),
    ]


if __name__ == "__main__":
    os.chdir(os.environ["HVAE_MNN_BENCH_FOLDER"])
    sys.stdout.write(json.dumps(_measure_here(sys.argv[1], int(sys.argv[2]))) + "\n")
