"""Tasks of a sweep: a point of a grid with a seed, or a baseline, identified by a hash of everything it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FORMAT = "hvae-mnn-task/1"
"""Version; increases whenever results of tasks would change."""

TaskKind = Literal["point", "digital", "digital_bits", "unigram"]
"""`point`: a network on its hardware. Baselines: `digital`, the same model in float64; `digital_bits`, the model with
only the converters of the hardware; `unigram`, word frequencies of the training split."""


@dataclass(frozen=True)
class TextChoice:
    """Choice of the sentences of a task."""

    data_dir: str | None
    """Folder of the corpus; None: the built-in one."""
    split: str
    """`train`, `valid` or `test`."""
    sentences: int | None
    """Number of sentences, from the first on; None: all."""
    sha256: str
    """Hexadecimal SHA-256 of the sentences' words."""


@dataclass(frozen=True)
class ModelChoice:
    """Choice of the checkpoint of a task."""

    label: str
    """Name in tables and figures."""
    checkpoint: str
    """Path of the file."""
    sha256: str
    """Hexadecimal SHA-256 of the file."""
    calibration: str = "max"
    """Name of the checkpoint's ranges that set the converters' full scale."""


@dataclass(frozen=True)
class Task:
    """A point with a seed, or a baseline."""

    kind: TaskKind
    model: ModelChoice
    text: TextChoice
    metrics: tuple[str, ...]
    """Names in `evaluation.text_metrics.METRICS`."""
    seed: int | None = None
    """Random seed of the draw and of noise; None for baselines, which have neither."""
    hardware: Mapping[str, Any] = field(default_factory=dict)
    """Hardware from `crossbar.hardware.file.hardware_to_dict`; empty for `digital` and `unigram`."""
    noise: Mapping[str, Any] = field(default_factory=dict)
    """Non-idealities from `crossbar.nonidealities.file.nonidealities_to_dict`; empty for baselines."""
    further_text: str = ""
    """Hexadecimal SHA-256 of other sentences that the result depends on: the training split for `unigram`, sentences
    that calibrate the ADCs of single tiles; empty if there are none."""

    @property
    def key(self) -> str:
        """Hexadecimal hash of everything that the result depends on, hence not of labels and paths."""
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
        """All fields by name, as a file stores them."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """Result of a task."""

    metrics: dict[str, float]
    """Metrics by name; NaN if the model gave no finite number."""
    seconds: dict[str, float]
    """Seconds by phase: `load`, `reference` (waiting for the digital model's answers), `draw`, `transfer` (solving the
    wires), `forward` (recurrent steps), `logits`, `total`. Times of cached answers do not count."""
    sentences: int
    tokens: int
    """Number of target tokens: words + 1 of every sentence."""
    facts: dict[str, float] = field(default_factory=dict)
    """Counts of stuck cells, and of samples that converters clipped, by name."""
