"""The printed figures: complete, and consistent with what follows from them."""

from __future__ import annotations

import math

import pytest

from hvae_mnn.models.rows import ROWS
from hvae_mnn.reproduction.figures import printed_beside
from hvae_mnn.reproduction.printed import (
    printed_changes,
    printed_corpora,
    printed_of,
    printed_rows,
    printed_sentences,
    printed_source,
)


def test_the_source_is_named():
    assert "10.11999/JEIT211431" in printed_source()


def test_table_2_has_eight_models_on_two_corpora():
    rows = printed_rows("table2")
    assert len(dict.fromkeys(row.label for row in rows)) == 8
    for corpus in ("ptb", "yahoo"):
        own = [row.figures[corpus] for row in rows if corpus in row.figures]
        assert [len(figures) for figures in own] == [3] * 8
    assert sum(one["nll"] for row in rows for one in row.figures.values()) == pytest.approx(773.3 + 2575.8, abs=0.05)


def test_table_4_has_twelve_models_with_four_figures_on_two_corpora():
    rows = printed_rows("table4")
    assert len(rows) == 12
    assert {tuple(row.figures) for row in rows} == {("yelp", "yahoo")}
    assert {len(one) for row in rows for one in row.figures.values()} == {4}
    for figure, total in (("nll", 8096.2), ("ppl", 1095.2), ("mi", 89.8), ("kl", 142.8)):
        assert sum(one[figure] for row in rows for one in row.figures.values()) == pytest.approx(total, abs=0.05)


def test_tokens_per_sentence_show_two_ways_of_counting():
    """TWR-VAE and the paper count the start symbol and split words; copied baselines do neither."""
    for corpus, between in (("ptb", 23.0), ("yahoo", 80.5)):
        for row in printed_rows("table2"):
            if corpus in row.figures and row.kind != "langevin":
                figures = row.figures[corpus]
                assert (figures["nll"] / math.log(figures["ppl"]) > between) == (row.kind == "paper"), row.label


def test_every_printed_row_has_a_model():
    for table in ("table2", "table4"):
        assert {model for row in printed_rows(table) for model in row.models} <= set(ROWS)


def test_a_printed_figure_stands_beside_the_report_of_its_kind():
    kind, beside = printed_beside("table2", "ptb", "bn-vae")
    assert (kind, beside) == ("importance", {"iw_nll": 100.2, "iw_ppl": 96.9, "kl": 7.2})
    kind, beside = printed_beside("table4", "yahoo", "hsr-gru-gru")
    assert (kind, beside) == ("paper", {"paper_nll": 290.7, "paper_ppl": 35.8, "paper_kl": 8.7, "paper_mi": 3.4})
    assert printed_beside("table2", "ptb", "sri-vae")[0] == "langevin"
    assert printed_beside("table2", "ptb", "lm") == (None, {})
    assert printed_beside("table2", None, "bn-vae") == (None, {})


def test_our_own_row_of_table_2_is_gru_on_yahoo_and_either_on_ptb():
    ours = printed_of("table2", "yahoo", "hsr-gru-gru")
    same = printed_of("table4", "yahoo", "hsr-gru-gru")
    assert ours is not None
    assert same is not None
    assert {**ours[1], "mi": 3.4} == same[1]
    assert printed_of("table2", "yahoo", "hsr-lstm-lstm") is None
    assert printed_of("table2", "ptb", "hsr-lstm-lstm") == printed_of("table2", "ptb", "hsr-gru-gru")


def test_tables_1_and_3():
    assert [(one.name, one.train, one.vocabulary_k) for one in printed_corpora()] == [
        ("ptb", 42068, 9.95),
        ("yelp", 100000, 19.76),
        ("yahoo", 100000, 19.73),
        ("dailydialog", 11118, 22.0),
    ]
    assert len(printed_sentences()) == 6
    assert {one.model for one in printed_sentences()} <= set(ROWS)


def test_changes_that_the_text_states():
    assert printed_changes()["twr-lstm"] == {"nll": -6.0, "ppl": -5.9, "kl": 5.6}
