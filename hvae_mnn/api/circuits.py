"""A network in the circuit: its netlists, runs of text through them, and what proves and prices them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from torch import nn

from hvae_mnn.bars import Bar, Progress, watched
from hvae_mnn.cosim import export, simulation
from hvae_mnn.cosim.plan import Options, choose_sentences
from hvae_mnn.cosim.simulation import SimulationResult, newest_netlist, newest_run
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import Hardware
from hvae_mnn.crossbar.network import READ_S
from hvae_mnn.devices.memristor import MemristorSpec
from hvae_mnn.devices.moving import DeviceBackend
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.engines.start import start_engine
from hvae_mnn.folders import RUNS, check_writable
from hvae_mnn.models.checkpoint import Checkpoint
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.parallel.cluster import open_cluster
from hvae_mnn.plots.cost import save_cost_figures
from hvae_mnn.plots.simulation import save_simulation_figures
from hvae_mnn.plots.verify import save_verify_figures
from hvae_mnn.studies import verify as verification
from hvae_mnn.studies.cost import run as token_cost
from hvae_mnn.studies.cost.assumptions import Given
from hvae_mnn.studies.cost.result import Cost
from hvae_mnn.studies.verify import Verification

__all__ = [
    "Cost",
    "Given",
    "Hardware",
    "Manifest",
    "Options",
    "SimulationResult",
    "Verification",
    "build_netlist",
    "cost",
    "newest_netlist",
    "newest_run",
    "read_hardware",
    "read_manifest",
    "resume",
    "simulate",
    "verify",
]
_STAGES = {"loading": "loading arrays", "stepping": "encoder and decoder steps"}


def build_netlist(
    source: str | Path | Checkpoint | nn.Module,
    folder: str | Path | None = None,
    *,
    hardware: Hardware | str | Path = export.DEFAULT_HARDWARE,
    device: MemristorSpec | str | Path | None = None,
    device_backend: DeviceBackend = "static",
    read_voltage: float | None = None,
    read_s: float = READ_S,
    allow_disturb: bool = False,
    calibration: str = "max",
    input_range: float = 1.0,
    data_dir: str | Path | None = None,
    force: bool = False,
    progress: bool | Callable[[str, int], None] = True,
) -> Manifest:
    """Export a network as ngspice netlists to `folder` (default: `netlists/<name of the source>`).

    `source` is a checkpoint or its path, or a torch `nn.RNN`, `nn.LSTM` or `nn.GRU`. `hardware` and `device` are a
    description, the name of a preset, or a TOML file; `read_voltage` is the volts that the largest input becomes
    (default: the device's), `read_s` the seconds of a read. `calibration` (`max`, `p99.99`, `p99.9`, `p99`) chooses the
    converters' full scale from what validation met; a bare module has `input_range`, its largest input, instead. ADCs
    behind single tiles are calibrated with the corpus in `data_dir` (default: the built-in one).

    An older build of the same source is replaced, one of another source with `force` only. A read voltage at or above
    the device's threshold needs `allow_disturb`. `progress` is False for silence, True for a bar where a person
    watches, or a function, called with each array's name and number of cells.

    Raises `CheckpointError`, `HardwareError`, `DeviceError`, `MappingError`, `ManifestError`, `InputError` for bad
    input, `EnvironmentProblem` when `osdi` cannot run here, `StorageError` when the folder cannot be written.
    """
    with watched(progress, _count_arrays) as tell:
        return export.build_netlist(
            source,
            folder,
            hardware=hardware,
            device=device,
            device_backend=device_backend,
            read_voltage=read_voltage,
            read_s=read_s,
            allow_disturb=allow_disturb,
            calibration=calibration,
            input_range=input_range,
            data_dir=data_dir,
            force=force,
            progress=tell,
        )


def _count_arrays(bar: Bar) -> Callable[[str, int], None]:
    written: list[str] = []

    def tell(array: str, _cells: int) -> None:
        written.append(array)
        bar.show("writing arrays", len(written), None)

    return tell


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
    progress: bool | Progress = True,
) -> SimulationResult:
    """Run sentences through a netlist folder (default: the newest in `netlists/`) beside the digital model.

    The sentences are `text`, or come from a split of the corpus in `data_dir` (default: the built-in one), in order,
    until `sentences` are there or `steps` time steps are used up (with neither: 40 steps). A time step is one pass
    through each layer. Tables, summary and figures go to `out` (default: a new folder in `runs/`). Arrays are solved by
    this process, by `workers` processes, or by the Dask cluster whose scheduler is at the address `scheduler`; the
    result is the same. `progress` is False for silence, True for a bar where a person watches, or a function, called
    with `loading` (arrays) or `stepping` (steps of encoder and decoder), how many are done, and how many there are.

    Raises `ManifestError`, `CheckpointError`, `TextError`, `InputError`, `RunError` for bad input, `EnvironmentProblem`
    without ngspice, and `SimulatorError` when ngspice fails twice; what was finished until then is kept for `resume`.
    """
    manifest = open_manifest(netlist)
    checkpoint = simulation.checkpoint_of(manifest)
    origin, chosen = choose_sentences(
        checkpoint, text=text, data_dir=as_path(data_dir), split=split, sentences=sentences, steps=steps
    )
    options = options or Options()
    check_writable(RUNS if out is None else Path(out))
    # The engine first: a machine without a usable ngspice leaves no half-begun run behind.
    with (
        watched(progress, _stages) as tell,
        running_engine(options.engine, manifest, tell, workers, scheduler) as engine,
        simulation.start(manifest, origin, chosen, options, as_path(out)) as (run, plan),
    ):
        return simulation.execute(run, plan, manifest, checkpoint, engine, tell, save_simulation_figures)


def resume(
    folder: str | Path | None = None,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool | Progress = True,
) -> SimulationResult:
    """Resume the interrupted run in `folder` (default: the newest unfinished one in `runs/`).

    The result is the one of an uninterrupted run, bit for bit on one machine. `workers`, `scheduler` and `progress` are
    those of `simulate`.

    Raises what `simulate` raises, and `RunError` when the run is finished or its netlists were built anew meanwhile.
    """
    run = Path(folder) if folder is not None else newest_run()
    with simulation.reopen(run) as (plan, manifest), watched(progress, _stages) as tell:
        checkpoint = simulation.checkpoint_of(manifest)
        with running_engine(plan.options.engine, manifest, tell, workers, scheduler) as engine:
            return simulation.execute(run, plan, manifest, checkpoint, engine, tell, save_simulation_figures)


def _stages(bar: Bar) -> Progress:
    return lambda what, done, total: bar.show(_STAGES.get(what, what), done, total)


def as_path(path: str | Path | None) -> Path | None:
    """The same as a `Path`; None stays None."""
    return None if path is None else Path(path)


def open_manifest(netlist: str | Path | Manifest | None) -> Manifest:
    """The manifest of a folder (None: the newest build), read anew whatever was known of it."""
    folder = netlist.folder if isinstance(netlist, Manifest) else netlist
    return read_manifest(Path(folder) if folder is not None else newest_netlist())


@contextmanager
def running_engine(
    name: str, manifest: Manifest, progress: Progress | None, workers: int | None, scheduler: str | None
) -> Iterator[Engine]:
    """The engine `name` with the arrays of a build loaded, solved where `simulate` says; closed at the end."""
    with (
        open_cluster(workers, scheduler) as cluster,
        closing(start_engine(name, manifest, progress, cluster)) as engine,
    ):
        yield engine


def verify(
    netlist: str | Path | Manifest | None = None,
    *,
    tiles: int | None = 8,
    steps: int = verification.STEPS,
    seed: int = 0,
    tolerance: float = verification.TOLERANCE,
    text: str | None = None,
    data_dir: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    out: str | Path | None = None,
    progress: bool | Progress = True,
) -> Verification:
    """Prove that the exact engine is right for a netlist folder (default: the newest in `netlists/`), with figures.

    `tiles` tiles (None: all), chosen with `seed`, are read in `steps` time steps each by the exact engine, by ngspice
    and by sparse nodal analysis. The steps are those of `text`, or of the test split of the corpus in `data_dir`
    (default: the built-in one); a build without a text model is read with random voltages. `tolerance` is the allowed
    difference, in parts of a tile's full scale. Tables go to `out` (default: a new folder in `runs/`). `workers`,
    `scheduler` and `progress` are those of `simulate`; a function is called with `tiles`, done, total.

    Raises `InputError` for devices that move and for bad numbers, `ManifestError`, `RunError` when `out` is taken,
    `EnvironmentProblem` without ngspice, `SimulatorError` when it fails.
    """
    manifest = open_manifest(netlist)
    with open_cluster(workers, scheduler) as cluster, watched(progress, lambda bar: bar.show) as tell:
        result = verification.verify(
            manifest,
            tiles=tiles,
            steps=steps,
            seed=seed,
            tolerance=tolerance,
            text=text,
            data_dir=as_path(data_dir),
            out=as_path(out),
            cluster=cluster,
            progress=tell,
        )
    shown = f"{result.shown[0]}, tile {result.shown[1]}: potentials in ngspice, one read"
    save_verify_figures(result.folder, result.tolerance, shown)
    return result


def cost(
    netlist: str | Path | Manifest | None = None,
    *,
    given: Given | None = None,
    steps: int = token_cost.STEPS,
    tiles: int = token_cost.TILES,
    seed: int = 0,
    text: str | None = None,
    data_dir: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    out: str | Path | None = None,
    progress: bool | Progress = True,
) -> Cost:
    """Find what a token costs on a netlist folder (default: the newest in `netlists/`), with figures: joules, seconds,
    square metres.

    Energies are means over the first `steps` time steps of the test split of the corpus in `data_dir` (default: the
    built-in one), or over `text`. Power is in closed form for every tile; ngspice checks `tiles` tiles, chosen with
    `seed`. `given` replaces assumptions. Tables go to `out` (default: a new folder in `runs/`). `workers`, `scheduler`
    and `progress` are those of `simulate`; a function is called with a stage's name, done, total.

    Raises `InputError` for moving or nonlinear memristors, amplifiers that clip and bad numbers, `ManifestError`,
    `RunError` when `out` is taken, `EnvironmentProblem` without ngspice, `SimulatorError` when it fails.
    """
    manifest = open_manifest(netlist)
    with open_cluster(workers, scheduler) as cluster, watched(progress, lambda bar: bar.show) as tell:
        result = token_cost.cost(
            manifest,
            given=given,
            steps=steps,
            tiles=tiles,
            seed=seed,
            text=text,
            data_dir=as_path(data_dir),
            out=as_path(out),
            cluster=cluster,
            progress=tell,
        )
    save_cost_figures(result.folder)
    return result
