"""The orchestrator of runs: a netlist folder, sentences and an engine in; tokens, tables and a summary out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hvae_mnn.cosim.export import CHECKPOINT, NETLISTS
from hvae_mnn.cosim.journal import JournalEngine, remove_journal
from hvae_mnn.cosim.lockstep import Lockstep, SentenceResult
from hvae_mnn.cosim.plan import PLAN, Options, RunPlan
from hvae_mnn.cosim.records import Records
from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.crossbar.hardware.file import hardware_to_dict
from hvae_mnn.crossbar.network import CrossbarNetwork
from hvae_mnn.engines.protocol import Engine
from hvae_mnn.errors import ManifestError, RunError
from hvae_mnn.files import sha256, write_sealed
from hvae_mnn.folders import RUNS, check_writable, new_run, newest_first
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.netlist.file_names import MANIFEST
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.netlist.replacement import recover
from hvae_mnn.owned import alone, is_held
from hvae_mnn.reading import absolute, is_file, is_missing
from hvae_mnn.results import Result
from hvae_mnn.text.tokenizers import join_tokens
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.version import versions

SUMMARY = "summary.json"
JOURNAL = "journal.bin"

Progress = Callable[[str, int, int], None]
"""(`loading` | `stepping`, done, total): arrays loaded or batches of tiles solved; steps of encoder, decoder."""


@dataclass(frozen=True, repr=False)
class SimulationResult(Result):
    """A finished run. Tables: `steps`, `tokens`, `preactivations`, `converters`; `drift` where memristors move."""

    folder: Path
    """Folder with the run's files: summary, tables, figures."""
    summary: dict[str, Any]
    """Contents of `summary.json`."""
    vocabulary: Vocabulary
    """Vocabulary of the checkpoint."""
    sentences: tuple[tuple[int, ...], ...]
    """Token ids of every sentence of the text, with sos and eos."""
    tokens: tuple[SentenceResult, ...]
    """Token ids of every sentence from the digital model and the hardware."""
    tokenizer: str = "plain"
    """Name of the tokenizer that cut the text."""

    def words(self, sentence: int) -> dict[str, list[str]]:
        """Tokens of a sentence by `text`, `digital` and `hardware`, one word (or character) per decoder step."""
        result = self.tokens[sentence]
        return {
            "text": self.vocabulary.decode(self.sentences[sentence][1:]),
            "digital": self.vocabulary.decode(result.digital),
            "hardware": self.vocabulary.decode(result.hardware),
        }

    def texts(self, sentence: int) -> dict[str, str]:
        """The same tokens put together, as a person writes them."""
        return {name: join_tokens(self.tokenizer, words) for name, words in self.words(sentence).items()}

    def facts(self) -> Mapping[str, object]:
        """What was run, and how many tokens are the digital model's."""
        names = ("netlist", "hardware", "engine", "sentences", "steps", "token_agreement", "seconds_total")
        return {"folder": self.folder} | {name: self.summary[name] for name in names}


@contextlib.contextmanager
def start(
    manifest: Manifest, origin: str, sentences: Sequence[Sequence[int]], options: Options, out: Path | None
) -> Iterator[tuple[Path, RunPlan]]:
    """Make a folder for a new run (`out`; default: a new one in `runs/`), write its plan there, and hold the folder for
    this process alone. Raises `RunError` if `out` is taken."""
    plan = RunPlan(
        netlist=str(absolute(manifest.folder)),
        manifest_sha256=sha256(manifest.path),
        options=options,
        origin=origin,
        sentences=tuple(map(tuple, sentences)),
    )
    with new_run(out, manifest.name, "resume it with --resume, or choose another --out") as folder:
        plan.save(folder)
        yield folder, plan


@contextlib.contextmanager
def reopen(folder: Path) -> Iterator[tuple[RunPlan, Manifest]]:
    """Plan and netlists of an unfinished run, whose folder is held for this process alone.

    Raises `RunError` if the run is finished, another process holds it, or its netlists were built again since.
    """
    RunPlan.load(folder)  # a folder that is not a run must not get a lock file
    with alone(folder):
        check_writable(folder)
        yield _unfinished(folder)


