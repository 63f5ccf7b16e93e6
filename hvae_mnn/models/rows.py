"""The models of the paper's Tables 2 and 4 by name: seven baselines, HSR-VAE on nine pairs of cells, and controls.

Each is a set of fields of `ModelConfig` and `TrainingConfig`. Sources are the published code of each baseline. Sizes
and lengths belong to a run, not to a row: what a recipe states in epochs (ramps, cycles, halvings) keeps its part of
the run's length.

Departures that all copied baselines share: batches of sentences alike in length instead of equal in length, so some
have pads, and as many of them as there are slices of the batch size; a pad's embedding is 0; a ramp of the KL's weight
begins at its start, not a step above. Dropout is 0.5 in all recipes: on the embeddings of encoder and decoder in
TWR-VAE's code, on the decoder's embeddings and output in the others'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hvae_mnn.errors import InputError
from hvae_mnn.gates import CELLS
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.presets import OBJECTIVES, SGD, specs
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.names import unknown_name


@dataclass(frozen=True)
class Row:
    """One model of the tables."""

    name: str
    """Key in `ROWS`."""
    label: str
    """Name in a table."""
    about: str
    """Recipe, source and departures, in a line."""
    recipe_epochs: int
    """Length of the recipe that `settings` are of."""
    settings: Mapping[str, Any]
    """Fields of `ModelConfig` and `TrainingConfig`."""


_BY_LENGTH = ("annealing_epochs", "plateau_from")
"""Fields in epochs, which keep their part of a run."""
_TWR_EPOCHS, _LARGEST_FACTOR = 1000, 10.0
"""Length of TWR-VAE's runs, and the most that a shorter run raises their step size by: to 1e-3, which others take."""

_KIM = {  # backbone of SA-VAE's code, used by Cyc-VAE's and Sri-VAE's
    "encoder_cells": ("lstm",),
    "encoder_dropout": 0.0,
    "decoder_start": "hidden",
    "output_dropout": 0.5,
    "initial_weights": "uniform",
    "kl_target": "last",
    "free_bits": 0.0,
    "mask_pads": True,
    "reduction": "mean",
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "schedule": "constant",
    "clip": 5.0,
    "batch_size": 32,
    "selection": "elbo",
    "annealing": "linear",
    "annealing_start": 0.1,
    "annealing_epochs": 9.0,  # a tenth an epoch from 0.1 on
}
_HE = {  # backbone of lagging-encoder's code, used by BN-VAE's
    **_KIM,
    "decoder_start": "tanh",
    "initial_weights": "small",
    "optimizer": "sgd",
    "learning_rate": 1.0,
    "annealing_epochs": 10.0,
    "schedule": "plateau",
    "plateau_from": 16.0,
    "patience": 2,
    "halvings": 5,
}
_TWR = {**OBJECTIVES["paper"], "objective": "paper"}
_SOUND = {**OBJECTIVES["sound"], "objective": "sound"}


_SGD = {**OBJECTIVES["sound"], "objective": "sound", "kl_target": "last", "annealing": "linear", **SGD}
del _SGD["epochs"]


def _rows() -> list[Row]:
    return [*_annealed(), *_caught_up(), *_timestep_wise(), *_hierarchical(), *_controls(), *_level()]


def _annealed() -> list[Row]:
    """A language model, and baselines of Kim et al.'s backbone with an encoder."""
    return [
        Row(
            "lm",
            "LSTM-LM",
            "language model: the decoder of VAE-LSTM alone, trained as there",
            40,
            {**_KIM, "encoder_cells": (), "latent_size": 0, "annealing": "none"},
        ),
        Row(
            "vae-lstm",
            "VAE-LSTM",
            "Bowman et al. 2016 by Fu et al.'s code: KL weight 0.1 to 1 in 9 of 40 epochs, Adam 1e-3",
            40,
            _KIM,
        ),
        Row(
            "sa-vae",
            "SA-VAE",
            "Kim et al. 2018 by Fu et al.'s copy of that code: 10 steps of SVI, Adam 1e-3; a sentence's step and its"
            " bound do not depend on the batch, and gradients pass the steps in first order, not by Hessian products"
            " (set first_order false for exact ones)",
            40,
            {**_KIM, "inference": "svi", "inference_steps": 10, "first_order": True},
        ),
        Row(
            "cyc-vae",
            "Cyc-VAE",
            "Fu et al. 2019: four cycles of 10 epochs, the KL weight rises from 0.1 to 1 in the first half of each (in"
            " the code, which adds a fifth an epoch, in 4.5 epochs), the step size falls by whole epochs",
            40,
            {**_KIM, "annealing": "cyclical", "annealing_epochs": 10.0, "schedule": "cosine_cycles"},
        ),
    ]


