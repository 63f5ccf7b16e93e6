"""TWR-VAE's rows against its formulas in bare torch: cells, loss and Adam written out, step by step.

Nothing of the product is used but the first weights and the encoded sentences. The noise of the latent and dropout are
off, so that every loss can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hvae_mnn.models.rows import configure_row
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training import learner
from hvae_mnn.training.learner import Costs, Learner
from hvae_mnn.training.run import TrainingRun

CORPUS = grammar_corpus(seed=4, train=100, valid=2, test=1)
VOCABULARY = Vocabulary.build(CORPUS.train)
STEPS = 120
RATE, EPS, DECAY = 1e-4, 1e-6, 1e-5
PARTS = {"twr-lstm-last": None, "twr-lstm-last25": 0.25, "twr-lstm-last50": 0.5, "twr-lstm-last75": 0.75}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def step(cell: str, weights: dict[str, Tensor], layer: str, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One time step of PyTorch's cells, from their documentation."""
    of_x = x @ weights[f"{layer}.weight_ih_l0"].T + weights[f"{layer}.bias_ih_l0"]
    of_h = h @ weights[f"{layer}.weight_hh_l0"].T + weights[f"{layer}.bias_hh_l0"]
    if cell == "rnn":
        return torch.tanh(of_x + of_h), c
    if cell == "gru":
        (rx, zx, nx), (rh, zh, nh) = of_x.chunk(3, dim=1), of_h.chunk(3, dim=1)
        new = torch.tanh(nx + torch.sigmoid(rx + rh) * nh)
        keep = torch.sigmoid(zx + zh)
        return (1 - keep) * new + keep * h, c
    i, f, g, o = (of_x + of_h).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def published_loss(cell: str, row: str, weights: dict[str, Tensor], tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction and KL, summed over a padded batch (B, T): pads are steps of the encoder, which begins at zero;
    z is the mean after the last of them; each step's KL counts 1/T."""
    zero = torch.zeros(len(tokens), weights["latent_to_hidden.weight"].shape[0], dtype=torch.float64)
    h = c = zero
    kl = []
    for t in range(tokens.shape[1]):
        h, c = step(cell, weights, "encoder1", weights["encoder_embedding.weight"][tokens[:, t]], h, c)
        mean = h @ weights["to_mean.weight"].T + weights["to_mean.bias"]
        log_variance = h @ weights["to_log_variance.weight"].T + weights["to_log_variance.bias"]
        kl.append(0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum())
    if row in PARTS:
        part = PARTS[row]
        last = 1 if part is None else round(part * len(kl))
        kl = kl[-last:]
    h = c = mean @ weights["latent_to_hidden.weight"].T
    rec = torch.zeros((), dtype=torch.float64)
    for t in range(tokens.shape[1] - 1):
        x = torch.cat([weights["decoder_embedding.weight"][tokens[:, t]], mean], dim=1)
        h, c = step(cell, weights, "decoder", x, h, c)
        logits = h @ weights["to_logits.weight"].T + weights["to_logits.bias"]
        target = tokens[:, t + 1]
        nats = logits.exp().sum(dim=1).log() - logits.gather(1, target[:, None])[:, 0]
        rec = rec + nats[target != 0].sum()
    return rec, torch.stack(kl).sum() / len(kl)


class Adam:
    """Kingma and Ba's algorithm 1, with the decay as part of the gradient; a pad's embedding gets none of it."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights, self.count = weights, 0
        self.first, self.second = ({name: torch.zeros_like(value) for name, value in weights.items()} for _ in "12")

    def step(self, loss: Tensor) -> None:
        self.count += 1
        gradients = torch.autograd.grad(loss, list(self.weights.values()))
        for (name, value), gradient in zip(self.weights.items(), gradients, strict=True):
            if "embedding" in name:
                gradient = gradient.index_fill(0, torch.tensor([0]), 0.0)
            gradient = gradient + DECAY * value.detach()
            self.first[name] = 0.9 * self.first[name] + 0.1 * gradient
            self.second[name] = 0.999 * self.second[name] + 0.001 * gradient**2
            mean = self.first[name] / (1 - 0.9**self.count)
            spread = (self.second[name] / (1 - 0.999**self.count)).sqrt()
            value.data -= RATE * mean / (spread + EPS)


def batches() -> list[Tensor]:
    """The train split from short to long, in slices of 64, padded with 0."""
    encoded = [VOCABULARY.encode_sentence(sentence) for sentence in CORPUS.train]
    encoded.sort(key=len)
    slices = [encoded[start : start + 64] for start in range(0, len(encoded), 64)]
    return [torch.tensor([[*sentence, *[0] * (len(part[-1]) - len(sentence))] for sentence in part]) for part in slices]


@pytest.mark.parametrize("row", ["twr-lstm", "twr-gru", "twr-rnn", *PARTS])
def test_the_losses_are_the_published_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str) -> None:
    """Over many epochs of Adam steps in float64, to 1e-9; the partial forms over fewer."""
    steps = STEPS if row not in PARTS else 12
    cell = row.split("-")[1]
    sizes = {"embedding_size": 7, "hidden_size": 9, "latent_size": 4, "dropout": 0.0, "precision": "fp32"}
    run = TrainingRun(CORPUS, VOCABULARY, *configure_row(row, len(VOCABULARY), **sizes), tmp_path, torch.device("cpu"))
    run.model.double()
    weights = {name: value.detach().clone().requires_grad_() for name, value in run.model.named_parameters()}
    monkeypatch.setattr(learner, "sample_latent", lambda mean, log_variance, noise: mean)
    real, found = Learner.costs, []

    def spy(self: Learner, *arguments: object) -> Costs:
        costs = real(self, *arguments)  # type: ignore[arg-type]
        found.append((costs.rec, costs.kl, costs.loss.item()))
        return costs

    monkeypatch.setattr(Learner, "costs", spy)
    adam, order = Adam(weights), batches()
    for number in range(steps):
        if number and number % len(order) == 0:
            run.position.epoch, run.position.batch = run.position.epoch + 1, 0  # without a validation
        run.step()
        rec, kl = published_loss(cell, row, weights, order[number % len(order)])
        assert found[-1][:2] == pytest.approx((rec.item(), kl.item()), rel=1e-9), number
        assert found[-1][2] == pytest.approx((rec + kl).item(), rel=1e-9)
        adam.step(rec + kl)
    assert len(found) == steps
    first, last = found[0][2], found[-len(order)][2]
    assert last < (1 - 1e-5) * first  # it has learnt by far more than 1e-9, so the weights were compared, too
