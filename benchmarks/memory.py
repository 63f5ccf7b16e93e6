"""Resident memory of the orchestrator and all its workers together.

A model of size `tiny` is simulated for 1,000 time steps; memory after them is compared with memory after 100 (floor:
no growth). At `--size paper` also the sum over all processes with the paper's 2.1 M cells loaded. Sums of resident
sets count shared pages once per process, so they are upper bounds. Needs Linux's /proc.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.figures import Answer, Figure
from benchmarks.workspace import Workspace
from hvae_mnn import simulate

EARLY, LATE = 100, 1_000
GIB = 2**30
MIB = 2**20


def run(workspace: Workspace) -> Answer:
    """Measure."""
    if not Path("/proc/self/statm").exists():
        return Answer([], "not measured: this system has no /proc")
    manifest = workspace.netlist("tiny")
    workspace.status(f"{LATE} time steps of a tiny model")
    seen: dict[int, tuple[float, float]] = {}

    def progress(what: str, done: int, total: int) -> None:
        # Encoder and decoder tick apart, so a time step is about two ticks.
        if what == "stepping" and done in (total * EARLY // LATE, total):
            seen[done] = (_resident(os.getpid()), sum(map(_resident, _children())))

    result = simulate(manifest.folder, steps=LATE, out=workspace.folder / "memory", progress=progress)
    if int(result.summary["steps"]) != LATE:
        raise RuntimeError(f"{result.summary['steps']} steps instead of {LATE}")
    (parent_early, workers_early), (parent_late, workers_late) = seen[min(seen)], seen[max(seen)]
    early, late = parent_early + workers_early, parent_late + workers_late
    figures = [
        Figure("early_mb", f"all processes after {EARLY} steps", early / MIB, "MiB"),
        Figure("late_mb", f"all processes after {LATE} steps", late / MIB, "MiB"),
        Figure("parent_growth_mb", "  of the growth, in the orchestrator", (parent_late - parent_early) / MIB, "MiB"),
        Figure("workers_growth_mb", "  of the growth, in 12 workers", (workers_late - workers_early) / MIB, "MiB"),
        Figure("late_over_early", f"after {LATE} against after {EARLY} steps", late / early, "x", at_most=1.05),
    ]
    if workspace.size == "paper":
        figures += _paper(workspace)
    return Answer(figures)


def _paper(workspace: Workspace) -> list[Figure]:
    manifest = workspace.netlist("paper")
    workspace.status("loading 2.1 M cells")
    stepping, peak = 0.0, 0.0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal stepping, peak
        if what == "stepping":
            processes = [os.getpid(), *_children()]
            stepping = max(stepping, sum(map(_resident, processes)))
            peak = max(peak, sum(map(_peak, processes)))

    simulate(manifest.folder, steps=2, out=workspace.folder / "memory-paper", progress=progress)
    return [
        Figure("paper_gb", "paper size, all processes, stepping", stepping / GIB, "GiB", at_most=10),
        Figure("paper_peak_gb", "  sum of their peaks, while loading", peak / GIB, "GiB", at_most=10),
    ]


def _resident(process: int) -> float:
    """Bytes in memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _peak(process: int) -> float:
    """Most bytes that a process ever had in memory."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def _children() -> list[int]:
    """The processes that this one started: here, the engine's workers."""
    found: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        found += map(int, path.read_text(encoding="ascii").split())
    return found