def _unfinished(folder: Path) -> tuple[RunPlan, Manifest]:
    plan = RunPlan.load(folder)
    if not is_missing(folder / SUMMARY):
        remove_journal(folder / JOURNAL)  # left by a run that was killed after its summary
        raise RunError(f"{folder} is finished; its results are in {folder / SUMMARY}; start another run with --out")
    try:
        manifest = read_manifest(Path(plan.netlist))
    except ManifestError as error:
        raise RunError(f"{folder} needs the netlists it was started with: {error}") from None
    if sha256(manifest.path) != plan.manifest_sha256:
        raise RunError(f"{plan.netlist} was built anew since {folder} was started; start the run again")
    return plan, manifest


def newest_netlist(root: Path = NETLISTS) -> Path:
    """The folder in `root` that was built last, of those with a text model. Raises `ManifestError` when there is
    none."""
    recover(root)
    manifests = [path for path in newest_first(root, MANIFEST) if is_file(path.parent / CHECKPOINT)]
    if not manifests:
        raise ManifestError(f"no netlists in {root}/; build some: hvae-mnn build-netlist checkpoint.pt")
    return manifests[0].parent


def newest_run(root: Path = RUNS) -> Path:
    """The unfinished run in `root` that was started last and is not running. Raises `RunError` when there is none."""
    for path in newest_first(root, PLAN):
        if is_missing(path.parent / SUMMARY) and not is_held(path.parent):
            return path.parent
    raise RunError(f"no unfinished run in {root}/; start one with hvae-mnn simulate, or name it with --out")


def newest_finished(root: Path = RUNS) -> Path:
    """The run in `root` that was finished last. Raises `RunError` when there is none."""
    summaries = [path for path in newest_first(root, SUMMARY) if is_file(path.parent / PLAN)]
    if not summaries:
        raise RunError(f"no finished run in {root}/; start one with hvae-mnn simulate, or name its folder")
    return summaries[0].parent


def checkpoint_of(manifest: Manifest) -> Checkpoint:
    """The checkpoint in a netlist folder. Raises `ManifestError` for a folder that was built from a bare module."""
    if CHECKPOINT not in manifest.files:
        raise ManifestError(
            f"{manifest.folder} was built from a bare module and has no text model; simulate needs a checkpoint's build"
        )
    return load_checkpoint(manifest.folder / CHECKPOINT)


def execute(
    folder: Path,
    plan: RunPlan,
    manifest: Manifest,
    checkpoint: Checkpoint,
    engine: Engine,
    progress: Progress | None = None,
    finish: Callable[[Path], object] | None = None,
) -> SimulationResult:
    """Run `plan` on `engine`, or resume it: answers in the journal of `folder`, which the caller holds, are used first.

    Tables are written to `folder`, then `finish(folder)` (which draws figures) is called, and the summary completes the
    run. The summary's times are those of this session: `seconds_loading` of the arrays, before this call;
    `seconds_stepping` of engine, software and tables; `seconds_in_engine` of the engine alone; `seconds_figures` of
    `finish`; `seconds_total` of stepping and figures.

    Raises `SimulatorError` if ngspice fails twice and `StorageError` if the disk is full, after which the run can be
    resumed; `RunError` if the journal belongs to another run.
    """
    began = time.perf_counter()
    outputs = {unit.array: manifest.layout(unit).outputs for _, unit in manifest.units()}
    if max(token for sentence in plan.sentences for token in sentence) >= len(checkpoint.vocabulary):
        raise RunError(f"{folder / PLAN} holds tokens outside the checkpoint's vocabulary; start the run again")
    with (
        closing(JournalEngine(engine, folder / JOURNAL, outputs)) as journal,
        Records(folder, moving=manifest.moving is not None) as records,
    ):
        bits = plan.options.dac_bits, plan.options.adc_bits
        source = CrossbarSource(manifest, journal, *bits, seed=plan.options.seed, keep_histograms=True)
        tokens = _run_sentences(plan, checkpoint, source, records, progress)
        records.converters({"dac": source.dacs, "adc": source.adcs})
    summary = _summary(plan, manifest, checkpoint, journal, source, records, tokens)
    stepped = time.perf_counter()
    if finish is not None:
        finish(folder)
    done = time.perf_counter()
    summary["seconds_stepping"] = round(stepped - began, 3)
    summary["seconds_figures"] = round(done - stepped, 3)
    summary["seconds_total"] = round(done - began, 3)
    write_sealed(folder / SUMMARY, summary)
    journal.remove()
    return SimulationResult(folder, summary, checkpoint.vocabulary, plan.sentences, tuple(tokens), checkpoint.tokenizer)


