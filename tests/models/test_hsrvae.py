"""The network's conventions: sizes, what it may and may not see, where the latent comes from."""

import itertools

import pytest
import torch
from torch import Tensor

from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.latent import sample_latent
from hvae_mnn.text.batches import collate

SENTENCES = [[2, 5, 6, 7, 8, 3], [2, 9, 3], [2, 10, 11, 5, 3]]


def model(seed: int = 0, **values: object) -> HSRVAE:
    torch.manual_seed(seed)
    sizes = {"vocabulary_size": 12, "embedding_size": 5, "hidden_size": 6, "latent_size": 4}
    return HSRVAE(ModelConfig(**{**sizes, **values})).double().eval()


def count(*modules: torch.nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.mark.parametrize(
    ("cell", "one_bias", "gates"), [("lstm", (787_456, 525_312, 820_224), 4), ("gru", (590_592, 393_984, 615_168), 3)]
)
def test_parameter_counts_at_the_papers_size(cell: str, one_bias: tuple[int, int, int], gates: int) -> None:
    """With one bias per gate, as the paper counts, 4 (in + M + 1) M for an LSTM; PyTorch has a second one."""
    net = HSRVAE(ModelConfig(9947, encoder_cells=(cell, cell), decoder_cell=cell))
    layers = (net.encoder1, net.encoder2, net.decoder)
    assert tuple(count(layer) - gates * 256 for layer in layers) == one_bias
    assert count(net.encoder_embedding, net.decoder_embedding) == 10_185_728
    assert count(net.to_logits) == 2_556_379
    assert count(net.to_mean, net.to_log_variance) == 16_448
    assert count(net.latent_to_hidden) == 8_192
    assert count(net) == sum(one_bias) + 3 * gates * 256 + 10_185_728 + 2_556_379 + 16_448 + 8_192


PAIRS = [*itertools.product(["rnn", "lstm", "gru"], repeat=2)]
MIXES = [(pair, False) for pair in PAIRS] + [(pair, True) for pair in PAIRS if "lstm" in pair]


@pytest.mark.parametrize(("cells", "peepholes"), MIXES)
def test_every_mix_of_cells_gives_the_promised_shapes(cells: tuple[str, str], peepholes: bool) -> None:
    net = model(encoder_cells=(cells[0], cells[1]), decoder_cell=cells[1], peepholes=peepholes)
    batch = collate(SENTENCES)
    output = net(batch.tokens, batch.lengths, generator=torch.Generator().manual_seed(0))
    assert output.logits.shape == (3, 5, 12)
    assert output.posterior.mean.shape == output.posterior.log_variance.shape == (3, 6, 4)
    assert output.posterior.steps.tolist() == [6, 3, 5]
    assert output.latent.shape == (3, 4)
    assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_decoder_sees_only_the_past(cell: str) -> None:
    net = model(decoder_cell=cell)
    tokens, latent = collate(SENTENCES[:1]).tokens, torch.randn(1, 4, dtype=torch.float64)
    logits = net.decode(tokens, latent)
    for place in range(1, 5):
        changed = tokens.clone()
        changed[0, place] = 11
        difference = (net.decode(changed, latent) - logits).abs().amax(dim=(0, 2))  # (T - 1,)
        assert (difference[:place] == 0).all()
        assert (difference[place:] > 1e-6).all()
    changed = tokens.clone()
    changed[0, 5] = 11  # the last token is a target only
    assert torch.equal(net.decode(changed, latent), logits)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_latent_reaches_every_step_as_input_and_as_first_state(cell: str) -> None:
    net = model(decoder_cell=cell)
    tokens, latent = collate(SENTENCES[:1]).tokens, torch.randn(1, 4, dtype=torch.float64)
    state = net.decoder_state(latent)
    first = latent @ net.latent_to_hidden.weight.T
    for part in state if cell == "lstm" else (state,):
        torch.testing.assert_close(part, first[None])
    with torch.no_grad():
        net.latent_to_hidden.weight.zero_()
    one, other = (net.decode(tokens, value) for value in (latent, -latent))
    assert ((one - other).abs().amax(dim=2) > 1e-6).all()


@pytest.mark.parametrize("sees_eos", [True, False])
def test_masked_figures_do_not_depend_on_padding(sees_eos: bool) -> None:
    net = model(encoder_sees_eos=sees_eos)
    batch = collate(SENTENCES)
    together = net.encode(batch.tokens, batch.lengths, masked=True)
    alone = [net.encode(one.tokens, one.lengths, masked=True) for one in map(collate, ([s] for s in SENTENCES))]
    for row, posterior in enumerate(alone):
        for found, expected in zip(together.last(), posterior.last(), strict=True):
            torch.testing.assert_close(found[row], expected[0])
        assert posterior.steps.item() == together.steps[row].item() == len(SENTENCES[row]) - (not sees_eos)


def test_unmasked_figures_read_the_latent_after_the_pads() -> None:
    net = model()
    batch = collate(SENTENCES)
    padded, masked = (net.encode(batch.tokens, batch.lengths, masked=masked) for masked in (False, True))
    assert padded.steps.tolist() == [6, 6, 6]
    assert torch.equal(padded.last()[0], padded.mean[:, -1])
    torch.testing.assert_close(padded.last()[0][0], masked.last()[0][0])  # the longest has no pads
    assert (padded.last()[0][1] - masked.last()[0][1]).abs().max() > 1e-6


def test_an_encoder_that_does_not_see_eos_stops_at_the_last_word() -> None:
    net = model(encoder_sees_eos=False)
    batch = collate(SENTENCES)
    tokens, steps = net.encoder_input(batch.tokens, batch.lengths)
    assert tokens.tolist() == [[2, 5, 6, 7, 8], [2, 9, 0, 0, 0], [2, 10, 11, 5, 0]]
    assert steps.tolist() == [5, 2, 4]
    hidden, _ = net.encoder2(net.encoder1(net.encoder_embedding(torch.tensor([[2, 9]])))[0])
    expected = net.to_mean(hidden[:, -1])
    torch.testing.assert_close(net.encode(batch.tokens, batch.lengths, masked=True).last()[0][1:2], expected)


def test_pads_have_a_zero_embedding_that_is_not_learnt() -> None:
    net = model().train()
    batch = collate(SENTENCES)
    net(batch.tokens, batch.lengths, masked=False).logits.square().sum().backward()
    for embedding in (net.encoder_embedding, net.decoder_embedding):
        assert embedding.weight[0].abs().max() == 0
        assert embedding.weight.grad is not None
        assert embedding.weight.grad[0].abs().max() == 0
        assert embedding.weight.grad[2].abs().max() > 0


def test_dropout_is_on_embeddings_in_training_only() -> None:
    net = model()
    batch = collate(SENTENCES)

    def means() -> Tensor:
        return net.encode(batch.tokens, batch.lengths, masked=True).mean

    assert torch.equal(means(), means())
    net.train()
    assert not torch.equal(means(), means())


def test_sampling_is_mean_plus_scaled_noise() -> None:
    mean, log_variance = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 4.0]]).log().clamp(min=-50)
    latent = sample_latent(mean, log_variance, noise=torch.tensor([[3.0, 0.5]]))
    torch.testing.assert_close(latent, torch.tensor([[1.0, -1.0]]), atol=1e-5, rtol=0)
    draws = [sample_latent(mean, log_variance, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*draws)
