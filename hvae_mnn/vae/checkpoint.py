"""One file for a trained model: weights, specs, vocabulary and figures, opened without running any code in it."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvae_mnn.errors import CheckpointError, InputError
from hvae_mnn.files import replacing
from hvae_mnn.text.tokenizers import TOKENIZERS
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.vae.config import ModelConfig, TrainingConfig
from hvae_mnn.vae.model import HSRVAE

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


@dataclass(frozen=True)
class Checkpoint:
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
    with torch.device("meta"):  # neither memory nor random numbers
        _check_names(path, HSRVAE(model.config).state_dict(), model.state_dict())
    with replacing(path) as temporary:
        torch.save(
            {
                "format": FORMAT,
                "version": VERSION,
                "model_config": model.config.to_dict(),
                "training_config": training_config.to_dict(),
                "tokenizer": tokenizer,
                "vocabulary": list(vocabulary.words),
                "metrics": dict(metrics),
                "activation_ranges": None if activation_ranges is None else dict(activation_ranges),
                "state_dict": {name: value.detach().cpu() for name, value in model.state_dict().items()},
            },
            temporary,
        )
    return Path(path)


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint onto the CPU; the model comes in eval mode.

    Errors: `CheckpointError` if the file is missing, damaged, foreign, holds code, or its parts do not fit each other.
    """
    path = Path(path)
    content = load_plain(path)
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a checkpoint of hvae-mnn (format {content.get('format')!r}, allowed {FORMAT!r}); "
            "give a best.pt that `hvae-mnn train` wrote"
        )
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {content.get('version')!r}; allowed: {VERSION}; use the hvae-mnn that wrote it"
        )
    for key, kind in _KEYS.items():
        if not isinstance(content.get(key), kind):
            found = f"a {type(content[key]).__name__}" if key in content else "nothing"
            raise CheckpointError(f"{path}: {key!r} should be a {kind.__name__}, found {found}; train again")
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
        raise CheckpointError(f"{path}: unknown tokenizer {content['tokenizer']!r}; allowed: {', '.join(TOKENIZERS)}")
    ranges = content.get("activation_ranges")
    if ranges is not None and not isinstance(ranges, dict):
        raise CheckpointError(f"{path}: 'activation_ranges' should be a dict or None, found {type(ranges).__name__}")
    with torch.random.fork_rng():  # the initial weights are thrown away; the caller's random numbers stay his
        model = HSRVAE(config)
    check_weights(path, model, content["state_dict"])
    model.load_state_dict(content["state_dict"])
    return Checkpoint(
        path=path,
        model=model.eval(),
        config=config,
        training_config=training_config,
        tokenizer=content["tokenizer"],
        vocabulary=vocabulary,
        metrics=content["metrics"],
        activation_ranges=ranges,
    )


def load_plain(path: Path) -> dict[str, Any]:
    """The dictionary of a `.pt` file that holds tensors and plain values only; no code in it is run.

    Errors: `CheckpointError` if it is missing, no file, damaged, or asks for anything else.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the checkpoint file in it, e.g. {path / 'best.pt'}")
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}; train one with: hvae-mnn train --out {path.parent}")
    try:
        if not zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path} is truncated or no PyTorch file ({path.stat().st_size} bytes); copy it again"
            )
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds Python objects that loading would have to run as code; nothing was run; "
            "give a best.pt that `hvae-mnn train` wrote"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path} is damaged ({reason}); copy it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a checkpoint; give a best.pt")
    return content


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
        raise CheckpointError(f"{path}: unknown weights {name!r}; the specs in the file describe no such layer")
