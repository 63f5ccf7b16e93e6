"""The built-in corpus: English-like sentences from a probabilistic grammar, made from a seed.

Each sentence has a hidden theme: topic, time, speaker, tense, style and kind. The theme shows in word choice all
through the sentence and connects its end to its beginning, so a latent per sentence can carry several nats
(`hidden_information`).
Verbs agree with their subjects across relative clauses, determiners with their nouns, and relative clauses nest in
the centre to a depth of two.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from hvae_mnn.errors import TextError
from hvae_mnn.text import lexicon
from hvae_mnn.text.conjugation import Agreement, Aspect, Tense, conjugated, verb_group
from hvae_mnn.text.corpus import Corpus, Sentence
from hvae_mnn.text.lexicon import Noun, Speaker, Style, Topic, Verb

MIN_TOKENS, MAX_TOKENS = 4, 20
"""Tokens of the shortest and the longest sentence, punctuation included."""

SentenceKind = Literal["statement", "question", "report"]

TENSES: tuple[tuple[Tense, float], ...] = (("past", 0.4), ("present", 0.4), ("future", 0.2))
KINDS: tuple[tuple[SentenceKind, float], ...] = (("statement", 0.6), ("question", 0.25), ("report", 0.15))
ASPECTS: tuple[tuple[Aspect, float], ...] = (("simple", 0.65), ("progressive", 0.2), ("negated", 0.15))

_MAX_DEPTH = 2
_T = TypeVar("_T")


@dataclass(frozen=True)
class Theme:
    """Hidden choices that hold for a whole sentence."""

    topic: Topic
    """Lexical field; one of eight."""
    time: tuple[str, str]
    """Opening and closing words of the sentence; one of eight pairs."""
    speaker: Speaker
    """Person of pronouns and possessives; one of six."""
    tense: Tense
    """Tense of every finite verb."""
    style: Style
    """Register; one of three."""
    kind: SentenceKind
    """Statement, question or reported speech."""


@dataclass(frozen=True)
class _NounPhrase:
    words: list[str]
    agreement: Agreement
    agent: bool


@dataclass(frozen=True)
class _Predicate:
    verb: Verb | None  # None is `be`
    complement: list[str]


def _pick(rng: random.Random, items: Sequence[_T]) -> _T:
    # Python promises the sequence of `random()` for a seed over its versions, but not that of `choice`.
    return items[int(rng.random() * len(items))]


def _weighted(rng: random.Random, items: Sequence[tuple[_T, float]]) -> _T:
    point = rng.random()
    for item, weight in items:
        point -= weight
        if point < 0:
            return item
    return items[-1][0]


class _Writer:
    """Writes one sentence for a theme."""

    def __init__(self, rng: random.Random, theme: Theme) -> None:
        self.rng = rng
        self.theme = theme

    def sentence(self) -> Sentence:
        words = self.opening()
        if self.theme.kind == "question":
            return [*words, *self.question(), *self.closing(), "?"]
        if self.theme.kind == "report":
            reporter = self.noun_phrase(agent=True, depth=_MAX_DEPTH)
            saying = conjugated(_pick(self.rng, lexicon.SAYING), reporter.agreement, self.theme.tense)
            words += [*reporter.words, *saying, "that"]
        words += self.clause()
        if self.chance(0.12):
            words += [self.theme.style.connective, *self.clause()]
        words += self.closing()
        return [*words, "!" if self.theme.style.name == "chatty" and self.chance(0.6) else "."]

    def opening(self) -> list[str]:
        words: list[str] = []
        if self.chance(0.25):
            words += [self.theme.style.opener, ","]
        if self.chance(0.45):
            words += [*self.theme.time[0].split(), ","]
        return words

    def closing(self) -> list[str]:
        words: list[str] = []
        if self.chance(0.55):
            words += self.theme.time[1].split()
        if self.chance(0.2):
            speaker = self.theme.speaker.subject
            words += [",", "as", speaker, *conjugated(lexicon.SAYING[0], _agreement(speaker), self.theme.tense)]
        return words

    def clause(self) -> list[str]:
        subject = self.subject()
        return [*subject.words, *self.predicate(subject)]

    def question(self) -> list[str]:
        if self.chance(0.25):
            return ["who", *self.predicate(_NounPhrase([], "singular", agent=True))]
        aspect = _weighted(self.rng, ASPECTS)
        if self.chance(0.3):
            asker = self.subject(agent=True)
            auxiliary, rest = verb_group(
                self.transitive(False), asker.agreement, self.theme.tense, aspect, inverted=True
            )
            return ["what", *auxiliary, *asker.words, *rest]
        subject = self.subject()
        predicate = self.predicate_parts(subject)
        auxiliary, rest = verb_group(predicate.verb, subject.agreement, self.theme.tense, aspect, inverted=True)
        wonder = ["why"] if self.chance(0.3) else []
        return [*wonder, *auxiliary, *subject.words, *rest, *predicate.complement]

    def subject(self, agent: bool | None = None) -> _NounPhrase:
        """A subject. `agent`: whether it is an agent; None: either."""
        if self.chance(0.2):
            speaker = self.theme.speaker.subject
            return _NounPhrase([speaker], _agreement(speaker), agent=True)
        if agent is not False and self.chance(0.1):
            pair = [self.noun_phrase(agent=True, depth=_MAX_DEPTH) for _ in range(2)]
            return _NounPhrase([*pair[0].words, "and", *pair[1].words], "plural", agent=True)
        return self.noun_phrase(agent=self.chance(0.8) if agent is None else agent, depth=0)

    def noun_phrase(self, agent: bool, depth: int) -> _NounPhrase:
        """A phrase in the third person; relative clauses and prepositions only above the depth limit."""
        if agent and self.chance(0.08):
            return _NounPhrase([_pick(self.rng, lexicon.NAMES)], "singular", agent=True)
        noun = self.noun(agent)
        agreement: Agreement = "singular" if self.chance(0.55) else "plural"
        words = [noun.singular if agreement == "singular" else noun.plural]
        if self.chance(0.3):
            words.insert(0, self.adjective())
        if self.chance(0.3):
            words.insert(0, self.theme.speaker.possessive)
        else:
            choice = lexicon.SINGULAR_DETERMINERS if agreement == "singular" else lexicon.PLURAL_DETERMINERS
            determiner = _pick(self.rng, choice)
            words.insert(0, lexicon.article(words[0]) if determiner == "a" else determiner)
        if depth < _MAX_DEPTH:
            if self.chance(0.3):
                words += self.relative_clause(agreement, agent, depth + 1)
            elif self.chance(0.1):
                preposition = _pick(self.rng, lexicon.NOUN_PREPOSITIONS)
                words += [preposition, *self.noun_phrase(agent=False, depth=_MAX_DEPTH).words]
        return _NounPhrase(words, agreement, agent)

    def relative_clause(self, agreement: Agreement, agent: bool, depth: int) -> list[str]:
        pronoun = "who" if agent else "that"
        if self.chance(0.5):
            # Centre nesting: this clause's subject may carry a clause of its own before its verb comes.
            inner = self.noun_phrase(agent=True, depth=depth)
            return [pronoun, *inner.words, *conjugated(self.transitive(agent), inner.agreement, self.theme.tense)]
        return [pronoun, *self.predicate(_NounPhrase([], agreement, agent), depth=depth)]

    def predicate(self, subject: _NounPhrase, depth: int = 1) -> list[str]:
        parts = self.predicate_parts(subject, depth)
        auxiliary, rest = verb_group(parts.verb, subject.agreement, self.theme.tense, _weighted(self.rng, ASPECTS))
        return [*auxiliary, *rest, *parts.complement]

    def predicate_parts(self, subject: _NounPhrase, depth: int = 1) -> _Predicate:
        if not subject.agent:
            if self.chance(0.4):
                return _Predicate(_pick(self.rng, lexicon.THING_VERBS), [])
            return _Predicate(None, self.description())
        shape = _weighted(
            self.rng, (("transitive", 0.45), ("intransitive", 0.2), ("ditransitive", 0.17), ("copula", 0.18))
        )
        if shape == "transitive":
            agent = self.chance(0.2)
            return _Predicate(self.transitive(agent), self.noun_phrase(agent, depth).words)
        if shape == "intransitive":
            verb = _pick(self.rng, self.field().intransitive)
            return _Predicate(verb, [self.theme.style.adverb] if self.chance(0.4) else [])
        if shape == "ditransitive":
            return _Predicate(_pick(self.rng, lexicon.DITRANSITIVE), self.transfer(subject))
        return _Predicate(None, self.description())

    def transfer(self, subject: _NounPhrase) -> list[str]:
        """Recipient and thing, in either order."""
        thing = self.noun_phrase(agent=False, depth=_MAX_DEPTH).words
        own = subject.words == [self.theme.speaker.subject]
        if not own and self.chance(0.4):
            recipient = [self.theme.speaker.object]
        else:
            recipient = self.noun_phrase(agent=True, depth=_MAX_DEPTH).words
        return [*recipient, *thing] if self.chance(0.6) else [*thing, "to", *recipient]

    def description(self) -> list[str]:
        if self.chance(0.35):
            return ["in", "the", self.theme.topic.name]
        return [*([self.theme.style.intensifier] if self.chance(0.4) else []), self.adjective()]

    def adjective(self) -> str:
        return self.theme.style.size if self.chance(0.25) else _pick(self.rng, self.field().adjectives)

    def noun(self, agent: bool) -> Noun:
        field = self.field()
        return _pick(self.rng, field.agents if agent else field.things)

    def transitive(self, agent: bool) -> Verb:
        """A verb whose object is an agent (seen, liked) or a thing (stirred, signed)."""
        return _pick(self.rng, (lexicon.COMMON if agent else self.field()).transitive)

    def field(self) -> Topic:
        """The topic with probability 3/4, else the common words, so that a single word does not always reveal the
        topic."""
        return self.theme.topic if self.chance(0.75) else lexicon.COMMON

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability


def _agreement(pronoun: str) -> Agreement:
    if pronoun == "i":
        return "i"
    return "singular" if pronoun in ("he", "she") else "plural"


def draw_theme(rng: random.Random) -> Theme:
    """A theme with independent parts; topics, times, speakers and styles are equally likely."""
    return Theme(
        topic=_pick(rng, lexicon.TOPICS),
        time=_pick(rng, lexicon.TIMES),
        speaker=_pick(rng, lexicon.SPEAKERS),
        tense=_weighted(rng, TENSES),
        style=_pick(rng, lexicon.STYLES),
        kind=_weighted(rng, KINDS),
    )


def write_sentence(rng: random.Random, theme: Theme) -> Sentence:
    """A sentence of `MIN_TOKENS` to `MAX_TOKENS` tokens on a theme; words are redrawn until the length fits."""
    while True:
        words = _Writer(rng, theme).sentence()
        if MIN_TOKENS <= len(words) <= MAX_TOKENS:
            return words


def hidden_information() -> dict[str, float]:
    """Entropy of each part of a theme in nats: the information that a latent can hold before the first word.

    No sentence shows its whole theme (a sentence without pronoun hides its speaker), so the sum is an upper bound on
    the information about the theme in a sentence.
    """

    def entropy(weights: Sequence[float]) -> float:
        return -sum(weight * math.log(weight) for weight in weights)

    return {
        "topic": math.log(len(lexicon.TOPICS)),
        "time": math.log(len(lexicon.TIMES)),
        "speaker": math.log(len(lexicon.SPEAKERS)),
        "tense": entropy([weight for _, weight in TENSES]),
        "style": math.log(len(lexicon.STYLES)),
        "kind": entropy([weight for _, weight in KINDS]),
    }


def grammar_corpus(seed: int = 0, train: int = 8000, valid: int = 800, test: int = 800) -> Corpus:
    """The built-in corpus: `train`, `valid` and `test` sentences, all different from each other.

    The same seed gives the same corpus on every machine and Python version. Themes keep their exact
    probabilities: if a sentence has the wrong length or exists already, its words are drawn again, its theme is not.

    Raises `TextError` if a size is negative or there is no sentence at all.
    """
    sizes = {"train": train, "valid": valid, "test": test}
    for name, size in sizes.items():
        if size < 0:
            raise TextError(f"the grammar corpus cannot have {size} {name} sentences; allowed: 0 or more")
    total = sum(sizes.values())
    if total == 0:
        raise TextError("the grammar corpus would be empty; ask for at least one sentence")
    rng = random.Random(seed)
    seen: set[tuple[str, ...]] = set()
    sentences: list[Sentence] = []
    while len(sentences) < total:
        theme = draw_theme(rng)
        words = write_sentence(rng, theme)
        while tuple(words) in seen:
            words = write_sentence(rng, theme)
        seen.add(tuple(words))
        sentences.append(words)
    # Common sentences are drawn early, so sentences are shuffled before they are split: no split is harder.
    for index in range(total - 1, 0, -1):
        other = int(rng.random() * (index + 1))
        sentences[index], sentences[other] = sentences[other], sentences[index]
    return Corpus(
        name=f"grammar-{seed}",
        train=sentences[:train],
        valid=sentences[train : train + valid],
        test=sentences[train + valid :],
        tokenizer="plain",
    )
