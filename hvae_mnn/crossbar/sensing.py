"""Transimpedance amplifiers at the ends of a tile's bit lines: finite gain, offset and output swing.

An inverting amplifier with open-loop gain A, input offset V_os and a feedback resistor R_f holds bit line k at v_k and
gives u_k = A (V_os - v_k), clipped to +- swing; the bit line's current is I_k = (v_k - u_k) / R_f. The reading is
-u_k / R_f. With I = V @ T - Y v of the tile (`transfer.tile_network`):

- No output clipped: v = R_in I + v_0 with R_in = R_f / (1 + A) and v_0 = V_os A / (1 + A), so
  I = (1 + R_in Y)^-1 (T^T V - Y v_0), and the reading is -u / R_f = A / (1 + A) (I - V_os / R_f).
- Some outputs clipped: v_k - u_k = R_f I_k with u_k = +- swing. The clipped outputs are found by Newton's method on the
  piecewise-linear equations F(v) = Y v + (v - u(v)) / R_f - T^T V = 0: solve for the present guess, look which outputs
  would leave the swing, and again. Guesses alone may go round in circles. But F is the gradient of a strictly convex
  function (Y is symmetric and positive semidefinite, and v - u(v) rises), so steps no longer than to the lowest point
  along them end, after finitely many, at the one solution.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware.spec import Amplifier
from hvae_mnn.errors import RunError

Array = NDArray[np.float64]
_ROUNDS = 200
_HALVINGS = 60
_ROUNDING = 1e-14
"""Residual of F, relative to the currents that enter it, at which a solution cannot improve."""
_CHUNK = 2**23
"""Largest number of matrix elements that are solved together."""


def sensed_transfer(
    transfer: Float64[Array, "*batch M N"], admittance: Float64[Array, "*batch N N"], amplifier: Amplifier
) -> tuple[Float64[Array, "*batch M N"], Float64[Array, "*batch N"]]:
    """Readings -u / R_f = V @ T' + offset while no output is clipped: T' (..., M, N) in siemens and the offset (..., N)
    in amperes.

    `transfer` (..., M, N) and `admittance` (..., N, N) as from `tile_network`.
    """
    if amplifier.kind == "ideal":
        return transfer, np.zeros(transfer.shape[:-2] + transfer.shape[-1:])
    columns = admittance.shape[-1]
    loaded = np.eye(columns) + amplifier.input_ohm * admittance  # (1 + R_in Y), symmetric like Y
    gain = amplifier.gain / (1 + amplifier.gain)
    # Symmetric and positive definite, like Y. In torch, whose number of threads the caller can set.
    factor = torch.linalg.cholesky(torch.from_numpy(loaded))
    read = gain * torch.cholesky_solve(torch.from_numpy(transfer).mT.contiguous(), factor).numpy()
    driven = torch.cholesky_solve(torch.from_numpy(admittance).sum(-1, keepdim=True), factor).numpy()[..., 0]
    offset = -gain * amplifier.offset_v * (gain * driven + 1 / amplifier.feedback_ohm)
    return np.swapaxes(read, -1, -2), offset


def read_out(
    volts: Float64[Array, "B M"],
    transfer: Float64[Array, "M N"],
    admittance: Float64[Array, "N N"],
    amplifier: Amplifier,
) -> Float64[Array, "B N"]:
    """Readings -u / R_f in amperes (B, N) for volts (B, M), including clipped outputs.

    `transfer` (M, N) and `admittance` (N, N) of one tile. Raises `RunError` when no consistent set of clipped outputs
    is found.
    """
    matrix, offset = sensed_transfer(transfer, admittance, amplifier)
    readings: Array = volts @ matrix + offset
    if amplifier.kind == "ideal" or np.isinf(amplifier.swing_v):
        return readings
    beyond = np.flatnonzero((np.abs(readings) * amplifier.feedback_ohm > amplifier.swing_v).any(axis=1))
    chunk = max(1, _CHUNK // admittance.size)
    for start in range(0, len(beyond), chunk):
        part = beyond[start : start + chunk]
        readings[part] = _clipped(volts[part] @ transfer, admittance, amplifier, readings[part])
    return readings


def _clipped(driven: Array, admittance: Array, amplifier: Amplifier, unclipped: Array) -> Array:
    """Readings -u / R_f (K, N) of K reads. `driven` (K, N) are the currents into grounded sense ends, `unclipped` (K,
    N) the readings of amplifiers without limits."""
    shown = np.empty_like(driven)
    states = _states(-unclipped * amplifier.feedback_ohm, amplifier.swing_v)
    volts, _ = _guess(driven, admittance, amplifier, states)
    pending = np.arange(len(driven))
    for _ in range(_ROUNDS):
        states = _states(_wanted(volts, amplifier), amplifier.swing_v)
        solved, now = _guess(driven[pending], admittance, amplifier, states)
        settled = (_states(_wanted(solved, amplifier), amplifier.swing_v) == states).all(axis=1)
        settled |= _is_rounding(solved, driven[pending], admittance, amplifier)
        shown[pending[settled]] = now[settled]
        pending = pending[~settled]
        if not len(pending):
            return shown
        start, step = volts[~settled], (solved - volts)[~settled]
        volts = start + _length(start, step, driven[pending], admittance, amplifier) * step
    raise RunError(
        f"no consistent answer for amplifiers with a swing of {amplifier.swing_v:g} V in {len(pending)} of"
        f" {len(driven)} reads, after {_ROUNDS} guesses of which are clipped; give them a wider swing or a smaller"
        " feedback resistor"
    )


def _wanted(volts: Array, amplifier: Amplifier) -> Array:
    """Outputs of amplifiers without limits, volts."""
    return amplifier.gain * (amplifier.offset_v - volts)


def _states(output: Array, swing: float) -> Array:
    """0 within the swing, else the sign of the output."""
    return np.where(np.abs(output) > swing, np.sign(output), 0.0)


def _guess(driven: Array, admittance: Array, amplifier: Amplifier, states: Array) -> tuple[Array, Array]:
    """Volts (K, N) at the sense ends for outputs in these states (K, N), and the readings (K, N).

    Every end is a source behind a resistance, v = c + R I, and I = driven - Y v. The equations are solved for I,
    because v vanishes as the gain grows.
    """
    clipped = states != 0
    gain = amplifier.gain / (1 + amplifier.gain)
    resistance = np.where(clipped, amplifier.feedback_ohm, amplifier.input_ohm)
    constant = np.where(clipped, states * amplifier.swing_v, gain * amplifier.offset_v)
    matrix = np.eye(driven.shape[1]) + admittance * resistance[:, np.newaxis, :]
    currents = np.linalg.solve(matrix, (driven - constant @ admittance)[..., np.newaxis])[..., 0]
    within = gain * (currents - amplifier.offset_v / amplifier.feedback_ohm)
    shown = np.where(clipped, -states * amplifier.swing_v / amplifier.feedback_ohm, within)
    return constant + resistance * currents, shown


def _left(volts: Array, driven: Array, admittance: Array, amplifier: Amplifier) -> Array:
    """Residual F (K, N) in amperes."""
    output = np.clip(_wanted(volts, amplifier), -amplifier.swing_v, amplifier.swing_v)
    return volts @ admittance + (volts - output) / amplifier.feedback_ohm - driven


def _is_rounding(volts: Array, driven: Array, admittance: Array, amplifier: Amplifier) -> NDArray[np.bool_]:
    """Whether (K,) only rounding moves an output across the edge of its swing."""
    amplified = amplifier.gain * abs(amplifier.offset_v) + amplifier.swing_v
    entering = np.abs(driven).max(axis=1) + amplified / amplifier.feedback_ohm
    return np.asarray(np.abs(_left(volts, driven, admittance, amplifier)).max(axis=1) <= _ROUNDING * entering)


def _length(start: Array, step: Array, driven: Array, admittance: Array, amplifier: Amplifier) -> Array:
    """Fraction (K, 1) of `step` (K, N) up to the minimum of the convex function along it, at most 1."""

    def falls(length: Array) -> NDArray[np.bool_]:
        slope = _left(start + length * step, driven, admittance, amplifier) * step
        return np.asarray(slope.sum(axis=1, keepdims=True) <= 0)

    low, high = np.zeros((len(start), 1)), np.ones((len(start), 1))
    whole = falls(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        still = falls(middle)
        low, high = np.where(still, middle, low), np.where(still, high, middle)
    return np.where(whole, 1.0, high)
