"""The readers that the campaign tries: which files each reads, and what it makes of them."""

from __future__ import annotations

import functools
import hashlib
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from matplotlib.figure import Figure
from torch import nn

from hvae_mnn.cosim import simulation
from hvae_mnn.cosim.journal import JournalEngine
from hvae_mnn.cosim.plan import RunPlan
from hvae_mnn.crossbar.hardware.file import hardware_to_dict, read_hardware
from hvae_mnn.crossbar.nonidealities.file import read_nonidealities
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.devices.presets import read_preset
from hvae_mnn.engines import start
from hvae_mnn.engines.exact import ExactEngine
from hvae_mnn.engines.transfer_cache import TransferCache
from hvae_mnn.evaluation.answers import Answers
from hvae_mnn.files import read_sealed
from hvae_mnn.finetuning import run as finetuning
from hvae_mnn.finetuning.config import FinetuneConfig
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.rows import configure_row
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.plots import converters, cost, ir_drop, iv, programming, verify
from hvae_mnn.plots import simulation as simulated
from hvae_mnn.plots.sweeps import accuracy
from hvae_mnn.plots.training import training_figure
from hvae_mnn.reproduction.claims.catalogue import judge
from hvae_mnn.reproduction.claims.file import evidence_in
from hvae_mnn.reproduction.plan import read_plan
from hvae_mnn.reproduction.record import read_records
from hvae_mnn.spice import osdi
from hvae_mnn.studies.programming.targets import find_targets
from hvae_mnn.sweeps.curves import chosen_metrics
from hvae_mnn.sweeps.file import read_sweep
from hvae_mnn.sweeps.gather import all_curves
from hvae_mnn.sweeps.results import read_results
from hvae_mnn.sweeps.table import read_parts
from hvae_mnn.tables import read_table
from hvae_mnn.text.sources import read_corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training import history as training_history
from hvae_mnn.training import run as training
from tests.campaigns import fuzz_seals as seals

Found = dict[str, Any]
"""What a reader made of its files, by name; what is not there, or was found damaged and left out, has no name."""


@dataclass(frozen=True)
class Reader:
    """One of them."""

    name: str
    share: int
    """How often it is tried, relative to the others."""
    folder: str
    """Of the originals."""
    files: tuple[str, ...]
    """Those that are spoilt, as patterns."""
    read: Callable[[Path, Path], Found]
    """Reads the spoilt folder; the second one is the original, for what is not read."""
    reseal: Callable[[random.Random, Path], str] | None = None
    """Spoils a file by its structure, with right checksums."""
    is_ours: bool = True
    """Whether the file is written by hvae-mnn, so that a change has to be noticed."""


def digest(value: Any) -> str:
    """A hash of anything that a reader gives; equal for equal values."""
    found = hashlib.sha256()

    def add(one: Any) -> None:
        if isinstance(one, torch.Tensor):
            one = one.detach().numpy()
        if isinstance(one, np.ndarray) and one.dtype != object:
            found.update(f"{one.dtype}{one.shape}".encode() + np.ascontiguousarray(one).tobytes())
        elif isinstance(one, nn.Module):
            add(dict(one.state_dict()))
        elif is_dataclass(one) and not isinstance(one, type):
            add({field.name: getattr(one, field.name) for field in fields(one)})
        elif isinstance(one, dict):
            found.update(f"dict{len(one)}".encode())
            for key, part in one.items():
                add(key)
                add(part)
        elif isinstance(one, list | tuple | np.ndarray):
            found.update(f"list{len(one)}".encode())
            for part in one:
                add(part)
        elif isinstance(one, pa.Table):
            add(one.to_pydict())
        elif not isinstance(one, Path):  # the same file lies elsewhere
            found.update(f"{type(one).__name__}{one!r}".encode(errors="surrogatepass"))

    add(value)
    return found.hexdigest()


def _checkpoint(folder: Path, _: Path) -> Found:
    return {"checkpoint": load_checkpoint(folder / "best.pt")}


@functools.cache
def _training_run(original: Path) -> Any:
    """The run of the original, not started."""
    base = load_checkpoint(original / "best.pt")
    corpus = read_corpus(original.parent / "corpus")
    place = (original, torch.device("cpu"))
    return training.TrainingRun(corpus, base.vocabulary, base.config, base.training_config, *place)


