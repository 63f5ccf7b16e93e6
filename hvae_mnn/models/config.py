"""The spec of a text model: its sizes, its cells, and how its latent is inferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hvae_mnn.errors import InputError
from hvae_mnn.gates import CELLS, Cell
from hvae_mnn.models.fields import (
    LARGEST_COUNT,
    check_choice,
    check_flag,
    check_number,
    check_whole,
    known_fields,
)
from hvae_mnn.names import quoted, unknown_name

DecoderStart = Literal["shared", "tanh", "hidden"]
InferenceName = Literal["amortised", "svi", "langevin"]
LatentUse = Literal["sentence", "step"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "decoder_start": ("shared", "tanh", "hidden"),
    "inference": ("amortised", "svi", "langevin"),
    "latent_use": ("sentence", "step"),
}
_LATER = {"encoder_dropout", "decoder_start", "output_dropout", "inference", "inference_steps", "latent_use"}
_LARGEST_VOCABULARY, _LARGEST_SIZE = 100_000_000, 1_000_000
_MOST_LAYERS = 2


@dataclass(frozen=True)
class ModelConfig:
    """Sizes, cells and inference of a model (eqs. 3 and 4; the sizes of TWR-VAE where the paper gives none)."""

    vocabulary_size: int
    """Number of word ids V, specials included; 5 or more."""
    embedding_size: int = 512
    """Width E of both embedding tables."""
    hidden_size: int = 256
    """Hidden units H of each recurrent layer (M in the paper)."""
    latent_size: int = 32
    """Width Z of the latent; not given by the paper, 32 in TWR-VAE. 0, without an encoder: a language model."""
    encoder_cells: tuple[Cell, ...] = ("lstm", "lstm")
    """Cells of the encoder layers, first to last: two as in Table 4's rows, one (TWR-VAE and the older VAEs), or none
    (a language model, or a latent found by `langevin`)."""
    decoder_cell: Cell = "lstm"
    """Cell of the decoder; the paper does not name it for its mixed rows."""
    peepholes: bool = False
    """Gers peepholes in every LSTM: i and f see c_{t-1}, o sees c_t (eq. 11). PyTorch's LSTM has none."""
    dropout: float = 0.5
    """Probability of dropping an embedding's component in training; 0 to below 1."""
    encoder_dropout: float | None = None
    """The same for the encoder's embeddings alone; None: as `dropout`."""
    encoder_sees_eos: bool = True
    """Whether the encoder reads the end symbol. If it does, it can tell which step becomes the latent, and an averaged
    KL is then no constraint on it; False ends its input at the last word."""
    decoder_start: DecoderStart = "shared"
    """The decoder's state before its first step: `shared` h_0 = W z, and c_0 the same (TWR-VAE); `tanh` h_0 = tanh(W z)
    and c_0 = W z (He et al. 2019); `hidden` h_0 = W z + b and c_0 = 0 (Kim et al. 2018)."""
    output_dropout: float = 0.0
    """Probability of dropping a component of the decoder's state before the output layer; 0 to below 1."""
    inference: InferenceName = "amortised"
    """How a latent is found, in training and evaluation: by the encoder; by the encoder and steps of stochastic
    variational inference (`svi`, Kim et al. 2018); or by Langevin steps from the prior (`langevin`, Pang et al. 2021).
    """
    inference_steps: int = 0
    """Steps of `svi` and `langevin`, 1 or more; 0 with `amortised`."""
    latent_use: LatentUse = "sentence"
    """Whether the decoder uses one latent, that of the encoder's last step, or at each `step` the latent of that step,
    which eq. 4 prints: an encoding of the words before the predicted one."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises `InputError` for a value outside its range, and for fields that do not fit each other.
        """
        if not isinstance(self.encoder_cells, list | tuple):
            raise InputError(f"encoder_cells is {quoted(self.encoder_cells)}; allowed: 0 to 2 cells, e.g. lstm,gru")
        object.__setattr__(self, "encoder_cells", tuple(self.encoder_cells))
        check_whole("vocabulary_size", self.vocabulary_size, 5, _LARGEST_VOCABULARY)
        for name in ("embedding_size", "hidden_size"):
            check_whole(name, getattr(self, name), 1, _LARGEST_SIZE)
        check_whole("latent_size", self.latent_size, 0, _LARGEST_SIZE)
        if len(self.encoder_cells) > _MOST_LAYERS:
            raise InputError(f"encoder_cells names {len(self.encoder_cells)} cells; allowed: 0 to 2, e.g. lstm,gru")
        named = (*(("encoder_cells", cell) for cell in self.encoder_cells), ("decoder_cell", self.decoder_cell))
        for name, cell in named:
            if not isinstance(cell, str) or cell not in CELLS:
                raise InputError(f"{name}: {unknown_name('cell', cell, CELLS)}")
        for name in ("peepholes", "encoder_sees_eos"):
            check_flag(name, getattr(self, name))
        if self.peepholes and "lstm" not in (*self.encoder_cells, self.decoder_cell):
            raise InputError("peepholes is True but no layer is an lstm; use an lstm cell or leave peepholes out")
        for name in ("dropout", "output_dropout", "encoder_dropout"):
            if name != "encoder_dropout" or self.encoder_dropout is not None:
                check_number(name, getattr(self, name), 0.0, below=1.0)
        for name, allowed in _CHOICES.items():
            check_choice(name, getattr(self, name), allowed)
        self._check_inference()

    def _check_inference(self) -> None:
        """Refuse an encoder without a latent, and an inference that has not what it needs."""
        check_whole("inference_steps", self.inference_steps, 0, LARGEST_COUNT)
        layers, amortised = len(self.encoder_cells), self.inference == "amortised"
        if layers and not self.latent_size:
            raise InputError(f"latent_size is 0 with {layers} encoder layers; allowed: 1 or more, or no encoder")
        if not layers and self.latent_size and self.inference != "langevin":
            raise InputError(
                f"encoder_cells is empty but latent_size is {self.latent_size}; allowed: latent_size 0 (a language"
                " model), or inference langevin"
            )
        if self.inference == "langevin" and (layers or not self.latent_size):
            raise InputError(
                "inference langevin finds the latent without an encoder; set encoder_cells empty, Z above 0"
            )
        if self.inference == "svi" and not layers:
            raise InputError("inference svi begins from an encoder's posterior; name its encoder_cells")
        if amortised != (self.inference_steps == 0):
            allowed = "0 with amortised" if amortised else f"1 or more with {self.inference}"
            raise InputError(f"inference_steps is {self.inference_steps}; allowed: {allowed}")
        if self.latent_use == "step" and (not layers or not amortised):
            raise InputError("latent_use step takes an encoder's latent at every step; name encoder_cells, amortised")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON and checkpoints."""
        return {**asdict(self), "encoder_cells": list(self.encoder_cells)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The spec that `to_dict` described, also that of an earlier version.

        Raises `InputError` for missing or unknown fields and bad values.
        """
        return cls(**known_fields(cls, values, _LATER))
