"""What a benchmark gives: figures with a unit, and the aim that some of them have."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    key: str
    """Its name in the JSON file."""
    what: str
    """Its name for people."""
    value: float
    unit: str
    """`s`, `ms`, `MB`, ..., or `x` for a ratio."""
    at_most: float | None = None
    """The aim, where there is one: the value should not be larger."""
    at_least: float | None = None
    """The aim, where there is one: the value should not be smaller."""

    @property
    def aim(self) -> str:
        """The aim in words, empty without one."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"

    @property
    def met(self) -> bool | None:
        """Whether the aim was met; None without one."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    def to_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        found: dict[str, Any] = {"what": self.what, "value": self.value, "unit": self.unit}
        if self.met is not None:
            found |= {"aim": self.aim, "met": self.met}
        return found


@dataclass(frozen=True)
class Answer:
    """What one benchmark found out."""

    figures: Sequence[Figure]
    note: str = ""
    """What a reader must know to judge the figures."""

    def to_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        return {"figures": {figure.key: figure.to_dict() for figure in self.figures}, "note": self.note}


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(actions: dict[str, Callable[[], float]], repetitions: int, warm_up: int = 1) -> dict[str, float]:
    """Median of what every action returns, over `repetitions`, the actions taking turns.

    A machine is rarely quiet for a whole run; taking turns, what disturbs one side of a ratio disturbs the other, too.
    """
    found: dict[str, list[float]] = {name: [] for name in actions}
    for repetition in range(warm_up + repetitions):
        for name, action in actions.items():
            value = action()
            if repetition >= warm_up:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}
