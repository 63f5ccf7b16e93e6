"""A model of another family, with other layers under other names, passes through everything that HSR-VAE does."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hvae_mnn
from hvae_mnn.api import build_netlist, simulate
from hvae_mnn.cosim.plan import Options
from hvae_mnn.cosim.records import STEPS
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import ConverterSpec
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities, Programming
from hvae_mnn.errors import InputError, MappingError
from hvae_mnn.evaluation.report import evaluate
from hvae_mnn.finetuning.config import FinetuneConfig
from hvae_mnn.finetuning.run import finetune
from hvae_mnn.models.activations import activation_ranges
from hvae_mnn.models.checkpoint import load_checkpoint, save_checkpoint
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.families import FAMILIES, model_class
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.stepwise import Stepper, run_batch
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.tables import read_table
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import Vocabulary
from tests.one_encoder import OneEncoder

CORPUS = grammar_corpus(train=100, valid=20, test=4)
VOCABULARY = Vocabulary.build(CORPUS.train)
VALID = [VOCABULARY.encode_sentence(words) for words in CORPUS.valid]


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setitem(FAMILIES, OneEncoder.family, OneEncoder)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = OneEncoder(ModelConfig(len(VOCABULARY), 6, 5, 3, encoder_sees_eos=False)).eval()
    ranges = activation_ranges(model, VALID)
    return save_checkpoint(tmp_path / "one.pt", model, TrainingConfig(), VOCABULARY, "plain", {}, ranges)


def test_a_checkpoint_comes_back_as_its_own_class(checkpoint):
    read = load_checkpoint(checkpoint)
    assert type(read.model) is OneEncoder
    assert torch.load(checkpoint, weights_only=True)["family"] == "one-encoder"
    assert read.activation_ranges is not None
    assert list(read.activation_ranges) == ["reader", "writer"]


def test_its_steps_are_the_whole_model(checkpoint):
    model = load_checkpoint(checkpoint).model
    whole = copy.deepcopy(model).double()
    for sentence in VALID[:3]:
        with torch.no_grad():
            mean, _ = whole.encode(torch.tensor([sentence]), torch.tensor([len(sentence)]), masked=True).last()
            expected = whole.decode(torch.tensor([sentence]), mean)
            logits = torch.stack(run_batch(Stepper(model), [sentence]), dim=1)
        torch.testing.assert_close(logits, expected, rtol=1e-11, atol=1e-11)


def test_it_is_evaluated_and_finetuned(checkpoint, tmp_path):
    base = load_checkpoint(checkpoint)
    assert np.isfinite(evaluate(base.model, VALID, importance_samples=2).proper.elbo_nll)
    config = FinetuneConfig(
        updates=2, batch_size=4, validate_every=1, valid_sentences=3, valid_draws=1, clip_weights=1.0
    )
    noise = Nonidealities(programming=Programming("lognormal", 0.2))
    tuned = load_checkpoint(finetune(base, CORPUS, read_hardware("paper"), noise, config, tmp_path / "out"))
    assert type(tuned.model) is OneEncoder
    trained = torch.load(tmp_path / "out/last.pt", weights_only=True)["model"]
    assert not any(torch.equal(trained[name], value) for name, value in base.model.state_dict().items())


@pytest.mark.spice
@pytest.mark.parametrize("dac_range", ["calibrated", "max"])
def test_its_netlists_compute_it(checkpoint, tmp_path, dac_range):
    hardware = replace(read_hardware("paper"), dac=ConverterSpec(0, range=dac_range))
    manifest = build_netlist(checkpoint, tmp_path / "net", hardware=hardware)
    assert [(layer.name, len(layer.units)) for layer in manifest.layers] == [("reader", 4), ("writer", 4)]
    run = simulate(manifest, sentences=2, options=Options(adc_bits=0), out=tmp_path / "run")
    steps = read_table(tmp_path / "run" / STEPS).to_pydict()
    assert list(dict.fromkeys(steps["layer"])) == ["reader", "writer"]
    assert max(steps["max_error"]) < 1e-6
    assert run.summary["token_agreement"] == 1
    assert (tmp_path / "run" / "preactivations.svg").is_file()


@pytest.mark.parametrize(("encoders", "decoders"), [(0, 0), (1, 0), (1, 2)])
def test_models_that_the_step_loop_does_not_take(checkpoint, encoders, decoders):
    model = load_checkpoint(checkpoint).model
    reader, writer = model.declared_layers()
    writers = (writer, replace(writer, name="second"))
    model.declared_layers = lambda: (*(reader,)[:encoders], *writers[:decoders])
    with pytest.raises(MappingError, match=f"the model has {decoders} decoder layers; allowed: 1"):
        Stepper(model, copied=False)


def test_unknown_families():
    assert model_class("hsrvae") is HSRVAE
    for family in ("hsr-vae", 5, None, ["hsrvae"]):
        with pytest.raises(InputError, match=r"unknown model family .* allowed: hsrvae"):
            model_class(family)


def test_only_models_know_the_layers_of_a_model():
    """Elsewhere they come from `declared_layers`; the examples of a help text may show them."""
    package = Path(hvae_mnn.__file__).parent
    for path in package.rglob("*.py"):
        if path.parent.name != "models" and path.name != "build_netlist.py":
            named = re.findall(r"\bencoder[12]\b|\bHSRVAE\b", path.read_text(encoding="utf-8"))
            assert not named, path
