"""What the commands do, as functions: typed results, no printing. Imported by `hvae_mnn` when first used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hvae_mnn.cosim import simulation
from hvae_mnn.cosim.export import build_netlist, default_name
from hvae_mnn.cosim.plan import Options, choose_sentences
from hvae_mnn.cosim.simulation import Progress, SimulationResult, newest_netlist, newest_run
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.devices.presets import find_device
from hvae_mnn.devices.programming import WriteVerify
from hvae_mnn.devices.spread import Spread
from hvae_mnn.engines import start as engine_start
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.files import read_sealed
from hvae_mnn.finetune import run as finetuning
from hvae_mnn.finetune.config import FinetuneConfig
from hvae_mnn.folders import RUNS, check_place
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.parallel.cluster import open_cluster
from hvae_mnn.plots.cost import save_cost_figures
from hvae_mnn.plots.finetune import save_finetune_figure
from hvae_mnn.plots.iv import save_iv_figures
from hvae_mnn.plots.programming import save_programming_figures
from hvae_mnn.plots.simulation import save_simulation_figures
from hvae_mnn.plots.verify import save_verify_figures
from hvae_mnn.reading import absolute
from hvae_mnn.studies import verify as verification
from hvae_mnn.studies.cost import run as token_cost
from hvae_mnn.studies.cost.result import Cost
from hvae_mnn.studies.iv import run as characterise
from hvae_mnn.studies.iv.run import Drive, IvResult
from hvae_mnn.studies.programming import run as programming
from hvae_mnn.studies.programming.run import ProgrammingResult, Wired
from hvae_mnn.studies.verify import Verification
from hvae_mnn.sweeps import verify as point_verification
from hvae_mnn.sweeps.file import SweepFile, read_sweep
from hvae_mnn.sweeps.grid import SweepPlan, make_plan
from hvae_mnn.sweeps.run import SweepResult, cores, default_folder, refuse_foreign, remaining, run_sweep
from hvae_mnn.sweeps.table import find_task
from hvae_mnn.sweeps.verify import PointVerification
from hvae_mnn.text.sources import load_corpus
from hvae_mnn.training.state import METRICS


def simulate(
    netlist: str | Path | Manifest | None = None,
    *,
    text: str | None = None,
    data_dir: str | Path | None = None,
    split: str = "test",
    sentences: int | None = None,
    steps: int | None = None,
    options: Options | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> SimulationResult:
    """Run sentences through a netlist folder (default: the newest in `netlists/`) beside the digital model.

    The sentences are `text`, or come from a split of the corpus in `data_dir` (default: the built-in one), in order,
    until `sentences` are there or `steps` time steps are used up (with neither: 40 steps). A time step is one pass
    through each of the three layers. Tables, summary and figures go to `out` (default: a new folder in `runs/`).
    Arrays are solved by this process, by `workers` processes, or by the Dask cluster whose scheduler is at the address
    `scheduler`; the result is the same.

    Raises `ManifestError`, `CheckpointError`, `TextError`, `InputError`, `RunError` for bad input, `EnvironmentProblem`
    without ngspice, and `SimulatorError` when ngspice fails twice; what was done until then `resume` goes on with.
    """
    manifest = _manifest(netlist)
    checkpoint = simulation.checkpoint_of(manifest)
    origin, chosen = choose_sentences(
        checkpoint,
        text=text,
        data_dir=None if data_dir is None else Path(data_dir),
        split=split,
        sentences=sentences,
        steps=steps,
    )
    options = options or Options()
    check_place(RUNS if out is None else Path(out))
    # The engine first: a machine without a usable ngspice leaves no half-begun run behind.
    with (
        _engine(options.engine, manifest, progress, workers, scheduler) as engine,
        simulation.start(manifest, origin, chosen, options, None if out is None else Path(out)) as (run, plan),
    ):
        return simulation.execute(run, plan, manifest, checkpoint, engine, progress, save_simulation_figures)


def _manifest(netlist: str | Path | Manifest | None) -> Manifest:
    """Of a folder that is read again, whatever was known of it; None: the newest."""
    folder = netlist.folder if isinstance(netlist, Manifest) else netlist
    return read_manifest(Path(folder) if folder is not None else newest_netlist())


@contextmanager
def _engine(
    name: str, manifest: Manifest, progress: Progress | None, workers: int | None, scheduler: str | None
) -> Iterator[Engine]:
    with (
        open_cluster(workers, scheduler) as cluster,
        closing(engine_start.start_engine(name, manifest, progress, cluster)) as engine,
    ):
        yield engine


def resume(
    folder: str | Path | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> SimulationResult:
    """Go on with the interrupted run in `folder` (default: the newest unfinished one in `runs/`).

    The result is the one of an uninterrupted run, bit for bit on one machine. Raises what `simulate` raises, and
    `RunError` when the run is finished or its netlists were built anew meanwhile.
    """
    run = Path(folder) if folder is not None else newest_run()
    with simulation.reopen(run) as (plan, manifest):
        checkpoint = simulation.checkpoint_of(manifest)
        with _engine(plan.options.engine, manifest, progress, workers, scheduler) as engine:
            return simulation.execute(run, plan, manifest, checkpoint, engine, progress, save_simulation_figures)


def verify(
    netlist: str | Path | Manifest | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> Verification:
    """`cosim.verify.verify` of a netlist folder (default: the newest in `netlists/`), with its figures."""
    manifest = _manifest(netlist)
    with open_cluster(workers, scheduler) as cluster:
        found = verification.verify(
            manifest,
            cluster=cluster,
            data_dir=None if data_dir is None else Path(data_dir),
            out=None if out is None else Path(out),
            **options,
        )
    shown = f"{found.shown[0]}, tile {found.shown[1]}: potentials in ngspice, one read"
    save_verify_figures(found.folder, found.tolerance, shown)
    return found


def cost(
    netlist: str | Path | Manifest | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> Cost:
    """`cosim.cost.cost` of a netlist folder (default: the newest in `netlists/`), with its figures."""
    manifest = _manifest(netlist)
    with open_cluster(workers, scheduler) as cluster:
        found = token_cost.cost(
            manifest,
            cluster=cluster,
            data_dir=None if data_dir is None else Path(data_dir),
            out=None if out is None else Path(out),
            **options,
        )
    save_cost_figures(found.folder)
    return found


def verify_point(
    sweep: str | Path,
    key: str,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> PointVerification:
    """`experiments.verify_point.verify_point` of the finished task of a sweep's folder whose key begins with `key`."""
    task = find_task(Path(sweep), key).task
    with open_cluster(workers, scheduler) as cluster:
        return point_verification.verify_point(task, cluster=cluster, out=None if out is None else Path(out), **options)


