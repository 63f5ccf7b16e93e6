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
from hvae_mnn.models.archive import read_archive, write_archive
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.families import DEFAULT_FAMILY, model_class
from hvae_mnn.models.recurrent import RecurrentModel
from hvae_mnn.models.training_config import TrainingConfig
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
    (r"(^|\.)module\.", "a model in nn.DataParallel (prefix 'module.'); take the model in it, its .module"),
    (r"(^|\.)_orig_mod\.", "a compiled model (prefix '_orig_mod.'); take the model in it, its ._orig_mod"),
    (r"(^|\.)parametrizations\.", "a parametrized model; call torch.nn.utils.parametrize.remove_parametrizations"),
    (r"_(orig|mask|[guv]|raw)$", "a pruned or normed model; make that permanent (prune.remove, remove_weight_norm)"),
)
"""Patterns of names that no model trained here has; for each the kind of model that has them, and the remedy."""
_RANGE_LEVELS = 4
"""Layer, kind, name, percentile."""


@dataclass(frozen=True, repr=False)
class Checkpoint(Shown):
    """A trained model with all that its use and evaluation need."""

    path: Path
    """The file it came from."""
    model: RecurrentModel = field(repr=False)
    """The network, on the CPU, in eval mode."""
    config: ModelConfig
    """Its sizes and cells."""
    training_config: TrainingConfig
    """How it was trained."""
    tokenizer: str
    """Name of the tokenizer that split its text."""
    vocabulary: Vocabulary
    """Its words."""
    metrics: dict[str, Any]
    """Figures of the epoch that it comes from."""
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
    model: RecurrentModel,
    training_config: TrainingConfig,
    vocabulary: Vocabulary,
    tokenizer: str,
    metrics: Mapping[str, Any],
    activation_ranges: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model to `path` in one step; a reader sees the old file or the whole new one.

    `metrics` and `activation_ranges` hold plain values only (numbers, text, lists, dicts).

    Raises `CheckpointError` if the vocabulary does not fit the model, or its weights have other names than
    `load_checkpoint` reads (a wrapped, pruned or parametrized model).
    """
    if len(vocabulary) != model.config.vocabulary_size:
        raise CheckpointError(
            f"the vocabulary has {len(vocabulary)} ids, the model {model.config.vocabulary_size}; give its own"
        )
    latent = min(1, model.config.latent_size)
    smallest = replace(model.config, vocabulary_size=5, embedding_size=1, hidden_size=1, latent_size=latent)
    with torch.random.fork_rng():  # names do not depend on sizes, nor the caller's random numbers on this
        _check_names(path, model_class(model.family)(smallest).state_dict(), model.state_dict())
    write_archive(
        path,
        {
            "format": FORMAT,
            "version": VERSION,
            "family": model.family,
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
            f"{path} is not a checkpoint of hvae-mnn (format {shown(repr(content.get('format')))}; allowed: {FORMAT!r})"
            "; give a best.pt that `hvae-mnn train` wrote"
        )
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {shown(repr(content.get('version')))}; allowed: {VERSION}; use the hvae-mnn"
            " that wrote it"
        )
    check_parts(path, content, _KEYS)
    try:
        family = model_class(content.get("family", DEFAULT_FAMILY))
        config = ModelConfig.from_dict(content["model_config"])
        training_config = TrainingConfig.from_dict(content["training_config"])
        words = content["vocabulary"]
        if not all(isinstance(word, str) for word in words):
            raise InputError("the vocabulary holds an entry that is not text")
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
        raise CheckpointError(f"{path}: 'activation_ranges' is a {type(ranges).__name__}; allowed: a dict or None")
    check_ranges(path, ranges or {})
    return Checkpoint(
        path=path,
        model=_model(path, family, config, content["state_dict"]).eval(),
        config=config,
        training_config=training_config,
        tokenizer=content["tokenizer"],
        vocabulary=vocabulary,
        metrics=content["metrics"],
        activation_ranges=ranges,
    )


def check_parts(path: Path, content: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Check that `content` has a part of the right type for every key. Raises `CheckpointError`."""
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            stored = f"a {type(content[key]).__name__}" if key in content else "missing"
            raise CheckpointError(f"{path}: {key!r} is {stored}; allowed: a {kind.__name__}; train again")


def check_ranges(path: Path, ranges: Mapping[Any, Any], where: str = "activation_ranges") -> None:
    """Check that every number in `activation_ranges` can be a full scale. Raises `CheckpointError` for the first that
    cannot."""
    for key, value in ranges.items():
        keys = f"{where}.{shown(key)}"
        if isinstance(value, dict) and keys.count(".") <= _RANGE_LEVELS:
            check_ranges(path, value, keys)
        elif not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
            raise CheckpointError(f"{path}: {keys} is {shown(repr(value))}; allowed: a finite number, 0 or above")


def _model(path: Path, family: type[RecurrentModel], config: ModelConfig, weights: Mapping[str, Any]) -> RecurrentModel:
    """The model with its weights. Sizes that the weights do not have take no memory."""
    stored = sum(value.numel() for value in weights.values() if isinstance(value, Tensor))
    least = family.least_weights(config)
    if stored < least:
        raise CheckpointError(
            f"{path}: the weights are {stored:,} numbers, the specs ask for {least:,} or more; train again"
        )
    with torch.random.fork_rng():  # the initial weights are thrown away; the caller's random numbers stay his
        model = family(config)
    check_weights(path, model, weights)
    model.load_state_dict(weights)
    return model


def check_weights(path: Path, model: RecurrentModel, weights: Mapping[str, Any]) -> None:
    """Check that `weights` fit the model: names, types, shapes, all values finite.

    Raises `CheckpointError` for the first tensor that does not fit.
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
    for pattern, remedy in _FOREIGN_NAMES:
        for name in unknown:
            if re.search(pattern, name):
                raise CheckpointError(f"{path}: weights {name!r} are of {remedy}, and save that")
    for name in sorted(set(expected) - set(weights)):
        raise CheckpointError(f"{path}: weights {name!r} are missing; train again")
    for name in unknown:
        raise CheckpointError(f"{path}: unknown weights {shown(name)!r}; the specs in the file describe no such layer")
