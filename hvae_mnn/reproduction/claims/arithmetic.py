"""Claims that the paper's own tables bear out or not: no model is needed to judge them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from hvae_mnn.models.rows import ROWS, configure_row
from hvae_mnn.reproduction.claims.evidence import Evidence, shown
from hvae_mnn.reproduction.claims.judgement import Claim, Judgement, of_truth
from hvae_mnn.reproduction.printed import PrintedRow, printed_changes, printed_of, printed_rows

_ROUNDING = 0.1
"""Most that rounding to a tenth may move a mean of differences."""
_TOKENS_APART = 0.3
"""Tokens per sentence: rounding moves NLL / ln PPL by far less, another count of tokens by one or more."""
_TABLE2, _TABLE4 = ("ptb", "yahoo"), ("yelp", "yahoo")
_CELLS = ("rnn", "lstm", "gru")
_UNITS = {"nll": "NLL", "ppl": "PPL", "kl": "KL"}
_LARGEST_BATCH = 64
_ANY_VOCABULARY = 100


def printed(table: str, corpus: str, model: str, figure: str) -> float:
    """A printed figure, which must exist."""
    found = printed_of(table, corpus, model)
    assert found is not None
    return found[1][figure]


def printed_change(base: str, figure: str) -> float:
    """Mean over PTB and Yahoo of the paper's own row less that of a baseline, in Table 2."""
    parts = [
        printed("table2", corpus, "hsr-gru-gru", figure) - printed("table2", corpus, base, figure) for corpus in _TABLE2
    ]
    return sum(parts) / len(parts)


def _change_claim(place: str, base: str, figure: str) -> Claim:
    stated = printed_changes()[base][figure]
    label = ROWS[base].label if base in ROWS else base

    def judge(_: Evidence) -> Judgement:
        found = printed_change(base, figure)
        text = f"stated {stated:+.1f}; Table 2 gives {found:+.2f}"
        return of_truth(abs(found - stated) <= _ROUNDING, text, "")

    return Claim(
        f"table2-{figure}-against-{base}",
        place,
        f"Averaged over both corpora, {_UNITS[figure]} changes by {stated:+.1f} against {label}.",
        f"the mean difference in the printed Table 2 is the stated number within {_ROUNDING}",
        judge,
    )


def change_claims(place: str, base: str) -> tuple[Claim, ...]:
    """A claim for every number that the text states against a baseline."""
    return tuple(_change_claim(place, base, figure) for figure in printed_changes()[base])


def _judge_best(_: Evidence) -> Judgement:
    worse = [
        f"{row.label} on {corpus}"
        for corpus in _TABLE2
        for row in printed_rows("table2")
        for figure in ("nll", "ppl")
        if corpus in row.figures
        and "hsr-gru-gru" not in row.models
        and row.figures[corpus][figure] <= printed("table2", corpus, "hsr-gru-gru", figure)
    ]
    return of_truth(not worse, f"rows at least as good: {', '.join(worse) or 'none'}", "")


def _tokens(corpus: str) -> Iterator[tuple[PrintedRow, float]]:
    for row in printed_rows("table2"):
        if corpus in row.figures:
            yield row, row.figures[corpus]["nll"] / math.log(row.figures[corpus]["ppl"])


def _judge_one_scale(_: Evidence) -> Judgement:
    spans, texts = [], []
    for corpus in _TABLE2:
        own = {row.label: tokens for row, tokens in _tokens(corpus)}
        spans.append(max(own.values()) - min(own.values()))
        texts.append(f"{corpus}: {shown(*own.items())}")
    return of_truth(max(spans) <= _TOKENS_APART, f"NLL / ln PPL, tokens per sentence: {'; '.join(texts)}", "")


def _judge_cells_of_table2(_: Evidence) -> Judgement:
    there = [printed("table2", "yahoo", "hsr-gru-gru", figure) for figure in ("nll", "ppl", "kl")]
    here = {
        row.label: [row.figures["yahoo"][figure] for figure in ("nll", "ppl", "kl")] for row in printed_rows("table4")
    }
    same = [label for label, figures in here.items() if figures == there]
    text = f"NLL, PPL, KL of Table 2's row on Yahoo, {there}, are those of Table 4's {' and '.join(same) or 'no row'}"
    return of_truth(same == ["LSTM + LSTM"], f"{text}; LSTM + LSTM has {here['LSTM + LSTM']}", "")


def _table4(compare: Callable[[str, str, str], list[str]]) -> list[str]:
    """What `compare(corpus, pair, base)` says about the pairs of a cell with every cell and TWR-VAE with that cell."""
    return [
        line
        for corpus in _TABLE4
        for one in _CELLS
        for two in _CELLS
        for line in compare(corpus, f"hsr-{one}-{two}", f"twr-{one}")
    ]


