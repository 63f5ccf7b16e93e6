from __future__ import annotations

import numpy as np

from hvae_mnn.cosim.noise_streams import NoiseStreams
from hvae_mnn.cosim.pulses import pulse_reads


def test_phases_of_a_read_by_hand():
    reads = pulse_reads(np.array([[0.05, -0.01, 0.0, 0.02]]), 0.05)
    np.testing.assert_allclose(reads.lengths, [0.2, 0.2, 0.6])
    np.testing.assert_allclose(
        reads.volts, [[0.05, -0.05, 0, 0.05], [0.05, 0, 0, 0.05], [0.05, 0, 0, 0]], rtol=0, atol=1e-18
    )


def test_the_mean_of_the_phases_is_the_mean_voltage_and_reads_stay_apart():
    rng = np.random.default_rng(0)
    mean_volts = rng.uniform(-0.05, 0.05, (3, 6))
    mean_volts[1] = 0.0
    mean_volts[2, :3] = 0.05
    reads = pulse_reads(mean_volts, 0.05)
    np.testing.assert_allclose(reads.mean(reads.volts), mean_volts, rtol=0, atol=1e-16)
    # A constant current, as an amplifier's offset makes it, flows through the whole read.
    np.testing.assert_allclose(reads.mean(np.ones((len(reads.lengths), 2))), np.ones((3, 2)), rtol=1e-15)


def test_noise_depends_on_sentence_place_and_step_only():
    together, alone = NoiseStreams(7), NoiseStreams(7)
    together.begin([4, 9])
    alone.begin([9])
    first = together.normal(("encoder1", "adc", "i"), (2, 5))
    np.testing.assert_array_equal(first[1], alone.normal(("encoder1", "adc", "i"), (1, 5))[0])
    # A sentence that has ended leaves the batch; the others go on with their own numbers.
    second = together.normal(("encoder1", "adc", "i"), (1, 5))
    assert not np.array_equal(second[0], first[0])
    assert not np.array_equal(together.normal(("encoder1", "adc", "f"), (2, 5))[0], first[0])
    together.begin([4, 9])
    np.testing.assert_array_equal(together.normal(("encoder1", "adc", "i"), (2, 5)), first)
    other = NoiseStreams(8)
    other.begin([4, 9])
    assert not np.array_equal(other.normal(("encoder1", "adc", "i"), (2, 5)), first)


def test_noise_is_standard_normal_and_uncorrelated_between_steps():
    streams = NoiseStreams(0)
    streams.begin(range(50))
    steps = np.stack([streams.normal(("decoder", "dac", "x"), (50, 40)) for _ in range(10)])
    assert abs(steps.mean()) < 4 / np.sqrt(steps.size)
    assert abs(steps.std() - 1) < 0.03
    flat = steps.reshape(10, -1)
    correlation = np.corrcoef(flat) - np.eye(10)
    assert np.abs(correlation).max() < 5 / np.sqrt(flat.shape[1])
