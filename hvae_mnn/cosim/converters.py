"""DAC and ADC: uniform, symmetric converters; values beyond full scale are clipped and counted.

With L = 2^(bits-1) - 1, codes are -L ... L, and a step is full_scale / L. Two imperfections, both in steps:

- integral nonlinearity: inl_lsb * step * sin(pi x / full_scale), which is 0 at 0 and at both ends and largest, inl_lsb
  steps, at half of full scale. x is an ADC's input (its transition levels move), or a DAC's ideal output (its levels
  move). The characteristic rises everywhere as long as pi * inl_lsb < L.
- gaussian noise of standard deviation noise_lsb * step: on an ADC's input, or on a DAC's output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.spec import ConverterSpec
from hvae_mnn.errors import InputError

Array = NDArray[np.float64]
ConverterKind = Literal["dac", "adc"]

MIN_BITS, MAX_BITS = 2, 24
HISTOGRAM_BINS = 61
"""Number of bins; odd, so that 0 lies in the middle of a bin."""
HISTOGRAM_END = 1.5
"""The bins divide -1.5 ... 1.5 full scales evenly; values beyond are counted in the outermost bins."""


def check_bits(bits: int) -> None:
    """Raise `InputError` for an unsupported number of bits."""
    if bits != 0 and not MIN_BITS <= bits <= MAX_BITS:
        raise InputError(f"a converter of {bits} bits; allowed: {MIN_BITS} to {MAX_BITS}, or 0 for none")


def histogram_edges() -> Array:
    """The edges (62,) of the histogram's bins, in full scales."""
    return np.linspace(-HISTOGRAM_END, HISTOGRAM_END, HISTOGRAM_BINS + 1)


@dataclass
class Converter:
    """A converter with codes -L ... L, L = 2^(bits-1) - 1, that rounds to the nearest code; with 0 bits, values pass
    unchanged.

    Full scale is in the model's units; volts and amperes differ from them only by the manifest's fixed factors.
    """

    bits: int
    """Number of bits; 0: no conversion."""
    full_scale: float | Array
    """Full scale of all values, or (C,) of each column, the last axis of the values."""
    samples: int = 0
    """Number of values so far."""
    clipped: int = 0
    """Number of values beyond full scale so far; with 0 bits they are counted, but not clipped."""
    kind: ConverterKind = "adc"
    """Determines where imperfections act, see above."""
    noise_lsb: float = 0.0
    """Standard deviation of the noise, steps."""
    inl_lsb: float = 0.0
    """Largest integral nonlinearity, steps."""
    keep_histogram: bool = False
    """Whether to count `histogram`."""
    histogram: NDArray[np.int64] = field(init=False, repr=False)
    """Number (61,) of values so far in each bin of `histogram_edges`, before conversion and without NaN. It stays 0
    without `keep_histogram`."""

    def __post_init__(self) -> None:
        """Raise `InputError` for impossible converters."""
        check_bits(self.bits)
        self.histogram = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
        scales = np.asarray(self.full_scale, dtype=np.float64)
        if scales.ndim:
            self.full_scale = scales.copy()
        if scales.ndim > 1 or not scales.size:
            raise InputError(f"a converter's full scale has shape {scales.shape}; allowed: a number, or one per column")
        wrong = scales[~(scales > 0)]
        if wrong.size:
            raise InputError(f"a converter's full scale is {wrong.flat[0]}; allowed: above 0; build the netlists again")
        if self.bits and not np.isfinite(scales).all():
            raise InputError(
                f"a converter of {self.bits} bits has an infinite full scale; allowed: a finite one, or 0 bits"
            )
        for name in ("noise_lsb", "inl_lsb"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise InputError(f"a converter's {name} is {value}; allowed: a finite number, 0 (none) or above")
            if value and not self.bits:
                raise InputError(f"a converter of 0 bits has no step, and {name} is {value}; allowed: 0")
        if self.bits and self.inl_lsb * math.pi >= self.largest_code:
            raise InputError(
                f"a converter of {self.bits} bits with an inl_lsb of {self.inl_lsb} is not monotonic; allowed: less"
                f" than {self.largest_code / math.pi:.4g}"
            )

    @classmethod
    def from_spec(
        cls, spec: ConverterSpec, full_scale: float | Array, kind: ConverterKind, *, keep_histogram: bool = False
    ) -> Converter:
        """The converter of a hardware description, with a `full_scale` in the model's units. Raises `InputError`."""
        return cls(
            spec.bits,
            full_scale,
            kind=kind,
            noise_lsb=spec.noise_lsb,
            inl_lsb=spec.inl_lsb,
            keep_histogram=keep_histogram,
        )

    @property
    def largest_code(self) -> int:
        """The largest code L; 0 with 0 bits."""
        return 2 ** (self.bits - 1) - 1 if self.bits else 0

    @property
    def step(self) -> float | Array:
        """Distance between neighbouring codes, in the units of full scale; 0 with 0 bits."""
        return self.full_scale / self.largest_code if self.bits else 0.0

    def __call__(self, values: Array, noise: Array | None = None) -> Array:
        """Converted values, of the same shape and units.

        `noise`: standard normal numbers of the shape of `values`, required if `noise_lsb` is above 0. Raises
        `InputError` if they are missing.
        """
        self.samples += values.size
        self.clipped += int((np.abs(values) > self.full_scale).sum())
        if self.keep_histogram:
            self._count(values)
        if self.bits == 0:
            return values
        largest_code = self.largest_code
        step = self.full_scale / largest_code
        error = self._noise(values, noise)
        if self.kind == "adc":
            values = self._bent(values if error is None else values + error)
        converted: Array = np.clip(np.rint(values / step), -largest_code, largest_code) * step
        if self.kind == "dac":
            converted = self._bent(converted)
            converted = converted if error is None else converted + error
        return converted

    def _bent(self, values: Array) -> Array:
        """Values with the integral nonlinearity."""
        if not self.inl_lsb:
            return values
        return values + self.inl_lsb * self.step * np.sin(np.pi * np.clip(values / self.full_scale, -1, 1))

    def _noise(self, values: Array, noise: Array | None) -> Array | None:
        if not self.noise_lsb:
            return None
        if noise is None or noise.shape != values.shape:
            given = "none" if noise is None else f"shape {noise.shape}"
            raise InputError(
                f"a converter with noise_lsb {self.noise_lsb:g} needs standard normal numbers of shape {values.shape};"
                f" given: {given}"
            )
        return noise * (self.noise_lsb * self.step)

    def _count(self, values: Array) -> None:
        part = (values / self.full_scale).ravel()
        index = np.floor((part[~np.isnan(part)] + HISTOGRAM_END) * (HISTOGRAM_BINS / (2 * HISTOGRAM_END)))
        bins = np.clip(index, 0, HISTOGRAM_BINS - 1).astype(np.intp)
        self.histogram += np.bincount(bins, minlength=HISTOGRAM_BINS)
