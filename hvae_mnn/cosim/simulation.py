"""The orchestrator: a netlist folder, sentences and an engine in; tokens, tables and a summary out."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

import hvae_mnn
from hvae_mnn.cosim.crossbar_source import CrossbarSource
from hvae_mnn.cosim.export import CHECKPOINT, NETLISTS
from hvae_mnn.cosim.journal import JournalEngine
from hvae_mnn.cosim.lockstep import Lockstep, SentenceResult
from hvae_mnn.cosim.plan import PLAN, Options, Plan
from hvae_mnn.cosim.records import Records
from hvae_mnn.engines.ideal import IdealEngine
from hvae_mnn.engines.ngspice import ArrayDeck, NgspiceEngine
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.errors import ManifestError, RunError
from hvae_mnn.files import write_json
from hvae_mnn.netlist.manifest import CONDUCTANCES, MANIFEST, Manifest, read_manifest
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.vae.checkpoint import Checkpoint, load_checkpoint

RUNS = Path("runs")
SUMMARY = "summary.json"
JOURNAL = "journal.bin"

Progress = Callable[[str, int, int], None]
"""(`loading` | `stepping`, done, total): arrays loaded, or time steps of encoder and decoder done."""


@dataclass(frozen=True)
class SimulationResult:
    """A finished run."""

    folder: Path
    """Where its files are: summary, tables, figures."""
    summary: dict[str, Any]
    """What `summary.json` holds."""
    vocabulary: Vocabulary
    sentences: tuple[tuple[int, ...], ...]
    """The text, encoded, with sos and eos."""
    tokens: tuple[SentenceResult, ...]
    """Token ids per sentence, digital and hardware."""

    def words(self, sentence: int) -> dict[str, list[str]]:
        """The words of one sentence: `text`, `digital`, `hardware`, one per decoder step."""
        result = self.tokens[sentence]
        return {
            "text": self.vocabulary.decode(self.sentences[sentence][1:]),
            "digital": self.vocabulary.decode(result.digital),
            "hardware": self.vocabulary.decode(result.hardware),
        }


def start(
    manifest: Manifest, origin: str, sentences: Sequence[Sequence[int]], options: Options, out: Path | None
) -> tuple[Path, Plan]:
    """A folder for a new run (`out`, or a new one in `runs/`) with its plan written; raises `RunError` if `out` is
    taken."""
    plan = Plan(
        netlist=str(manifest.folder),
        checkpoint_sha256=manifest.files[CHECKPOINT],
        options=options,
        origin=origin,
        sentences=tuple(map(tuple, sentences)),
    )
    folder = _new_folder(out, manifest.name)
    plan.save(folder)
    return folder, plan


def reopen(folder: Path) -> tuple[Plan, Manifest]:
    """Plan and netlists of an unfinished run; raises `RunError` when it is finished, or its netlists were built
    anew."""
    plan = Plan.load(folder)
    if (folder / SUMMARY).exists():
        raise RunError(f"{folder} is finished; its results are in {folder / SUMMARY}; start another run with --out")
    manifest = read_manifest(Path(plan.netlist))
    if manifest.files.get(CHECKPOINT) != plan.checkpoint_sha256:
        raise RunError(
            f"{plan.netlist} was built from another checkpoint since {folder} was started; start the run again"
        )
    return plan, manifest


def newest_netlist(root: Path = NETLISTS) -> Path:
    """The folder in `root` whose manifest was written last; raises `ManifestError` when there is none."""
    found = sorted(root.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise ManifestError(f"no netlists in {root}/; build some: hvae-mnn build-netlist checkpoint.pt")
    return found[-1].parent


def newest_run(root: Path = RUNS) -> Path:
    """The unfinished run in `root` that was started last; raises `RunError` when there is none."""
    found = [path for path in root.glob(f"*/{PLAN}") if not (path.parent / SUMMARY).exists()]
    if not found:
        raise RunError(f"no unfinished run in {root}/; start one with hvae-mnn simulate, or name it with --out")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


def checkpoint_of(manifest: Manifest) -> Checkpoint:
    """The checkpoint inside a netlist folder; raises `ManifestError` for a folder built from a bare module."""
    if CHECKPOINT not in manifest.files:
        raise ManifestError(
            f"{manifest.folder} was built from a bare module and has no text model; simulate needs a checkpoint's build"
        )
    return load_checkpoint(manifest.folder / CHECKPOINT)


def start_engine(name: str, manifest: Manifest, progress: Progress | None = None) -> Engine:
    """The engine called `name` with all arrays of `manifest` loaded."""
    if name == "ideal":
        tensors = load_file(manifest.folder / CONDUCTANCES)
        conductances = {unit.array: tensors[f"{unit.array}.conductance"] for _, unit in manifest.units()}
        return IdealEngine(conductances, manifest.fixed_siemens)
    decks = [
        ArrayDeck(unit.array, unit.name, tuple(unit.word_lines), unit.columns, manifest.folder / unit.include)
        for _, unit in manifest.units()
    ]
    loaded: list[str] = []

    def on_loaded(array: str) -> None:
        loaded.append(array)
        if progress is not None:
            progress("loading", len(loaded), len(decks))

    return NgspiceEngine(decks, on_loaded)


def _new_folder(out: Path | None, name: str) -> Path:
    """A folder for a new run; a default name gets a number when it is taken."""
    if out is None:
        taken = (RUNS / (name if number == 1 else f"{name}-{number}") for number in range(1, 100_000))
        out = next(path for path in taken if not path.exists())
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists and is not empty; go on with it: --resume, or choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the folder {out}: {error.strerror}; choose another --out") from None
    return out


def execute(
    folder: Path, plan: Plan, manifest: Manifest, checkpoint: Checkpoint, progress: Progress | None = None
) -> SimulationResult:
    """Run `plan`, beginning with what the journal in `folder` already holds; writes tables and summary there.

    Raises `EnvironmentProblem` without a usable ngspice, `SimulatorError` when ngspice fails twice; `HvaeMnnError`
    when the disk is full. After any of them the run can be resumed.
    """
    began = time.perf_counter()
    columns = {unit.array: unit.columns for _, unit in manifest.units()}
    inner = start_engine(plan.options.engine, manifest, progress)
    with closing(JournalEngine(inner, folder / JOURNAL, columns)) as engine, Records(folder) as records:
        source = CrossbarSource(manifest, engine, plan.options.dac_bits, plan.options.adc_bits)
        tokens = _run_sentences(plan, checkpoint, source, records, progress)
        facts = engine.facts()
    summary = _summary(plan, manifest, checkpoint, engine, facts, source, records, tokens)
    summary["seconds_total"] = round(time.perf_counter() - began, 3)
    write_json(folder / SUMMARY, summary)
    (folder / JOURNAL).unlink()
    return SimulationResult(folder, summary, checkpoint.vocabulary, plan.sentences, tuple(tokens))


def _run_sentences(
    plan: Plan, checkpoint: Checkpoint, source: CrossbarSource, records: Records, progress: Progress | None
) -> list[SentenceResult]:
    done, total = 0, 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress("stepping", done, total)

    lockstep = Lockstep(checkpoint.model, checkpoint.vocabulary, source, plan.options, records, tick)
    hidden_eos = not checkpoint.config.encoder_sees_eos
    total = sum(2 * len(sentence) - 1 - hidden_eos for sentence in plan.sentences)
    found = []
    with torch.inference_mode():
        for index, sentence in enumerate(plan.sentences):
            noise = _noise(plan.options, index, checkpoint.config.latent_size)
            found.append(lockstep.run(index, sentence, noise))
            records.flush()
    return found


def _noise(options: Options, sentence: int, size: int) -> Tensor | None:
    """Standard normal (1, Z), the same for digital and hardware; a stream of its own for every sentence."""
    if options.latent == "mean":
        return None
    generator = np.random.default_rng(np.random.SeedSequence([options.seed, sentence]))
    return torch.from_numpy(generator.standard_normal((1, size)))


def _summary(
    plan: Plan,
    manifest: Manifest,
    checkpoint: Checkpoint,
    engine: JournalEngine,
    facts: dict[str, object],
    source: CrossbarSource,
    records: Records,
    tokens: list[SentenceResult],
) -> dict[str, Any]:
    decode = checkpoint.vocabulary.decode
    return {
        "engine": engine.name,
        "netlist": manifest.name,
        "origin": plan.origin,
        "sentences": len(plan.sentences),
        "steps": records.tokens,
        "tokens_digital": [" ".join(decode(result.digital)) for result in tokens],
        "tokens_hardware": [" ".join(decode(result.hardware)) for result in tokens],
        "token_agreement": records.agreed / records.tokens,
        "preactivation_error": {
            layer: {unit: total.to_dict() for unit, total in units.items()} for layer, units in records.errors.items()
        },
        "clipping": {
            "dac": {f"{layer}.{role}": _clipping(c) for (layer, role), c in source.dacs.items()},
            "adc": {f"{layer}.{unit}": _clipping(c) for (layer, unit), c in source.adcs.items()},
        },
        "seconds_in_engine": round(engine.seconds, 3),
        "seconds_per_step": round(engine.seconds / records.tokens, 6),
        "engine_facts": facts,
        "options": asdict(plan.options),
        "seeds": {"latent": plan.options.seed},
        "checkpoint_sha256": plan.checkpoint_sha256,
        "versions": versions(),
    }


def _clipping(converter: Any) -> dict[str, int]:
    return {"clipped": converter.clipped, "samples": converter.samples}


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"hvae_mnn": hvae_mnn.__version__, "python": platform.python_version()}
    return found | {name: version(name) for name in ("torch", "numpy", "PySpice")}


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a finished run; raises `RunError` if it has none."""
    try:
        summary: dict[str, Any] = json.loads((Path(folder) / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{folder} has no readable {SUMMARY}: {error}; finish it with hvae-mnn simulate --resume"
        ) from None
    return summary