def _judge_ablation_nll(_: Evidence) -> Judgement:
    def higher(corpus: str, pair: str, base: str) -> list[str]:
        own = {
            figure: (printed("table4", corpus, pair, figure), printed("table4", corpus, base, figure))
            for figure in ("nll", "ppl")
        }
        return [
            f"{corpus} {pair}: {figure.upper()} {value} against {other}"
            for figure, (value, other) in own.items()
            if value >= other
        ]

    exceptions = _table4(higher)
    return of_truth(not exceptions, f"exceptions: {'; '.join(exceptions) or 'none'}", "")


def _judge_ablation_kl(_: Evidence) -> Judgement:
    def lower(corpus: str, pair: str, base: str) -> list[str]:
        value, other = printed("table4", corpus, pair, "kl"), printed("table4", corpus, base, "kl")
        return [f"{corpus} {pair}: KL {value} against {other}"] if value <= other else []

    exceptions = _table4(lower)
    return of_truth(not exceptions, f"exceptions: {'; '.join(exceptions) or 'none'}", "")


def _judge_ablation_mi(_: Evidence) -> Judgement:
    def higher(corpus: str, pair: str, base: str) -> list[str]:
        value, other = printed("table4", corpus, pair, "mi"), printed("table4", corpus, base, "mi")
        return [f"{corpus} {pair}: MI {value} against {other}"] if value >= other else []

    exceptions = _table4(higher)
    return of_truth(not exceptions, f"exceptions: {'; '.join(exceptions) or 'none'}", "")


def _judge_information(_: Evidence) -> Judgement:
    cells = [(row, corpus, row.figures[corpus]) for row in printed_rows("table4") for corpus in _TABLE4]
    above_kl = [
        f"{row.label} on {corpus} ({own['mi']} > {own['kl']})" for row, corpus, own in cells if own["mi"] > own["kl"]
    ]
    cap = math.log(_LARGEST_BATCH)
    above_cap = [f"{row.label} on {corpus} ({own['mi']})" for row, corpus, own in cells if own["mi"] > cap + 0.05]
    text = f"MI above KL, which no latent can have: {', '.join(above_kl) or 'none'}; MI above ln {_LARGEST_BATCH} ="
    return of_truth(
        not above_kl, f"{text} {cap:.2f}, the cap within batches of 64: {', '.join(above_cap) or 'none'}", ""
    )


def _judge_twr_charges_last(_: Evidence) -> Judgement:
    _model, training = configure_row("twr-lstm", _ANY_VOCABULARY)
    text = f"TWR-VAE's own code charges kl_target = {training.kl_target!r}; section 2.2 itself says: every step"
    return of_truth(training.kl_target == "last", text, "")


TWR_CHARGES_LAST = Claim(
    "twr-charges-the-last-step",
    "1",
    "Unlike existing VAEs that put the KL regulariser on the last step's state alone [17, TWR-VAE], HSR-VAE puts it on"
    " every step.",
    "the reference named, as its code has it, charges the last step alone",
    _judge_twr_charges_last,
)
BEST_IN_TABLE2 = Claim(
    "best-in-table2",
    "4.1",
    "HSR-VAE's NLL and PPL are better than those of all baselines (as Table 2 prints them).",
    "the paper's row has the lowest NLL and PPL of the printed Table 2 on both corpora",
    _judge_best,
)
ONE_SCALE = Claim(
    "one-scale-in-table2",
    "4.1",
    "The rows of Table 2 can be compared with each other.",
    f"NLL / ln PPL, the tokens per sentence, agrees over the rows of a corpus within {_TOKENS_APART}",
    _judge_one_scale,
)
CELLS_OF_TABLE2 = Claim(
    "cells-of-table2",
    "2.2",
    "The model of Table 2 is that of section 2.2, whose encoder has two LSTM layers.",
    "Table 2's row on Yahoo equals Table 4's LSTM + LSTM",
    _judge_cells_of_table2,
)
ABLATION = (
    Claim(
        "table4-nll",
        "4.1",
        "Against TWR-VAE, HSR-VAE's NLL and PPL are clearly lower (as Table 4 prints them).",
        "every pair of cells has lower printed NLL and PPL than TWR-VAE with the pair's first cell, on both corpora",
        _judge_ablation_nll,
    ),
    Claim(
        "table4-kl",
        "4.1",
        "Two recurrent layers avoid posterior collapse better than one: their KL is higher (as Table 4 prints it).",
        "every pair of cells has a higher printed KL than TWR-VAE with the pair's first cell, on both corpora",
        _judge_ablation_kl,
    ),
    Claim(
        "table4-mi",
        "4.1",
        "Two recurrent layers reduce the information that the decoder gets: their MI is lower (as Table 4 prints it).",
        "every pair of cells has a lower printed MI than TWR-VAE with the pair's first cell, on both corpora",
        _judge_ablation_mi,
    ),
    Claim(
        "table4-information",
        "4.1",
        "MI and KL of Table 4 are those of one latent (from which low MI with high KL is concluded).",
        "no printed MI is above the KL beside it",
        _judge_information,
    ),
)