def _last(folder: Path, original: Path) -> Found:
    run = _training_run(original)
    run.out = folder
    if not (folder / "last.pt").is_file():
        return {}  # would begin anew
    run.start(resume=True)
    return {"state": (run.model, run.optimizer.state_dict(), run.position)}


@functools.cache
def _finetuning_run(original: Path) -> Any:
    base = load_checkpoint(original.parent / "best.pt")
    corpus, hardware = (
        read_corpus(original.parent / "corpus"),
        read_hardware(original.parent / "settings" / "hardware.toml"),
    )
    settings = FinetuneConfig(updates=1, batch_size=8, validate_every=1, valid_sentences=2, valid_draws=1)
    return finetuning.FinetuningRun(base, corpus, hardware, Nonidealities(), settings, original)


def _finetuned(folder: Path, original: Path) -> Found:
    if not (folder / "last.pt").is_file():
        return {}  # would begin anew
    run = _finetuning_run(original)
    run.out = folder
    run.start(resume=True)
    return {"state": (run.model, run.optimizer.state_dict(), run.position)}


def _history(folder: Path, original: Path) -> Found:
    history, best = training_history.read_history(folder)
    if not history:
        return {}
    if _differ(folder, original, ["metrics.json"]):
        _draw(training_figure(history, best))
    return {"history": (history, best)}


def _netlist(folder: Path, _: Path) -> Found:
    manifest = read_manifest(folder)
    checkpoint = simulation.checkpoint_of(manifest)
    engine = start.start_engine("ideal", manifest)
    volts = {unit.array: np.full((1, unit.row_count), 0.01) for _, unit in manifest.units()}
    found = {key: value for key, value in manifest.to_dict().items() if key != "name"}
    return {"manifest": found, "checkpoint": checkpoint, "currents": engine.currents(volts)}


def _plan(folder: Path, _: Path) -> Found:
    with simulation.reopen(folder) as (plan, _manifest):
        return {"plan": plan}


