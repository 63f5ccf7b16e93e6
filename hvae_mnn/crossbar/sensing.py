"""Transimpedance amplifiers at the ends of a tile's bit lines: finite gain, offset and output swing.

An inverting amplifier with open-loop gain A, input offset V_os and a feedback resistor R_f holds bit line k at v_k and
gives u_k = A (V_os - v_k), clipped to +- swing; the bit line's current is I_k = (v_k - u_k) / R_f. What is read is
-u_k / R_f. With I = V @ T - Y v of the tile (`transfer.tile_network`):

- No output clipped: v = R_in I + v_0 with R_in = R_f / (1 + A) and v_0 = V_os A / (1 + A), so
  I = (1 + R_in Y)^-1 (T^T V - Y v_0), and the reading is -u / R_f = A / (1 + A) (I - V_os / R_f).
- Clipped ones: v_k - u_k = R_f I_k with u_k = +- swing. Which are clipped is found by Newton's method on the
  piecewise-linear equations: solve for the present guess, look which outputs would leave the swing, and again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hvae_mnn.crossbar.hardware import Amplifier
from hvae_mnn.errors import RunError

Array = NDArray[np.float64]
_ROUNDS = 200


def sensed_transfer(transfer: Array, admittance: Array, amplifier: Amplifier) -> tuple[Array, Array]:
    """What the amplifiers show while none is clipped, -u / R_f = V @ T' + offset: T' (..., M, N) in siemens and the
    offset (..., N) in amperes.

    `transfer` (..., M, N) and `admittance` (..., N, N) as from `tile_network`.
    """
    columns = admittance.shape[-1]
    loaded = np.eye(columns) + amplifier.input_ohm * admittance  # (1 + R_in Y), symmetric like Y
    gain = amplifier.gain / (1 + amplifier.gain)
    read = gain * np.linalg.solve(loaded, np.swapaxes(transfer, -1, -2))
    driven = np.linalg.solve(loaded, admittance.sum(axis=-1)[..., np.newaxis])[..., 0]
    offset = -gain * amplifier.offset_v * (gain * driven + 1 / amplifier.feedback_ohm)
    return np.swapaxes(read, -1, -2), offset


def read_out(volts: Array, transfer: Array, admittance: Array, amplifier: Amplifier) -> Array:
    """What the amplifiers show, -u / R_f in amperes (B, N), for volts (B, M), clipped outputs included.

    `transfer` (M, N) and `admittance` (N, N) of one tile. Raises `RunError` when no consistent set of clipped outputs
    is found.
    """
    matrix, offset = sensed_transfer(transfer, admittance, amplifier)
    found: Array = volts @ matrix + offset
    limit = amplifier.swing_v / amplifier.feedback_ohm
    for number in np.flatnonzero((np.abs(found) > limit).any(axis=1)):
        found[number] = _clipped(volts[number] @ transfer, admittance, amplifier)
    return found


def _clipped(driven: Array, admittance: Array, amplifier: Amplifier) -> Array:
    """-u / R_f (N,) of one read, where `driven` (N,) are the currents into grounded sense ends.

    With the share a_k of the gain (A, or 0 where clipped) and the constant c_k (A V_os, or the clipped u_k):
    u = c - a v, and v - u = R_f (driven - Y v), so (1 + a + R_f Y) v = R_f driven + c.
    """
    resistance, identity = amplifier.feedback_ohm, np.eye(len(driven))
    beyond: Array = np.zeros(len(driven))
    seen: set[bytes] = set()
    while len(seen) < _ROUNDS:
        linear = beyond == 0
        share = np.where(linear, amplifier.gain, 0.0)
        constant = np.where(linear, amplifier.gain * amplifier.offset_v, beyond * amplifier.swing_v)
        system = identity * (1 + share) + resistance * admittance
        potentials = np.linalg.solve(system, resistance * driven + constant)
        wanted = amplifier.gain * (amplifier.offset_v - potentials)  # output of an amplifier without limits
        now = np.where(np.abs(wanted) > amplifier.swing_v, np.sign(wanted), 0.0)
        if np.array_equal(now, beyond):
            shown: Array = -np.clip(wanted, -amplifier.swing_v, amplifier.swing_v) / resistance
            return shown
        key = now.tobytes()
        if key in seen:
            break
        seen.add(key)
        beyond = now
    raise RunError(
        f"no consistent answer for amplifiers with a swing of {amplifier.swing_v:g} V, after {len(seen)} guesses of"
        " which are clipped; give them a wider swing or a smaller feedback resistor"
    )