def _caught_up() -> list[Row]:
    """Baselines of He et al.'s backbone, and the one without an encoder."""
    return [
        Row(
            "lag-vae",
            "Lag-VAE",
            "He et al. 2019: SGD 1.0, up to 99 encoder steps before each decoder step while the information rises;"
            " information over all of valid, not the mean over its batches; linear maps to posterior and words have"
            " biases",
            100,
            {**_HE, "updates": "lagging", "reload_best": True},
        ),
        Row(
            "bn-vae",
            "BN-VAE",
            "Zhu et al. 2020: means batch-normalised to gamma 0.6 (the paper's KL fits; the README's is 0.5), SGD 0.5,"
            " KL weight 0 to 1 over 10 epochs; a halving does not go back to the best epoch's weights; the first ten"
            " batches' statistics are averaged evenly; linear maps to posterior and words have biases",
            100,
            {
                **_HE,
                "batch_norm_gamma": 0.6,
                "initial_weights": "small_decoder",
                "learning_rate": 0.5,
                "patience": 5,
                "annealing_start": 0.0,
            },
        ),
        Row(
            "sri-vae",
            "Sri-VAE",
            "Pang et al. 2021: no encoder, 20 Langevin steps from the prior, Adam 1e-3; in evaluation without noise,"
            " and with a Gaussian about the last step as proposal, beside the estimate by the chain's Jacobian",
            60,
            {**_KIM, "encoder_cells": (), "inference": "langevin", "inference_steps": 20, "annealing": "none"},
        ),
    ]


def _timestep_wise() -> list[Row]:
    about = (
        "Li et al. 2020: KL of every step, averaged; Adam 1e-4 on the batch's sum, batches from short to long;"
        " validated after each of fewer epochs, not each tenth of 1,000, with a step as much larger, at most 1e-3"
    )
    rows = [
        Row(
            f"twr-{cell}",
            f"TWR-VAE_{cell.upper()}",
            about,
            _TWR_EPOCHS,
            {**_TWR, "encoder_cells": (cell,), "decoder_cell": cell},
        )
        for cell in CELLS
    ]
    partial = {
        "last": "the last step's",
        "last_25": "the last 25 %",
        "last_50": "the last 50 %",
        "last_75": "the last 75 %",
    }
    return rows + [
        Row(
            f"twr-lstm-{target.replace('_', '')}",
            f"TWR-VAE_LSTM, KL of {what}",
            f"{about}; KL of {what} alone",
            _TWR_EPOCHS,
            {**_TWR, "encoder_cells": ("lstm",), "kl_target": target},
        )
        for target, what in partial.items()
    ]


def _hierarchical() -> list[Row]:
    about = "the paper's model in TWR-VAE's code: two encoder layers, LSTM decoder"
    rows = [
        Row(f"hsr-{a}-{b}", f"{a.upper()} + {b.upper()}", about, _TWR_EPOCHS, {**_TWR, "encoder_cells": (a, b)})
        for a in CELLS
        for b in CELLS
    ]
    gru = Row(
        "hsr-gru-gru-gru",
        "GRU + GRU, GRU decoder",
        "the paper's model in TWR-VAE's code, in which one switch sets the cells of encoder and decoder",
        _TWR_EPOCHS,
        {**_TWR, "encoder_cells": ("gru", "gru"), "decoder_cell": "gru"},
    )
    return [*rows, gru]


