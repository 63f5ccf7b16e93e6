"""A claim of the paper, the rule that judges it, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from hvae_mnn.reproduction.claims.evidence import Evidence

Verdict = Literal["holds", "does not hold", "holds only in the paper's metric", "not testable here"]
Truth = bool | None
"""None: not known, since rows are missing."""


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
