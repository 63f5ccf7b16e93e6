"""Read noise of an array: its power by hand, and which outputs share it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import SCHEMES, Amplifier, Tiling
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.crossbar.nonidealities.read_noise import BOLTZMANN, ArrayNoise
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities, ReadNoise, Temperature

READS = 60_000
BANDWIDTH, LOW, FLICKER = 1e8, 1e3, 1e-4
BOTH = Nonidealities(
    read_noise=ReadNoise(thermal=True, bandwidth_hz=BANDWIDTH, flicker=FLICKER, low_hz=LOW),
    temperature=Temperature(kelvin=350.0),
)
THERMAL = replace(BOTH, read_noise=ReadNoise(thermal=True, bandwidth_hz=BANDWIDTH))
JOHNSON = 4 * BOLTZMANN * 350.0 * BANDWIDTH
RELATIVE = FLICKER * math.log(BANDWIDTH / LOW)


def make(scheme, rows, columns, tiling=None, amplifier=None):
    hardware = read_hardware("paper")
    hardware = replace(
        hardware,
        cells=replace(hardware.cells, scheme=scheme),
        tiling=tiling or Tiling(),
        amplifier=amplifier or Amplifier(),
    )
    layout = ArrayLayout(rows, columns, hardware)
    rng = np.random.default_rng(7)
    device = hardware.device
    return layout, rng.uniform(device.g_min, device.g_max, (rows, layout.memristors)), rng


def test_one_cell_has_johnsons_noise_of_its_two_conductances():
    layout, conductance, _ = make("fixed_resistor_per_cell", 1, 1)
    noise = ArrayNoise(layout, conductance, THERMAL)
    assert noise.draws == 1
    found = noise.currents(np.zeros((1, 1)), np.ones((1, 1)), None)
    siemens = conductance[0, 0] + layout.hardware.device.g_mid
    assert found[0, 0] == pytest.approx(math.sqrt(4 * 1.380649e-23 * 350 * 1e8 * siemens), rel=1e-12)


def test_an_amplifiers_feedback_resistor_is_noisy_too():
    amplifier = Amplifier("transimpedance", 2e3, 1e4)
    plain, conductance, _ = make("differential_pair", 4, 3)
    loud, _, _ = make("differential_pair", 4, 3, amplifier=amplifier)
    powers = [
        np.square(ArrayNoise(layout, conductance, THERMAL).currents(np.zeros((1, 4)), np.eye(6)[:1], None))[0, 0]
        for layout in (plain, loud)
    ]
    assert powers[1] - powers[0] == pytest.approx(JOHNSON / 2e3, rel=1e-9)


def expected_covariance(layout, conductance, volts):
    """Of the outputs, amperes squared, from the cells one by one."""
    device = layout.hardware.device
    feedback = 0.0 if layout.hardware.amplifier.kind == "ideal" else 1 / layout.hardware.amplifier.feedback_ohm
    found = np.zeros((layout.outputs, layout.outputs))
    for tile in layout.tiles:
        cells = layout.cells(tile, conductance)  # (W, M, N)
        mask = layout.is_memristor(tile)
        own = volts[tile.rows.start : tile.rows.stop]
        flicker = RELATIVE * np.square(cells * mask * own[:, np.newaxis]).sum(axis=(0, 1))
        power = JOHNSON * (cells.sum(axis=(0, 1)) + feedback) + flicker  # (N,) of the tile's bit lines
        # Each bit line's part in the outputs.
        signed = np.zeros((len(power), layout.outputs))
        signs = layout.signed(np.eye(len(power)))  # (N, C of the tile)
        first = (tile.row_block if layout.sums > 1 else 0) * layout.columns
        signed[:, first + tile.columns.start : first + tile.columns.stop] = signs
        found += signed.T @ (power[:, np.newaxis] * signed)
    assert device.g_mid > 0
    return found


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("tiling", "amplifier"),
    [
        (Tiling(), Amplifier()),
        (Tiling(3, 2), Amplifier()),
        (Tiling(3, 2, "after_adc"), Amplifier("transimpedance", 5e3, 1e4)),
    ],
)
def test_outputs_have_the_covariance_of_their_cells(scheme, tiling, amplifier):
    layout, conductance, rng = make(scheme, 7, 5, tiling, amplifier)
    noise = ArrayNoise(layout, conductance, BOTH)
    volts = rng.uniform(-0.05, 0.05, 7)
    normal = [rng.standard_normal((READS, noise.draws)) for _ in range(2)]
    found = noise.currents(np.tile(volts, (READS, 1)), *normal)
    assert found.shape == (READS, layout.outputs)
    expected = expected_covariance(layout, conductance, volts)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs(np.cov(found.T) - expected).max() < 6 * np.sqrt(2 / READS) * scale.max()
    assert np.abs((np.cov(found.T) - expected) / scale).max() < 6 * np.sqrt(2 / READS)
    assert np.abs(found.mean(axis=0)).max() < 5 * np.sqrt(expected.max() / READS)


def test_columns_share_the_noise_of_their_reference_line_and_of_no_other():
    layout, conductance, rng = make("reference_column", 6, 4, Tiling(None, 2))
    noise = ArrayNoise(layout, conductance, THERMAL)
    found = noise.currents(np.zeros((READS, 6)), rng.standard_normal((READS, noise.draws)), None)
    correlation = np.corrcoef(found.T)
    assert correlation[0, 1] > 0.3
    assert correlation[2, 3] > 0.3
    assert np.abs(correlation[:2, 2:]).max() < 5 / np.sqrt(READS)


def test_flicker_grows_with_the_read_voltage_and_thermal_noise_does_not():
    layout, conductance, rng = make("differential_pair", 5, 3)
    flicker = Nonidealities(read_noise=replace(BOTH.read_noise, thermal=False))
    noise = ArrayNoise(layout, conductance, flicker)
    volts, normal = rng.uniform(-0.05, 0.05, (1, 5)), rng.standard_normal((1, noise.draws))
    once = noise.currents(volts, None, normal)
    np.testing.assert_allclose(noise.currents(-2 * volts, None, normal), 2 * once, rtol=1e-12)
    assert (noise.currents(0 * volts, None, normal) == 0).all()
    assert noise.octaves == round(math.log2(BANDWIDTH / LOW))
    assert not noise.is_thermal
