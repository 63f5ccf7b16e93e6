import pytest
import torch

from hvae_mnn.errors import TextError
from hvae_mnn.text.batches import collate, shuffled_order, sorted_order

SENTENCES = [[2, *[4] * length, 3] for length in (5, 1, 3, 1, 8, 2, 5, 5, 1, 3)]


def lengths(order: list[list[int]]) -> list[list[int]]:
    return [[len(SENTENCES[place]) for place in places] for places in order]


def test_padding_is_at_the_end_and_lengths_count_both_symbols() -> None:
    batch = collate([[2, 7, 8, 3], [2, 3]])
    assert batch.tokens.tolist() == [[2, 7, 8, 3], [2, 3, 0, 0]]
    assert batch.lengths.tolist() == [4, 2]
    assert batch.tokens.dtype == torch.int64


def test_sorted_order_is_slices_from_short_to_long() -> None:
    order = sorted_order(SENTENCES, 4)
    assert lengths(order) == [[3, 3, 3, 4], [5, 5, 7, 7], [7, 10]]
    assert order == sorted_order(SENTENCES, 4)
    assert order[0] == [1, 3, 8, 5]  # equals stay in the order of the corpus


def test_shuffled_order_moves_batches_and_equals_but_keeps_lengths_together() -> None:
    orders = [shuffled_order(SENTENCES, 4, torch.Generator().manual_seed(seed)) for seed in range(30)]
    for order in orders:
        assert sorted(place for places in order for place in places) == list(range(len(SENTENCES)))
        assert sorted(lengths(order)) == sorted(lengths(sorted_order(SENTENCES, 4)))
    assert len({tuple(map(len, order)) for order in orders}) == 3  # the short batch comes first, second or last
    assert len({tuple(sorted(places)) for order in orders for places in order}) > 3  # equals change company
    assert orders[7] == shuffled_order(SENTENCES, 4, torch.Generator().manual_seed(7))


def test_bad_sizes() -> None:
    with pytest.raises(TextError, match="batch_size is 0"):
        sorted_order(SENTENCES, 0)
    with pytest.raises(TextError, match="no sentences"):
        sorted_order([], 4)
    with pytest.raises(TextError, match="at least one sentence"):
        collate([])
