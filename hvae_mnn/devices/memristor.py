"""Memristors: parameters with units and sources, resistance, and the rate of the state (paper eqs. 8 and 9).

State x in [0, 1]; R(x) = R_on x + R_off (1 - x); a positive voltage raises x (SET), a negative one lowers it (RESET).
The same equations are in `device_models/*.va` (Verilog-A), `*.lib` (ngspice subcircuit) and `memristor_osdi.c`
(OSDI), with the parameter names of `spice_parameters`.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hvae_mnn.errors import DeviceError
from hvae_mnn.reading import shown

Array = NDArray[np.float64]
_OFF = -1e30
"""Lower bound that never applies: the limit of a guard that is switched off."""
_ROUNDING = 1 + 1e-9
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SMALLEST, _LARGEST = 1e-60, 1e60
"""Allowed magnitudes of numbers other than 0, so that products and ratios of a few of them stay finite."""


@dataclass(frozen=True, kw_only=True)
class MemristorSpec:
    """Parameters of every memristor here: two resistances, a window function, the conductance range of weights."""

    law: ClassVar[str]
    """State equation: `aist` or `hp`."""

    name: str
    """Name of the preset."""
    source: str
    """Source of the numbers."""
    r_on_ohm: float
    """Smallest resistance, at state x = 1 (eq. 8), ohms."""
    r_off_ohm: float
    """Largest resistance, at state x = 0 (eq. 8), ohms."""
    thickness_m: float
    """Thickness D of the film (eq. 8), metres."""
    mobility: float
    """mu_v. HP: m^2 / (V s). AIST: m^2 / (s ohm), since its driving term is a ratio of currents."""
    window_p: int
    """p of the window f(x) = 1 - (2x - 1)^(2p)."""
    window_floor: float
    """Smallest value of f. Without it, a state that reaches an end never leaves it. 0: off."""
    end_stop: float
    """Width in x over which motion into an end slows to zero; motion away from the end does not slow. 0: off."""
    g_min: float
    """Smallest conductance used for weights, siemens."""
    g_max: float
    """Largest conductance used for weights, siemens."""
    read_v: float
    """Largest word-line voltage when reading, volts; below the threshold, where there is one."""
    x_init: float
    """State of a fresh device."""

    def __post_init__(self) -> None:
        """Raises `DeviceError` for parameters that physics does not allow."""
        if not _PLAIN_NAME.fullmatch(self.name):  # decks and file names contain it
            raise DeviceError(
                f"a memristor's name is {shown(repr(self.name))}; allowed: letters, digits, '.', '_' and '-', 100 at"
                " most"
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise self._refused(f"{field.name} is {value}; allowed: a finite number")
            if isinstance(value, float) and value and not _SMALLEST <= abs(value) <= _LARGEST:
                raise self._refused(
                    f"{field.name} is {value:g}; allowed: 0 or a magnitude from {_SMALLEST:g} to {_LARGEST:g}"
                )
        if not 0 < self.r_on_ohm < self.r_off_ohm:
            raise self._refused(f"R_on {self.r_on_ohm:g}, R_off {self.r_off_ohm:g} ohm; allowed: 0 < R_on < R_off")
        g_off, g_on = 1 / self.r_off_ohm, 1 / self.r_on_ohm
        if not g_off <= self.g_min * _ROUNDING < self.g_max * _ROUNDING <= g_on * _ROUNDING**2:
            raise self._refused(
                f"conductances {self.g_min:g} to {self.g_max:g} S; allowed: 1/R_off = {g_off:g} <= g_min < g_max"
                f" <= 1/R_on = {g_on:g}"
            )
        for name in ("thickness_m", "mobility", "read_v"):
            if not getattr(self, name) > 0:
                raise self._refused(f"{name} is {getattr(self, name):g}; allowed: a number above 0")
        if not 1 <= self.window_p <= 1000:
            exponent = str(self.window_p)[:20]
            raise self._refused(f"window_p is {exponent}; allowed: a whole number from 1 on, 1000 at most")
        for name, limit in (("window_floor", 1.0), ("end_stop", 0.5)):
            if not 0 <= getattr(self, name) < limit:
                raise self._refused(f"{name} is {getattr(self, name):g}; allowed: 0 (off) up to below {limit:g}")
        if self.window_floor and not self.end_stop:
            raise self._refused(
                "window_floor without end_stop: the state would leave its range; give end_stop, e.g. 0.01, or no floor"
            )
        if not 0 <= self.x_init <= 1:
            raise self._refused(f"x_init is {self.x_init:g}; allowed: 0 to 1")

    def _refused(self, why: str) -> DeviceError:
        return DeviceError(f"memristor {self.name!r}: {why}")

    @property
    def g_mid(self) -> float:
        """Conductance of the fixed resistor, 1/R_s of eq. 12, siemens: the middle of the range, so that both signs get
        the same span."""
        return (self.g_min + self.g_max) / 2

    @property
    def threshold_v(self) -> float:
        """Largest voltage magnitude at which no state moves, in either polarity, volts; 0 without a threshold."""
        raise NotImplementedError

    @property
    def rate_per_s(self) -> float:
        """Factor mu_v R_on / D^2 of eq. 9: per second for AIST, per second and ampere for HP."""
        return self.mobility * self.r_on_ohm / self.thickness_m**2

    def resistance(self, x: ArrayLike) -> Array:
        """R(x) in ohms (eq. 8), x of any shape; a state beyond an end has the resistance of that end."""
        inside = np.clip(np.asarray(x, dtype=np.float64), 0, 1)
        return np.asarray(self.r_off_ohm + (self.r_on_ohm - self.r_off_ohm) * inside)

    def conductance(self, x: ArrayLike) -> Array:
        """1 / R(x) in siemens, x of any shape."""
        return np.asarray(1 / self.resistance(x))

    def state(self, conductance: ArrayLike) -> Array:
        """State x for conductances in siemens, of any shape; the inverse of `conductance`."""
        ohm = 1 / np.asarray(conductance, dtype=np.float64)
        return np.asarray((self.r_off_ohm - ohm) / (self.r_off_ohm - self.r_on_ohm))

    def window(self, x: ArrayLike) -> Array:
        """f(x) = 1 - (2x - 1)^(2p) of eq. 9 (Joglekar), with its floor."""
        centred = 2 * np.asarray(x, dtype=np.float64) - 1
        return np.asarray(np.maximum(1 - (centred * centred) ** self.window_p, self.window_floor or _OFF))

    def _stop(self, distance: ArrayLike) -> Array:
        """Factor on motion into an end at `distance` in x."""
        away = np.asarray(distance, dtype=np.float64)
        return np.asarray(np.clip(away / self.end_stop, 0, 1)) if self.end_stop else np.ones_like(away)

    def rate(self, x: ArrayLike, volts: ArrayLike) -> Array:
        """dx/dt per second; states and voltages (volts) broadcast against each other."""
        raise NotImplementedError

    def speed(self, volts: ArrayLike) -> Array:
        """Factor in [0, 1] by which a voltage near the threshold slows the state."""
        raise NotImplementedError

    def moves(self, volts: ArrayLike) -> NDArray[np.bool_]:
        """Whether a device moves at these voltages."""
        return np.asarray(self.speed(volts) > 0)

    def switching_levels(self) -> tuple[float, ...]:
        """Voltages at which the state equation changes its form; integrations are cut there."""
        raise NotImplementedError

    def spice_parameters(self) -> dict[str, float]:
        """Parameters by their names in the device models."""
        return {
            "ron": self.r_on_ohm,
            "roff": self.r_off_ohm,
            "d": self.thickness_m,
            "mu": self.mobility,
            "p": float(self.window_p),
            "wmin": self.window_floor,
            "bw": self.end_stop,
        }

    def to_dict(self) -> dict[str, Any]:
        """All fields and the law, as a manifest or a TOML file stores them."""
        return {"law": self.law, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class AistSpec(MemristorSpec):
    """Ag/AgInSbTe/Ta with two thresholds (eq. 9); exactly still between them."""

    law: ClassVar[str] = "aist"

    v_set: float
    """V_th+ in volts: above it the resistance falls."""
    v_reset: float
    """V_th- in volts, negative: below it the resistance rises."""
    i_off: float
    """i_off in amperes: SET is faster the larger it is."""
    i_on: float
    """i_on in amperes: RESET is slower the larger it is."""
    i_0: float
    """Pole of the SET law in amperes; every reachable current must be larger."""
    ramp_v: float
    """Voltage range above a threshold over which the rate rises from zero (smoothstep), volts."""
    pole_guard: float
    """Smallest distance from the pole, relative to i_0, that the rate uses. 0: off."""

    def __post_init__(self) -> None:
        """Raises `DeviceError` for parameters that physics does not allow."""
        super().__post_init__()
        if not self.v_reset < 0 < self.v_set:
            raise self._refused(f"V_th- {self.v_reset:g}, V_th+ {self.v_set:g} V; allowed: V_th- < 0 < V_th+")
        for name in ("i_off", "i_on", "i_0", "ramp_v"):
            if not getattr(self, name) > 0:
                raise self._refused(f"{name} is {getattr(self, name):g}; allowed: a number above 0")
        if not 0 <= self.pole_guard < 1:
            raise self._refused(f"pole_guard is {self.pole_guard:g}; allowed: 0 (off) up to below 1")
        smallest = self.v_set / self.r_off_ohm
        if not self.pole_guard and self.i_0 > smallest * _ROUNDING:
            raise self._refused(
                f"i_0 is {self.i_0:g} A, above the smallest SET current V_th+/R_off = {smallest:g} A: the rate has a"
                " pole there; lower i_0, or set pole_guard, e.g. 0.02"
            )

    @property
    def threshold_v(self) -> float:
        """The nearer of the two thresholds."""
        return min(self.v_set, -self.v_reset)

    def speed(self, volts: ArrayLike) -> Array:
        """See `MemristorSpec.speed`."""
        v = np.asarray(volts, dtype=np.float64)
        beyond = np.clip(np.maximum(v - self.v_set, self.v_reset - v) / self.ramp_v, 0, 1)
        return np.asarray(beyond * beyond * (3 - 2 * beyond))

    def rate(self, x: ArrayLike, volts: ArrayLike) -> Array:
        """Eq. 9, dx/dt per second, with its guards."""
        x, v = np.asarray(x, dtype=np.float64), np.asarray(volts, dtype=np.float64)
        current = v / self.resistance(x)
        distance = np.maximum(current - self.i_0, self.pole_guard * self.i_0 or _OFF)
        with np.errstate(divide="ignore"):  # the pole, which only an unguarded device reaches
            set_drive = self.i_off / distance * self._stop(1 - x)
        reset_drive = current / self.i_on * self._stop(x)
        drive = np.where(v > self.v_set, set_drive, np.where(v < self.v_reset, reset_drive, 0))
        return np.asarray(self.rate_per_s * self.speed(v) * drive * self.window(x))

    def switching_levels(self) -> tuple[float, ...]:
        """Both thresholds and the ends of the ramps above them, volts."""
        return (self.v_reset - self.ramp_v, self.v_reset, self.v_set, self.v_set + self.ramp_v)

    def spice_parameters(self) -> dict[str, float]:
        """Parameters by their names in the device models."""
        return super().spice_parameters() | {
            "vtp": self.v_set,
            "vtn": self.v_reset,
            "ioff": self.i_off,
            "ion": self.i_on,
            "i0": self.i_0,
            "dv": self.ramp_v,
            "guard": self.pole_guard,
        }


@dataclass(frozen=True, kw_only=True)
class HpSpec(MemristorSpec):
    """Pt/TiO2/Pt with linear ion drift (eq. 8): every current moves its state."""

    law: ClassVar[str] = "hp"

    @property
    def threshold_v(self) -> float:
        """0: this device has no threshold."""
        return 0.0

    def speed(self, volts: ArrayLike) -> Array:
        """1 at every voltage except 0 V, where it is 0."""
        return np.where(np.asarray(volts, dtype=np.float64) != 0, 1.0, 0.0)

    def rate(self, x: ArrayLike, volts: ArrayLike) -> Array:
        """dx/dt = mu_v R_on / D^2 i f(x), per second."""
        x, v = np.asarray(x, dtype=np.float64), np.asarray(volts, dtype=np.float64)
        stop = np.where(v > 0, self._stop(1 - x), self._stop(x))
        return np.asarray(self.rate_per_s * v / self.resistance(x) * self.window(x) * stop)

    def switching_levels(self) -> tuple[float, ...]:
        """0 V, where the direction changes."""
        return (0.0,)
