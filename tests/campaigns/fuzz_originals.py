"""Files of every kind that hvae-mnn reads, as it writes them itself, for the campaign to spoil: two of each."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hvae_mnn.cosim import simulation
from hvae_mnn.cosim.export import build_netlist
from hvae_mnn.cosim.plan import Options, choose_sentences
from hvae_mnn.crossbar.hardware.file import hardware_to_toml, read_hardware
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities
from hvae_mnn.engines import start
from hvae_mnn.evaluation.answers import run_answers
from hvae_mnn.finetuning.config import FinetuneConfig
from hvae_mnn.finetuning.run import finetune
from hvae_mnn.models.activations import activation_ranges
from hvae_mnn.models.checkpoint import load_checkpoint, save_checkpoint
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.stepwise import Stepper
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.netlist.folder import read_manifest
from hvae_mnn.netlist.manifest import Manifest
from hvae_mnn.parallel.cluster import Cluster
from hvae_mnn.reproduction.plan import read_plan
from hvae_mnn.reproduction.run import run_tasks
from hvae_mnn.reproduction.task import make_tasks
from hvae_mnn.spice.probe import probe
from hvae_mnn.studies import verify
from hvae_mnn.studies.cost import run as cost
from hvae_mnn.studies.generation.items import Settings, encode_split, from_prior, reconstructions
from hvae_mnn.studies.generation.run import generate
from hvae_mnn.studies.ir_drop.run import ir_drop, write_study
from hvae_mnn.studies.ir_drop.settings import IrDropSettings
from hvae_mnn.studies.iv import run as characterise
from hvae_mnn.studies.iv.drive import Drive
from hvae_mnn.studies.programming import run as programming
from hvae_mnn.sweeps.file import read_sweep
from hvae_mnn.sweeps.grid import make_plan
from hvae_mnn.sweeps.run import run_sweep
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.sources import read_corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training.run import train

VARIANTS = ("a", "b")
CACHE = "HVAE_MNN_CACHE"
_HIDDEN = {"a": 4, "b": 5}
_HARDWARE = {
    "a": 'base = "paper"\n[tiles]\nrows = 6\n',
    "b": 'base = "tile64"\n[tiles]\nrows = 8\ncolumns = 3\n'
    '[sense]\nkind = "transimpedance"\nfeedback_ohm = 2e4\ngain = 1e5\nswing_v = 2.0\n',
}
_DEVICE = {
    "a": 'base = "aist"\nr_off_ohm = 120e3\nwindow_p = 4\n',
    "b": 'base = "hp_tio2"\nname = "mine"\nr_on_ohm = 50\ng_max = 1e-3\n',
}
_NOISE = {
    "a": '[programming]\nerror = "lognormal"\nsigma = 0.05\n[stuck]\non = 0.01\n[drift]\nseconds = 1e4\n',
    "b": "[spread]\ndevice_on = 0.1\n[read_noise]\nthermal = true\nbandwidth_hz = 1e6\n[temperature]\nkelvin = 350\n",
}
_SWEEP = {
    "a": 'axes = { "noise.programming.sigma" = [0.05, 0.2], "hardware.tiles.rows" = [4, "all"] }\n',
    "b": 'axes = { "noise.programming.sigma" = { from = 0.05, to = 0.2, points = 2 }, "hardware.adc.bits" = [6, 8] }\n',
}
_PLAN = """
table = "table2"
title = "Small"
rows = ["lm", "bn-vae"]

[profiles.cpu]
embedding = 3
hidden = 4
latent = 2
epochs = 1
seeds = 1
importance_samples = 2
importance_sentences = 2
set = { batch_size = 32, learning_rate = 0.01 }

[profiles.cpu.rows.bn-vae]
epochs = EPOCHS

