"""Rows of the paper's tables through ngspice: with and without an encoder, with latents that software finds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hvae_mnn import Options, build_netlist, simulate
from hvae_mnn.models.activations import activation_ranges
from hvae_mnn.models.checkpoint import save_checkpoint
from hvae_mnn.models.families import model_class
from hvae_mnn.models.rows import configure_row
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import Vocabulary

pytestmark = pytest.mark.spice

EXACT = Options(dac_bits=0, adc_bits=0)


def checkpoint(name: str, path: Path) -> Path:
    corpus = grammar_corpus(train=400, valid=20, test=20)
    vocabulary = Vocabulary.build(corpus.train)
    sizes = {"embedding_size": 7, "hidden_size": 5, "latent_size": 3}
    config, training = configure_row(name, len(vocabulary), epochs=1, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = model_class("hsrvae")(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2).add_(0.3 * torch.randn_like(parameter))
    ranges = activation_ranges(model, [vocabulary.encode_sentence(words) for words in corpus.valid])
    return save_checkpoint(path, model, training, vocabulary, "plain", {}, ranges)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("lm", ["decoder"]),
        ("sri-vae", ["decoder"]),
        ("twr-gru", ["encoder1", "decoder"]),
        ("sa-vae", ["encoder1", "decoder"]),
        ("lag-vae", ["encoder1", "decoder"]),
        ("hsr-lstm-lstm-per-step", ["encoder1", "encoder2", "decoder"]),
    ],
)
def test_a_row_runs_on_its_arrays_as_in_torch(tmp_path: Path, name: str, layers: list[str]) -> None:
    manifest = build_netlist(checkpoint(name, tmp_path / f"{name}.pt"), tmp_path / "netlist")
    assert [layer.name for layer in manifest.layers] == layers
    result = simulate(manifest, sentences=2, options=EXACT, out=tmp_path / "run")
    summary = result.summary
    assert set(summary["preactivation_error"]) == set(layers)
    for units in summary["preactivation_error"].values():
        assert all(error["max_of_full_scale"] < 1e-9 for error in units.values())
    assert summary["token_agreement"] == 1
    assert len({token for tokens in result.tokens for token in tokens.hardware}) > 1
