"""What one task of a sweep is: a point of the grid and a seed, or a baseline; known by a hash of all it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FORMAT = "hvae-mnn-task/1"
"""Goes up whenever a task would come out differently."""

TaskKind = Literal["point", "digital", "digital_bits", "unigram"]
"""`point`: a network on its hardware; baselines: `digital`, the same model in float64; `digital_bits`, the model with
the hardware's converters and nothing else of it; `unigram`, the most frequent words of the training split."""


@dataclass(frozen=True)
class TextChoice:
    """Which sentences are run."""

    data_dir: str | None
    """Folder of the corpus; None: the built-in one."""
    split: str
    """`train`, `valid` or `test`."""
    sentences: int | None
    """How many, the first ones; None: all."""
    sha256: str
    """Of the sentences' words."""


@dataclass(frozen=True)
class ModelChoice:
    """Which checkpoint is run."""

    label: str
    """What tables and figures call it."""
    checkpoint: str
    """Path."""
    sha256: str
    """Of the file."""
    calibration: str = "max"
    """Which of the checkpoint's ranges sets the converters' full scale."""


@dataclass(frozen=True)
class Task:
    """A point and a seed, or a baseline."""

    kind: TaskKind
    model: ModelChoice
    text: TextChoice
    metrics: tuple[str, ...]
    """Names in `vae.text_metrics.METRICS`."""
    seed: int | None = None
    """Of everything that is drawn; None for baselines without anything drawn."""
    hardware: Mapping[str, Any] = field(default_factory=dict)
    """As `crossbar.hardware_file.hardware_to_dict` gives it; empty for `digital` and `unigram`."""
    noise: Mapping[str, Any] = field(default_factory=dict)
    """As `crossbar.nonidealities.file.nonidealities_to_dict` gives it; empty for baselines."""
    further_text: str = ""
    """SHA-256 of other sentences that the result depends on: the training split for `unigram`, those that calibrate
    the ADCs of single tiles; empty where there are none."""

    @property
    def key(self) -> str:
        """Hexadecimal hash of all that the result depends on: not of labels and paths."""
        depends = {
            "format": FORMAT,
            "kind": self.kind,
            "checkpoint": self.model.sha256,
            "calibration": self.model.calibration,
            "text": self.text.sha256,
            "metrics": sorted(self.metrics),
            "seed": self.seed,
            "hardware": {key: value for key, value in self.hardware.items() if key not in ("name", "source")},
            "noise": dict(self.noise),
        }
        if self.further_text:
            depends["further_text"] = self.further_text
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, for a file."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """What came of a task."""

    metrics: dict[str, float]
    """By name; NaN where the model gave no finite number."""
    seconds: dict[str, float]
    """`load`, `reference` (until the digital model's answers were there), `draw`, `transfer` (solving the wires),
    `forward` (recurrent steps), `logits`, `total`: what this task spent, not what others did for it."""
    sentences: int
    tokens: int
    """Targets: words + 1 of every sentence."""
    facts: dict[str, float] = field(default_factory=dict)
    """Further numbers of the draw: stuck cells, samples that converters clipped."""
