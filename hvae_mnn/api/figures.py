"""Figures of what lies on disk: a tile of a build, a run's converters, a sweep's accuracy."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvae_mnn.api.circuits import as_path, open_manifest
from hvae_mnn.cosim.simulation import newest_finished
from hvae_mnn.folders import new_run, refuse_other
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.plots.converters import save_converters_figure
from hvae_mnn.plots.crossbar import save_crossbar_figure
from hvae_mnn.plots.sweeps.accuracy import save_accuracy_figures
from hvae_mnn.results import Result
from hvae_mnn.studies.inspection import inspect_tile, write_inspection
from hvae_mnn.sweeps.bands import BandKind
from hvae_mnn.sweeps.curves import chosen_metrics, relative_to_digital
from hvae_mnn.sweeps.gather import all_curves
from hvae_mnn.sweeps.results import newest_sweep, read_sweeps
from hvae_mnn.sweeps.run import SWEEP

__all__ = ["AccuracyPlots", "Plot", "TilePlot", "plot_accuracy", "plot_converters", "plot_crossbar"]


@dataclass(frozen=True, repr=False)
class Plot(Result):
    """Figures in a folder; a notebook shows them. Tables: those of the folder."""

    folder: Path
    files: tuple[Path, ...]
    """Figures (PNG, SVG), and for accuracy the numbers behind them (Parquet, JSON)."""

    def facts(self) -> Mapping[str, object]:
        """Folder, and names of the files."""
        return {"folder": self.folder, "files": ", ".join(path.name for path in self.files)}

    def _more_html(self) -> str:
        images = [base64.b64encode(path.read_bytes()).decode() for path in self.files if path.suffix == ".png"]
        shown = "".join(f"<img style='max-width:100%' src='data:image/png;base64,{image}'>" for image in images)
        return super()._more_html() + shown


@dataclass(frozen=True, repr=False)
class TilePlot(Plot):
    """One tile of a build, read once. Tables: `crossings` and `column_errors`."""

    array: str
    tile: str
    """Row block and column block."""
    worst_error: float
    """Largest error of a column's current, as a part of the largest ideal current."""

    def facts(self) -> Mapping[str, object]:
        """Which tile, and its largest error."""
        return {"array": self.array, "tile": self.tile, "worst_error": self.worst_error, **super().facts()}


@dataclass(frozen=True)
class GridPlot:
    """The figures of one grid of one or several sweeps."""

    name: str
    runs: int
    """Tasks behind the figures."""
    failed: int
    """How many of them failed and are left out."""
    files: tuple[Path, ...]


@dataclass(frozen=True, repr=False)
class AccuracyPlots(Plot):
    """Accuracy of sweeps against what is not ideal, a figure per grid."""

    grids: tuple[GridPlot, ...]
    unfinished: tuple[Path, ...]
    """Sweeps that have not come to their end; what is there is drawn."""

    def facts(self) -> Mapping[str, object]:
        """Grids, runs and folder."""
        runs, failed = (sum(getattr(grid, name) for grid in self.grids) for name in ("runs", "failed"))
        names = ", ".join(grid.name for grid in self.grids)
        return {"grids": names, "runs": runs, "failed": failed, **super().facts()}


def plot_crossbar(
    netlist: str | Path | Manifest | None = None,
    *,
    array: str | None = None,
    tile: str = "0,0",
    seed: int | None = None,
    out: str | Path | None = None,
) -> TilePlot:
    """Draw one tile of a netlist folder (default: the newest build): conductances, potentials, column errors.

    `array` is `<layer>_<gate unit>` (default: the first), `tile` its row block and column block. The tile is read with
    the build's test vector, or with random voltages of `seed`. Figure and tables go to `out` (default: a new folder in
    `runs/`).

    Raises `ManifestError`, `InputError` for an array or a tile that is not there, `RunError` when `out` is taken.
    """
    manifest = open_manifest(netlist)
    inspection = inspect_tile(manifest, array, tile, seed)
    with new_run(as_path(out), f"crossbar-{manifest.name}") as folder:
        write_inspection(inspection, folder)
        files = save_crossbar_figure(inspection, folder)
    worst = float(abs(inspection.error).max())
    return TilePlot(folder, tuple(files), inspection.array, inspection.tile.name, worst)


def plot_converters(run: str | Path | None = None) -> Plot:
    """Draw what the ADCs and DACs of a run's folder (default: the newest finished one) saw, and what they clipped.

    Raises `RunError`, `InputError` for a folder without a finished run, `TableError` for damaged tables.
    """
    folder = Path(run) if run is not None else newest_finished()
    return Plot(folder, tuple(save_converters_figure(folder)))


def plot_accuracy(
    *sweeps: str | Path,
    grid: str | None = None,
    metrics: Sequence[str] = (),
    relative: bool = False,
    band: BandKind = "expanded",
    out: str | Path | None = None,
) -> AccuracyPlots:
    """Draw every grid of sweeps' folders (default: the newest finished one): metrics along its axis, with 95 % bands
    over seeds and with baselines, and a map where two axes have numbers. Several sweeps are drawn over each other.

    `grid` chooses one grid (default: all), `metrics` the panels (default: `top1` and `ppl`), `relative` divides metrics
    by the digital model's. `band` is `expanded` (bootstrap percentiles, widened for few seeds), `percentile` (not
    widened) or `student`. Files go to `out` (default: the sweep's folder; of several sweeps, a new one in `runs/`).

    Raises `InputError` for folders, grids and metrics that are none, `TableError` for damaged tables, `RunError` when
    `out` is for something else.
    """
    folders = [Path(sweep) for sweep in sweeps] or [newest_sweep()]
    read = read_sweeps(folders)
    chosen = []
    for curves in all_curves(read, grid):
        names = chosen_metrics(curves, tuple(metrics))
        chosen.append((relative_to_digital(curves, names) if relative else curves, names))
    with contextlib.ExitStack() as stack:
        folder = folders[0] if out is None else Path(out)
        if out is None and len(folders) > 1:
            folder = stack.enter_context(new_run(None, "accuracy-vs-noise"))
        refuse_other(folder, SWEEP)
        grids = []
        for curves, names in chosen:
            files = save_accuracy_figures(curves, names, folder, chosen=bool(metrics), kind=band)
            grids.append(GridPlot(curves.name, curves.runs, curves.failed, tuple(files)))
    every = tuple(path for one in grids for path in one.files)
    return AccuracyPlots(folder, every, tuple(grids), tuple(one.folder for one in read if not one.finished))
