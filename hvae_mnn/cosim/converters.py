"""DAC and ADC: uniform, symmetric, with a full scale; what lies outside is clipped and counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.errors import InputError

Array = NDArray[np.float64]

MIN_BITS, MAX_BITS = 2, 24


def check_bits(bits: int) -> None:
    """Raise `InputError` for a width that no converter here has."""
    if bits != 0 and not MIN_BITS <= bits <= MAX_BITS:
        raise InputError(f"a converter of {bits} bits; allowed are {MIN_BITS} to {MAX_BITS}, or 0 for none")


@dataclass
class Converter:
    """A converter with `bits` bits: codes -L ... L with L = 2^(bits-1) - 1, rounding to nearest; 0 bits: passes
    values through.

    Full scale is in the model's units; volts and amperes differ from them by the fixed factors of the manifest only.
    """

    bits: int
    full_scale: float
    samples: int = 0
    """Values converted so far."""
    clipped: int = 0
    """Values beyond full scale so far; counted with 0 bits, too, though nothing is clipped then."""

    def __post_init__(self) -> None:
        """Refuse impossible converters."""
        check_bits(self.bits)
        if not self.full_scale > 0:
            raise InputError(
                f"a converter's full scale is {self.full_scale}; it must be above 0: build the netlists again"
            )

    def __call__(self, values: Array) -> Array:
        """Values as they come out of the converter, same shape and units."""
        self.samples += values.size
        self.clipped += int((np.abs(values) > self.full_scale).sum())
        if self.bits == 0:
            return values
        largest_code = 2 ** (self.bits - 1) - 1
        step = self.full_scale / largest_code
        found: Array = np.clip(np.rint(values / step), -largest_code, largest_code) * step
        return found
