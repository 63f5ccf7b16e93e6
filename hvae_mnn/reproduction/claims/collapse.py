"""Claims about posterior collapse that trained models bear out or not."""

from __future__ import annotations

from hvae_mnn.reproduction.claims.evidence import ANY, TABLE2, Evidence, figures_of, is_below
from hvae_mnn.reproduction.claims.judgement import (
    Claim,
    Judgement,
    Truth,
    charitable,
    every,
    missing_rows,
    of_metrics,
    of_truth,
    wherever,
)

COLLAPSED_NATS = 1.0
"""MI, or gain of the decoder, below which a latent counts as unused."""
SHOWN_NATS = 0.5
"""KL by the paper's formula above which it would count as not vanished: the printed rows that vanished have 0.0."""


def _judge_collapse(evidence: Evidence) -> Judgement:
    groups = evidence.on(*ANY)
    truths: list[Truth] = []
    for group in groups:
        information = group.value("vae-lstm", "mi")
        truths.append(None if information is None else information < COLLAPSED_NATS)
    return of_truth(
        wherever(truths), figures_of(groups, ("vae-lstm",), "kl", "mi", "active_units"), missing_rows(["vae-lstm"])
    )


def _judge_auto_encoder(evidence: Evidence) -> Judgement:
    groups = evidence.on(*ANY)
    truths: list[Truth] = []
    for group in groups:
        information, gain = group.value("vae-lstm", "mi"), group.value("vae-lstm", "latent_gain")
        if information is None or gain is None or information >= COLLAPSED_NATS:
            truths.append(None)  # nothing has collapsed
        else:
            truths.append(gain >= COLLAPSED_NATS)
    figures = figures_of(groups, ("vae-lstm", "lm"), "iw_nll", "latent_gain")
    return of_truth(wherever(truths), figures, "no corpus has a VAE-LSTM that collapsed; run hvae-mnn reproduce table2")


def _judge_ours_uses_latent(evidence: Evidence, row: str) -> Judgement:
    groups = evidence.on(*ANY)
    paper = wherever(_above(group.value(row, "paper_kl"), SHOWN_NATS) for group in groups)
    proper = wherever(
        every(_above(group.value(row, name), COLLAPSED_NATS) for name in ("mi", "active_units", "latent_gain"))
        for group in groups
    )
    figures = figures_of(groups, (row,), "paper_kl", "kl", "mi", "active_units", "latent_gain")
    return of_metrics(paper, proper, figures, missing_rows([row]))


def _above(value: float | None, bound: float) -> Truth:
    return None if value is None else value >= bound


def _judge_twr_below_bn(evidence: Evidence) -> Judgement:
    groups = evidence.on(*TABLE2)
    paper = wherever(is_below(group.difference("twr-lstm", "bn-vae", "paper_kl", "kl")) for group in groups)
    proper = wherever(group.less("twr-lstm", "bn-vae", "kl") for group in groups)
    rows = ("twr-lstm", "bn-vae")
    return of_metrics(paper, proper, figures_of(groups, rows, "paper_kl", "kl"), missing_rows(rows))


def _judge_every_step(evidence: Evidence, row: str) -> Judgement:
    groups = evidence.on(*ANY)
    truths: list[Truth] = []
    for group in groups:
        share, kl = group.value(row, "last_step_share"), group.value(row, "kl")
        is_open = share is None or kl is None or kl < COLLAPSED_NATS
        truths.append(None if share is None or is_open else share <= 0.5)
    because = f"no corpus has a {row} whose latent has a KL of {COLLAPSED_NATS:g} nat or more"
    return of_truth(wherever(truths), figures_of(groups, (row,), "last_step_share", "kl"), because)


def _judge_kl_shows_collapse(evidence: Evidence) -> Judgement:
    wrong, seen = [], 0
    for group in evidence.on(*ANY):
        for row in group.rows:
            kl, information = group.value(row, "kl"), group.value(row, "mi")
            if kl is not None and information is not None and row != "lm":
                seen += 1
                if (kl >= COLLAPSED_NATS) != (information >= COLLAPSED_NATS):
                    wrong.append(f"{row} on {group.name} (KL {kl:.2f}, MI {information:.2f})")
    text = f"{seen} rows; KL and MI disagree for: {', '.join(wrong) or 'none'}"
    return of_truth(None if not seen else not wrong, text, missing_rows(["vae-lstm"]))


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
        charitable(_judge_ours_uses_latent),
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
    charitable(_judge_every_step),
)
KL_SHOWS_COLLAPSE = Claim(
    "kl-shows-collapse",
    "4.1",
    "The KL tells whether the posterior collapsed.",
    f"for every row with a latent, KL and MI (proper) lie on the same side of {COLLAPSED_NATS:g} nat",
    _judge_kl_shows_collapse,
)
