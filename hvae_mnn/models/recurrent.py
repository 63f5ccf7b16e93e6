"""What every text model declares: its recurrent layers, which a crossbar can compute, and the software around them.

Training, evaluation and hardware know a model by this class only; one module of this folder has each family of models.

Axis letters: B batch, T padded sentence length, E embedding, H hidden, Z latent, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from hvae_mnn.errors import InputError
from hvae_mnn.gates import GATE_UNITS, Cell
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.latent import Posterior
from hvae_mnn.models.peephole import PeepholeLSTM

RecurrentModule = nn.LSTM | nn.GRU | nn.RNN | PeepholeLSTM
Role = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class DeclaredLayer:
    """One recurrent layer of a model, as its steps run in inference."""

    name: str
    """Unique in the model. Arrays, records and activation ranges carry it."""
    module: nn.Module
    """One layer in one direction, in torch's parameter layout."""
    role: Role
    """An encoder layer starts from zero, and the latent is read from the last one; a decoder layer starts from a
    projection of the latent."""
    embedding: nn.Embedding | None
    """Table whose rows (E,) are the layer's input; None: the input is the hidden state of the layer declared before."""
    latent_size: int = 0
    """Width of the latent that is part of the layer's input at every step; 0: no latent."""


class RecurrentModel(nn.Module, ABC):
    """A VAE for text whose encoder and decoder are recurrent."""

    family: ClassVar[str]
    """Name of the class in checkpoints, a key of `hvae_mnn.models.families.FAMILIES`."""
    config: ModelConfig
    """Sizes and cells."""
    to_logits: nn.Module
    """Scores (..., V) of the next word from the last decoder layer's hidden state (..., H)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @classmethod
    @abstractmethod
    def least_weights(cls, config: ModelConfig) -> int:
        """Number of weights that a model of these sizes has at the least, found without making one."""

    @abstractmethod
    def declared_layers(self) -> tuple[DeclaredLayer, ...]:
        """The recurrent layers in the order in which they run: encoder layers, then decoder layers."""

    @abstractmethod
    def encode(self, tokens: Tensor, lengths: Tensor, masked: bool) -> Posterior:
        """The posterior of a padded batch: tokens (B, T) with `SOS` and `EOS`, lengths (B,) = words + 2.

        `masked` ends each sentence at its last step that is no pad; otherwise pads are steps like any other, and the
        latent is read after them.
        """

    @abstractmethod
    def posterior(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (..., Z), from the last encoder layer's hidden state (..., H)."""

    @abstractmethod
    def encoder_parameters(self) -> list[nn.Parameter]:
        """What a step of the encoder alone changes: all that the posterior depends on."""

    @abstractmethod
    def first_hidden(self, latent: Tensor) -> Tensor:
        """The decoder's hidden state (B, H) before its first step, from z (B, Z)."""

    def first_memory(self, latent: Tensor) -> Tensor:
        """The memory (B, H) of an LSTM decoder before its first step, from z (B, Z): the hidden state by default."""
        return self.first_hidden(latent)

    def normalise_means(self, gamma: float) -> None:
        """Put the posterior means on a fixed scale gamma while the model is trained (BN-VAE).

        Raises `InputError` for a model without such a normalisation.
        """
        raise InputError(f"batch_norm_gamma is {gamma:g}, but a model of the family {self.family} has no such thing")

    def deployed(self) -> RecurrentModel:
        """The model that a checkpoint stores and evaluation sees: this one, or a copy without what only training
        needs."""
        return self

    @abstractmethod
    def decoder_hidden(self, tokens: Tensor, latent: Tensor) -> Tensor:
        """Decoder states (B, T - 1, H) under teacher forcing: step t reads token t and z (B, W), or its own part of it.

        W is `latent_width` of T - 1 steps; what is more is left out."""

    def latent_width(self, steps: int) -> int:
        """Numbers W that the decoder takes from the latent in so many steps: Z, or Z at each step."""
        return self.config.latent_size * (steps if self.config.latent_use == "step" else 1)

    def decode(self, tokens: Tensor, latent: Tensor) -> Tensor:
        """Logits (B, T - 1, V) of the next words from tokens (B, T) and z (B, W), teacher-forced."""
        return cast("Tensor", self.to_logits(self.decoder_hidden(tokens, latent)))


def recurrent_module(cell: Cell, input_size: int, hidden_size: int, peepholes: bool) -> RecurrentModule:
    """One batch-first recurrent layer with PyTorch's parameter names."""
    if cell == "lstm":
        if peepholes:
            return PeepholeLSTM(input_size, hidden_size)
        return nn.LSTM(input_size, hidden_size, batch_first=True)
    if cell == "gru":
        return nn.GRU(input_size, hidden_size, batch_first=True)
    return nn.RNN(input_size, hidden_size, batch_first=True)


def recurrent_weights(cell: Cell, input_size: int, hidden_size: int) -> int:
    """Number of weights of a recurrent layer, without biases and peepholes."""
    return len({unit.row_block for unit in GATE_UNITS[cell]}) * hidden_size * (input_size + hidden_size)
