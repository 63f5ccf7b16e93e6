"""Text models whose weights are pruned, normed, parametrized, wrapped or changed in memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from hvae_mnn.cosim.export import build_netlist, map_checkpoint
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.errors import CheckpointError, InputError, MappingError
from hvae_mnn.finetuning.stepper import unit_parameters
from hvae_mnn.models.checkpoint import load_checkpoint, save_checkpoint
from hvae_mnn.models.stepwise import Stepper, model_layers, run_batch
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.text.vocabulary import Vocabulary
from tests.torch_modules import (
    normed,
    parametrized,
    pruned,
)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


class Doubled(nn.LSTM):
    def forward(self, x, state=None):
        found, state = super().forward(x, state)
        return 2 * found, state


def altered(model):
    """An HSR-VAE with every kind of weight that is no plain parameter, in and around its recurrent layers."""
    pruned(model.decoder, "weight_hh_l0", "bias_ih_l0")
    pruned(model.encoder_embedding, "weight")
    pruned(model.to_logits, "weight", "bias")
    normed(model.encoder1, "weight_ih_l0")
    parametrizations.weight_norm(model.encoder2, "weight_hh_l0")
    parametrized(model.to_mean, "weight")
    return model


@pytest.mark.parametrize("cells", ["lstm", "mixed", "peephole"])
def test_the_stepwise_model_has_the_weights_that_torch_multiplies_by(make_checkpoint, cells):
    checkpoint = load_checkpoint(make_checkpoint(cells))
    model = altered(checkpoint.model.double())
    sentence = checkpoint.vocabulary.encode_sentence(["the", "dog", "the"])
    tokens, lengths = torch.tensor([sentence]), torch.tensor([len(sentence)])
    found = torch.stack(run_batch(Stepper(model), [sentence]), dim=1)
    with torch.no_grad():
        expected = model.decode(tokens, model.encode(tokens, lengths, masked=True).last()[0])
        plain = load_checkpoint(checkpoint.path).model.double()
        assert (
            expected - plain.decode(tokens, plain.encode(tokens, lengths, masked=True).last()[0])
        ).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_arrays_and_bounds_are_of_the_weights_as_they_act(make_checkpoint):
    checkpoint = load_checkpoint(make_checkpoint())
    model = checkpoint.model
    pruned(model.encoder_embedding, "weight")
    pruned(model.encoder1, "weight_ih_l0")
    with torch.no_grad():  # as an optimiser's step does: attributes stay as they are until the next pass
        model.encoder_embedding.weight_orig.mul_(3)
        model.encoder1.weight_ih_l0_orig.mul_(-2)
    hardware = read_hardware("paper")
    mapped = map_checkpoint(checkpoint, replace(hardware, dac=replace(hardware.dac, range="max")))
    kept = model.encoder1.weight_ih_l0_orig * model.encoder1.weight_ih_l0_mask
    found = mapped.arrays["encoder1_f"].weights[:7].T
    np.testing.assert_allclose(found, kept.detach()[5:10].double(), rtol=0, atol=1e-12)
    largest = model.encoder_embedding(torch.arange(checkpoint.config.vocabulary_size)).detach().abs().max()
    assert mapped.network.layers[0].input_range["x"] == pytest.approx(float(largest), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("decoder", lambda: nn.LSTM(10, 5, num_layers=2), "decoder has 2 layers or directions"),
        ("encoder2", lambda: nn.GRU(5, 5, bidirectional=True), "encoder2 has 2 layers or directions"),
        ("encoder1", lambda: Doubled(7, 5), "encoder1: class Doubled has its own forward"),
        ("decoder", lambda: nn.DataParallel(nn.LSTM(10, 5)), r"its \.module"),
    ],
)
def test_a_models_layer_that_is_another_one_is_refused(make_checkpoint, name, layer, message):
    model = load_checkpoint(make_checkpoint()).model
    setattr(model, name, layer())
    with pytest.raises(MappingError, match=message):
        model_layers(model)


def test_a_checkpoint_changed_in_memory_is_refused(make_checkpoint, tmp_path):
    """Its file travels with the netlists, and the digital model is read from there."""
    checkpoint = load_checkpoint(make_checkpoint())
    prune.l1_unstructured(checkpoint.model.decoder, "weight_hh_l0", amount=0.5)
    with pytest.raises(CheckpointError, match=r"other weights \('decoder.weight_hh_l0'\) than the file"):
        build_netlist(checkpoint, tmp_path / "net")
    prune.remove(checkpoint.model.decoder, "weight_hh_l0")
    with pytest.raises(CheckpointError, match=r"other weights \('decoder.weight_hh_l0'\) than the file"):
        build_netlist(checkpoint, tmp_path / "net")
    assert not (tmp_path / "net").exists()
    checkpoint.model.load_state_dict(load_checkpoint(checkpoint.path).model.state_dict())
    assert build_netlist(checkpoint, tmp_path / "net").source["original_name"] == "lstm.pt"


def test_training_on_hardware_wants_plain_parameters(make_checkpoint):
    layer = load_checkpoint(make_checkpoint()).model.decoder
    assert unit_parameters(layer)["f"].from_h is not None
    prune.l1_unstructured(layer, "weight_hh_l0", amount=0.5)
    with pytest.raises(MappingError, match=r"LSTM\.weight_hh_l0 is no plain parameter"):
        unit_parameters(layer)


class OtherNames(nn.Module):
    """A model whose weights have other names, as a wrapper gives them."""

    def __init__(self, model, rename):
        super().__init__()
        self.config, self.family, self._model, self._rename = model.config, model.family, [model], rename

    def state_dict(self):
        return {self._rename(name): value for name, value in self._model[0].state_dict().items()}


FOREIGN = [
    (lambda name: f"module.{name}", r"weights 'module\.decoder\..*' are of a model in nn.DataParallel .* its \.module"),
    (lambda name: f"_orig_mod.{name}", r"'_orig_mod\.decoder\..*' are of a compiled model .* its \._orig_mod"),
    (lambda name: name.replace("decoder.", "decoder._orig_mod."), r"'decoder\._orig_mod\..*compiled model"),
    (lambda name: f"{name}_orig" if name == "decoder.weight_hh_l0" else name, r"weight_hh_l0_orig.* pruned or normed"),
    (lambda name: f"{name}_g" if name == "decoder.weight_hh_l0" else name, r"weight_hh_l0_g.* pruned or normed"),
    (
        lambda name: name.replace("to_mean.", "to_mean.parametrizations."),
        r"to_mean\.parametrizations\..*remove_parametrizations",
    ),
]


@pytest.mark.parametrize(("rename", "message"), FOREIGN)
def test_checkpoints_of_wrapped_and_altered_models(make_checkpoint, tmp_path, rename, message):
    checkpoint = load_checkpoint(make_checkpoint())
    vocabulary: Vocabulary = checkpoint.vocabulary
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(
            tmp_path / "x.pt", OtherNames(checkpoint.model, rename), TrainingConfig(), vocabulary, "plain", {}
        )
    assert not list(tmp_path.iterdir())
    content = torch.load(checkpoint.path, weights_only=True)
    content["state_dict"] = {rename(name): value for name, value in content["state_dict"].items()}
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)
