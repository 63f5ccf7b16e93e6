"""Description of an array's non-idealities: one frozen object, everything off by default. SI units throughout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

ProgrammingKind = Literal["none", "lognormal", "gaussian", "pulses"]
PROGRAMMING_KINDS: tuple[ProgrammingKind, ...] = get_args(ProgrammingKind)


@dataclass(frozen=True)
class Programming:
    """Errors of programmed conductances; see `programming_error`."""

    error: ProgrammingKind = "none"
    sigma: float = 0.0
    """Standard deviation. `lognormal`: of ln G; `gaussian`: of G, relative to g_max - g_min."""
    amplitude_v: float = 0.15
    """`pulses`: amplitude of every pulse, volts."""
    tolerance: float = 0.01
    """`pulses`: largest accepted error of a conductance, relative to its target."""
    max_pulses: int = 20
    """`pulses`: largest number of pulses per device."""
    open_loop: bool = False
    """`pulses`: one pulse per device, without reading it back."""
    device_speed: float = 0.05
    """`pulses`: sigma of ln(speed), device to device."""
    cycle_speed: float = 0.02
    """`pulses`: sigma of ln(speed), pulse to pulse."""
    threshold: float = 0.02
    """`pulses`: relative sigma of a device's thresholds."""


@dataclass(frozen=True)
class DeviceSpread:
    """Sigmas of ln R of a device's two end resistances; see `device_spread`."""

    device_on: float = 0.0
    """Sigma of ln R_on, device to device."""
    device_off: float = 0.0
    """Sigma of ln R_off, device to device."""
    cycle_on: float = 0.0
    """Sigma of ln R_on, from one programming to the next."""
    cycle_off: float = 0.0
    """Sigma of ln R_off, from one programming to the next."""


@dataclass(frozen=True)
class StuckCells:
    """Probabilities that a memristor cannot be programmed; see `stuck`."""

    on: float = 0.0
    """Probability of a cell stuck at 1/R_on."""
    off: float = 0.0
    """Probability of a cell stuck at 1/R_off."""


@dataclass(frozen=True)
class Drift:
    """Retention, an addition of this project; see `drift`."""

    seconds: float = 0.0
    """Time since programming, seconds; no drift before `reference_s`."""
    reference_s: float = 1.0
    """Time t_0 at which conductances have their programmed values, seconds."""
    exponent: float = 0.0
    """nu in G = G_0 (t / t_0)^-nu."""
    exponent_sigma: float = 0.0
    """Standard deviation of nu, device to device."""


@dataclass(frozen=True)
class ReadNoise:
    """Noise of the currents in every read; see `read_noise`."""

    thermal: bool = False
    """Johnson-Nyquist noise of cells and feedback resistors."""
    bandwidth_hz: float = 0.0
    """Bandwidth B of the read-out, Hz; above 0 with any noise."""
    flicker: float = 0.0
    """K of a cell's relative conductance fluctuations, whose power spectral density is K / f."""
    low_hz: float = 1.0
    """Lowest frequency of the flicker spectrum, Hz; below the bandwidth."""

    @property
    def is_on(self) -> bool:
        """Whether there is any read noise."""
        return self.thermal or self.flicker > 0


@dataclass(frozen=True)
class Temperature:
    """Temperature of the chip; see `temperature`."""

    kelvin: float = 300.0
    reference_kelvin: float = 300.0
    """Temperature at which the hardware's wire resistances hold."""
    wire_per_kelvin: float = 0.00393
    """Temperature coefficient of the wires' resistance at the reference, 1/K; default: copper."""


@dataclass(frozen=True)
class Nonidealities:
    """All non-idealities in physical order. Quantised levels come first and belong to the mapping."""

    programming: Programming = field(default_factory=Programming)
    spread: DeviceSpread = field(default_factory=DeviceSpread)
    stuck: StuckCells = field(default_factory=StuckCells)
    drift: Drift = field(default_factory=Drift)
    read_noise: ReadNoise = field(default_factory=ReadNoise)
    temperature: Temperature = field(default_factory=Temperature)
