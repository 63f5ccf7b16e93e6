"""One file for a trained model: weights, specs, vocabulary and figures, opened without running any code in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.gates import GATE_UNITS
from hvae_mnn.models.archive import read_archive, write_archive
from hvae_mnn.models.config import ModelConfig, TrainingConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.reading import shown
from hvae_mnn.results import Shown
from hvae_mnn.text.tokenizers import TOKENIZERS
from hvae_mnn.text.vocabulary import Vocabulary

FORMAT = "hvae-mnn checkpoint"
VERSION = 1
_KEYS = {
    "model_config": dict,
    "training_config": dict,
    "tokenizer": str,
    "vocabulary": list,
    "metrics": dict,
    "state_dict": dict,
}
_FOREIGN_NAMES = (
    (r"(^|\.)module\.", "a model in nn.DataParallel (prefix 'module.'); take what it wraps, its .module"),
    (r"(^|\.)_orig_mod\.", "a compiled model (prefix '_orig_mod.'); take what it wraps, its ._orig_mod"),
    (r"(^|\.)parametrizations\.", "a parametrized model; call torch.nn.utils.parametrize.remove_parametrizations"),
    (r"_(orig|mask|[guv]|raw)$", "a pruned or normed model; make that permanent (prune.remove, remove_weight_norm)"),
)
"""Patterns of names that a model does not have as it is trained here, whose they are and what helps."""
_RANGE_LEVELS = 4
"""Layer, kind, name, percentile."""


@dataclass(frozen=True, repr=False)
class Checkpoint(Shown):
    """A trained model with everything that is needed to use and to judge it."""

    path: Path
    """The file it came from."""
    model: HSRVAE = field(repr=False)
    """The network, on the CPU, in eval mode."""
    config: ModelConfig
    """Its shape."""
    training_config: TrainingConfig
    """How it was trained."""
    tokenizer: str
    """Name of the tokenizer that its words come from."""
    vocabulary: Vocabulary
    """Its words."""
    metrics: dict[str, Any]
    """Figures of the epoch it was taken from."""
    activation_ranges: dict[str, Any] | None
    """Magnitudes of inputs and pre-activations on valid sentences, to calibrate converters with; None if unknown."""

    def facts(self) -> Mapping[str, object]:
        """The file, the model's size, and the epoch that it was taken from."""
        return {
            "path": self.path,
            "encoder_cells": ", ".join(self.config.encoder_cells),
            "decoder_cell": self.config.decoder_cell,
            "hidden_size": self.config.hidden_size,
            "latent_size": self.config.latent_size,
            "vocabulary_size": self.config.vocabulary_size,
            "epoch": self.metrics.get("epoch"),
        }


def save_checkpoint(
    path: Path,
    model: HSRVAE,
    training_config: TrainingConfig,
    vocabulary: Vocabulary,
    tokenizer: str,
    metrics: Mapping[str, Any],
    activation_ranges: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model to `path` in one step; a reader sees the old file or the whole new one.

    `metrics` and `activation_ranges` hold plain values only (numbers, text, lists, dicts).

    Errors: `CheckpointError` if the vocabulary does not fit the model, or its weights are not named as one reads them
    (a wrapped, pruned or parametrized model).
    """
    if len(vocabulary) != model.config.vocabulary_size:
        raise CheckpointError(
            f"the vocabulary has {len(vocabulary)} ids, the model {model.config.vocabulary_size}; give its own"
        )
    smallest = replace(model.config, vocabulary_size=5, embedding_size=1, hidden_size=1, latent_size=1)
    with torch.random.fork_rng():  # names do not depend on sizes, nor the caller's random numbers on this
        _check_names(path, HSRVAE(smallest).state_dict(), model.state_dict())
    write_archive(
        path,
        {
            "format": FORMAT,
            "version": VERSION,
            "model_config": model.config.to_dict(),
            "training_config": training_config.to_dict(),
            "tokenizer": tokenizer,
            "vocabulary": list(vocabulary.words),
            "metrics": dict(metrics),
            "activation_ranges": None if activation_ranges is None else dict(activation_ranges),
            "state_dict": model.state_dict(),
        },
    )
    return Path(path)


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint onto the CPU; the model comes in eval mode.

    Raises `CheckpointError` if the file is missing, damaged, foreign, holds code, or its parts do not fit each other.
    """
    path = Path(path)
    content = read_archive(path)
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of hvae-mnn (format {shown(repr(content.get('format')))}, allowed {FORMAT!r});"
            " give a best.pt that `hvae-mnn train` wrote"
        )
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {shown(repr(content.get('version')))}; allowed: {VERSION}; use the hvae-mnn"
            " that wrote it"
        )
    check_parts(path, content, _KEYS)
    try:
        config = ModelConfig.from_dict(content["model_config"])
        training_config = TrainingConfig.from_dict(content["training_config"])
        words = content["vocabulary"]
        if not all(isinstance(word, str) for word in words):
            raise InputError("the vocabulary holds something that is no word")
        vocabulary = Vocabulary(tuple(words))
    except InputError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if len(vocabulary) != config.vocabulary_size:
        raise CheckpointError(
            f"{path}: the vocabulary has {len(vocabulary)} ids, the embedding {config.vocabulary_size}; train again"
        )
    if content["tokenizer"] not in TOKENIZERS:
        raise CheckpointError(
            f"{path}: unknown tokenizer {shown(repr(content['tokenizer']))}; allowed: {', '.join(TOKENIZERS)}"
        )
    ranges = content.get("activation_ranges")
    if ranges is not None and not isinstance(ranges, dict):
        raise CheckpointError(f"{path}: 'activation_ranges' should be a dict or None, found {type(ranges).__name__}")
    check_ranges(path, ranges or {})
    return Checkpoint(
        path=path,
        model=_model(path, config, content["state_dict"]).eval(),
        config=config,
        training_config=training_config,
        tokenizer=content["tokenizer"],
        vocabulary=vocabulary,
        metrics=content["metrics"],
        activation_ranges=ranges,
    )


