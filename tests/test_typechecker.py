"""Shapes in annotations are checked while tests run."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.crossbar.nodal import nodal_transfer


def test_a_shape_that_is_not_the_annotated_one_is_refused():
    with pytest.raises(TypeCheckError, match="conductance"):
        nodal_transfer(np.full((2, 3), 1e-5), Wires())
    layout = ArrayLayout(4, 3, read_hardware("paper"))
    with pytest.raises(TypeCheckError, match="memristors"):
        layout.without_wires(np.full((3, 4), 1e-5))  # (D, R) instead of (R, D)
