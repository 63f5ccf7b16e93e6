"""Claims that trained models bear out or not, each by the published formulas (`paper`) and by bounds (`proper`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from scipy import stats

from hvae_mnn.reproduction.claims.arithmetic import printed_change
from hvae_mnn.reproduction.claims.evidence import ERRORS, Evidence, Group, shown
from hvae_mnn.reproduction.claims.judgement import (
    Claim,
    Judgement,
    Truth,
    every,
    not_testable,
    of_metrics,
    of_truth,
    wherever,
)
from hvae_mnn.reproduction.printed import printed_changes

COLLAPSED_NATS = 1.0
"""MI, or gain of the decoder, below which a latent counts as unused."""
SHOWN_NATS = 0.5
"""KL by the paper's formula above which it would count as not vanished: the printed rows that vanished have 0.0."""
OURS = ("hsr-gru-gru", "hsr-lstm-lstm")
"""Rows that may be the paper's own: Table 2's cells on Yahoo, and those of section 2.2. A claim may choose."""
COPIED = ("vae-lstm", "sa-vae", "cyc-vae", "lag-vae", "bn-vae", "sri-vae")
BASELINES = (*COPIED, "twr-lstm")
CELLS = ("rnn", "lstm", "gru")
PAIRS = tuple((f"hsr-{one}-{two}", f"twr-{one}") for one in CELLS for two in CELLS)
SAME = tuple((f"hsr-{cell}-{cell}", f"twr-{cell}") for cell in CELLS)
_PAPER, _PROPER = ("paper_nll", "paper_ppl"), ("iw_nll", "iw_ppl")
_TABLE2, _ANY = ("ptb", "yahoo"), ("ptb", "yahoo", "yelp")
_ORDER = ("holds", "holds only in the paper's metric", "not testable here", "does not hold")
"""From the best verdict to the worst: while one of two rows is unknown, the claim is not refuted."""


def missing_rows(rows: Iterable[str], table: str = "table2") -> str:
    """Why a claim is not testable."""
    return f"no corpus has finished rows for all of {', '.join(rows)}; run hvae-mnn reproduce {table} with them"


def _charitable(
    judge: Callable[[Evidence, str], Judgement], rows: Sequence[str] = OURS
) -> Callable[[Evidence], Judgement]:
    """The best verdict over rows that may be meant, with the row's name before its figures."""

    def best(evidence: Evidence) -> Judgement:
        found = [(row, judge(evidence, row)) for row in rows]
        verdicts = [one.verdict for _, one in found]
        chosen = min(verdicts, key=_ORDER.index)
        texts = [f"{row}: {one.figures}" for row, one in found if one.figures]
        because = next((one.because for _, one in found if one.verdict == chosen), "")
        return Judgement(chosen, " | ".join(texts), because)

    return best


def _judge_collapse(evidence: Evidence) -> Judgement:
    groups = evidence.on(*_ANY)
    truths: list[Truth] = []
    for group in groups:
        information = group.value("vae-lstm", "mi")
        truths.append(None if information is None else information < COLLAPSED_NATS)
    return of_truth(
        wherever(truths), _texts(groups, ("vae-lstm",), "kl", "mi", "active_units"), missing_rows(["vae-lstm"])
    )


def _judge_auto_encoder(evidence: Evidence) -> Judgement:
    groups = evidence.on(*_ANY)
    truths: list[Truth] = []
    for group in groups:
        information, gain = group.value("vae-lstm", "mi"), group.value("vae-lstm", "latent_gain")
        if information is None or gain is None or information >= COLLAPSED_NATS:
            truths.append(None)  # nothing has collapsed
        else:
            truths.append(gain >= COLLAPSED_NATS)
    figures = _texts(groups, ("vae-lstm", "lm"), "iw_nll", "latent_gain")
    return of_truth(wherever(truths), figures, "no corpus has a VAE-LSTM that collapsed; run hvae-mnn reproduce table2")


