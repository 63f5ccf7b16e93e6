"""HSR-VAE: recurrent encoder layers, a latent read from their last step, one recurrent decoder (eqs. 3 and 4).

Axis letters: B batch, T padded sentence length, E embedding, H hidden, Z latent, V vocabulary.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hvae_mnn.errors import InputError
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.heads import MeanNorm, fold
from hvae_mnn.models.latent import Posterior, sample_latent
from hvae_mnn.models.recurrent import (
    DeclaredLayer,
    RecurrentModel,
    RecurrentModule,
    recurrent_module,
    recurrent_weights,
)
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
    """Hierarchical-state-regularised VAE for text, on any mix of `rnn`, `lstm` and `gru` layers, and its relatives.

    With one encoder layer it is TWR-VAE and the older VAEs for text, with none a language model or a decoder whose
    latent `langevin` finds.
    """

    family: ClassVar[str] = "hsrvae"
    encoder_embedding: nn.Embedding
    to_mean: nn.Linear
    to_log_variance: nn.Linear
    latent_to_hidden: nn.Linear

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        embedding, hidden, latent = config.embedding_size, config.hidden_size, config.latent_size
        if config.encoder_cells:
            self.encoder_embedding = nn.Embedding(config.vocabulary_size, embedding, padding_idx=PAD)
        for number, cell in enumerate(config.encoder_cells, start=1):
            size = embedding if number == 1 else hidden
            setattr(self, f"encoder{number}", recurrent_module(cell, size, hidden, config.peepholes))
        if config.encoder_cells:
            self.to_mean = nn.Linear(hidden, latent)
            self.to_log_variance = nn.Linear(hidden, latent)
        self.mean_norm: MeanNorm | None = None
        """Normalisation of the means while BN-VAE is trained; `heads.folded` makes it part of `to_mean`."""
        if latent:
            self.latent_to_hidden = nn.Linear(latent, hidden, bias=config.decoder_start == "hidden")
        self.decoder_embedding = nn.Embedding(config.vocabulary_size, embedding, padding_idx=PAD)
        self.decoder = recurrent_module(config.decoder_cell, embedding + latent, hidden, config.peepholes)
        self.to_logits = nn.Linear(hidden, config.vocabulary_size)

    @classmethod
    def least_weights(cls, config: ModelConfig) -> int:
        """See `RecurrentModel.least_weights`: embeddings, recurrent layers and latent, without biases."""
        embedding, hidden, latent = config.embedding_size, config.hidden_size, config.latent_size
        sizes = [*zip(config.encoder_cells, (embedding, hidden), strict=False), (config.decoder_cell, embedding)]
        recurrent = sum(recurrent_weights(cell, size, hidden) for cell, size in sizes)
        tables, heads = (2, 3) if config.encoder_cells else (1, 1)
        return tables * config.vocabulary_size * embedding + recurrent + heads * latent * hidden

    def encoder_layers(self) -> list[RecurrentModule]:
        """The encoder's recurrent layers, first to last."""
        return [getattr(self, f"encoder{number}") for number in range(1, len(self.config.encoder_cells) + 1)]

    def declared_layers(self) -> tuple[DeclaredLayer, ...]:
        """The encoder layers `encoder1`, `encoder2`, and the decoder."""
        encoder = [
            DeclaredLayer(f"encoder{number}", layer, "encoder", self.encoder_embedding if number == 1 else None)
            for number, layer in enumerate(self.encoder_layers(), start=1)
        ]
        decoder = DeclaredLayer("decoder", self.decoder, "decoder", self.decoder_embedding, self.config.latent_size)
        return (*encoder, decoder)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """See `RecurrentModel.encoder_parameters`."""
        if not self.config.encoder_cells:
            return []
        parts = [self.encoder_embedding, *self.encoder_layers(), self.to_mean, self.to_log_variance, self.mean_norm]
        return [parameter for part in parts if part is not None for parameter in part.parameters()]

    def normalise_means(self, gamma: float) -> None:
        """See `RecurrentModel.normalise_means`."""
        if not self.config.encoder_cells:
            raise InputError(f"batch_norm_gamma is {gamma:g}, but the model has no encoder whose means it could scale")
        self.mean_norm = MeanNorm(self.config.latent_size, gamma)

    def deployed(self) -> HSRVAE:
        """See `RecurrentModel.deployed`: with the normalisation of the means folded into `to_mean`."""
        if self.mean_norm is None:
            return self
        plain = copy.deepcopy(self).eval()
        fold(plain.to_mean, self.mean_norm)
        plain.mean_norm = None
        return plain

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
        read after them, as in TWR-VAE's code. Without an encoder it is the prior.
        """
        longest = tokens.shape[1]
        tokens, steps = self.encoder_input(tokens, lengths)
        if not masked:
            steps = torch.full_like(steps, tokens.shape[1])
        if not self.config.encoder_cells:
            zeros = self.decoder_embedding.weight.new_zeros(*tokens.shape, self.config.latent_size)
            return Posterior(zeros, zeros, steps)
        rate = self.config.dropout if self.config.encoder_dropout is None else self.config.encoder_dropout
        hidden = nn.functional.dropout(self.encoder_embedding(tokens), rate, self.training)  # (B, T, E)
        for layer in self.encoder_layers():
            hidden = layer(hidden)[0]  # (B, T, H)
        mean, log_variance = self.posterior(hidden)
        if self.mean_norm is not None:
            mean = self.mean_norm(mean, steps)
        used = None
        if self.config.latent_use == "step":  # the decoder predicts token t + 1 with the latent that has read up to t
            used = lengths - 1 if masked else torch.full_like(lengths, longest - 1)
        return Posterior(mean, log_variance, steps, used)

    def posterior(
        self, hidden: Float[Tensor, "*batch H"]
    ) -> tuple[Float[Tensor, "*batch Z"], Float[Tensor, "*batch Z"]]:
        """See `RecurrentModel.posterior`: two linear maps; without an encoder the prior's zeros, whatever `hidden`."""
        if not self.config.encoder_cells:
            zeros = hidden.new_zeros(*hidden.shape[:-1], self.config.latent_size)
            return zeros, zeros
        return self.to_mean(hidden), self.to_log_variance(hidden)

    def first_hidden(self, latent: Float[Tensor, "B Z"]) -> Float[Tensor, "B H"]:
        """See `RecurrentModel.first_hidden`: W z, its tanh, or W z + b, as `decoder_start` says; 0 without a latent."""
        if not self.config.latent_size:
            return latent.new_zeros(len(latent), self.config.hidden_size)
        projected = cast("Tensor", self.latent_to_hidden(latent))
        return torch.tanh(projected) if self.config.decoder_start == "tanh" else projected

    def first_memory(self, latent: Float[Tensor, "B Z"]) -> Float[Tensor, "B H"]:
        """See `RecurrentModel.first_memory`: W z, or 0, as `decoder_start` says."""
        if not self.config.latent_size or self.config.decoder_start == "hidden":
            return latent.new_zeros(len(latent), self.config.hidden_size)
        return cast("Tensor", self.latent_to_hidden(latent))

    def decoder_state(self, latent: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """The decoder's first state from z (B, Z): h_0 of shape (1, B, H), and c_0 for an LSTM."""
        hidden = self.first_hidden(latent)[None].contiguous()  # (1, B, H)
        if self.config.decoder_cell != "lstm":
            return hidden
        return hidden, self.first_memory(latent)[None].contiguous()

    def decoder_hidden(self, tokens: Int[Tensor, "B T"], latent: Float[Tensor, "B W"]) -> Float[Tensor, "B T-1 H"]:
        """See `RecurrentModel.decoder_hidden`."""
        embedded = nn.functional.dropout(
            self.decoder_embedding(tokens[:, :-1]), self.config.dropout, self.training
        )  # (B, T - 1, E)
        steps, size = embedded.shape[1], self.config.latent_size
        if self.config.latent_use == "step":
            by_step = latent.view(len(latent), -1, size)[:, :steps]  # (B, T - 1, Z)
        else:
            by_step = latent[:, None, :].expand(-1, steps, -1)
        hidden, _ = self.decoder(torch.cat([embedded, by_step], dim=2), self.decoder_state(latent[:, :size]))
        return nn.functional.dropout(hidden, self.config.output_dropout, self.training)

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        masked: bool = True,
    ) -> Output:
        """Encode, draw what the decoder uses (noise (B, W) may be given) and decode with teacher forcing."""
        posterior = self.encode(tokens, lengths, masked)
        latent = sample_latent(*posterior.last(), generator=generator, noise=noise)
        return Output(self.decode(tokens, latent), posterior, latent)
