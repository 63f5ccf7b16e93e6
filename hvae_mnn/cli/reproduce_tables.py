"""`hvae-mnn reproduce table2` and `table4`: trained, evaluated, and laid out as the paper does."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import rich_click as click

from hvae_mnn.cli.options import (
    FOLDER,
    PLACE,
    WORD,
    Whole,
    option,
    out_option,
    scheduler_option,
    torch_device_option,
    workers_option,
)
from hvae_mnn.cli.show import add_row, new_table, print_lines, print_tables
from hvae_mnn.cli.signals import resumable
from hvae_mnn.errors import InputError

if TYPE_CHECKING:
    from hvae_mnn.api.reproduction import ReproductionResult
    from hvae_mnn.reproduction.record import Record

_Command = TypeVar("_Command", bound=Callable[..., Any])
_EPILOG = """
Examples:

    hvae-mnn reproduce {table} --profile demo

    hvae-mnn reproduce {table} --data-dir corpora

    hvae-mnn reproduce {table} --data-dir corpora --rows {rows} --seeds 1

    hvae-mnn reproduce {table} --profile paper --data-dir corpora --device cuda

    hvae-mnn reproduce {table} --data-dir /shared/corpora --out /shared/tables --scheduler tcp://10.0.0.1:8786

Rerun the same command to resume after an interruption: finished rows are kept, a half-trained one resumes.

Exit code 0: all rows have figures; 1: some failed; 2: bad input.
"""


def _options(command: _Command) -> _Command:
    """The options of a table's command."""
    for decorate in reversed(
        (
            click.option_panel(
                "What", options=["--profile", "--data-dir", "--rows", "--corpora", "--seeds", "--plan", "--no-hardware"]
            ),
            click.option_panel("Run", options=["--out", "--device", "--workers", "--scheduler", "--retry-failed"]),
            click.option(
                "--profile",
                type=WORD,
                default="cpu",
                show_default=True,
                help="Sizes, lengths and corpora: cpu, for two cores; paper, the published sizes; demo, without data.",
            ),
            click.option("--data-dir", type=FOLDER, help="Folder that holds the corpora, each a folder of its own."),
            option("--rows", type=WORD, metavar="ROW,ROW", text="Rows to make.", default="the plan's"),
            option("--corpora", type=WORD, metavar="NAME,NAME", text="Corpora to use.", default="the profile's"),
            option("--seeds", type=Whole(1, 10_000), text="Number of seeds, counted from 0.", default="the plan's"),
            option("--plan", type=PLACE, text="TOML file with other rows and profiles.", default="the table's own"),
            out_option("tables and trained models", "runs/reproduce-<profile>, which tables can share"),
            torch_device_option(),
            workers_option("train rows", "one per core; 1 on a GPU"),
            scheduler_option("train rows"),
            click.option(
                "--no-hardware", is_flag=True, help="Leave out the column of words right on the plan's hardware."
            ),
            click.option("--retry-failed", is_flag=True, help="Rerun failed rows."),
        )
    ):
        command = decorate(command)
    return command


@click.command(epilog=_EPILOG.format(table="table2", rows="lm,bn-vae,hsr-lstm-lstm"))
@_options
def table2(**options: Any) -> None:
    """Make Table 2 anew: HSR-VAE, TWR-VAE, six other baselines and controls, on PTB and Yahoo.

    Whatever is missing in --out is trained and evaluated. Figures of the paper's formulas (report paper) and bounds
    (report proper) stand in separate tables, each beside the printed figures of its own kind.
    """
    _make("table2", **options)


@click.command(epilog=_EPILOG.format(table="table4", rows="twr-lstm,hsr-lstm-lstm"))
@_options
def table4(**options: Any) -> None:
    """Make Table 4 anew: the cells of TWR-VAE and the nine pairs of HSR-VAE, on Yelp and Yahoo.

    Whatever is missing in --out is trained and evaluated. Figures of the paper's formulas (report paper) and bounds
    (report proper) stand in separate tables, each beside the printed figures of its own kind.
    """
    _make("table4", **options)


def _make(
    table: Literal["table2", "table4"],
    rows: str | None,
    corpora: str | None,
    out: Path | None,
    no_hardware: bool,
    **options: Any,
) -> None:
    from hvae_mnn import api
    from hvae_mnn.api.reproduction import default_folder

    folder = out or default_folder(options["profile"])
    with resumable(lambda: f"what is finished is kept in {shlex.quote(str(folder))}; rerun the same command to resume"):
        result = api.reproduce(
            table,
            rows=_names("--rows", rows),
            corpora=_names("--corpora", corpora),
            out=folder,
            hardware=not no_hardware,
            **options,
        )
    _show(result)
    if result.failed or result.off_hardware:
        sys.exit(1)


def _names(label: str, given: str | None) -> list[str] | None:
    """Names of a comma-separated list. Raises `InputError` for a list without names."""
    if given is None:
        return None
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise InputError(f"{label} is {given!r}; allowed: names separated by commas")
    return list(dict.fromkeys(names))


def _named(record: Record) -> str:
    return f"{record.row} on {record.corpus}, seed {record.task['seed']}"


def _show(result: ReproductionResult) -> None:
    from hvae_mnn.reproduction.layout import about_hardware, blocks_of

    for block in blocks_of(result.summaries, is_compact=True):
        table = new_table(block.title.replace("`", ""), block.headings, left=("model",), folded=("model",), plain=True)
        for cells in block.rows:
            add_row(table, *cells)
        print_tables(table)
    lines = [f"{path} was damaged; its task was run again" for path in result.mended]
    count, failed = len(result.records), result.failed
    lines.append("means over seeds, test split, nats per sentence but for PPL; in brackets: printed figures")
    lines += about_hardware(result.plan, result.summaries)
    lines.append(f"{count:,} tasks, {result.kept:,} of them finished before; {len(failed)} failed")
    lines += [f"  failed: {_named(one)}: {one.reason}" for one in failed[:5]]
    lines += [f"  failed on hardware: {_named(one)}: {one.hardware['reason']}" for one in result.off_hardware[:5]]
    if failed or result.off_hardware:
        lines.append("  rerun them with --retry-failed")
    lines.append(f"wrote {', '.join(map(str, result.paths))}")
    print_lines(*lines)