def check_parts(path: Path, content: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Check that `content` has a part of the right kind for every key. Errors: `CheckpointError` naming the first."""
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            found = f"a {type(content[key]).__name__}" if key in content else "nothing"
            raise CheckpointError(f"{path}: {key!r} should be a {kind.__name__}, found {found}; train again")


def check_ranges(path: Path, ranges: Mapping[Any, Any], where: str = "activation_ranges") -> None:
    """Check that every number in `activation_ranges` can be a full scale. Errors: `CheckpointError` with its place."""
    for key, value in ranges.items():
        place = f"{where}.{shown(key)}"
        if isinstance(value, dict) and place.count(".") <= _RANGE_LEVELS:
            check_ranges(path, value, place)
        elif not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise CheckpointError(f"{path}: {place} should be a finite number, 0 or above, found {shown(repr(value))}")


def _model(path: Path, config: ModelConfig, weights: Mapping[str, Any]) -> HSRVAE:
    """The model with its weights; what a file only claims to hold takes no memory."""
    found, least = sum(value.numel() for value in weights.values() if isinstance(value, Tensor)), _least_numbers(config)
    if found < least:
        raise CheckpointError(
            f"{path}: the weights are {found:,} numbers, the specs ask for {least:,} or more; train again"
        )
    with torch.random.fork_rng():  # the initial weights are thrown away; the caller's random numbers stay his
        model = HSRVAE(config)
    check_weights(path, model, weights)
    model.load_state_dict(weights)
    return model


def _least_numbers(config: ModelConfig) -> int:
    """Weights of embeddings, recurrent layers and latent, without biases."""
    embedding, hidden, latent = config.embedding_size, config.hidden_size, config.latent_size
    sizes = ((config.encoder_cells[0], embedding), (config.encoder_cells[1], hidden), (config.decoder_cell, embedding))
    recurrent = sum(
        len({unit.row_block for unit in GATE_UNITS[cell]}) * hidden * (size + hidden) for cell, size in sizes
    )
    return 2 * config.vocabulary_size * embedding + recurrent + 3 * latent * hidden


def check_weights(path: Path, model: HSRVAE, weights: Mapping[str, Any]) -> None:
    """Check that `weights` are the model's: names, types, shapes, all finite.

    Errors: `CheckpointError` naming the first tensor that is not.
    """
    expected = model.state_dict()
    _check_names(path, expected, weights)
    for name, wanted in expected.items():
        tensor = weights[name]
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise CheckpointError(f"{path}: weights {name!r} are no floating-point tensor; train again")
        if tensor.shape != wanted.shape:
            raise CheckpointError(
                f"{path}: weights {name!r} have shape {tuple(tensor.shape)}, the specs ask for {tuple(wanted.shape)}"
            )
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise CheckpointError(
                f"{path}: weights {name!r} hold {bad} values that are NaN or infinite; use an earlier checkpoint"
            )


def _check_names(path: Path, expected: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
    """Check that `weights` have the expected names; those of wrapped, pruned or parametrized models are explained."""
    unknown = sorted(str(name) for name in set(weights) - set(expected))
    for pattern, told in _FOREIGN_NAMES:
        for name in unknown:
            if re.search(pattern, name):
                raise CheckpointError(f"{path}: weights {name!r} are of {told}, and save that")
    for name in sorted(set(expected) - set(weights)):
        raise CheckpointError(f"{path}: weights {name!r} are missing; train again")
    for name in unknown:
        raise CheckpointError(f"{path}: unknown weights {shown(name)!r}; the specs in the file describe no such layer")