def _run_sentences(
    plan: RunPlan, checkpoint: Checkpoint, source: CrossbarSource, records: Records, progress: Progress | None
) -> list[SentenceResult]:
    done, total = 0, 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress("stepping", done, total)

    lockstep = Lockstep(checkpoint.model, checkpoint.vocabulary, source, plan.options, records, tick)
    total = sum(map(lockstep.steps, plan.sentences))
    results = []
    with torch.inference_mode():
        for index, sentence in enumerate(plan.sentences):
            noise = _noise(plan.options, index, checkpoint.model.latent_width(len(sentence) - 1))
            results.append(lockstep.run(index, sentence, noise))
            records.flush()
    return results


def _noise(options: Options, sentence: int, size: int) -> Tensor | None:
    """Standard normal numbers (1, W) for a sampled latent, from a stream of the sentence alone; None for the mean."""
    if options.latent == "mean":
        return None
    generator = np.random.default_rng(np.random.SeedSequence([options.seed, sentence]))
    return torch.from_numpy(generator.standard_normal((1, size)))


def _summary(
    plan: RunPlan,
    manifest: Manifest,
    checkpoint: Checkpoint,
    journal: JournalEngine,
    source: CrossbarSource,
    records: Records,
    tokens: list[SentenceResult],
) -> dict[str, Any]:
    """Contents of `summary.json` without the times that `execute` measures."""

    def text(ids: Sequence[int]) -> str:
        return join_tokens(checkpoint.tokenizer, checkpoint.vocabulary.decode(ids))

    return {
        "engine": journal.name,
        "netlist": manifest.name,
        "hardware": manifest.hardware.name,
        "hardware_description": hardware_to_dict(manifest.hardware),
        "origin": plan.origin,
        "sentences": len(plan.sentences),
        "steps": records.tokens,
        "tokens_digital": [text(result.digital) for result in tokens],
        "tokens_hardware": [text(result.hardware) for result in tokens],
        "token_agreement": records.agreed / records.tokens,
        "preactivation_error": {
            layer: {unit: total.to_dict() for unit, total in units.items()} for layer, units in records.errors.items()
        },
        "clipping": {
            "dac": {f"{layer}.{role}": _clipping(c) for (layer, role), c in source.dacs.items()},
            "adc": {f"{layer}.{unit}": _clipping(c) for (layer, unit), c in source.adcs.items()},
        },
        "max_word_line_volts": source.largest_volts,
        "devices": _devices(manifest, source),
        "seconds_loading": round(journal.seconds_loading, 3),
        "seconds_in_engine": round(journal.seconds, 3),
        "engine_facts": journal.facts(),
        "options": asdict(plan.options),
        "seeds": {"latent": plan.options.seed, "converters": plan.options.seed},
        "checkpoint_sha256": manifest.files[CHECKPOINT],
        "versions": versions("torch", "numpy", "PySpice"),
    }


def _devices(network: CrossbarNetwork, source: CrossbarSource) -> dict[str, Any]:
    """Facts on the memristors, and their drift, which is None for fixed states."""
    last = list(source.disturb.values())
    return {
        "preset": network.device.name,
        "backend": network.device_backend,
        "count": network.memristors,
        "read_s": network.read_s,
        "threshold_v": network.device.threshold_v,
        "above_threshold": source.most_above_threshold,
        "max_drift": max((disturb.max_drift for disturb in last), default=0.0) if network.moving else None,
        "moved": sum(disturb.moved for disturb in last) if network.moving else None,
    }


def _clipping(converter: Any) -> dict[str, int]:
    return {"clipped": converter.clipped, "samples": converter.samples}
