"""HSR-VAE: two recurrent encoder layers, a latent read from their last step, one recurrent decoder (eqs. 3 and 4).

Axis letters: B batch, T padded sentence length, E embedding, H hidden, Z latent, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.latent import Posterior, sample_latent
from hvae_mnn.models.recurrent import DeclaredLayer, RecurrentModel, recurrent_module, recurrent_weights
from hvae_mnn.text.vocabulary import EOS, PAD


@dataclass(frozen=True)
class Output:
    """Result of one forward pass."""

    logits: Tensor
    """Scores of the next word, shape (B, T - 1, V): position t predicts the token at t + 1."""
    posterior: Posterior
    """The encoder's Gaussians."""
    latent: Tensor
    """The latent that the decoder used, shape (B, Z)."""


class HSRVAE(RecurrentModel):
    """Hierarchical-state-regularised VAE for text, on any mix of `rnn`, `lstm` and `gru` layers."""

    family: ClassVar[str] = "hsrvae"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        embedding, hidden, latent = config.embedding_size, config.hidden_size, config.latent_size
        first, second = config.encoder_cells
        self.encoder_embedding = nn.Embedding(config.vocabulary_size, embedding, padding_idx=PAD)
        self.encoder1 = recurrent_module(first, embedding, hidden, config.peepholes)
        self.encoder2 = recurrent_module(second, hidden, hidden, config.peepholes)
        self.to_mean = nn.Linear(hidden, latent)
        self.to_log_variance = nn.Linear(hidden, latent)
        self.latent_to_hidden = nn.Linear(latent, hidden, bias=False)
        self.decoder_embedding = nn.Embedding(config.vocabulary_size, embedding, padding_idx=PAD)
        self.decoder = recurrent_module(config.decoder_cell, embedding + latent, hidden, config.peepholes)
        self.to_logits = nn.Linear(hidden, config.vocabulary_size)

    @classmethod
    def least_weights(cls, config: ModelConfig) -> int:
        """See `RecurrentModel.least_weights`: embeddings, recurrent layers and latent, without biases."""
        embedding, hidden, latent = config.embedding_size, config.hidden_size, config.latent_size
        first, second = config.encoder_cells
        sizes = ((first, embedding), (second, hidden), (config.decoder_cell, embedding))
        recurrent = sum(recurrent_weights(cell, size, hidden) for cell, size in sizes)
        return 2 * config.vocabulary_size * embedding + recurrent + 3 * latent * hidden

    def declared_layers(self) -> tuple[DeclaredLayer, ...]:
        """Two encoder layers and one decoder."""
        return (
            DeclaredLayer("encoder1", self.encoder1, "encoder", self.encoder_embedding),
            DeclaredLayer("encoder2", self.encoder2, "encoder", None),
            DeclaredLayer("decoder", self.decoder, "decoder", self.decoder_embedding, self.config.latent_size),
        )

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
        return Posterior(*self.posterior(hidden2), steps)

    def posterior(
        self, hidden: Float[Tensor, "*batch H"]
    ) -> tuple[Float[Tensor, "*batch Z"], Float[Tensor, "*batch Z"]]:
        """See `RecurrentModel.posterior`: two linear maps."""
        return self.to_mean(hidden), self.to_log_variance(hidden)

    def first_hidden(self, latent: Float[Tensor, "B Z"]) -> Float[Tensor, "B H"]:
        """See `RecurrentModel.first_hidden`: W z."""
        return cast("Tensor", self.latent_to_hidden(latent))

    def decoder_state(self, latent: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The decoder's first state from z (B, Z): h_0 = W z of shape (1, B, H), and c_0 the same for an LSTM."""
        hidden = self.first_hidden(latent)[None].contiguous()  # (1, B, H)
        return (hidden, hidden) if self.config.decoder_cell == "lstm" else hidden

    def decoder_hidden(self, tokens: Int[Tensor, "B T"], latent: Float[Tensor, "B Z"]) -> Float[Tensor, "B T-1 H"]:
        """Decoder states (B, T - 1, H) under teacher forcing: step t reads token t and z (B, Z)."""
        embedded = self._drop(self.decoder_embedding(tokens[:, :-1]))  # (B, T - 1, E)
        everywhere = latent[:, None, :].expand(-1, embedded.shape[1], -1)  # (B, T - 1, Z)
        hidden, _ = self.decoder(torch.cat([embedded, everywhere], dim=2), self.decoder_state(latent))
        return cast("Tensor", hidden)

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
