"""Grids of settings over seeds, and the proof of one of their points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hvae_mnn.bars import Bar, watched
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities, Programming
from hvae_mnn.parallel.cluster import open_cluster
from hvae_mnn.sweeps import verify as point_verification
from hvae_mnn.sweeps.file import SweepFile, read_sweep
from hvae_mnn.sweeps.grid import SweepPlan, make_plan
from hvae_mnn.sweeps.run import TASK_LIMIT_S, SweepResult, cores, default_folder, refuse_foreign, remaining, run_sweep
from hvae_mnn.sweeps.table import find_task
from hvae_mnn.sweeps.verify import PointVerification

__all__ = ["Nonidealities", "PointVerification", "Programming", "SweepResult", "sweep", "verify_point"]
_DAY_S = 86_400.0


def sweep(
    file: str | Path | SweepFile | SweepPlan,
    *,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    retry_failed: bool = False,
    fresh: bool = False,
    limit_s: float = TASK_LIMIT_S,
    progress: bool | Callable[[int, int], None] = True,
) -> SweepResult:
    """Run the grid of settings in a TOML file (docs/sweep.md), each point with several seeds, beside the digital model.

    Text comes from the corpus in `data_dir` (default: the built-in one), results go to `out` (default: `runs/<name>`).
    Tasks run in `workers` processes (default: one per core), or on the Dask cluster whose scheduler is at the address
    `scheduler`; the results are the same. What `out` already has is kept: the same call resumes. `retry_failed` runs
    failed tasks again, `fresh` all; `limit_s` is the seconds after which a task counts as hanging. `progress` is False
    for silence, True for a bar where a person watches, or a function, called with tasks done and tasks in all.

    Raises `InputError` with every problem of the file, `RunError` when `out` is another's or the cluster is lost,
    `StorageError` when the disk is full; finished results are kept then.
    """
    plan = file
    if not isinstance(plan, SweepPlan):
        read = plan if isinstance(plan, SweepFile) else read_sweep(Path(plan))
        plan = make_plan(read, None if data_dir is None else Path(data_dir))
    folder = default_folder(plan) if out is None else Path(out)
    if workers is None and scheduler is None:
        workers = cores()
    refuse_foreign(folder)  # before any worker is started
    if not fresh and not remaining(plan, folder, retry_failed=retry_failed):
        workers, scheduler = None, None
    with (
        open_cluster(workers, scheduler) as cluster,
        watched(progress, _counting("tasks"), speed_over_s=_DAY_S) as tell,
    ):
        return run_sweep(plan, folder, cluster, progress=tell, retry_failed=retry_failed, fresh=fresh, limit_s=limit_s)


def verify_point(
    sweep: str | Path,
    key: str,
    *,
    steps: int = 2,
    arrays: int | None = None,
    tolerance: float = point_verification.TOLERANCE,
    workers: int | None = None,
    scheduler: str | None = None,
    out: str | Path | None = None,
    progress: bool | Callable[[int, int], None] = True,
) -> PointVerification:
    """Prove a finished point of a sweep's folder: the task whose key begins with `key`.

    The point's draw is written as netlists to `out` (default: a new folder in `runs/`); ngspice reads `arrays` of its
    arrays (None: all), chosen with the task's seed, in `steps` time steps, where the sweep's engine read them.
    `tolerance` is the allowed difference of a pre-activation, in parts of full scale. `workers`, `scheduler` and
    `progress` are those of `sweep`; a function is called with arrays done and arrays in all.

    Raises `InputError` for a key that is none, a task without a circuit and bad numbers, `RunError` when `out` is
    taken, `EnvironmentProblem` without ngspice, `SimulatorError` when it fails.
    """
    task = find_task(Path(sweep), key).task
    with open_cluster(workers, scheduler) as cluster, watched(progress, _counting("arrays")) as tell:
        return point_verification.verify_point(
            task,
            steps=steps,
            arrays=arrays,
            tolerance=tolerance,
            out=None if out is None else Path(out),
            cluster=cluster,
            progress=tell,
        )


def _counting(what: str) -> Callable[[Bar], Callable[[int, int], None]]:
    return lambda bar: lambda done, total: bar.show(what, done, total)
