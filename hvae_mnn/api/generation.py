"""Sentences that a model writes, and its circuit beside it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hvae_mnn.api.circuits import as_path, open_manifest, running_engine
from hvae_mnn.bars import Progress, watched
from hvae_mnn.cosim.export import CHECKPOINT
from hvae_mnn.cosim.plan import ENGINES, EngineName
from hvae_mnn.cosim.simulation import checkpoint_of
from hvae_mnn.errors import InputError, ManifestError
from hvae_mnn.files import sha256
from hvae_mnn.folders import RUNS, check_writable
from hvae_mnn.models.checkpoint import Checkpoint, load_checkpoint
from hvae_mnn.names import unknown_name
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.reading import is_folder
from hvae_mnn.studies.generation import run
from hvae_mnn.studies.generation.items import (
    FORMS,
    MOST_WORDS,
    SENTENCES,
    STEPS,
    Form,
    Item,
    Settings,
    between,
    encode_file,
    encode_given,
    encode_split,
    from_prior,
    reconstructions,
)
from hvae_mnn.studies.generation.run import Circuit, GenerationResult

__all__ = ["GenerationResult", "generate"]


def generate(
    model: str | Path | Checkpoint | Manifest,
    *,
    reconstruct: bool = False,
    texts: Sequence[str] = (),
    file: str | Path | None = None,
    data_dir: str | Path | None = None,
    split: str = "test",
    sentences: int = SENTENCES,
    prior: int | None = None,
    interpolate: tuple[str, str] | None = None,
    steps: int = STEPS,
    forms: Sequence[Form] = FORMS,
    temperature: float = 1.0,
    most_words: int = MOST_WORDS,
    netlist: str | Path | Manifest | None = None,
    engine: EngineName = "ngspice",
    dac_bits: int | None = None,
    adc_bits: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    scheduler: str | None = None,
    out: str | Path | None = None,
    progress: bool | Progress = True,
) -> GenerationResult:
    """Write sentences with a model: reconstructions, draws from the prior, sentences between two others.

    `model` is a checkpoint, or a netlist folder, whose copy of the checkpoint serves. With a netlist folder, there or
    in `netlist`, its arrays write the same sentences on `engine` (`ngspice`, `exact`, `ideal`) beside the digital
    model: the decoder, and the encoder where a sentence is read. DACs and ADCs are the hardware's, or have `dac_bits`
    and `adc_bits` (0: none).

    `reconstruct`: each sentence of `texts`, else of the text file `file` (one a line), else the first `sentences` of a
    split of the corpus in `data_dir` (default: the built-in one), from its posterior's mean. `prior`: that many latents
    from N(0, I), or, for a model without a latent, samples. `interpolate`: `steps` latents between the posteriors'
    means of two sentences.

    `forms`: `teacher-forced`, the most likely next word after each word of the text (only reconstructions); `greedy`
    and `sampled`, in which the decoder reads its own words, at most `most_words`: the most likely ones, or ones drawn
    from its probabilities at `temperature`. Random numbers depend on `seed` and on the sentence alone, and are the
    same on both models.

    Table and summary go to `out` (default: a new folder in `runs/`). `workers`, `scheduler` and `progress` are those of
    `simulate`; a function is called with a stage's name, done, total.

    Raises `InputError`, `CheckpointError`, `TextError`, `ManifestError` (also for a netlist of another checkpoint),
    `RunError` when `out` is taken, `EnvironmentProblem` without ngspice, `SimulatorError` when it fails.
    """
    if engine not in ENGINES:
        raise InputError(unknown_name("engine", engine, ENGINES))
    settings = Settings(tuple(forms), temperature, most_words, seed, dac_bits, adc_bits)
    checkpoint, manifest = _model_and_netlist(model, netlist)
    items = _read_items(checkpoint, texts, file, data_dir, split, sentences) if reconstruct else []
    if (texts or file is not None) and not reconstruct:
        raise InputError("a text is given, and nothing to do with it; add --reconstruct")
    if prior is not None:
        items += from_prior(prior)
    if interpolate is not None:
        first, second = encode_given(checkpoint, interpolate, "--interpolate")
        items += between(first, second, steps)
    run.check_items(checkpoint, items, settings)
    check_writable(RUNS if out is None else Path(out))
    with ExitStack() as stack:
        tell = stack.enter_context(watched(progress, lambda bar: bar.show))
        circuit = None
        if manifest is not None:
            circuit = Circuit(manifest, stack.enter_context(running_engine(engine, manifest, tell, workers, scheduler)))
        return run.generate(checkpoint, items, settings, circuit, out=as_path(out), progress=tell)


def _read_items(
    checkpoint: Checkpoint,
    texts: Sequence[str],
    file: str | Path | None,
    data_dir: str | Path | None,
    split: str,
    sentences: int,
) -> list[Item]:
    """Sentences to reconstruct: those given, those of a file, or those of a corpus."""
    if texts and file is not None:
        raise InputError("--text and --file are two sources of sentences; leave out one of them")
    if texts:
        return list(reconstructions(encode_given(checkpoint, texts, "--text")))
    if file is not None:
        return list(reconstructions(encode_file(checkpoint, Path(file))))
    return list(reconstructions(encode_split(checkpoint, as_path(data_dir), split, sentences)))


def _model_and_netlist(
    model: str | Path | Checkpoint | Manifest, netlist: str | Path | Manifest | None
) -> tuple[Checkpoint, Manifest | None]:
    """The checkpoint, and the netlists that were built from it, if any."""
    if isinstance(model, Manifest) or (not isinstance(model, Checkpoint) and is_folder(Path(model))):
        if netlist is not None:
            raise InputError("the model is a netlist folder already; leave out --netlist, or give a checkpoint")
        manifest = open_manifest(model)
        return checkpoint_of(manifest), manifest
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(model)
    if netlist is None:
        return checkpoint, None
    manifest = open_manifest(netlist)
    checkpoint_of(manifest)  # a bare module has none
    digest = sha256(checkpoint.path)
    if manifest.files[CHECKPOINT] != digest:
        raise ManifestError(
            f"{manifest.folder} was built from another checkpoint (SHA-256 {manifest.files[CHECKPOINT][:16]}...) than"
            f" {checkpoint.path} ({digest[:16]}...); give {manifest.folder} alone, or build the checkpoint's netlists"
        )
    return checkpoint, manifest
