"""Another program's answer for wired arrays: badcrossbar drives word lines at the left and grounds bit lines below."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

import numpy as np
import pytest
import torch

from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.transfer import tile_transfer


@pytest.fixture(scope="module")
def badcrossbar():
    """The module, without what its import does to logging and to warnings."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without cairo it warns that it cannot plot
        found = pytest.importorskip("badcrossbar", reason="badcrossbar: install the extra `compare`")
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("badcrossbar").setLevel(logging.ERROR)
    return found


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 1), (3, 7), (32, 48)], ids=str)
@pytest.mark.parametrize(("word_ohm", "bit_ohm"), [(1.0, 1.0), (0.5, 12.0), (30.0, 2.0)])
def test_badcrossbar_agrees(badcrossbar, shape, word_ohm, bit_ohm):
    generator = np.random.default_rng(8)
    conductance = generator.uniform(1e-6, 1e-4, shape)
    volts = generator.uniform(-0.5, 0.5, (3, shape[0]))
    with warnings.catch_warnings(), np.errstate(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # its own
        solution = badcrossbar.compute(volts.T, 1 / conductance, r_i_word_line=word_ohm, r_i_bit_line=bit_ohm)
    found = volts @ tile_transfer(torch.from_numpy(conductance)[None, None], Wires(word_ohm, bit_ohm))[0, 0].numpy()
    expected = np.asarray(solution.currents.output)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
