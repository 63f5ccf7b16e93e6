"""A text model that is built otherwise than HSR-VAE: one encoder layer, one table of embeddings, other names."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.latent import Posterior
from hvae_mnn.models.recurrent import DeclaredLayer, RecurrentModel, recurrent_module
from hvae_mnn.text.vocabulary import EOS, PAD


class OneEncoder(RecurrentModel):
    """A GRU `reader` whose states give the posterior through a tanh, and an LSTM `writer`."""

    family = "one-encoder"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        embedding, hidden, latent = config.embedding_size, config.hidden_size, config.latent_size
        self.table = nn.Embedding(config.vocabulary_size, embedding, padding_idx=PAD)
        self.reader = recurrent_module("gru", embedding, hidden, False)
        self.heads = nn.Linear(hidden, 2 * latent)
        self.start = nn.Linear(latent, hidden)
        self.writer = recurrent_module("lstm", embedding + latent, hidden, False)
        self.to_logits = nn.Linear(hidden, config.vocabulary_size)

    @classmethod
    def least_weights(cls, config: ModelConfig) -> int:
        return config.vocabulary_size * config.embedding_size

    def declared_layers(self) -> tuple[DeclaredLayer, ...]:
        return (
            DeclaredLayer("reader", self.reader, "encoder", self.table),
            DeclaredLayer("writer", self.writer, "decoder", self.table, self.config.latent_size),
        )

    def posterior(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.heads(hidden).chunk(2, dim=-1)
        return torch.tanh(mean), log_variance

    def encoder_parameters(self) -> list[nn.Parameter]:
        return [*self.reader.parameters(), *self.heads.parameters()]

    def first_hidden(self, latent: Tensor) -> Tensor:
        return torch.tanh(self.start(latent))

    def encode(self, tokens: Tensor, lengths: Tensor, masked: bool) -> Posterior:
        if not self.config.encoder_sees_eos:
            tokens, lengths = tokens.masked_fill(tokens == EOS, PAD)[:, :-1], lengths - 1
        hidden, _ = self.reader(self.table(tokens))
        steps = lengths if masked else torch.full_like(lengths, tokens.shape[1])
        return Posterior(*self.posterior(hidden), steps)

    def decoder_hidden(self, tokens: Tensor, latent: Tensor) -> Tensor:
        embedded = self.table(tokens[:, :-1])
        first = self.first_hidden(latent)[None].contiguous()
        latents = latent[:, None, :].expand(-1, embedded.shape[1], -1)
        hidden, _ = self.writer(torch.cat([embedded, latents], dim=2), (first, first))
        return cast("Tensor", hidden)