def _judge_ours_uses_latent(evidence: Evidence, row: str) -> Judgement:
    groups = evidence.on(*_ANY)
    paper = wherever(_above(group.value(row, "paper_kl"), SHOWN_NATS) for group in groups)
    proper = wherever(
        every(_above(group.value(row, name), COLLAPSED_NATS) for name in ("mi", "active_units", "latent_gain"))
        for group in groups
    )
    figures = _texts(groups, (row,), "paper_kl", "kl", "mi", "active_units", "latent_gain")
    return of_metrics(paper, proper, figures, missing_rows([row]))


def _above(value: float | None, bound: float) -> Truth:
    return None if value is None else value >= bound


def _judge_best(evidence: Evidence, row: str) -> Judgement:
    groups = evidence.on(*_TABLE2)

    def best(figures: Sequence[str]) -> Truth:
        return wherever(
            every(group.less(row, base, *figures) for base in BASELINES) for group in groups if row in group.rows
        )

    figures = _texts(groups, (row, *BASELINES, "lm"), "paper_ppl", "iw_ppl")
    return of_metrics(best(_PAPER), best(_PROPER), figures, missing_rows([row, *BASELINES]))


def _pairs_judge(
    pairs: Sequence[tuple[str, str]], paper: Sequence[str], proper: Sequence[str], higher: bool = False
) -> Callable[[Evidence], Judgement]:
    """Whether the first row of every pair has lower (or `higher`) figures than the second, in either metric."""
    ordered = [pair[::-1] if higher else pair for pair in pairs]
    rows = tuple(dict.fromkeys(row for pair in pairs for row in pair))

    def judge(evidence: Evidence) -> Judgement:
        groups = evidence.on(*_ANY)

        def holds(figures: Sequence[str]) -> Truth:
            return wherever(every(group.less(*pair, *figures) for pair in ordered) for group in groups)

        texts = _texts(groups, rows, paper[-1], proper[-1])
        return of_metrics(holds(paper), holds(proper), texts, missing_rows(rows, "table4"))

    return judge


def _change_judge(base: str, figure: str) -> Callable[[Evidence, str], Judgement]:
    """Whether the paper's own row differs from a baseline as stated: on the paper's texts by at least the stated
    number, on others in the stated direction."""
    stated = printed_changes()[base][figure]
    names = {"nll": ("paper_nll", "iw_nll"), "ppl": ("paper_ppl", "iw_ppl"), "kl": ("paper_kl", "kl")}[figure]

    def judge(evidence: Evidence, row: str) -> Judgement:
        groups = evidence.on(*_TABLE2)
        truths: list[Truth] = []
        texts = []
        for name in names:
            known = [(group, _difference(group, row, base, name)) for group in groups]
            found = [(group, change) for group, change in known if change is not None]
            if not found:
                truths.append(None)
                continue
            mean = sum(change for _, (change, _) in found) / len(found)
            error = math.hypot(*(error for _, (_, error) in found)) / len(found)
            bound = abs(stated) if all(group.corpus.is_same for group, _ in found) else 0.0
            truths.append(mean * (1 if stated > 0 else -1) > bound + ERRORS * error)
            spread = f" ± {error:.2f}" if error else ""
            texts.append(f"{name} {mean:+.2f}{spread} over {', '.join(group.name for group, _ in found)}")
        return of_metrics(truths[0], truths[1], "; ".join(texts), missing_rows([row, base]))

    return judge


def _difference(group: Group, row: str, base: str, figure: str) -> tuple[float, float] | None:
    """A row's figure less a baseline's, and its error. A copied baseline's printed KL is that of its latent, in both
    metrics."""
    return group.difference(row, base, figure, "kl" if figure == "paper_kl" and base in COPIED else figure)


def _judge_twr_below_bn(evidence: Evidence) -> Judgement:
    groups = evidence.on(*_TABLE2)
    paper = wherever(_below(_difference(group, "twr-lstm", "bn-vae", "paper_kl")) for group in groups)
    proper = wherever(group.less("twr-lstm", "bn-vae", "kl") for group in groups)
    return of_metrics(
        paper, proper, _texts(groups, ("twr-lstm", "bn-vae"), "paper_kl", "kl"), missing_rows(["twr-lstm", "bn-vae"])
    )


