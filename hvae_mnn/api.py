"""What the commands do, as functions: typed results, no printing. Imported by `hvae_mnn` when first used."""

from __future__ import annotations

from pathlib import Path

from hvae_mnn.cosim import simulation
from hvae_mnn.cosim.export import build_netlist
from hvae_mnn.cosim.plan import Options
from hvae_mnn.cosim.simulation import Progress, SimulationResult, newest_run
from hvae_mnn.netlist.manifest import Manifest, read_manifest
from hvae_mnn.plots.simulation import save_simulation_figures
from hvae_mnn.vae.checkpoint import Checkpoint, load_checkpoint


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
    progress: Progress | None = None,
) -> SimulationResult:
    """`hvae_mnn.cosim.simulation.simulate`, and the run's figures; a manifest stands for its folder."""
    result = simulation.simulate(
        netlist.folder if isinstance(netlist, Manifest) else netlist,
        text=text,
        data_dir=data_dir,
        split=split,
        sentences=sentences,
        steps=steps,
        options=options,
        out=out,
        progress=progress,
    )
    save_simulation_figures(result.folder)
    return result


def resume(folder: str | Path | None = None, progress: Progress | None = None) -> SimulationResult:
    """Go on with the interrupted run in `folder` (default: the newest unfinished one in `runs/`), and draw its
    figures."""
    result = simulation.resume(folder if folder is not None else newest_run(), progress)
    save_simulation_figures(result.folder)
    return result


__all__ = [
    "Checkpoint",
    "Manifest",
    "Options",
    "SimulationResult",
    "build_netlist",
    "load_checkpoint",
    "newest_run",
    "read_manifest",
    "resume",
    "simulate",
]
