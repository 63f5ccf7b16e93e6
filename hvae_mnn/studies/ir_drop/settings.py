"""Settings of the study of wires, with their limits."""

from __future__ import annotations

from dataclasses import dataclass

from hvae_mnn.crossbar.hardware.spec import SCHEMES, Scheme
from hvae_mnn.errors import InputError
from hvae_mnn.names import unknown_name

SCHEME_OHM = 1.0
"""Resistance at which the schemes are compared."""
SPICE_ALL = 64
"""Largest size at which ngspice computes every resistance; for larger tiles, it computes one."""
_LARGEST = 512
_LARGEST_NGSPICE = 128
_LARGEST_OHM = 1e9
_MOST_DRAWN = 10_000
"""Largest number of tiles per point, and of reads per tile."""


@dataclass(frozen=True)
class IrDropSettings:
    """Settings of the sweep. Raises `InputError` for values out of range."""

    sizes: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Rows and columns of weights."""
    ohms: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
    """Resistances of a segment, ohms; 0: ideal."""
    scheme: Scheme = "fixed_resistor_per_cell"
    """How a signed weight becomes conductances; all three schemes are compared at `SCHEME_OHM`."""
    spice_sizes: tuple[int, ...] | None = None
    """Sizes at which ngspice also computes the first tile; above `SPICE_ALL` at one resistance only. None: sizes up to
    `SPICE_ALL`; empty: none. See `compared`."""
    device: str = "aist"
    """Preset or TOML file."""
    seed: int = 0
    tiles: int = 8
    """Number of random tiles per point."""
    reads: int = 8
    """Number of reads per tile."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, values, most in (
            ("--sizes", self.sizes, _LARGEST),
            ("--spice-sizes", self.spice_sizes or (), _LARGEST_NGSPICE),
        ):
            wrong = [value for value in values if not 1 <= value <= most]
            if wrong or len(set(values)) != len(values):
                value = wrong[0] if wrong else f"{max(values, key=values.count)} twice"
                raise InputError(f"{name} has {value}; allowed: whole numbers from 1 to {most}, each once")
        if not self.sizes or not self.ohms:
            raise InputError("--sizes or --ohms has no value; give at least one to each")
        known = all(0 <= ohm <= _LARGEST_OHM for ohm in self.ohms) and len(set(self.ohms)) == len(self.ohms)
        if not known or not any(self.ohms):
            raise InputError(
                f"--ohms is {', '.join(f'{ohm:g}' for ohm in self.ohms)}; allowed: numbers from 0 to {_LARGEST_OHM:g},"
                " each once, and not 0 alone"
            )
        missing = sorted(set(self.compared) - set(self.sizes))
        if missing:
            raise InputError(
                f"--spice-sizes has {missing[0]}, which --sizes has not; ngspice is compared with the exact curves;"
                f" allowed: {', '.join(map(str, self.sizes))}"
            )
        for name in ("tiles", "reads"):
            if not 1 <= getattr(self, name) <= _MOST_DRAWN:
                raise InputError(f"--{name} is {getattr(self, name)}; allowed: 1 to {_MOST_DRAWN:,}")
        if self.scheme not in SCHEMES:
            raise InputError(unknown_name("scheme", self.scheme, SCHEMES))
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}; allowed: 0 or more")

    @property
    def compared(self) -> tuple[int, ...]:
        """Sizes at which ngspice also computes a tile."""
        if self.spice_sizes is None:
            return tuple(size for size in self.sizes if size <= SPICE_ALL)
        return self.spice_sizes