def _below(difference: tuple[float, float] | None) -> Truth:
    return None if difference is None else difference[0] < -ERRORS * difference[1]


def _judge_every_step(evidence: Evidence, row: str) -> Judgement:
    groups = evidence.on(*_ANY)
    truths: list[Truth] = []
    for group in groups:
        share, kl = group.value(row, "last_step_share"), group.value(row, "kl")
        is_open = share is None or kl is None or kl < COLLAPSED_NATS
        truths.append(None if share is None or is_open else share <= 0.5)
    because = f"no corpus has a {row} whose latent has a KL of {COLLAPSED_NATS:g} nat or more"
    return of_truth(wherever(truths), _texts(groups, (row,), "last_step_share", "kl"), because)


def _judge_low_mi_high_kl(evidence: Evidence) -> Judgement:
    rows = [row for pair in PAIRS for row in pair]
    truths: list[list[Truth]] = [[], []]
    texts = []
    for group in evidence.on(*_ANY):
        for found, (kl, mi) in zip(truths, (("paper_kl", "paper_mi"), ("kl", "mi")), strict=True):
            points = [(group.value(row, kl), group.value(row, mi)) for row in dict.fromkeys(rows)]
            known = [(x, y) for x, y in points if x is not None and y is not None]
            if len(known) >= 4 and len({y for _, y in known}) > 1 and len({x for x, _ in known}) > 1:
                rank = float(stats.spearmanr(*zip(*known, strict=True)).statistic)
                found.append(rank < 0)
                texts.append(f"{group.name}, {kl} and {mi}: rank correlation {rank:+.2f} over {len(known)} rows")
    paper, proper = (wherever(found) for found in truths)
    return of_metrics(paper, proper, "; ".join(texts), "fewer than four rows of Table 4 are finished on any corpus")


def _judge_kl_shows_collapse(evidence: Evidence) -> Judgement:
    wrong, seen = [], 0
    for group in evidence.on(*_ANY):
        for row in group.rows:
            kl, information = group.value(row, "kl"), group.value(row, "mi")
            if kl is not None and information is not None and row != "lm":
                seen += 1
                if (kl >= COLLAPSED_NATS) != (information >= COLLAPSED_NATS):
                    wrong.append(f"{row} on {group.name} (KL {kl:.2f}, MI {information:.2f})")
    text = f"{seen} rows; KL and MI disagree for: {', '.join(wrong) or 'none'}"
    return of_truth(None if not seen else not wrong, text, missing_rows(["vae-lstm"]))


def _texts(groups: Sequence[Group], rows: Sequence[str], *figures: str) -> str:
    """Figures of rows, by group."""
    parts = []
    for group in groups:
        own = [(row, shown(*((name, group.value(row, name)) for name in figures))) for row in rows if row in group.rows]
        if own:
            parts.append(f"{group.name}: " + "; ".join(f"{row} {text}" for row, text in own))
    return " / ".join(parts)


def change_claims(place: str, base: str) -> tuple[Claim, ...]:
    """A claim for every number that the text states against a baseline, asked of our models."""
    return tuple(
        Claim(
            f"ours-{figure}-against-{base}",
            place,
            f"HSR-VAE changes {figure.upper()} by {stated:+.1f} against {base}, on average (Table 2 prints"
            f" {printed_change(base, figure):+.2f}).",
            "our mean difference is at least the stated one on the paper's whole texts, on others it has its sign; the"
            " row of two that bears it out better counts",
            _charitable(_change_judge(base, figure)),
        )
        for figure, stated in printed_changes()[base].items()
    )


COLLAPSE = Claim(
    "collapse",
    "abstract",
    "A VAE for text is prone to posterior collapse.",
    f"the latent of VAE-LSTM carries under {COLLAPSED_NATS:g} nat of MI (proper) on every corpus",
    _judge_collapse,
)
AUTO_ENCODER = Claim(
    "auto-encoder",
    "abstract, 1, 2.1",
    "A collapsed VAE degenerates into an auto-encoder.",
    f"the decoder of a collapsed VAE-LSTM loses at least {COLLAPSED_NATS:g} nat with another sentence's latent; if not,"
    " it is a plain language model",
    _judge_auto_encoder,
)


