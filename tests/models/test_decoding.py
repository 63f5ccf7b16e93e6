"""How words are drawn: by their probabilities, with given numbers, and never a word that cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hvae_mnn.models.decoding import NOT_FINITE, drawn, likeliest

LOGITS = torch.tensor([[0.3, -1.0, 2.0, 0.3, -4.0]], dtype=torch.float64)


def probabilities(temperature):
    weights = [math.exp(value / temperature) for value in LOGITS[0].tolist()]
    return np.array(weights) / sum(weights)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_words_are_drawn_by_their_probabilities(temperature):
    count = 20_000
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count  # evenly spread: no luck in it
    words = drawn(LOGITS.expand(count, -1), uniform, temperature)
    parts = np.bincount(words.numpy(), minlength=5) / count
    np.testing.assert_allclose(parts, probabilities(temperature), atol=1.01 / count)
    # Words follow each other by their ids, so that equal numbers mean equal words.
    assert words.tolist() == sorted(words.tolist())


def test_a_low_temperature_is_greedy_and_a_high_one_uniform():
    uniform = torch.tensor([0.0, 0.3, 0.999999], dtype=torch.float64)
    assert drawn(LOGITS.expand(3, -1), uniform, 1e-300).tolist() == [2, 2, 2]
    assert drawn(LOGITS.expand(3, -1), uniform, 1e300).tolist() == [0, 1, 4]


def test_a_word_without_probability_is_never_drawn():
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -1e9]], dtype=torch.float64)
    uniform = torch.tensor([0.0, math.nextafter(0.5, 0), 0.5, math.nextafter(1, 0)], dtype=torch.float64)
    assert drawn(logits.expand(4, -1), uniform).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_cannot_be_compared_give_no_word(bad):
    logits = torch.stack([LOGITS[0], LOGITS[0].clone().index_fill_(0, torch.tensor(1), bad)])
    words, finite = likeliest(logits)
    assert (words.tolist(), finite.tolist()) == ([2, NOT_FINITE], [True, False])
    assert drawn(logits, torch.tensor([0.5, 0.5], dtype=torch.float64))[1] == NOT_FINITE
