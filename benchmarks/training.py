"""A batch of training against a bare torch loop of the same sizes, and its output layer against torch's own two steps.

The floor of the output layer is its three matrix products: logits, and the gradients of states and weights. Times are
of the processor, on one thread; sentences have 22 tokens, the vocabulary 10,000 ids. The bare loop multiplies the
output layer in the same type. Both sides have the same weights and give the same loss, without dropout, before
their time counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmarks.figures import Answer, Figure, in_turns
from benchmarks.workspace import PAPER_VOCABULARY, Workspace
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.device import pick_precision
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.output_loss import sentence_losses
from hvae_mnn.models.presets import configure
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.text.batches import Batch, collate
from hvae_mnn.text.vocabulary import EOS, SOS
from hvae_mnn.training.accelerator import Alone
from hvae_mnn.training.learner import Learner
from hvae_mnn.training.optimizer_state import make_optimizer
from hvae_mnn.training.updates.joint import joint_update

SENTENCES, WORDS = 32, 21
_TOLERANCE = 2e-3
"""Of a loss: bfloat16 logits are rounded before the bias is added, or after it."""


class Bare(nn.Module):
    """The VAE of the preset as one would write it in torch alone, with the product's parameter names."""

    def __init__(self, config: ModelConfig, bf16: bool) -> None:
        super().__init__()
        vocabulary, embedding, hidden = config.vocabulary_size, config.embedding_size, config.hidden_size
        self.encoder_embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.encoder1 = nn.LSTM(embedding, hidden, batch_first=True)
        self.encoder2 = nn.LSTM(hidden, hidden, batch_first=True)
        self.to_mean = nn.Linear(hidden, config.latent_size)
        self.to_log_variance = nn.Linear(hidden, config.latent_size)
        self.latent_to_hidden = nn.Linear(config.latent_size, hidden, bias=False)
        self.decoder_embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.decoder = nn.LSTM(embedding + config.latent_size, hidden, batch_first=True)
        self.to_logits = nn.Linear(hidden, vocabulary)
        self.dropout, self.bf16 = config.dropout, bf16

    def loss(self, tokens: Tensor, floor: float, weight: float) -> Tensor:
        """Mean over the sentences (B, T), all of one length, of reconstruction and KL."""
        embedded = nn.functional.dropout(self.encoder_embedding(tokens[:, :-1]), self.dropout, self.training)
        state = self.encoder2(self.encoder1(embedded)[0])[0][:, -1]  # (B, H)
        mean, log_variance = self.to_mean(state), self.to_log_variance(state)
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        embedded = nn.functional.dropout(self.decoder_embedding(tokens[:, :-1]), self.dropout, self.training)
        everywhere = latent[:, None].expand(-1, embedded.shape[1], -1)
        start = self.latent_to_hidden(latent)[None]
        hidden = self.decoder(torch.cat([embedded, everywhere], dim=2), (start, start))[0]
        kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0).sum(dim=1).mean()
        return separate(self.to_logits, hidden, tokens, self.bf16) / len(tokens) + weight * kl.clamp(min=floor)


def separate(layer: nn.Linear, hidden: Tensor, tokens: Tensor, bf16: bool) -> Tensor:
    """Output layer and cross entropy as torch has them: the sum over all predicted tokens."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = layer(hidden)
    return nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="sum")


class Loops:
    """The same training by the product and by torch alone."""

    def __init__(self, preset: str, vocabulary: int, optimizer: str) -> None:
        """A preset's sizes with an LSTM decoder and encoder; `optimizer` as in `TrainingConfig`."""
        sizes = {"encoder_cells": ("lstm", "lstm"), "decoder_cell": "lstm", "optimizer": optimizer}
        self.model_config, self.config = configure(preset, "sound", vocabulary, **sizes)
        self.bf16 = pick_precision(self.config, self.model_config, torch.device("cpu")) == "bf16"
        torch.manual_seed(0)
        model = HSRVAE(self.model_config).train()
        optimiser = make_optimizer(model, self.config)
        self.learner = Learner(model, optimiser, self.config, Alone(torch.device("cpu"), self.bf16), bf16=self.bf16)
        self.bare = Bare(self.model_config, self.bf16)
        self.bare.load_state_dict(model.state_dict())
        self.optimizer = _bare_optimizer(self.bare, self.config)
        ids = torch.randint(EOS + 1, vocabulary, (SENTENCES, WORDS)).tolist()
        self.batch: Batch = collate([[SOS, *row, EOS] for row in ids])

    def product(self) -> float:
        """A step of the product; the loss before it."""
        return joint_update(self.learner, self.batch, 1.0, 0.0).loss.item()

    def alone(self) -> float:
        """A step of torch alone; the loss before it."""
        loss = self.bare.loss(self.batch.tokens, self.config.free_bits, 1.0)
        self.optimizer.zero_grad()
        loss.backward()
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(self.bare.parameters(), self.config.clip)
        self.optimizer.step()
        return loss.item()

    def check(self) -> None:
        """Raises `RuntimeError` where the two give different losses over two steps without dropout."""
        self._train(False)
        for step in range(2):
            torch.manual_seed(step)
            found = self.product()
            torch.manual_seed(step)
            expected = self.alone()
            if not math.isclose(found, expected, rel_tol=_TOLERANCE):
                raise RuntimeError(f"step {step + 1} has the loss {found:.6g}, by torch alone {expected:.6g}")
        self._train(True)

    def _train(self, mode: bool) -> None:
        self.learner.model.train(mode)
        self.bare.train(mode)


