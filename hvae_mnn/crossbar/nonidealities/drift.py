"""Retention: conductances that fall after programming. AN ADDITION OF THIS PROJECT: the AIST model keeps its state.

G(t) = G(t_0) (t / t_0)^-nu for t > t_0; nu is gaussian over devices and not below 0. The law is that of phase-change
memories (e.g. Joshi et al., Nature Communications 11:2473, 2020); for the AIST memristor no source
gives a retention, so exponents are assumptions. Stuck cells drift like all others.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from hvae_mnn.crossbar.nonidealities.spec import Drift

Array = NDArray[np.float64]


def drifted(conductances: Float64[Array, "*shape"], spec: Drift, rng: np.random.Generator) -> Float64[Array, "*shape"]:
    """Conductances, siemens of any shape, at the time in `spec`."""
    if spec.seconds <= spec.reference_s or not (spec.exponent or spec.exponent_sigma):
        return conductances
    exponent = np.maximum(spec.exponent + spec.exponent_sigma * rng.standard_normal(conductances.shape), 0.0)
    return np.asarray(conductances * (spec.seconds / spec.reference_s) ** -exponent)
