"""`python -m benchmarks`: run the benchmarks, print tables, write a JSON file."""

from __future__ import annotations

import importlib
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Answer, Figure
from benchmarks.workspace import Workspace
from hvae_mnn.files import write_json
from hvae_mnn.spice.probe import probe

QUESTIONS = {
    "step": "seconds per LSTM step: living transient, one op, a fresh PySpice simulator",
    "overhead": "what orchestrator, pipe and callbacks add to ngspice",
    "memory": "resident memory over 1,000 steps; at paper size, in all",
    "netlist": "netlist text against PySpice's element objects",
    "devices": "moving memristors: microseconds per device and time point, behavioural, osdi, resistor",
    "exact": "wired tiles: block recursion against sparse nodal analysis and badcrossbar",
    "ideal": "the ideal engine against a bare numpy product",
    "throughput": "the exact engine on a batch of text, against the digital model alone",
    "training": "a training batch against a bare torch loop; the fused output loss against torch's own",
    "point": "a point of a sweep: draw, wires, steps, logits; tasks per hour with 1 and 2 workers",
}
DEFAULT_JSON = Path("build/bench.json")

HELP = f"""Measure the speed of hvae-mnn as ratios within one run.

Without NAME all benchmarks run:

{"".join(f"- **{name}**: {question}{chr(10)}" for name, question in QUESTIONS.items())}
"""
EPILOG = """
Examples:

    python -m benchmarks

    python -m benchmarks step overhead --size paper --json experiments/results/bench-paper.json
"""


@click.command(help=HELP, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.rich_config({"text_markup": "markdown"})
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice(list(QUESTIONS)))
@click.option(
    "--size",
    type=click.Choice(["small", "paper"]),
    default="small",
    show_default=True,
    help="Model with random weights: small = 192/128/32 (2 minutes), paper = 512/256/32 (5 minutes).",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_JSON,
    show_default=True,
    help="Where all figures are written.",
)
def main(names: tuple[str, ...], size: str, json_path: Path) -> None:
    """Run the named benchmarks."""
    console = Console()
    machine = _machine()
    console.print(", ".join(f"{key} {value}" for key, value in machine.items()), highlight=False)
    started = time.perf_counter()
    answers: dict[str, Answer] = {}
    folder = tempfile.TemporaryDirectory(prefix="hvae-mnn-bench-")
    with folder as path, Console(stderr=True).status("starting") as status:
        workspace = Workspace(Path(path), size, status.update)
        for name in [name for name in QUESTIONS if name in (names or QUESTIONS)]:
            begun = time.perf_counter()
            answers[name] = importlib.import_module(f"benchmarks.{name}").run(workspace)
            console.print(_table(name, answers[name], time.perf_counter() - begun))
    json_path.parent.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"size": size, "machine": machine}
    report["benchmarks"] = {name: answer.to_dict() for name, answer in answers.items()}
    write_json(json_path, report)
    console.print(f"{time.perf_counter() - started:.0f} s; wrote {json_path}", highlight=False, soft_wrap=True)


def _machine() -> dict[str, str]:
    """What the figures depend on."""
    facts = probe()
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text(encoding="utf-8").splitlines() if line.startswith("model name")]
        processor = models[0].partition(":")[2].strip() if models else processor
    return {
        "processor": processor,
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "ngspice": f"{facts.version} ({facts.solver})",
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "PySpice")},
    }


def _table(name: str, answer: Answer, seconds: float) -> Table:
    table = Table(title=f"{name}: {QUESTIONS[name]}", title_justify="left", caption_justify="left")
    for heading in ("what", "found", "aim"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for figure in answer.figures:
        table.add_row(figure.what, f"{figure.value:.3g} {figure.unit}", _aim(figure))
    table.caption = f"{answer.note + '; ' if answer.note else ''}took {seconds:.0f} s"
    return table


def _aim(figure: Figure) -> str:
    if figure.met is None:
        return ""
    return f"{figure.aim}: " + ("[green]met[/]" if figure.met else "[bold red]missed[/]")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