def _bare_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=config.learning_rate)
    return torch.optim.Adam(model.parameters(), lr=config.learning_rate, eps=config.adam_eps)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, and its random state kept; then as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(threads)


def output_layer(loops: Loops) -> dict[str, Callable[[], object]]:
    """Ways through the output layer, forward and backward: `fused`, `separate`, and `products`, the floor."""
    layer, tokens = loops.bare.to_logits, loops.batch.tokens
    kind = torch.bfloat16 if loops.bf16 else torch.float32
    hidden = torch.randn(SENTENCES, WORDS + 1, layer.in_features).requires_grad_()
    states, matrix = hidden.detach().flatten(0, 1).to(kind), layer.weight.detach().to(kind)
    gradient = torch.randn(len(states), len(matrix)).to(kind)
    logits = torch.empty_like(gradient)

    def backward(loss: Callable[[], Tensor]) -> Callable[[], object]:
        def both() -> None:
            hidden.grad = layer.weight.grad = None
            if layer.bias is not None:
                layer.bias.grad = None
            loss().backward()

        return both

    def products() -> None:
        torch.mm(states, matrix.T, out=logits)
        torch.mm(gradient, matrix)
        torch.mm(gradient.T, states)

    return {
        "fused": backward(lambda: sentence_losses(layer, hidden, tokens, kind)[0]),
        "separate": backward(lambda: separate(layer, hidden, tokens, loops.bf16)),
        "products": products,
    }


def _timed(action: Callable[[], object]) -> Callable[[], float]:
    """Seconds of the processor for one call: on one thread they leave out what other programs take from a core."""

    def timed() -> float:
        start = time.process_time()
        action()
        return time.process_time() - start

    return timed


def run(workspace: Workspace) -> Answer:
    """Measure."""
    figures = []
    with one_thread():
        for optimizer in ("adam", "sgd"):
            workspace.status(f"training batches with {optimizer}")
            loops = Loops(workspace.size, PAPER_VOCABULARY, optimizer)
            loops.check()
            found = in_turns({"product": _timed(loops.product), "bare": _timed(loops.alone)}, repetitions=12, warm_up=3)
            ratio = found["product"] / found["bare"]
            figures += [
                Figure(f"{optimizer}_s", f"batch of {SENTENCES}, {optimizer}", found["product"], "s"),
                Figure(f"{optimizer}_bare_s", "  bare torch loop", found["bare"], "s"),
                Figure(f"{optimizer}_ratio", "  against it", ratio, "x", at_most=1.0),
            ]
        workspace.status("the output layer")
        actions = {name: _timed(action) for name, action in output_layer(loops).items()}
        found = in_turns(actions, repetitions=20, warm_up=3)
    return Answer(
        [
            *figures,
            Figure("fused_ms", "output layer and cross entropy, fused", found["fused"] * 1e3, "ms"),
            Figure("separate_ms", "  torch's own two", found["separate"] * 1e3, "ms"),
            Figure("products_ms", "  its three matrix products alone", found["products"] * 1e3, "ms"),
            Figure("fused_ratio", "  fused against torch's", found["fused"] / found["separate"], "x", at_most=0.5),
            Figure("fused_over_products", "  fused against the products", found["fused"] / found["products"], "x"),
        ],
        f"processor time on one thread, {PAPER_VOCABULARY:,} ids, output layer in {'bf16' if loops.bf16 else 'fp32'}",
    )
