"""`hvae-mnn sweep`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console

from hvae_mnn.cli.options import (
    NUMBER,
    PLACE,
    Whole,
    data_dir_option,
    option,
    out_option,
    scheduler_option,
    workers_option,
)
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables, shown_first
from hvae_mnn.cli.signals import resumable
from hvae_mnn.errors import InputError

if TYPE_CHECKING:
    from hvae_mnn.sweeps.axes import Grid
    from hvae_mnn.sweeps.file import SweepFile
    from hvae_mnn.sweeps.grid import SweepPlan
    from hvae_mnn.sweeps.run import SweepResult
    from hvae_mnn.sweeps.summary import PointSummary

EPILOG = """
Examples:

    hvae-mnn sweep experiments/demo-noise.toml

    hvae-mnn sweep experiments/demo-noise.toml --dry-run

    hvae-mnn sweep experiments/demo-noise.toml --sentences 100 --seeds 2 --out runs/quick

    hvae-mnn sweep experiments/noise.toml --data-dir ptb

    hvae-mnn sweep experiments/noise.toml --data-dir /shared/ptb --scheduler tcp://10.0.0.1:8786

Rerun the same command to resume after an interruption; docs/sweep.md has all keys of the file.

Exit code 0: all tasks gave a result; 1: some failed; 2: bad input.
"""
ASK_ABOVE = 10_000
"""Tasks."""
_SHOWN = 24
"""Points per grid."""
_MAIN = ("top1", "ppl", "agreement", "bleu", "reconstruction", "top5")
_POINT_WIDTH, _METRIC_WIDTH = 36, 20
"""Characters that a table's first column, with the last one, and a metric take."""


@click.command(epilog=EPILOG)
@click.option_panel("What", options=["--data-dir", "--sentences", "--seeds", "--dry-run", "--yes"])
@click.option_panel("Run", options=["--workers", "--scheduler", "--task-limit", "--out", "--retry-failed", "--fresh"])
@click.argument("file", type=PLACE)
@data_dir_option()
@option("--sentences", type=Whole(2), text="Number of sentences, the first of the split.", default="the file's")
@option("--seeds", type=Whole(1, 10_000), text="Number of seeds, counted from 0.", default="the file's")
@click.option("--dry-run", is_flag=True, help="Show the grid and run nothing.")
@click.option("--yes", is_flag=True, help=f"Run more than {ASK_ABOVE:,} tasks without asking.")
@workers_option("run tasks", "one per core")
@scheduler_option("run tasks")
@click.option(
    "--task-limit", type=NUMBER, default=6.0, show_default=True, help="Hours after which a task is given up as hanging."
)
@out_option("sweep", "runs/<name>")
@click.option("--retry-failed", is_flag=True, help="Rerun failed tasks.")
@click.option("--fresh", is_flag=True, help="Delete the results in the folder and start anew.")
def command(
    file: Path,
    data_dir: Path | None,
    sentences: int | None,
    seeds: int | None,
    dry_run: bool,
    yes: bool,
    workers: int | None,
    scheduler: str | None,
    task_limit: float,
    out: Path | None,
    retry_failed: bool,
    fresh: bool,
) -> None:
    """Run the grid of settings in FILE, each point with several seeds, beside the digital model.

    Results are kept as they come. Rerun the same command to resume after an interruption, or to run the points that a
    changed FILE adds.
    """
    from hvae_mnn import api
    from hvae_mnn.sweeps.file import read_sweep, seeds_of
    from hvae_mnn.sweeps.grid import make_plan
    from hvae_mnn.sweeps.run import default_folder
    from hvae_mnn.sweeps.summary import summarise

    if not task_limit > 0:
        raise InputError(f"--task-limit is {task_limit:g}; allowed: above 0 (hours)")
    read = read_sweep(file)
    if seeds is not None:
        read = replace(read, seeds=seeds_of(seeds))
    if sentences is not None:
        read = replace(read, sentences=sentences)
    if not dry_run and not yes:
        _confirm(read)
    if dry_run and sum(map(read.count, read.all_grids)) > ASK_ABOVE:
        _show_grids(read)
        return
    plan = make_plan(read, data_dir)
    folder = out or default_folder(plan)
    if dry_run:
        _show_grids(read)
        _show_remaining(plan, folder, retry_failed, fresh)
        return
    with resumable(lambda: _kept(folder)):
        result = api.sweep(
            plan,
            out=folder,
            workers=workers,
            scheduler=scheduler,
            retry_failed=retry_failed,
            fresh=fresh,
            limit_s=task_limit * 3600,
        )
    _show(result, summarise(plan, result.finished))
    if result.failed:
        sys.exit(1)


def _kept(folder: Path) -> str:
    return f"finished results are kept in {shlex.quote(str(folder))}; rerun the same command to resume"