def uses_latent(place: str, text: str) -> Claim:
    """That HSR-VAE's posterior does not collapse."""
    return Claim(
        f"no-collapse-{place}",
        place,
        text,
        f"paper: KL at least {SHOWN_NATS:g}; proper: MI, the decoder's gain from the latent (nats) and active units at"
        f" least {COLLAPSED_NATS:g}; on every corpus, for the better of two rows",
        _charitable(_judge_ours_uses_latent),
    )


def best_of_all(place: str, text: str) -> Claim:
    """That HSR-VAE predicts better than every baseline."""
    return Claim(
        f"best-{place}",
        place,
        text,
        "NLL and PPL (paper: the published formulas; proper: importance-weighted) are below those of all seven"
        " baselines on every corpus that has them; the better of two rows counts",
        _charitable(_judge_best),
    )


def better_than_twr(place: str, text: str) -> Claim:
    """That two layers predict better than one, cell for cell."""
    return Claim(
        f"better-than-twr-{place}",
        place,
        text,
        "NLL and PPL (paper; proper: importance-weighted) of RNN + RNN, LSTM + LSTM and GRU + GRU are below those of"
        " TWR-VAE with the same cell, on a corpus that has them all",
        _pairs_judge(SAME, _PAPER, _PROPER),
    )


TWR_BELOW_BN = Claim(
    "twr-below-bn",
    "2.2",
    "TWR-VAE mitigates collapse, but its KL is lower than BN-VAE's.",
    "TWR-VAE's KL (paper: mean over steps; proper: of the latent) is below the KL of BN-VAE's latent on every corpus",
    _judge_twr_below_bn,
)
EVERY_STEP = Claim(
    "every-step",
    "2.2",
    "The KL regulariser acts on the states of all time steps.",
    "in HSR-VAE as published, where its latent has a KL of a nat or more, at most half of the KL of the last ten steps"
    " is the last one's (report proper)",
    _charitable(_judge_every_step),
)
ABLATION = (
    Claim(
        "ours-table4-nll",
        "4.1",
        "Against TWR-VAE, HSR-VAE's NLL and PPL are clearly lower (our models).",
        "every pair of cells has lower NLL and PPL than TWR-VAE with the pair's first cell, on a corpus that has them"
        " all",
        _pairs_judge(PAIRS, _PAPER, _PROPER),
    ),
    Claim(
        "ours-table4-kl",
        "4.1",
        "Two recurrent layers avoid posterior collapse better than one (our models).",
        "every pair of cells has a higher KL than TWR-VAE with the pair's first cell (paper: mean over steps; proper:"
        " of the latent), on a corpus that has them all",
        _pairs_judge(PAIRS, ("paper_kl",), ("kl",), higher=True),
    ),
    Claim(
        "ours-table4-mi",
        "4.1",
        "Two recurrent layers reduce the information that the decoder gets (our models).",
        "every pair of cells has a lower MI than TWR-VAE with the pair's first cell (paper: within batches of 64;"
        " proper: over the set), on a corpus that has them all",
        _pairs_judge(PAIRS, ("paper_mi",), ("mi",)),
    ),
    Claim(
        "low-mi-high-kl",
        "4.1",
        "Low MI with high KL shows that weaker sampling in the encoder helps against collapse.",
        "over the rows of Table 4, MI falls as KL rises: Spearman's rank correlation is negative on every corpus",
        _judge_low_mi_high_kl,
    ),
)
KL_SHOWS_COLLAPSE = Claim(
    "kl-shows-collapse",
    "4.1",
    "The KL tells whether the posterior collapsed.",
    f"for every row with a latent, KL and MI (proper) lie on the same side of {COLLAPSED_NATS:g} nat",
    _judge_kl_shows_collapse,
)


def untestable(name: str, place: str, text: str, because: str) -> Claim:
    """A statement that no model of text can test."""
    return Claim(name, place, text, "none", lambda _: not_testable(because))
