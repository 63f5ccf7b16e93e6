"""Streams of noise: moments, spectrum, and independence of the batch."""

from __future__ import annotations

import numpy as np
import pytest

from hvae_mnn.cosim.noise_streams import NoiseStreams

STREAM = ("decoder", "read", "flicker")


def pink(streams, steps, width, octaves, sentences=(3,)):
    streams.begin(sentences)
    return np.stack([streams.pink(STREAM, (len(sentences), width), octaves) for _ in range(steps)])


def test_pink_noise_has_mean_zero_and_variance_one():
    noise = pink(NoiseStreams(1), 64, 4000, 6)[:, 0]  # (T, n)
    for row in noise[::9]:
        assert abs(row.mean()) < 5 / np.sqrt(row.size)
        assert abs(row.var() - 1) < 5 * np.sqrt(2 / row.size)


def test_neighbouring_steps_share_all_octaves_but_those_drawn_anew():
    octaves = 5
    noise = pink(NoiseStreams(2), 32, 20000, octaves)[:, 0]
    for step, lag in ((4, 1), (8, 3), (0, 31), (15, 1), (16, 4)):
        shared = sum(step >> octave == (step + lag) >> octave for octave in range(octaves)) / octaves
        correlation = float(np.mean(noise[step] * noise[step + lag]))
        assert correlation == pytest.approx(shared, abs=5 / np.sqrt(20000)), (step, lag)


def test_its_power_falls_as_one_over_frequency():
    steps, octaves = 256, 8
    noise = pink(NoiseStreams(3), steps, 3000, octaves)[:, 0]
    power = (np.abs(np.fft.rfft(noise, axis=0)) ** 2).mean(axis=1)[1:-1]
    frequency = np.arange(1, len(power) + 1)
    slope = np.polyfit(np.log(frequency), np.log(power), 1)[0]
    assert -1.3 < slope < -0.7


def test_numbers_do_not_depend_on_the_batch_or_on_other_sentences():
    alone = pink(NoiseStreams(4), 6, 5, 3, (7,))
    together = pink(NoiseStreams(4), 6, 5, 3, (2, 7, 9))
    assert np.array_equal(alone[:, 0], together[:, 1])
    assert not np.array_equal(together[:, 0], together[:, 1])
    assert not np.array_equal(alone, pink(NoiseStreams(5), 6, 5, 3, (7,)))


def test_a_second_pass_over_all_sentences_follows_one_that_ended_with_few():
    streams = NoiseStreams(6)
    streams.begin([0, 1, 2])
    for rows in (3, 2, 1):
        streams.pink(STREAM, (rows, 4), 4)
    assert streams.pink(STREAM, (3, 4), 4).shape == (3, 4)


def test_streams_and_steps_are_independent():
    streams = NoiseStreams(8)
    streams.begin([0])
    noise = np.stack([streams.normal((stream,), (1, 20000))[0] for stream in "abaab"])
    correlation = np.corrcoef(noise) - np.eye(len(noise))
    assert np.abs(correlation).max() < 5 / np.sqrt(20000)
