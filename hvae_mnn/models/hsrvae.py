"""HSR-VAE: two recurrent encoder layers, a latent read from their last step, one recurrent decoder (eqs. 3 and 4).

Axis letters: B batch, T padded sentence length, E embedding, H hidden, Z latent, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from hvae_mnn.gates import Cell
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.peephole import PeepholeLSTM
from hvae_mnn.text.vocabulary import EOS, PAD

RecurrentLayer = nn.LSTM | nn.GRU | nn.RNN | PeepholeLSTM


@dataclass(frozen=True)
class Posterior:
    """The encoder's Gaussian q(z^t | x_1..t) at every step."""

    mean: Tensor
    """Shape (B, T, Z), T the number of encoder steps."""
    log_variance: Tensor
    """Shape (B, T, Z); the paper calls it a variance and uses it as its logarithm (eq. 5)."""
    steps: Tensor
    """Steps of each sentence that count, shape (B,); the latent belongs to the last of them."""

    def last(self) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latent's own step, each of shape (B, Z)."""
        rows = torch.arange(self.mean.shape[0], device=self.mean.device)
        return self.mean[rows, self.steps - 1], self.log_variance[rows, self.steps - 1]


@dataclass(frozen=True)
class Output:
    """What one forward pass gives."""

    logits: Tensor
    """Scores of the next word, shape (B, T - 1, V): position t predicts the token at t + 1."""
    posterior: Posterior
    """The encoder's Gaussians."""
    latent: Tensor
    """The latent that the decoder used, shape (B, Z)."""


def recurrent_layer(cell: Cell, input_size: int, hidden_size: int, peepholes: bool) -> RecurrentLayer:
    """One batch-first recurrent layer with PyTorch's parameter names."""
    if cell == "lstm":
        if peepholes:
            return PeepholeLSTM(input_size, hidden_size)
        return nn.LSTM(input_size, hidden_size, batch_first=True)
    if cell == "gru":
        return nn.GRU(input_size, hidden_size, batch_first=True)
    return nn.RNN(input_size, hidden_size, batch_first=True)


def sample_latent(
    mean: Tensor, log_variance: Tensor, generator: torch.Generator | None = None, noise: Tensor | None = None
) -> Tensor:
    """A latent z = mean + exp(log_variance / 2) * noise, each of shape (..., Z); noise is drawn if it is not given."""
    if noise is None:
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + torch.exp(0.5 * log_variance) * noise


class HSRVAE(nn.Module):
    """Hierarchical-state-regularised VAE for text, on any mix of `rnn`, `lstm` and `gru` layers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        embedding, hidden, latent = config.embedding_size, config.hidden_size, config.latent_size
        first, second = config.encoder_cells
        self.encoder_embedding = nn.Embedding(config.vocabulary_size, embedding, padding_idx=PAD)
        self.encoder1 = recurrent_layer(first, embedding, hidden, config.peepholes)
        self.encoder2 = recurrent_layer(second, hidden, hidden, config.peepholes)
        self.to_mean = nn.Linear(hidden, latent)
        self.to_log_variance = nn.Linear(hidden, latent)
        self.latent_to_hidden = nn.Linear(latent, hidden, bias=False)
        self.decoder_embedding = nn.Embedding(config.vocabulary_size, embedding, padding_idx=PAD)
        self.decoder = recurrent_layer(config.decoder_cell, embedding + latent, hidden, config.peepholes)
        self.to_logits = nn.Linear(hidden, config.vocabulary_size)

    def encoder_input(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens that the encoder reads, (B, T) or (B, T - 1), and how many of each sentence's are no pads, (B,).

        Where the encoder does not see the end symbol, its place holds a pad.
        """
        if self.config.encoder_sees_eos:
            return tokens, lengths
        return tokens.masked_fill(tokens == EOS, PAD)[:, :-1], lengths - 1

    def encode(self, tokens: Tensor, lengths: Tensor, masked: bool) -> Posterior:
        """The posterior of a padded batch: tokens (B, T) with `SOS` and `EOS`, lengths (B,) = words + 2.

        `masked` ends each sentence at its last valid step; otherwise pads are steps like any other and the latent is
        read after them, as in TWR-VAE's code.
        """
        tokens, steps = self.encoder_input(tokens, lengths)
        embedded = self._drop(self.encoder_embedding(tokens))  # (B, T, E)
        hidden1, _ = self.encoder1(embedded)  # (B, T, H)
        hidden2, _ = self.encoder2(hidden1)  # (B, T, H)
        if not masked:
            steps = torch.full_like(steps, tokens.shape[1])
        return Posterior(self.to_mean(hidden2), self.to_log_variance(hidden2), steps)

    def decoder_state(self, latent: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The decoder's first state from z (B, Z): h_0 = W z of shape (1, B, H), and c_0 the same for an LSTM."""
        hidden = self.latent_to_hidden(latent)[None].contiguous()  # (1, B, H)
        return (hidden, hidden) if self.config.decoder_cell == "lstm" else hidden

    def decoder_hidden(self, tokens: Tensor, latent: Tensor) -> Tensor:
        """Decoder states (B, T - 1, H) under teacher forcing: step t reads token t and z (B, Z)."""
        embedded = self._drop(self.decoder_embedding(tokens[:, :-1]))  # (B, T - 1, E)
        everywhere = latent[:, None, :].expand(-1, embedded.shape[1], -1)  # (B, T - 1, Z)
        hidden, _ = self.decoder(torch.cat([embedded, everywhere], dim=2), self.decoder_state(latent))
        return cast("Tensor", hidden)

    def decode(self, tokens: Tensor, latent: Tensor) -> Tensor:
        """Logits (B, T - 1, V) of the next words from tokens (B, T) and z (B, Z), teacher-forced."""
        return cast("Tensor", self.to_logits(self.decoder_hidden(tokens, latent)))

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        masked: bool = True,
    ) -> Output:
        """Encode, draw one latent (noise (B, Z) may be given) and decode with teacher forcing."""
        posterior = self.encode(tokens, lengths, masked)
        latent = sample_latent(*posterior.last(), generator=generator, noise=noise)
        return Output(self.decode(tokens, latent), posterior, latent)

    def _drop(self, embedded: Tensor) -> Tensor:
        return nn.functional.dropout(embedded, self.config.dropout, self.training)
