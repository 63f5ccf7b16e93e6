"""The claims of the paper about language models in the order of the paper, and questions of our own."""

from __future__ import annotations

from dataclasses import dataclass

from hvae_mnn.reproduction.claims import arithmetic, collapse, prediction
from hvae_mnn.reproduction.claims.evidence import Evidence
from hvae_mnn.reproduction.claims.judgement import Claim, Judgement, Verdict, untestable
from hvae_mnn.reproduction.claims.ours import OURS

CLAIMS: tuple[Claim, ...] = (
    collapse.COLLAPSE,
    collapse.AUTO_ENCODER,
    collapse.uses_latent("abstract", "Hierarchical coding and state regularisation mitigate posterior collapse."),
    prediction.best_of_all("abstract", "HSR-VAE generates better text than the baselines."),
    untestable(
        "aims",
        "1",
        "Earlier remedies look at collapse alone and neglect prediction.",
        "it is about the aims of other papers",
    ),
    arithmetic.TWR_CHARGES_LAST,
    *arithmetic.change_claims("1, 4.1", "twr-lstm"),
    *prediction.change_claims("1, 4.1", "twr-lstm"),
    collapse.uses_latent("1, contribution 1", "HSR-VAE mitigates posterior collapse."),
    prediction.better_than_twr(
        "1, contribution 2", "Regularising every step on top of two layers clearly improves prediction."
    ),
    untestable(
        "contribution-3",
        "1, contribution 3",
        "HVAE-MNN is a hardware design for such a VAE, and speeds it up.",
        "these records hold no latency or energy; hvae-mnn simulate and cost measure the circuit",
    ),
    collapse.TWR_BELOW_BN,
    collapse.EVERY_STEP,
    arithmetic.CELLS_OF_TABLE2,
    arithmetic.BEST_IN_TABLE2,
    arithmetic.ONE_SCALE,
    prediction.best_of_all("4.1", "HSR-VAE's NLL and PPL are better than those of all baselines (our models)."),
    *arithmetic.change_claims("4.1", "bn-vae"),
    *prediction.change_claims("4.1", "bn-vae"),
    *arithmetic.change_claims("4.1", "sri-vae"),
    *prediction.change_claims("4.1", "sri-vae"),
    untestable(
        "table3",
        "4.1",
        "The closer a generated sentence is to its source, the better the model predicts (Table 3).",
        "Table 3 shows each model other sentences; hvae-mnn reproduce table3 gives both models all six",
    ),
    *(claim for pair in zip(arithmetic.ABLATION[:3], prediction.ABLATION[:3], strict=True) for claim in pair),
    arithmetic.ABLATION[3],
    prediction.ABLATION[3],
    collapse.KL_SHOWS_COLLAPSE,
    collapse.uses_latent("5", "HSR-VAE avoids posterior collapse."),
    prediction.best_of_all("5", "HSR-VAE performs better than all strong baselines."),
    prediction.better_than_twr(
        "5", "Hierarchical coding with step-wise regularisation improves VAEs of any recurrent cell."
    ),
    *OURS,
)


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its verdict."""

    name: str
    place: str
    """Section of the paper, or `ours`."""
    text: str
    rule: str
    """When it holds."""
    verdict: Verdict
    figures: str
    """The figures behind the verdict."""
    because: str
    """Why it is not testable; empty for other verdicts."""

    @property
    def full_verdict(self) -> str:
        """The verdict, with the reason where there is one."""
        return f"{self.verdict}, because {self.because}" if self.because else self.verdict


def judge(evidence: Evidence) -> list[JudgedClaim]:
    """All claims, judged."""
    return [_judged(claim, claim.judge(evidence)) for claim in CLAIMS]


def _judged(claim: Claim, found: Judgement) -> JudgedClaim:
    return JudgedClaim(claim.name, claim.place, claim.text, claim.rule, found.verdict, found.figures, found.because)