def _confirm(read: SweepFile) -> None:
    """Ask before very many tasks; raises `InputError` where nobody can be asked, and `click.Abort` for a no."""
    count = sum(map(read.count, read.all_grids))
    if count <= ASK_ABOVE:
        return
    grids = ", ".join(f"{grid.name} {read.count(grid):,}" for grid in read.all_grids)
    line = f"{read.path} has {count:,} tasks (points times seeds: {grids})"
    if not sys.stdin.isatty():
        raise InputError(f"{line}; above {ASK_ABOVE:,} say so with --yes, or make the grid smaller")
    click.confirm(f"{line}. Run them?", abort=True, err=True)


def _show_grids(read: SweepFile) -> None:
    headings = ("grid", "axis", "values", "points", "tasks")
    title = f"{read.name}: {len(read.seeds)} seeds, {', '.join(read.models)}"
    table = new_table(title, headings, left=headings[:3], folded=headings)
    for grid in read.all_grids:
        lines = [(" + ".join(step), _values(grid, step)) for step in grid.steps]
        if read.models_of(grid) and len(read.models) > 1:
            lines.insert(0, ("model", ", ".join(read.models)))
        for number, (axis, values) in enumerate(lines or [("", "")]):
            count = read.count(grid)
            own = ("", "", "") if number else (grid.name, f"{count // len(read.seeds):,}", f"{count:,}")
            add_row(table, own[0], axis, values, *own[1:])
    print_tables(table)


def _values(grid: Grid, step: tuple[str, ...]) -> str:
    """The first values of an axis, and its last."""
    values = [" + ".join(map(_text, together)) for together in zip(*(grid.axes[path] for path in step), strict=True)]
    return ", ".join(values if len(values) <= 8 else [*values[:4], "...", values[-1]])


def _show_remaining(plan: SweepPlan, folder: Path, retry_failed: bool, fresh: bool) -> None:
    from hvae_mnn.sweeps.run import look

    finished, damaged = ({}, []) if fresh else look(plan, folder, retry_failed=retry_failed)
    failed = sum(one.status == "failed" for one in finished.values())
    baselines = sum(task.kind != "point" for task in plan.tasks.values())
    print_lines(
        f"{len(plan.tasks):,} tasks, {baselines} of them baselines; {len(plan.rows):,} rows in the table",
        f"{folder}/: {len(finished):,} are finished{f' ({failed} failed)' if failed else ''},"
        f" {len(plan.tasks) - len(finished):,} are left",
        *(f"{path} is damaged; its task will run again" for path in damaged),
    )


def _show(result: SweepResult, points: list[PointSummary]) -> None:
    metrics = result.plan.file.metrics
    room = max(1, (Console().width - _POINT_WIDTH) // _METRIC_WIDTH)
    main = [*(name for name in _MAIN if name in metrics), *(name for name in metrics if name not in _MAIN)][:room]
    for grid in result.plan.file.all_grids:
        own = [point for point in points if point.grid == grid.name]
        _show_points(grid.name, own, main, several=len(result.plan.file.models) > 1)
    count = len(result.plan.tasks)
    lines = [f"{path} was damaged; its task was run again" for path in result.mended]
    lines.append(
        f"{count:,} tasks, {result.kept:,} of them finished before; {len(result.failed)} failed; {result.seconds:.1f} s"
    )
    for reason in list(dict.fromkeys(one.reason for one in result.failed))[:3]:
        lines.append(f"  failed: {reason}")
    if result.failed:
        lines.append("  rerun them with --retry-failed")
    lines.append(f"wrote {result.folder}/: results, timings (.parquet); sweep.json; parts/, one file per task")
    print_lines(*lines)


def _show_points(name: str, points: list[PointSummary], metrics: list[str], several: bool) -> None:
    """One grid's table; `several`: models."""
    headings = ("point", *metrics, "failed")
    title = f"{name}: mean ± standard deviation over seeds"
    table = new_table(title, headings, left=("point",), folded=("point",))
    for point in points[:_SHOWN]:
        parts = [point.model, _described(point)] if several else [_described(point) or point.model]
        figures = [_figure(point, metric) for metric in metrics]
        failed = f"{point.failed} of {point.finished}" if point.failed else ""
        style = "" if point.kind == "point" else "dim"
        add_row(table, ", ".join(filter(None, parts)), *figures, failed, style=style)
    print_tables(table)
    print_lines(*shown_first(len(points), _SHOWN, "in the table"))


def _described(point: PointSummary) -> str:
    """A point or a baseline in words, without its model."""
    if point.kind == "digital_bits":
        dac, adc = (point.settings[f"hardware.{name}.bits"] for name in ("dac", "adc"))
        return f"digital, {dac} and {adc} bits"
    if point.kind != "point":
        return point.kind
    parts = []
    for path, value in point.along.items():
        if path != "model":
            name = path.removeprefix("hardware.").removeprefix("noise.")
            parts.append(f"{name} {_text(value)}")
    return ", ".join(parts)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figure(point: PointSummary, metric: str) -> str:
    mean, deviation = point.mean(metric), point.deviation(metric)
    if mean is None:
        return "-"
    return f"{mean:.4g}" if deviation is None else f"{mean:.4g} ± {deviation:.2g}"
