"""The first weights that published recipes draw."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.rows import configure_row
from hvae_mnn.training.initial_weights import draw_weights

EMBEDDINGS = ("encoder_embedding.weight", "decoder_embedding.weight")


def drawn(name: str) -> tuple[HSRVAE, HSRVAE]:
    """A model before and after."""
    config, _ = configure_row("bn-vae", 300, epochs=2, embedding_size=40, hidden_size=50, latent_size=12)
    torch.manual_seed(1)
    model = HSRVAE(config)
    model.normalise_means(0.6)
    torch.manual_seed(1)
    before = HSRVAE(config)
    before.normalise_means(0.6)
    draw_weights(model, name)  # type: ignore[arg-type]
    return before, model


@pytest.mark.parametrize(
    ("name", "embeddings", "others"), [("uniform", 0.1, 0.1), ("small", 0.1, 0.01), ("small_decoder", 0.1, 0.01)]
)
def test_weights_fill_their_range(name: str, embeddings: float, others: float) -> None:
    before, model = drawn(name)
    encoder = {id(part) for part in model.encoder_parameters()}
    for key, value in model.named_parameters():
        old = before.get_parameter(key)
        if name == "small_decoder" and id(value) in encoder:
            assert torch.equal(value, old), key
            continue
        bound = embeddings if key in EMBEDDINGS else others
        assert value.abs().max().item() <= bound, key
        if value.numel() > 1000:  # uniform: a mean square of a third of the bound's
            assert value.abs().max().item() > 0.95 * bound, key
            assert value.square().mean().item() == pytest.approx(bound**2 / 3, rel=0.15), key
        assert not torch.equal(value, old), key
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            assert not module.weight[0].any()
    assert model.mean_norm is not None
    assert torch.equal(model.mean_norm.gamma, torch.full((12,), 0.6))


def test_torchs_own_weights_stay() -> None:
    before, model = drawn("torch")
    assert all(torch.equal(value, before.get_parameter(key)) for key, value in model.named_parameters())
