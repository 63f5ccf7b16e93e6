"""Voltages that drive a single memristor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hvae_mnn.devices.programming import LARGEST_V
from hvae_mnn.devices.waveforms import PiecewiseLinear, Sine, pulses, triangle
from hvae_mnn.errors import InputError
from hvae_mnn.names import unknown_name

Shape = Literal["sine", "triangle", "pulses"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
USUAL_AMPLITUDE_V = {"aist": 0.5, "hp": 1.0}
"""Amplitudes by switching law that show a loop."""
USUAL_FREQUENCIES_HZ = {"aist": (10.0, 50.0, 250.0), "hp": (1.0, 2.0, 5.0)}
"""Frequencies by switching law at which the loop shrinks visibly."""
STEPS_PER_PERIOD = 1000
"""Number of time steps in a period of a sine or triangle."""
STEPS_PER_PULSE = 100
"""Number of time steps in a pulse."""
_MOST_CYCLES = 500


@dataclass(frozen=True)
class Drive:
    """Voltage that drives a memristor. Raises `InputError` for values out of range."""

    amplitude_v: float
    frequencies_hz: tuple[float, ...]
    """Frequencies, with one run each; for pulses, width and pause are half a period."""
    waveform: Shape = "sine"
    cycles: int = 2
    """Number of periods; for pulses, their number per polarity."""
    x0: float | None = None
    """Initial state; None: that of a fresh device."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.amplitude_v <= LARGEST_V:
            raise InputError(f"--amplitude is {self.amplitude_v:g} V; allowed: above 0, {LARGEST_V:g} V at most")
        if not self.frequencies_hz or not all(1e-3 <= f <= 1e9 for f in self.frequencies_hz):
            values = ", ".join(f"{frequency:g}" for frequency in self.frequencies_hz) or "missing"
            raise InputError(f"--frequency is {values}; allowed: 0.001 to 1e9 Hz")
        names = [f"{frequency:g}" for frequency in self.frequencies_hz]
        if len(set(names)) != len(names):
            raise InputError(f"--frequency names {', '.join(names)} Hz; allowed: each once, to six digits")
        if self.waveform not in SHAPES:
            raise InputError(unknown_name("waveform", self.waveform, SHAPES))
        if not isinstance(self.cycles, int) or not 1 <= self.cycles <= _MOST_CYCLES:
            raise InputError(f"--cycles is {self.cycles}; allowed: a whole number from 1 to {_MOST_CYCLES}")
        if self.x0 is not None and not 0 <= self.x0 <= 1:
            raise InputError(f"--x0 is {self.x0:g}; allowed: 0 to 1")

    def at(self, frequency: float) -> tuple[Sine | PiecewiseLinear, float]:
        """The voltage over time, and the longest time step in seconds that resolves it."""
        if self.waveform == "sine":
            return Sine(self.amplitude_v, frequency, self.cycles), 1 / frequency / STEPS_PER_PERIOD
        if self.waveform == "triangle":
            return triangle(self.amplitude_v, frequency, self.cycles), 1 / frequency / STEPS_PER_PERIOD
        half = 0.5 / frequency
        train = pulses(self.amplitude_v, self.cycles, half, half, edge_s=half * 1e-4)
        return train.waveform(), half / STEPS_PER_PULSE
