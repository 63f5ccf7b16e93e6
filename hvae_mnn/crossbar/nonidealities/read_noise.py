"""Noise of the currents in every read: Johnson-Nyquist noise, and fluctuating conductances with a 1/f spectrum.

Gaussian, independent from bit line to bit line. With the bandwidth B of the read-out, in amperes squared:

- thermal: 4 k_B T B (sum of the conductances on the bit line, fixed resistors included, + 1 / R_f of its amplifier)
  (Johnson 1928, Nyquist 1928); new in every read.
- flicker: memristors fluctuate independently, relative power spectral density K / f from f_low to B, so that a bit line
  that they share has K ln(B / f_low) sum_j (V_j G_j)^2, currents as without wires. Fixed resistors do not flicker. K is
  an assumption: no source gives one for the AIST memristor. Reads follow each other at the rate B. Noise below B is
  kept from read to read (`NoiseStreams.pink`), with one number per bit line instead of one per cell. The power in every
  read is exact; reads with different inputs are as correlated as reads with equal inputs, which is an upper bound.

Read noise is added to the currents at the ends of bit lines; wires do not attenuate it. Tiles whose currents add up
before the ADC add their variances. A reference column is subtracted from all columns of its tile, and so is its noise:
those columns share it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities

Array = NDArray[np.float64]
BOLTZMANN = 1.380649e-23
"""J/K, exact (SI 2019)."""


class ArrayNoise:
    """Read noise of one array."""

    def __init__(self, layout: ArrayLayout, conductance: Array, spec: Nonidealities) -> None:
        """`conductance` (R, D): the drawn memristors, siemens."""
        noise = spec.read_noise
        self.is_thermal = noise.thermal
        """Whether there is thermal noise, which is new in every read."""
        self.octaves = max(1, round(math.log2(noise.bandwidth_hz / noise.low_hz))) if noise.flicker else 0
        """Number of octaves of the part with a spectrum near 1/f; 0: none."""
        self._layout = layout
        self._lines = 2 if layout.scheme == "differential_pair" else 1
        self._blocks = len(layout.column_blocks) if layout.scheme == "reference_column" else 0
        self._own = layout.sums * layout.columns * self._lines
        self.draws = self._own + layout.sums * self._blocks
        """Number of standard normal numbers per read and kind of noise: one per bit line of every sum, and one per
        reference line."""
        self._thermal = np.sqrt(self._thermal_variance(conductance, spec)) if noise.thermal else None
        self._flicker = None
        if noise.flicker:
            power = noise.flicker * math.log(noise.bandwidth_hz / noise.low_hz)
            self._flicker = torch.from_numpy(power * conductance**2)  # (R, D)

    def currents(self, volts: Array, thermal: Array | None, flicker: Array | None) -> Array:
        """Noise (B, outputs) of the currents for signed weights, amperes, in reads with `volts` (B, R).

        `thermal` and `flicker` (B, draws): standard normal numbers; None without this kind of noise.
        """
        drawn = np.zeros((len(volts), self.draws))
        if self._thermal is not None and thermal is not None:
            drawn += thermal * self._thermal
        if self._flicker is not None and flicker is not None:
            drawn[:, : self._own] += flicker[:, : self._own] * self._flicker_deviation(volts)
        return self._signed(drawn)

    def _signed(self, drawn: Array) -> Array:
        """Noise (B, outputs) for signed weights, from the noise of the bit lines (B, draws)."""
        layout = self._layout
        own = drawn[:, : self._own].reshape(len(drawn), layout.sums, -1)
        if self._lines == 2:
            own = own[..., 0::2] - own[..., 1::2]
        if self._blocks:
            reference = drawn[:, self._own :].reshape(len(drawn), layout.sums, self._blocks)
            widths = [len(block) for block in layout.column_blocks]
            own = np.repeat(reference, widths, axis=2) - own
        return np.asarray(own).reshape(len(drawn), layout.outputs)

    def _flicker_deviation(self, volts: Array) -> Array:
        """Standard deviation (B, sums D) of the flicker noise, amperes."""
        assert self._flicker is not None
        power = torch.from_numpy(volts).square()
        rows = self._layout.row_blocks if self._layout.sums > 1 else [range(self._layout.rows)]
        parts = [power[:, block.start : block.stop] @ self._flicker[block.start : block.stop] for block in rows]
        return np.asarray(torch.cat(parts, dim=1).sqrt_().numpy())

    def _thermal_variance(self, conductance: Array, spec: Nonidealities) -> Array:
        """Variance (draws,) of the thermal noise, amperes squared."""
        layout, hardware = self._layout, self._layout.hardware
        amplifier = 0.0 if hardware.amplifier.kind == "ideal" else 1 / hardware.amplifier.feedback_ohm
        fixed = hardware.device.g_mid
        own, reference = [], []
        rows = layout.row_blocks if layout.sums > 1 else [range(layout.rows)]
        tiles = 1 if layout.sums > 1 else len(layout.row_blocks)
        """Number of bit lines, each with its amplifier, that add up to a sum."""
        for block in rows:
            siemens = conductance[block.start : block.stop].sum(axis=0)
            if layout.scheme == "fixed_resistor_per_cell":
                siemens = siemens + len(block) * fixed
            own.append(siemens + tiles * amplifier)
            reference.append(np.full(self._blocks, len(block) * fixed + tiles * amplifier))
        total = np.concatenate([*own, *reference])
        return np.asarray(4 * BOLTZMANN * spec.temperature.kelvin * spec.read_noise.bandwidth_hz * total)
