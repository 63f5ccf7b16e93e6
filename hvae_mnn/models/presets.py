"""Named objectives and sizes, and a model's and a training's specs made from them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from hvae_mnn.errors import InputError
from hvae_mnn.gates import CELLS, Cell
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.names import quoted, unknown_name

OBJECTIVES: dict[str, dict[str, Any]] = {
    # The loss and optimiser of TWR-VAE's published code, which the paper's figures come from. Its KL is divided by the
    # number of steps while the decoder uses one step's latent, so its "PPL" is no bound; kept for comparison only.
    "paper": {
        "encoder_sees_eos": True,
        "kl_target": "mean_t",
        "beta": 1.0,
        "annealing": "none",
        "free_bits": 0.0,
        "mask_pads": False,
        "reduction": "sum",
        "batch_size": 64,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "clip": None,
        "weight_decay": 1e-5,
        "adam_eps": 1e-6,
        "selection": "paper_ppl",
        "shuffle": False,
        "optimizer": "adam",
        "initial_weights": "torch",
        "decoder_start": "shared",
        "output_dropout": 0.0,
        "batch_norm_gamma": 0.0,
    },
    "sound": {"encoder_sees_eos": False},
}
"""Named objectives, as the fields of `ModelConfig` and `TrainingConfig` that they set."""

SGD: dict[str, Any] = {
    # On Penn Treebank the optimiser is worth more than any other setting: docs/reproduce.md has the figures. A floor
    # under the KL is not needed where the means are normalised.
    "decoder_start": "tanh",
    "output_dropout": 0.5,
    "initial_weights": "uniform",
    "free_bits": 0.0,
    "batch_norm_gamma": 0.6,
    "annealing_epochs": 5.0,
    "optimizer": "sgd",
    "learning_rate": 1.0,
    "schedule": "plateau",
    "final_halvings": 6,
    "batch_size": 32,
    "epochs": 18,
}
"""Training by gradient descent whose step is halved on a plateau and in the last epochs."""
_WITHOUT_ENCODER: dict[str, Any] = {"latent_size": 0, "batch_norm_gamma": 0.0, "annealing": "none"}

PresetName = Literal["tiny", "small", "small-adam", "paper", "paper-adam", "ptb-char"]
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "embedding_size": 48,
        "hidden_size": 64,
        "latent_size": 16,
        "dropout": 0.1,
        "batch_size": 32,
        "learning_rate": 4e-3,
        "annealing_epochs": 4.0,
        "epochs": 15,
    },
    "small": {"embedding_size": 192, "hidden_size": 128, "latent_size": 32, **SGD},
    "small-adam": {"embedding_size": 192, "hidden_size": 128, "latent_size": 32, "epochs": 15},
    "paper": {"embedding_size": 512, "hidden_size": 256, "latent_size": 32, **SGD},
    "paper-adam": {"embedding_size": 512, "hidden_size": 256, "latent_size": 32, "epochs": 20},
    "ptb-char": {
        "embedding_size": 64,
        "hidden_size": 256,
        "latent_size": 32,
        "dropout": 0.05,
        "learning_rate": 2e-3,
        "annealing_epochs": 1.5,
        "epochs": 6,
    },
}
"""Named sizes, with the training that suits them. An objective's own settings go before a preset's. `small` and
`paper` were `small-adam` and `paper-adam` before."""

_MODEL_FIELDS = {field.name for field in fields(ModelConfig)}
_TRAINING_FIELDS = {field.name for field in fields(TrainingConfig)}


_SIZES = ("embedding_size", "hidden_size", "latent_size")


def preset_sizes(preset: str) -> dict[str, Any]:
    """Sizes and number of epochs of a preset, for a model whose other settings come from elsewhere.

    Raises `InputError` for an unknown preset.
    """
    if preset not in PRESETS:
        raise InputError(unknown_name("preset", preset, PRESETS))
    return {name: PRESETS[preset][name] for name in (*_SIZES, "epochs")}


def configure(
    preset: str, objective: str, vocabulary_size: int, **overrides: Any
) -> tuple[ModelConfig, TrainingConfig]:
    """Both specs from a preset, an objective and single fields of either; an override that is None is ignored.

    Without an encoder the model is a language model, unless the latent's size says otherwise.

    Raises `InputError` for an unknown preset, objective or field, and for bad values.
    """
    if preset not in PRESETS:
        raise InputError(unknown_name("preset", preset, PRESETS))
    if objective not in OBJECTIVES:
        raise InputError(unknown_name("objective", objective, OBJECTIVES))
    chosen = {name: value for name, value in overrides.items() if value is not None}
    values = {**PRESETS[preset], **OBJECTIVES[objective]}
    if chosen.get("encoder_cells") == ():
        values |= _WITHOUT_ENCODER
    values |= chosen
    return specs({**values, "vocabulary_size": vocabulary_size, "objective": objective})


def specs(values: dict[str, Any]) -> tuple[ModelConfig, TrainingConfig]:
    """Both specs from fields of either. Raises `InputError` for an unknown field, and for bad values."""
    foreign = sorted(set(values) - _MODEL_FIELDS - _TRAINING_FIELDS)
    if foreign:
        raise InputError(unknown_name("setting", foreign[0], sorted(_MODEL_FIELDS | _TRAINING_FIELDS)))
    return (
        ModelConfig(**{name: value for name, value in values.items() if name in _MODEL_FIELDS}),
        TrainingConfig(**{name: value for name, value in values.items() if name in _TRAINING_FIELDS}),
    )


def parse_cells(text: str) -> tuple[Cell, ...]:
    """Cell names from a comma-separated list such as `lstm,gru`; `none` is an empty one.

    Raises `InputError` for an unknown name.
    """
    if text.strip().lower() == "none":
        return ()
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in CELLS:
            raise InputError(f"cells {quoted(text)}: {unknown_name('cell', name, CELLS)}")
    return tuple(names)  # type: ignore[arg-type]