def _controls() -> list[Row]:
    """HSR-VAE with one thing changed, each."""
    hsr = {**_TWR, "encoder_cells": ("lstm", "lstm")}
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "last": ("KL of the last step, beta 1: an ELBO", {"kl_target": "last"}),
        "last-over-t": ("KL of the last step over T", {"kl_target": "last_over_t"}),
        "not-eos": ("end symbol hidden from the encoder", {"encoder_sees_eos": False}),
        "per-step": ("a latent per step, as eq. 4 prints", {"latent_use": "step"}),
    }
    rows = [
        Row(f"hsr-lstm-lstm-{key}", f"LSTM + LSTM, {what}", f"control: {what}", _TWR_EPOCHS, {**hsr, **fields})
        for key, (what, fields) in changes.items()
    ]
    sound = {**_SOUND, "encoder_cells": ("lstm", "lstm"), "kl_target": "last", "learning_rate": 1e-3}
    floors = {
        "free-bits": ("ELBO, floor 4 nats", 4.0, 0.0),
        "no-free-bits": ("ELBO, no floor", 0.0, 0.0),
        "unit-free-bits": ("ELBO, floor 0.15 nats a unit", 0.0, 0.15),
    }
    return rows + [
        Row(
            f"hsr-lstm-lstm-{key}",
            f"LSTM + LSTM, {what}",
            f"control: {what}; Adam 1e-3 with cosine, end symbol hidden",
            20,
            {**sound, "free_bits": batch, "free_bits_per_unit": unit},
        )
        for key, (what, batch, unit) in floors.items()
    ]


def _level() -> list[Row]:
    """A language model and an HSR-VAE as good as others' of their size: SGD, halved on a plateau and at the end."""
    about = "ours: SGD 1.0, dropout on the output too, weights within 0.1, halved on a plateau and in the last 6 epochs"
    return [
        Row(
            "lm-sgd",
            "LSTM-LM, SGD",
            about,
            18,
            {**_SGD, "encoder_cells": (), "latent_size": 0, "annealing": "none", "batch_norm_gamma": 0.0},
        ),
        Row(
            "hsr-lstm-lstm-sgd",
            "LSTM + LSTM, SGD",
            f"{about}; an ELBO with means normalised to gamma 0.6 and the end symbol hidden",
            18,
            {**_SGD, "encoder_cells": ("lstm", "lstm")},
        ),
    ]


ROWS: Mapping[str, Row] = {row.name: row for row in _rows()}
"""Rows by name."""


def configure_row(
    name: str, vocabulary_size: int, *, epochs: int | None = None, seed: int = 0, **overrides: Any
) -> tuple[ModelConfig, TrainingConfig]:
    """Both specs of a row in a run of `epochs` (default: the recipe's), with single fields in its place; None is
    ignored.

    What the recipe states in epochs is scaled by the run's length: an annealing of 10 of 40 epochs takes 5 of 20. The
    patience of a plateau is scaled, too, and is at least 1. Cycles stay as many as in the recipe. TWR-VAE's rows, whose
    recipe is 1,000 epochs at 1e-4, take a larger step in a shorter run, at most ten times it.

    Raises `InputError` for an unknown row or field, and for bad values.
    """
    if name not in ROWS:
        raise InputError(unknown_name("row", name, ROWS))
    row = ROWS[name]
    epochs = row.recipe_epochs if epochs is None else epochs
    part = epochs / row.recipe_epochs
    values = dict(row.settings)
    if row.recipe_epochs == _TWR_EPOCHS:
        values["learning_rate"] *= min(_LARGEST_FACTOR, 1.0 / part)
    values |= {key: values[key] * part for key in _BY_LENGTH if key in values}
    if "patience" in values:
        values["patience"] = max(1, round(values["patience"] * part))
    chosen = {key: value for key, value in overrides.items() if value is not None and key not in _fixed(row)}
    return specs({**values, **chosen, "vocabulary_size": vocabulary_size, "epochs": epochs, "seed": seed})


def _fixed(row: Row) -> set[str]:
    """Fields that no profile sets: a language model has no latent, whatever its size elsewhere."""
    return {"latent_size"} if row.settings.get("latent_size") == 0 else set()