[profiles.cpu.corpora.small]
folder = "corpus"
stands_for = "ptb"
note = "A note."
"""


class _Stopped(Exception):
    """Ends a run half-way."""


def make(root: Path, *, quick: bool) -> None:
    """Fill `root` with a folder for every variant; `quick` leaves out what takes ngspice."""
    with _one_thread(), _environment(CACHE, str(root / "unused-cache")):
        _make(root, quick=quick)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Small tensors are quicker so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    yield
    os.environ.pop(name)
    os.environ |= {} if before is None else {name: before}


def _make(root: Path, *, quick: bool) -> None:
    for number, name in enumerate(VARIANTS):
        folder = root / name
        folder.mkdir(parents=True)
        torch.manual_seed(number)
        _settings(folder, name)
        _texts(folder, number)
        _models(folder, name, number)
        _run(folder, number)
        _sweep(folder, name)
        _reproduction(folder, number)
        _tables(folder, number)
        _caches(folder)
        if not quick and not probe().problem:
            _of_ngspice(folder)


def _settings(folder: Path, name: str) -> None:
    place = folder / "settings"
    place.mkdir()
    (place / "hardware.toml").write_text(_HARDWARE[name], encoding="utf-8")
    (place / "full.toml").write_text(hardware_to_toml(read_hardware("pulse64")), encoding="utf-8")
    (place / "chip.toml").write_text('[device]\nfile = "device.toml"\nread_voltage = 0.04\n', encoding="utf-8")
    (place / "device.toml").write_text(_DEVICE[name], encoding="utf-8")
    (place / "noise.toml").write_text(_NOISE[name], encoding="utf-8")


def _texts(folder: Path, number: int) -> None:
    corpus = grammar_corpus(train=60, valid=12, test=8, seed=number)
    for kind in ("corpus", "packed"):
        (folder / kind).mkdir()
        for split in ("train", "valid", "test"):
            text = "\n".join(" ".join(words) for words in corpus.split(split)) + "\n"
            path = folder / kind / f"{split}.txt"
            path.write_bytes(text.encode() if kind == "corpus" else gzip.compress(text.encode()))
    targets = folder / "targets"
    targets.mkdir()
    values = np.random.default_rng(number).uniform(2e-5, 9e-5, (3 + number, 4))
    np.save(targets / "t.npy", values)
    np.savetxt(targets / "t.csv", values, delimiter=",")


def _models(folder: Path, name: str, number: int) -> None:
    """A checkpoint of random weights, a training run, a finetuned one, and netlists."""
    corpus = read_corpus(folder / "corpus")
    vocabulary = Vocabulary.build(corpus.train)
    size = _HIDDEN[name]
    config = ModelConfig(len(vocabulary), 3, size, 2, encoder_cells=("gru", "rnn"), decoder_cell="lstm")
    model = HSRVAE(config).eval()
    ranges = activation_ranges(model, [vocabulary.encode_sentence(words) for words in corpus.valid])
    path = save_checkpoint(folder / "best.pt", model, TrainingConfig(seed=number), vocabulary, "plain", {}, ranges)
    training = TrainingConfig(epochs=1, batch_size=32, seed=number, precision="fp32")
    train(corpus, config, training, folder / "trained", device="cpu")
    settings = FinetuneConfig(updates=1, batch_size=8, validate_every=1, valid_sentences=2, valid_draws=1)
    hardware = read_hardware(folder / "settings" / "hardware.toml")
    finetune(load_checkpoint(path), corpus, hardware, Nonidealities(), settings, folder / "finetuned")
    backend = "static" if name == "a" else "behavioural"
    plain = "paper" if name == "b" else hardware
    build_netlist(path, folder / "net", hardware=plain, device_backend=backend, data_dir=folder / "corpus")
    build_netlist(path, folder / "wired", hardware=hardware, data_dir=folder / "corpus")
    for kind in ("trained", "finetuned"):
        for lock in (folder / kind).glob(".*"):
            lock.unlink()


def _run(folder: Path, number: int) -> None:
    """A finished simulation, and one that was stopped: plan and journal."""
    manifest, checkpoint, options = _simulated(folder)
    for name, steps in (("run", None), ("stopped", 9)):
        origin, sentences = choose_sentences(
            checkpoint, text=None, data_dir=folder / "corpus", split="test", sentences=2 + number, steps=None
        )
        done = 0

        def stop(_: str, __: int, ___: int, steps: int | None = steps) -> None:
            nonlocal done
            done += 1
            if done == steps:
                raise _Stopped

        engine = start.start_engine("ideal", manifest)
        try:
            with simulation.start(manifest, origin, sentences, options, folder / name) as (place, plan):
                simulation.execute(place, plan, manifest, checkpoint, engine, stop)
        except _Stopped:
            pass


def _simulated(folder: Path) -> tuple[Manifest, Any, Options]:
    manifest = read_manifest(folder / "net")
    return manifest, simulation.checkpoint_of(manifest), Options(engine="ideal")


def _sweep(folder: Path, name: str) -> None:
    place = folder / "sweeping"
    place.mkdir()
    shutil.copy(folder / "best.pt", place / "net.pt")
    text = (
        f'name = "small-{name}"\nmodels = {{ net = "net.pt" }}\nseeds = 2\nsentences = 3\n'
        'metrics = ["top1", "ppl"]\n[baseline]\nname = "clean"\n[[grid]]\nname = "spread"\n'
        'set = { "noise.programming.error" = "lognormal" }\n' + _SWEEP[name]
    )
    (place / "sweep.toml").write_text(text, encoding="utf-8")
    plan = make_plan(read_sweep(place / "sweep.toml"), folder / "corpus")
    run_sweep(plan, folder / "sweep", Cluster.here())
    for lock in (folder / "sweep").glob(".*"):
        lock.unlink()


def _reproduction(folder: Path, number: int) -> None:
    """A plan of a table, records of its tasks, and sentences that a model wrote."""
    place = folder / "planned"
    place.mkdir()
    (place / "table2.toml").write_text(_PLAN.replace("EPOCHS", str(1 + number)), encoding="utf-8")
    out = folder / "whole"
    run_tasks(make_tasks(read_plan("table2", place / "table2.toml"), folder), out, Cluster.here(), device="cpu")
    for path in [out / "reproduction.json", *out.rglob("record.json")]:  # what is read back, without the models
        kept = folder / "reproduced" / path.relative_to(out)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, kept)
    shutil.rmtree(out)
    checkpoint = load_checkpoint(folder / "best.pt")
    items = [*reconstructions(encode_split(checkpoint, folder / "corpus", "test", 2)), *from_prior(2)]
    generate(checkpoint, items, Settings(most_words=6, seed=number), out=folder / "generated")


def _tables(folder: Path, number: int) -> None:
    drive = Drive(0.5, (10.0 + number,), cycles=1)
    characterise.iv("aist", drive=drive, backend="reference", out=folder / "iv")
    programming.program(random=(4 + number, 5), seed=number, out=folder / "program")
    settings = IrDropSettings(sizes=(4, 8), ohms=(0.5, 2.0), spice_sizes=(), tiles=2, reads=2, seed=number)
    (folder / "ir-drop").mkdir()
    write_study(folder / "ir-drop", settings, ir_drop(settings), 0.0)


def _caches(folder: Path) -> None:
    """Solved arrays, the digital model's answers; a compiled device is any file with its checksum beside it."""
    with _environment(CACHE, str(folder / "cache")):
        start.start_engine("exact", read_manifest(folder / "wired"))
    checkpoint, corpus = load_checkpoint(folder / "best.pt"), read_corpus(folder / "corpus")
    sentences = [checkpoint.vocabulary.encode_sentence(words) for words in corpus.test]
    found = run_answers(Stepper(checkpoint.model), sentences, {"teacher", "sampled", "free"})
    (folder / "answers").mkdir()
    found.save(folder / "answers" / "answers.safetensors")
    (folder / "library").mkdir()
    content = np.random.default_rng(len(sentences)).bytes(3000)
    (folder / "library" / "memristor.osdi").write_bytes(content)
    (folder / "library" / "memristor.sha256").write_text(hashlib.sha256(content).hexdigest(), encoding="ascii")


def _of_ngspice(folder: Path) -> None:
    manifest = read_manifest(folder / "wired")
    verify.verify(manifest, tiles=2, steps=1, out=folder / "verify")
    if manifest.hardware.cells.read_law == "ohmic":
        cost.cost(manifest, steps=2, tiles=1, out=folder / "cost")
