"""Which non-idealities an array has: one frozen description, all of them off by default. SI units throughout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

ProgrammingKind = Literal["none", "lognormal", "gaussian", "pulses"]
PROGRAMMING_KINDS: tuple[ProgrammingKind, ...] = get_args(ProgrammingKind)


@dataclass(frozen=True)
class Programming:
    """What programming leaves of a target conductance; see `programming_error`."""

    error: ProgrammingKind = "none"
    sigma: float = 0.0
    """`lognormal`: of ln G; `gaussian`: in parts of g_max - g_min."""
    amplitude_v: float = 0.15
    """`pulses`: volts of every pulse."""
    tolerance: float = 0.01
    """`pulses`: allowed error of a conductance, relative to its target."""
    max_pulses: int = 20
    """`pulses`: so many at most."""
    open_loop: bool = False
    """`pulses`: one pulse per device, nothing is read."""
    device_speed: float = 0.05
    """`pulses`: sigma of ln speed, device to device."""
    cycle_speed: float = 0.02
    """`pulses`: sigma of ln speed, pulse to pulse."""
    threshold: float = 0.02
    """`pulses`: sigma of a device's thresholds, relative."""


@dataclass(frozen=True)
class DeviceSpread:
    """Sigmas of ln R of a device's two end resistances; see `device_spread`."""

    device_on: float = 0.0
    """R_on, device to device."""
    device_off: float = 0.0
    """R_off, device to device."""
    cycle_on: float = 0.0
    """R_on, from one programming to the next."""
    cycle_off: float = 0.0
    """R_off, from one programming to the next."""


@dataclass(frozen=True)
class StuckCells:
    """Probabilities that a memristor cannot be programmed; see `stuck`."""

    on: float = 0.0
    """Stuck at 1/R_on."""
    off: float = 0.0
    """Stuck at 1/R_off."""


@dataclass(frozen=True)
class Drift:
    """Retention, an addition of ours; see `drift`."""

    seconds: float = 0.0
    """Since programming; up to `reference_s` nothing has drifted."""
    reference_s: float = 1.0
    """When the conductance was what was programmed."""
    exponent: float = 0.0
    """nu in G = G_0 (t / t_0)^-nu."""
    exponent_sigma: float = 0.0
    """Its standard deviation from device to device."""


@dataclass(frozen=True)
class ReadNoise:
    """Noise of the currents in every read; see `read_noise`."""

    thermal: bool = False
    """Johnson-Nyquist noise of cells and feedback resistors."""
    bandwidth_hz: float = 0.0
    """Of the read-out; above 0 with any noise."""
    flicker: float = 0.0
    """K of a cell's relative conductance fluctuations, whose power spectral density is K / f."""
    low_hz: float = 1.0
    """Where the flicker spectrum begins; below the bandwidth."""

    @property
    def is_on(self) -> bool:
        """Whether there is any."""
        return self.thermal or self.flicker > 0


@dataclass(frozen=True)
class Temperature:
    """Of the chip; see `temperature`."""

    kelvin: float = 300.0
    reference_kelvin: float = 300.0
    """For which the hardware's wire resistances hold."""
    wire_per_kelvin: float = 0.00393
    """Temperature coefficient of the wires' resistance at the reference, 1/K; default: copper."""


@dataclass(frozen=True)
class Nonidealities:
    """All of them, in the order in which hardware has them; quantised levels, which come first, are the mapping's."""

    programming: Programming = field(default_factory=Programming)
    spread: DeviceSpread = field(default_factory=DeviceSpread)
    stuck: StuckCells = field(default_factory=StuckCells)
    drift: Drift = field(default_factory=Drift)
    read_noise: ReadNoise = field(default_factory=ReadNoise)
    temperature: Temperature = field(default_factory=Temperature)
