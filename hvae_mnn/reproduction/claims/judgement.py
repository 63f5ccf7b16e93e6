"""A claim of the paper, the rule that judges it, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from hvae_mnn.reproduction.claims.evidence import Evidence

Verdict = Literal["holds", "does not hold", "holds only in the paper's metric", "not testable here"]
Truth = bool | None
"""None: not known, since rows are missing."""
OURS = ("hsr-gru-gru", "hsr-lstm-lstm")
"""Rows that may be the paper's own: Table 2's cells on Yahoo, and those of section 2.2. A claim may choose."""
_ORDER = ("holds", "holds only in the paper's metric", "not testable here", "does not hold")
"""From the best verdict to the worst: while one of two rows is unknown, the claim is not refuted."""


@dataclass(frozen=True)
class Judgement:
    """What a rule found."""

    verdict: Verdict
    figures: str
    """The figures behind the verdict."""
    because: str = ""
    """Why it is not testable; empty for other verdicts."""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper, or a question of our own."""

    name: str
    place: str
    """Section of the paper: `abstract`, `1` to `5`; `ours` for a question of our own."""
    text: str
    """The statement, in English."""
    rule: str
    """When it holds."""
    judge: Callable[[Evidence], Judgement]


def not_testable(because: str, figures: str = "") -> Judgement:
    """The verdict without a test."""
    return Judgement("not testable here", figures, because)


def of_truth(truth: Truth, figures: str, missing: str) -> Judgement:
    """The verdict of a rule that has one metric; `missing`: why it is not known, if it is not."""
    if truth is None:
        return not_testable(missing, figures)
    return Judgement("holds" if truth else "does not hold", figures)


def of_metrics(paper: Truth, proper: Truth, figures: str, missing: str) -> Judgement:
    """The verdict of a rule that is asked of both metrics. Proper figures decide; where they refute a claim that the
    paper's own formulas bear out, that is said."""
    if proper is None and paper is not False:
        return not_testable(missing, figures)
    if proper:
        return Judgement("holds", figures)
    return Judgement("holds only in the paper's metric" if paper else "does not hold", figures)


def every(parts: Iterable[Truth]) -> Truth:
    """Whether all parts hold: one that does not decides, one that is not known leaves it open."""
    found = list(parts)
    if False in found:
        return False
    return None if None in found or not found else True


def wherever(parts: Iterable[Truth]) -> Truth:
    """Whether it holds on all corpora on which it is known, of which there must be one."""
    known = [part for part in parts if part is not None]
    return all(known) if known else None


def missing_rows(rows: Iterable[str], table: str = "table2") -> str:
    """Why a claim is not testable."""
    return f"no corpus has finished rows for all of {', '.join(rows)}; run hvae-mnn reproduce {table} with them"


def charitable(judge: Callable[[Evidence, str], Judgement]) -> Callable[[Evidence], Judgement]:
    """The best verdict over `OURS`, rows that may be meant, with the row's name before its figures."""

    def best(evidence: Evidence) -> Judgement:
        found = [(row, judge(evidence, row)) for row in OURS]
        verdicts = [one.verdict for _, one in found]
        chosen = min(verdicts, key=_ORDER.index)
        texts = [f"{row}: {one.figures}" for row, one in found if one.figures]
        because = next((one.because for _, one in found if one.verdict == chosen), "")
        return Judgement(chosen, " | ".join(texts), because)

    return best


def untestable(name: str, place: str, text: str, because: str) -> Claim:
    """A statement that no model of text can test."""
    return Claim(name, place, text, "none", lambda _: not_testable(because))
