"""Settings that a sweep can change, by path, and the values along an axis."""

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
"""Values of settings by path."""

MODEL, HARDWARE, NOISE = "model", "hardware", "noise"
LONGEST_RANGE = 10_000
"""Largest number of points of a range."""
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
"""Paths of all settings. A geometry of wires, or a device by its parameters, needs a hardware file instead."""


def unknown_path(path: str) -> str:
    """Message for an unknown path."""
    last = path.rpartition(".")[2]
    near = nearest(path, PATHS) or [known for known in PATHS if known.rpartition(".")[2] == last][:1]
    listing = (
        "model, hardware, hardware.<section>.<key> (docs/hardware.md) and noise.<section>.<key> (docs/nonidealities.md)"
    )
    return unknown_name("path of a setting", path, PATHS, listing=listing, near=near)


def spaced(first: float, last: float, points: int, scale: str) -> tuple[float, ...]:
    """`points` values from `first` to `last`, both included, in equal steps or (`log`) with equal ratios. They are
    integers if both ends are and all values are whole."""
    exact = np.geomspace(first, last, points) if scale == "log" else np.linspace(first, last, points)
    values = [float(f"{value:.{_DIGITS}g}") for value in exact]
    if isinstance(first, int) and isinstance(last, int) and all(value.is_integer() for value in values):
        return tuple(map(int, values))
    return tuple(values)


@dataclass(frozen=True)
class Grid:
    """A grid of points: every combination of its axes' values."""

    name: str
    """Name in tables and figures."""
    axes: Mapping[str, tuple[Any, ...]]
    """Values of each axis by path; the first axis changes slowest."""
    settings: PointSettings = field(default_factory=dict)
    """Common settings of all points."""
    zipped: tuple[tuple[str, ...], ...] = ()
    """Groups of axes that advance together; axes of a group have equal numbers of values."""

    @property
    def steps(self) -> tuple[tuple[str, ...], ...]:
        """Axes in order; axes that advance together share one tuple, at the position of the first of them."""
        steps: list[tuple[str, ...]] = []
        for path in self.axes:
            together = next((group for group in self.zipped if path in group), (path,))
            if together not in steps:
                steps.append(together)
        return tuple(steps)

    @property
    def count(self) -> int:
        """Number of points."""
        return math.prod(len(self.axes[step[0]]) for step in self.steps)

    def points(self) -> Iterator[dict[str, Any]]:
        """The values on the axes, by path, of one point after another."""
        columns = [[dict(zip(step, values, strict=True)) for values in self._together(step)] for step in self.steps]
        for parts in itertools.product(*columns):
            chosen = {path: value for part in parts for path, value in part.items()}
            yield {path: chosen[path] for path in self.axes}

    def _together(self, step: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        return zip(*(self.axes[path] for path in step), strict=True)