def sweep(
    file: str | Path | SweepFile | SweepPlan,
    *,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    **options: Any,
) -> SweepResult:
    """`experiments.sweep.run_sweep` of a TOML file (docs/sweep.md), in `out` (default: `runs/<name>`), on text of the
    corpus in `data_dir` (default: the built-in one).

    Tasks run in `workers` processes (default: one per core), or on the Dask cluster whose scheduler is at the address
    `scheduler`; the results are the same. Called again, it goes on.
    """
    plan = file
    if not isinstance(plan, SweepPlan):
        read = plan if isinstance(plan, SweepFile) else read_sweep(Path(plan))
        plan = make_plan(read, None if data_dir is None else Path(data_dir))
    folder = default_folder(plan) if out is None else Path(out)
    if workers is None and scheduler is None:
        workers = cores()
    refuse_foreign(folder)  # before any worker is started
    if not options.get("fresh") and not remaining(plan, folder, retry_failed=options.get("retry_failed", False)):
        workers, scheduler = None, None
    with open_cluster(workers, scheduler) as cluster:
        return run_sweep(plan, folder, cluster, **options)


def finetune(
    checkpoint: str | Path,
    *,
    data_dir: str | Path | None = None,
    hardware: str | Path | Hardware = "paper",
    noise: Nonidealities | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[int, int, float], None] | None = None,
    **settings: Any,
) -> Path:
    """`cosim.finetune.finetune` on the corpus in `data_dir` (default: the built-in one), with its figure; the path of
    the best checkpoint.

    `hardware` is a preset's name, a TOML file or a description; `settings` are the fields of `FinetuneConfig`; `out`
    is by default the checkpoint's folder with `-finetuned` behind its name.
    """
    config = FinetuneConfig(**settings)
    path = absolute(Path(checkpoint))
    base = load_checkpoint(Path(checkpoint))
    beside = path.parent if path.stem != "best" else path.parent.parent
    folder = beside / f"{default_name(path)}-finetuned" if out is None else Path(out)
    described = hardware if isinstance(hardware, Hardware) else read_hardware(str(hardware))
    corpus = load_corpus(None if data_dir is None else Path(data_dir), base.tokenizer, splits=("train", "valid"))
    found = finetuning.finetune(
        base, corpus, described, noise or Nonidealities(), config, folder, resume=resume, progress=progress
    )
    stored = read_sealed(folder / METRICS, "history of finetuning")
    save_finetune_figure(stored["history"], stored["best"], folder)
    return found


iv = partial(characterise.iv, draw=save_iv_figures)
"""`cosim.characterise.iv`, with its figures."""
program = partial(programming.program, draw=save_programming_figures)
"""`cosim.programming.program`, with its figures."""

__all__ = [
    "Checkpoint",
    "Cost",
    "Drive",
    "Hardware",
    "IvResult",
    "Manifest",
    "Nonidealities",
    "Options",
    "PointVerification",
    "ProgrammingResult",
    "SimulationResult",
    "Spread",
    "SweepResult",
    "Verification",
    "Wired",
    "WriteVerify",
    "build_netlist",
    "cost",
    "find_device",
    "finetune",
    "iv",
    "load_checkpoint",
    "newest_run",
    "program",
    "read_hardware",
    "read_manifest",
    "resume",
    "simulate",
    "sweep",
    "verify",
    "verify_point",
]
