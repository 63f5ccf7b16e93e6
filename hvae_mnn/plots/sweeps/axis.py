"""Positions on an axis: numbers on a linear or logarithmic axis, 0 beside it, words side by side."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from hvae_mnn.plots.files import literal
from hvae_mnn.plots.sweeps.names import VALUES, AxisName
from hvae_mnn.sweeps.curves import Value, is_number

DECADE = 10.0
"""Ratio of largest to smallest value above which the axis is logarithmic."""
_FEW = 8
"""Largest number of values with one tick each on a linear axis."""
_CHARACTER = 0.02
"""Width of a tick label's character, relative to the panel's width."""


class AxisPositions:
    """Positions of the values of one setting."""

    def __init__(self, values: Sequence[Value], name: AxisName) -> None:
        self.name, self.values = name, list(values)
        self.words = not all(map(is_number, values))
        numbers = [] if self.words else [float(value) for value in values]
        self.unlimited = name.zero is not None and 0 in numbers
        rest = sorted(value for value in numbers if not (value == 0 and self.unlimited))
        positive = [value for value in rest if value > 0]
        self.log = bool(positive) and rest[0] >= 0 and positive[-1] / positive[0] > DECADE and not name.whole
        # Tiles' sizes double, so they get a logarithmic axis as well; bits are exponents themselves.
        self.log |= name.whole and len(positive) > 2 and bool(np.allclose(np.diff(np.log2(positive)), 1))
        self.gap = self.log and 0 in rest
        self.rest, self.positive = rest, positive
        step = float(np.median(np.diff(np.log10(positive)))) if len(positive) > 1 else 1.0
        self.powers = self.log and not name.whole and (positive[0] < 1e-3 or positive[-1] >= 1e5)
        self.step = 10 ** min(max(step, 0.3), 1.0)
        self.beyond = self._beyond() if self.unlimited else None

    def _beyond(self) -> float:
        if not self.rest:
            return 0.0
        if self.log:
            return self.rest[-1] * self.step
        return self.rest[-1] + (float(np.median(np.diff(self.rest))) if len(self.rest) > 1 else 1.0)

    def of(self, value: Value | None) -> float:
        """Position of a value."""
        if self.words:
            return float(self.values.index(value))  # type: ignore[arg-type]
        assert is_number(value)
        number = float(value)  # type: ignore[arg-type]
        if number == 0 and self.beyond is not None:
            return self.beyond
        if number == 0 and self.gap:
            return self.positive[0] / self.step
        return number

    @property
    def in_order(self) -> list[Value]:
        """Values from left to right."""
        return sorted(self.values, key=self.of)

    def apart(self, value: Value | None) -> bool:
        """Whether a value is beside the axis, so that no line connects it."""
        return not self.words and value == 0 and (self.gap or self.unlimited)

    def shape(self, axes: Axes) -> None:
        """Set scale, limits and ticks."""
        if self.log:
            axes.set_xscale("log")
        values = self.in_order
        x = [self.of(value) for value in values]
        if self.words:
            axes.set_xlim(-0.5, len(x) - 0.5)
            axes.set_xticks(x, [textwrap.fill(self.text(value), 14) for value in values])
            return
        if self.log or self.unlimited or self.name.whole or len(x) <= _FEW:
            axes.xaxis.set_major_locator(FixedLocator(x))
            axes.set_xticklabels(self._labels(values))
            axes.xaxis.set_minor_locator(NullLocator())
        if self.gap or self.unlimited:
            self._break(axes)

    def _break(self, axes: Axes) -> None:
        """Draw two strokes at the break of the axis."""
        side = [self.of(0.0), self.rest[-1] if self.unlimited else self.positive[0]] if self.rest else []
        if not side:
            return
        middle = float(np.sqrt(side[0] * side[1])) if self.log else sum(side) / 2
        axes.plot(
            [middle],
            [0],
            marker=[(-0.4, -1), (0.4, 1)],
            ms=7,
            color="black",
            mew=0.8,
            ls="none",
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label="_break",
        )

    def text(self, value: Value) -> str:
        """Label of a tick."""
        if not is_number(value):
            return VALUES.get(str(value), literal(value))
        if value == 0 and self.name.zero is not None:
            return self.name.zero
        number = float(value)
        if number and self.powers:
            power = int(np.floor(np.log10(abs(number)) + 1e-9))
            lead = number / 10.0**power
            return f"$10^{{{power}}}$" if np.isclose(lead, 1) else f"${lead:.3g}\\cdot10^{{{power}}}$"
        return f"{number:g}"

    def _labels(self, values: list[Value]) -> list[str]:
        """Labels of ticks; empty if a label would overlap its left neighbour."""
        x = [self.of(value) for value in values]
        where = np.log10(x) if self.log else np.array(x)
        span = float(np.ptp(where)) or 1.0
        labels: list[str] = []
        free = -np.inf
        for centre, value in zip(where / span, values, strict=True):
            text = self.text(value)
            half = _CHARACTER * len(re.sub(r"[${}\\^]|cdot", " " if "cdot" in text else "", text)) / 2
            fits = centre - half >= free
            labels.append(text if fits else "")
            free = centre + half + _CHARACTER if fits else free
        return labels


def plain_number(value: float, _: float) -> str:
    """Label of a tick, without a power of ten if it is short."""
    return f"{value:,.0f}" if 10 <= value < 1e5 else f"{value:g}"
