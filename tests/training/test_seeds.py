"""Seeds of a run, and the order of its batches."""

from __future__ import annotations

from hvae_mnn.training.seeds import EpochOrder, spawn_seed


def test_seeds_are_spawned_apart() -> None:
    seeds = {spawn_seed(*place) for place in [(0,), (0, 0), (0, 1), (1, 0), (0, 2, 0), (0, 2, 1), (0, 2, 0, 1)]}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_every_epoch_has_an_order_of_its_own_whenever_it_is_asked_for() -> None:
    sentences = [[2, number, 3] for number in range(5, 28)]

    def epochs(*numbers: int, shuffle: bool = True) -> list[list[list[int]]]:
        order = EpochOrder(sentences, 4, 7, 1, shuffle)
        assert order.batches == 6
        return [[list(one) for batch in range(6) for one in order.batch(number, batch)] for number in numbers]

    first, second, again = epochs(0, 1, 0)
    assert first == again != second
    assert epochs(1) == [second]
    assert sorted(first) == sorted(second) == sentences
    assert epochs(0, 1, shuffle=False) == [sentences, sentences]
