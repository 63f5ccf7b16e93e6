"""Finite verbs of the grammar corpus: person and number, tense, aspect."""

from __future__ import annotations

from typing import Literal

from hvae_mnn.text.lexicon import Verb

Tense = Literal["past", "present", "future"]
Agreement = Literal["i", "singular", "plural"]
"""Agreement of a finite verb; `i` differs from a plural only before `be`."""
Aspect = Literal["simple", "progressive", "negated"]


def _be(agreement: Agreement, tense: Tense) -> str:
    if tense == "past":
        return "were" if agreement == "plural" else "was"
    return {"i": "am", "singular": "is", "plural": "are"}[agreement]


def _do(agreement: Agreement, tense: Tense) -> str:
    if tense == "past":
        return "did"
    return "does" if agreement == "singular" else "do"


def _conjugate(verb: Verb, agreement: Agreement, tense: Tense) -> str:
    if tense == "past":
        return verb.past
    return verb.third if agreement == "singular" else verb.base


def verb_group(
    verb: Verb | None, agreement: Agreement, tense: Tense, aspect: Aspect, inverted: bool = False
) -> tuple[list[str], list[str]]:
    """Auxiliary (may be empty) and the rest of the verb, so that a question can put its subject between them."""
    negation = ["not"] if aspect == "negated" else []
    if tense == "future":
        if verb is None:
            return ["will"], [*negation, "be"]
        return ["will"], ["be", verb.progressive] if aspect == "progressive" else [*negation, verb.base]
    if verb is None:
        return [_be(agreement, tense)], negation
    if aspect == "progressive":
        return [_be(agreement, tense)], [verb.progressive]
    if aspect == "negated" or inverted:
        return [_do(agreement, tense)], [*negation, verb.base]
    return [], [_conjugate(verb, agreement, tense)]


def conjugated(verb: Verb, agreement: Agreement, tense: Tense) -> list[str]:
    """The words of a finite verb after its subject, simple aspect."""
    auxiliary, rest = verb_group(verb, agreement, tense, "simple")
    return [*auxiliary, *rest]
