"""What a sweep can change: the paths of its settings, and the values along an axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hvae_mnn.crossbar.hardware.schema import hardware_schema
from hvae_mnn.crossbar.nonidealities.file import KEYS
from hvae_mnn.names import nearest, unknown_name

PointSettings = Mapping[str, Any]
"""Values by path."""

MODEL, HARDWARE, NOISE = "model", "hardware", "noise"
LONGEST_RANGE = 10_000
"""Points of a range."""
_DIGITS = 12
"""Significant digits of a range's points: 0.1, not 0.10000000000000002."""


def _hardware_paths() -> Iterator[str]:
    schema = hardware_schema()
    for section, reference in schema["properties"].items():
        name = reference.get("$ref", "").rpartition("/")[2]
        for key, node in schema["$defs"].get(name, {}).get("properties", {}).items():
            if key != "source" and "$ref" not in node and node.get("type") != "object":
                yield f"{HARDWARE}.{section}.{key}"


PATHS = (MODEL, HARDWARE, *_hardware_paths(), *(f"{NOISE}.{key}" for key in KEYS))
"""All of them. A whole geometry of wires, or a device by its parameters, is given in a hardware file."""


def unknown_path(path: str) -> str:
    """What to say of a path that is none."""
    last = path.rpartition(".")[2]
    near = nearest(path, PATHS) or [known for known in PATHS if known.rpartition(".")[2] == last][:1]
    listing = (
        "model, hardware, hardware.<section>.<key> (docs/hardware.md) and noise.<section>.<key> (docs/nonidealities.md)"
    )
    return unknown_name("path of a setting", path, PATHS, listing=listing, near=near)


def spaced(first: float, last: float, points: int, scale: str) -> tuple[float, ...]:
    """`points` values from `first` to `last`, both included, in equal steps or (`log`) with equal ratios; whole numbers
    stay whole where both ends and all values are."""
    found = np.geomspace(first, last, points) if scale == "log" else np.linspace(first, last, points)
    values = [float(f"{value:.{_DIGITS}g}") for value in found]
    if isinstance(first, int) and isinstance(last, int) and all(value.is_integer() for value in values):
        return tuple(map(int, values))
    return tuple(values)


@dataclass(frozen=True)
class Grid:
    """Points: every combination of its axes' values."""

    name: str
    """What tables and figures call it."""
    axes: Mapping[str, tuple[Any, ...]]
    """Values by path; the first axis changes slowest."""
    settings: PointSettings = field(default_factory=dict)
    """What all its points have in common."""
    zipped: tuple[tuple[str, ...], ...] = ()
    """Axes that advance together, and have equally many values."""

    @property
    def steps(self) -> tuple[tuple[str, ...], ...]:
        """The axes, those that advance together in one tuple at the place of the first of them."""
        found: list[tuple[str, ...]] = []
        for path in self.axes:
            together = next((group for group in self.zipped if path in group), (path,))
            if together not in found:
                found.append(together)
        return tuple(found)

    @property
    def count(self) -> int:
        """How many points."""
        return math.prod(len(self.axes[step[0]]) for step in self.steps)

    def points(self) -> Iterator[dict[str, Any]]:
        """Values by path along the axes, of every point."""
        columns = [[dict(zip(step, values, strict=True)) for values in self._together(step)] for step in self.steps]
        for parts in itertools.product(*columns):
            chosen = {path: value for part in parts for path, value in part.items()}
            yield {path: chosen[path] for path in self.axes}

    def _together(self, step: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        return zip(*(self.axes[path] for path in step), strict=True)