class _Recorder:
    """Passes questions on to an engine, and keeps them."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.asked = engine, list[dict[str, Any]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def currents(self, volts: Any) -> Any:
        self.asked.append({name: value.copy() for name, value in volts.items()})
        return self.engine.currents(volts)


@functools.cache
def _asked(original: Path) -> tuple[Any, list[dict[str, Any]], list[dict[str, Any]]]:
    """The netlists of a stopped run, what it asks its engine, and the answers."""
    plan = RunPlan.load(original)
    manifest = read_manifest(original.parent / "net")
    recorder = _Recorder(start.start_engine("ideal", manifest))
    bits = plan.options.dac_bits, plan.options.adc_bits
    source = simulation.CrossbarSource(manifest, recorder, *bits, seed=plan.options.seed, keep_histograms=True)
    moving = manifest.moving is not None
    with tempfile.TemporaryDirectory() as place, simulation.Records(Path(place), moving=moving) as records:
        simulation._run_sentences(plan, simulation.checkpoint_of(manifest), source, records, None)
    engine = start.start_engine("ideal", manifest)
    return manifest, recorder.asked, [engine.currents(volts) for volts in recorder.asked]


def _journal(folder: Path, original: Path) -> Found:
    manifest, asked, _ = _asked(original)
    outputs = {unit.array: manifest.layout(unit).outputs for _, unit in manifest.units()}
    with closing(JournalEngine(start.start_engine("ideal", manifest), folder / "journal.bin", outputs)) as engine:
        return {"answers": [engine.currents(volts) for volts in asked]}


def _draw(figure: Figure) -> None:
    figure.set_layout_engine("none")  # most of the time, and no text is read for it
    figure.draw_without_rendering()


def _differ(folder: Path, original: Path, names: Sequence[str]) -> bool:
    return any((folder / name).read_bytes() != (original / name).read_bytes() for name in names)


def _table(*figures: Callable[..., Figure]) -> Callable[[Path, Path], Found]:
    """Draws the figures of a run, and gives its tables and summary."""

    def read(folder: Path, original: Path) -> Found:
        names = [path.name for path in original.iterdir() if (folder / path.name).is_file()]
        found: Found = {name: read_table(folder / name) for name in names if name.endswith(".parquet")}
        found |= {name: read_sealed(folder / name, "summary") for name in names if name.endswith(".json")}
        if len(names) < len(list(original.iterdir())) or _differ(folder, original, names):
            for figure in figures:
                _draw(figure(folder))
        return found

    return read


def _parts(folder: Path, original: Path) -> Found:
    keys = sorted(path.stem for path in (original / "parts").glob("*.parquet"))
    found, _ = read_parts(folder, keys)
    return dict(found)


def _results(folder: Path, _: Path) -> Found:
    found = read_results(folder)
    for curves in all_curves([found]):
        chosen_metrics(curves)
    return {"rows": (found.rows, found.axes, found.metrics)}


def _curves(folder: Path, _: Path) -> Found:
    found = read_results(folder)
    for curves in all_curves([found]):
        names = chosen_metrics(curves)
        _draw(accuracy.accuracy_figure(curves, names))
        if curves.numeric_by and len(curves.values_of(curves.axis)) > 1 and curves.numeric:
            _draw(accuracy.heat_map_figure(curves, names))
    return {"rows": (found.rows, found.axes, found.metrics)}


@functools.cache
def _wired(original: Path) -> tuple[Any, Any, Any]:
    manifest = read_manifest(original.parent / "wired")
    tensors = seals.safetensors.numpy.load((manifest.folder / "conductances.safetensors").read_bytes())
    layouts = manifest.layouts
    return manifest, {name: tensors[f"{name}.conductance"] for name in layouts}, layouts


def _solved(folder: Path, original: Path) -> Found:
    manifest, conductances, layouts = _wired(original)
    engine = ExactEngine(conductances, layouts, cache=TransferCache(folder / "exact"))
    volts = {unit.array: np.full((1, unit.row_count), 0.01) for _, unit in manifest.units()}
    return {"currents": engine.currents(volts)}


def _answers(folder: Path, _: Path) -> Found:
    return {"answers": Answers.load(folder / "answers.safetensors")}


def _library(folder: Path, _: Path) -> Found:
    path = folder / "memristor.osdi"
    return {"library": path.read_bytes()} if osdi._whole(path) else {}


def _hardware(folder: Path, _: Path) -> Found:
    names = ("hardware.toml", "full.toml", "chip.toml")
    return {name: hardware_to_dict(read_hardware(folder / name)) for name in names if (folder / name).exists()}


def _device(folder: Path, _: Path) -> Found:
    return {"device": read_preset(folder / "device.toml")}


def _noise(folder: Path, _: Path) -> Found:
    return {"noise": read_nonidealities(folder / "noise.toml")}


def _sweep_file(folder: Path, _: Path) -> Found:
    return {"sweep": read_sweep(folder / "sweep.toml").grids}


def _table_plan(folder: Path, _: Path) -> Found:
    plan = read_plan("table2", folder / "table2.toml")
    for entry in plan.entries:
        configure_row(entry.row, 50, epochs=entry.effort.epochs, **entry.effort.settings)
    return {"plan": plan}


def _records(folder: Path, _: Path) -> Found:
    judge(evidence_in([folder]))
    return {f"{record.corpus}/{record.row}/{record.task['seed']}": record for record in read_records(folder)}


def _corpus(folder: Path, _: Path) -> Found:
    corpus = read_corpus(folder)
    return {"corpus": (corpus, Vocabulary.build(corpus.train))}


def _targets(folder: Path, _: Path) -> Found:
    return {name: find_targets(folder / name, None, None, 0).arrays for name in ("t.npy", "t.csv")}


def _npy_or_bytes(rng: random.Random, path: Path) -> str:
    if path.suffix == ".npy":
        return seals.npy(rng, path)
    path.write_text(rng.choice(("1e-5,nan", "1e999", "1,2\n3", "0x5", "1e-5,", "[" * 999, "inf\n-inf")))
    return "numbers"


_SIMULATED = _table(simulated.preactivation_figure, simulated.error_figure, converters.converters_figure)
READERS = (
    Reader("checkpoint", 14, ".", ("best.pt",), _checkpoint, seals.archive),
    Reader("training state", 6, "trained", ("last.pt",), _last, seals.archive),
    Reader("training history", 3, "trained", ("metrics.json",), _history, seals.sealed_json),
    Reader("finetuning state", 5, "finetuned", ("last.pt",), _finetuned, seals.archive),
    Reader("manifest", 8, "net", ("manifest.json",), _netlist, seals.netlist),
    Reader("netlist files", 6, "net", ("*.inc", "*.cir", "*.lib", "*.pt"), _netlist, seals.netlist),
    Reader("wired netlist", 3, "wired", ("*.inc", "*.cir", "*.lib", "manifest.json"), _netlist, seals.netlist),
    Reader("conductances", 5, "net", ("*.safetensors",), _netlist, seals.netlist),
    Reader("hardware TOML", 8, "settings", ("hardware.toml", "full.toml"), _hardware, seals.toml, is_ours=False),
    Reader("device TOML", 5, "settings", ("device.toml",), _device, seals.toml, is_ours=False),
    Reader("noise TOML", 4, "settings", ("noise.toml",), _noise, seals.toml, is_ours=False),
    Reader("sweep TOML", 6, "sweeping", ("sweep.toml",), _sweep_file, seals.toml, is_ours=False),
    Reader("plan TOML", 5, "planned", ("table2.toml",), _table_plan, seals.toml, is_ours=False),
    Reader("table records", 5, "reproduced", ("small/*/seed0/record.json",), _records, seals.sealed_json),
    Reader("folder's mark", 1, "reproduced", ("reproduction.json",), _records, seals.sealed_json),
    Reader("generated tables", 1, "generated", ("*.parquet", "*.json"), _table(), seals.table),
    Reader("corpus", 4, "corpus", ("*.txt",), _corpus, is_ours=False),
    Reader("packed corpus", 4, "packed", ("*.txt",), _corpus, seals.packed, is_ours=False),
    Reader("targets", 5, "targets", ("t.npy", "t.csv"), _targets, _npy_or_bytes, is_ours=False),
    Reader("plan", 5, "stopped", ("run.json",), _plan, seals.sealed_json),
    Reader("journal", 5, "stopped", ("journal.*",), _journal, seals.journal),
    Reader("run tables", 3, "run", ("*.parquet", "*.json"), _SIMULATED, seals.table),
    Reader("iv tables", 1, "iv", ("*.parquet",), _table(iv.iv_loops, iv.switching_time), seals.table),
    Reader("iv summary", 1, "iv", ("summary.json",), _table(iv.state_and_resistance), seals.sealed_json),
    Reader(
        "programming tables",
        1,
        "program",
        ("*.parquet",),
        _table(programming.pulses_figure, programming.error_figure, programming.disturbed_figure),
        seals.table,
    ),
    Reader(
        "programming summary", 1, "program", ("summary.json",), _table(programming.target_figure), seals.sealed_json
    ),
    Reader("ir-drop table", 1, "ir-drop", ("*.parquet",), _table(ir_drop.error_figure), seals.table),
    Reader("ir-drop summary", 1, "ir-drop", ("*.json",), _table(ir_drop.scheme_figure), seals.sealed_json),
    Reader("cost", 1, "cost", ("cost.json",), _table(cost.cost_figure), seals.sealed_json),
    Reader(
        "verification",
        1,
        "verify",
        ("*.parquet",),
        _table(functools.partial(verify.deviation_figure, tolerance=1e-9)),
        seals.table,
    ),
    Reader("sweep parts", 5, "sweep", ("parts/*.parquet", "results.parquet"), _parts, seals.table),
    Reader("sweep results", 4, "sweep", ("results.parquet",), _results, seals.table),
    Reader("sweep figures", 1, "sweep", ("results.parquet",), _curves, seals.table),
    Reader("solved arrays", 3, "cache", ("exact/*.safetensors",), _solved, seals.checked_tensors),
    Reader("answers", 3, "answers", ("*.safetensors",), _answers, seals.checked_tensors),
    Reader("compiled device", 2, "library", ("memristor.*",), _library, seals.hashed),
)
