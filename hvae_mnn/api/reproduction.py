"""The paper's tables of language models, made anew, and its claims, judged by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hvae_mnn.bars import Bar, watched
from hvae_mnn.errors import InputError
from hvae_mnn.folders import RUNS, refuse_other
from hvae_mnn.models.device import pick_device
from hvae_mnn.parallel.cluster import open_cluster
from hvae_mnn.plots.reproduction import save_table_figure
from hvae_mnn.reproduction import corpora_table
from hvae_mnn.reproduction.claims.catalogue import JudgedClaim, judge
from hvae_mnn.reproduction.claims.file import evidence_in, write_claims
from hvae_mnn.reproduction.corpora import CorpusCounts, count_corpora
from hvae_mnn.reproduction.figures import RowSummary
from hvae_mnn.reproduction.hardware import most_missing, run_hardware, without_stale
from hvae_mnn.reproduction.output import write_outputs
from hvae_mnn.reproduction.plan import PROFILE, TablePlan, read_plan
from hvae_mnn.reproduction.record import Record
from hvae_mnn.reproduction.run import MARK, look, refuse_foreign, run_tasks, steps_of
from hvae_mnn.reproduction.task import make_tasks
from hvae_mnn.results import Result
from hvae_mnn.sweeps.run import cores

__all__ = [
    "ClaimsResult",
    "CorporaResult",
    "ReproductionResult",
    "reproduce",
    "reproduce_claims",
    "reproduce_table1",
]
_DAY_S = 86_400.0


@dataclass(frozen=True, repr=False)
class ReproductionResult(Result):
    """A table made anew. Tables: those in `folder`; `<table>` has a row per model, `<table>-seeds` one per seed."""

    folder: Path
    """Where files and trained models are: `<corpus>/<row>/seed<k>/best.pt`."""
    plan: TablePlan
    summaries: tuple[RowSummary, ...]
    """Every row on every corpus: means and spread of both reports, and the printed figures."""
    records: tuple[Record, ...]
    """One per task."""
    kept: int
    """Tasks that were finished before this run."""
    mended: tuple[Path, ...]
    """Damaged records, whose tasks ran again."""
    paths: tuple[Path, ...]
    """Files written: Markdown, LaTeX, Parquet, figure."""

    @property
    def failed(self) -> tuple[Record, ...]:
        """Tasks without figures."""
        return tuple(record for record in self.records if record.status == "failed")

    @property
    def off_hardware(self) -> tuple[Record, ...]:
        """Tasks that could not be run on the hardware; they have all other figures."""
        return tuple(record for record in self.records if "reason" in record.hardware)

    def facts(self) -> Mapping[str, object]:
        """Table, profile, and numbers of tasks."""
        return {
            "table": self.plan.table,
            "profile": self.plan.profile,
            "folder": self.folder,
            "tasks": len(self.records),
            "kept": self.kept,
            "failed": len(self.failed),
        }


def default_folder(profile: str) -> Path:
    """Default folder of results: `runs/reproduce-<profile>`. The tables of a profile share it, and what they have in
    common is trained once."""
    return RUNS / f"reproduce-{profile}"


def reproduce(
    table: Literal["table2", "table4"],
    *,
    profile: str = PROFILE,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    rows: Sequence[str] | None = None,
    corpora: Sequence[str] | None = None,
    seeds: int | None = None,
    plan: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    scheduler: str | None = None,
    hardware: bool = True,
    retry_failed: bool = False,
    progress: bool | Callable[[int, int], None] = True,
) -> ReproductionResult:
    """Train whatever is missing of a table of the paper, evaluate it, and write the table beside the printed figures.

    `profile` is one of the plan's (`cpu`, `paper`, `demo`); the plan is `experiments/<table>.toml`, or the file `plan`.
    Corpora are folders in `data_dir`. `rows`, `corpora` and `seeds` (a number) take a part of the plan. Results go to
    `out` (default: `runs/reproduce-<profile>`), which the tables of a profile can share; what it holds is kept, and a
    half-trained row resumes. A task is a row, a corpus and a seed; tasks run in `workers` processes (default: one per
    core, one with a GPU), or on the Dask cluster whose scheduler is at the address `scheduler`; results are the same.
    `device` is `auto`, `cpu`, `cuda` or `cuda:N`. `hardware=False` leaves out the column of next words right on the
    plan's hardware. `retry_failed` runs failed tasks again. `progress` is False for
    silence, True for a bar where a person watches, or a function, called from another thread with epochs done and
    epochs in all.

    Raises `InputError` for a name that is none, a plan that is wrong or a corpus that is missing, `RunError` when `out`
    is in use or another's or the cluster is lost, `StorageError` when the disk is full; what is finished is kept then.
    """
    chosen = read_plan(
        table, None if plan is None else Path(plan), profile=profile, rows=rows, corpora=corpora, seeds=seeds
    )
    if not hardware:
        chosen = replace(chosen, hardware=None)
    folder = default_folder(profile) if out is None else Path(out)
    workers = _workers(workers, scheduler, device)
    refuse_foreign(folder, profile)
    tasks = make_tasks(chosen, None if data_dir is None else Path(data_dir))
    kept = look(tasks, folder, retry_failed=retry_failed).kept
    todo = max(len(tasks) - len(kept), most_missing(chosen, tasks, kept, retry_failed))
    if not todo:
        scheduler = None
    if workers is not None:
        workers = None if todo <= 1 or workers == 1 else min(workers, todo)  # one worker: this process
    with open_cluster(workers, scheduler) as cluster, watched(progress, _draw, speed_over_s=_DAY_S) as tell:
        records, found = run_tasks(tasks, folder, cluster, device=device, progress=tell, retry_failed=retry_failed)
        records = run_hardware(
            chosen, tasks, records, folder, cluster, progress=tell, retry_failed=retry_failed, done=steps_of(tasks)
        )
    records = without_stale(chosen, records)
    summaries, paths = write_outputs(chosen, list(records.values()), folder)
    paths += save_table_figure(summaries, f"{chosen.title}; profile {profile}", folder, table)
    return ReproductionResult(
        folder,
        chosen,
        tuple(summaries),
        tuple(records.values()),
        kept=len(found.kept),
        mended=tuple(found.damaged),
        paths=tuple(paths),
    )


def _workers(workers: int | None, scheduler: str | None, device: str) -> int | None:
    """Number of worker processes: as asked for, one for a GPU, or one for each core; None with a scheduler."""
    if workers is not None and scheduler is not None:
        raise InputError("--workers and --scheduler exclude each other; give one of them")
    if scheduler is not None:
        return None
    target = pick_device(device)  # refused here, before any worker is started
    if workers is not None:
        return workers
    return 1 if target.type == "cuda" else cores()


def _draw(bar: Bar) -> Callable[[int, int], None]:
    return lambda done, total: bar.show("epochs and evaluations", done, total)


@dataclass(frozen=True, repr=False)
class CorporaResult(Result):
    """Table 1 made anew: corpora, counted. Tables: those in `folder`, `table1` and `table1-vocabularies`."""

    folder: Path
    counts: CorpusCounts
    paths: tuple[Path, ...]
    """Files written: Markdown, LaTeX, Parquet."""

    def facts(self) -> Mapping[str, object]:
        """The folder, and the corpora that were found."""
        found = [name for name in self.counts.corpora if self.counts.is_found(name)]
        return {"folder": self.folder, "corpora": ", ".join(found)}


def reproduce_table1(data_dir: str | Path, *, out: str | Path | None = None) -> CorporaResult:
    """Count sentences, tokens and vocabularies of the corpora in `data_dir`, and write Table 1 beside the printed one.

    Files go to `out` (default: `runs/reproduce-table1`).

    Raises `TextError` for a folder that is missing or a text that cannot be read, `RunError` when `out` is for
    something else, `StorageError` when it cannot be written.
    """
    folder = RUNS / "reproduce-table1" if out is None else Path(out)
    refuse_other(folder, MARK)
    counts = count_corpora(Path(data_dir))
    return CorporaResult(folder, counts, tuple(corpora_table.write_outputs(counts, folder)))


@dataclass(frozen=True, repr=False)
class ClaimsResult(Result):
    """The paper's claims, judged. Table: `claims`."""

    folder: Path
    """Where the claims file is."""
    claims: tuple[JudgedClaim, ...]
    paths: tuple[Path, ...]
    """`claims.md` and `claims.parquet`."""

    def facts(self) -> Mapping[str, object]:
        """Number of claims by verdict."""
        verdicts = dict.fromkeys(claim.verdict for claim in self.claims)
        counts = {str(verdict): sum(claim.verdict == verdict for claim in self.claims) for verdict in verdicts}
        return {"folder": self.folder, "claims": len(self.claims), **counts}


def reproduce_claims(results: Sequence[str | Path] | None = None, *, out: str | Path | None = None) -> ClaimsResult:
    """Judge each claim of the paper about language models, by a stated rule, and write `claims.md` and a table.

    `results` are folders that `reproduce` made (default: `runs/reproduce-cpu`); the file goes to `out` (default: the
    first of them). A verdict is that it holds, does not hold, holds only in the paper's metric, or is not testable.

    Raises `InputError` for a folder without results, or with damaged ones; `RunError` when `out` is for something
    else, `StorageError` when it cannot be written.
    """
    folders = [Path(folder) for folder in results or [default_folder(PROFILE)]]
    evidence = evidence_in(folders)
    claims = judge(evidence)
    folder = folders[0] if out is None else Path(out)
    refuse_other(folder, MARK)
    return ClaimsResult(folder, tuple(claims), tuple(write_claims(claims, evidence, folder)))
