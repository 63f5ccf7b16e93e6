"""The built-in corpus, judged by a recogniser that shares the word lists with the generator but none of its rules."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hvae_mnn.errors import TextError
from hvae_mnn.text import grammar, lexicon
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.text.grammar import grammar_corpus, hidden_information

FIELDS = (*lexicon.TOPICS, lexicon.COMMON)
NOUNS = [noun for field in FIELDS for noun in (*field.agents, *field.things)]
SINGULAR = {noun.singular: noun.agent for noun in NOUNS}
PLURAL = {noun.plural: noun.agent for noun in NOUNS}
TRANSITIVE = [verb for field in FIELDS for verb in field.transitive]
INTRANSITIVE = [verb for field in FIELDS for verb in field.intransitive]
VERBS = [*TRANSITIVE, *INTRANSITIVE, *lexicon.DITRANSITIVE, *lexicon.THING_VERBS, *lexicon.SAYING]
ADJECTIVES = {word for field in FIELDS for word in field.adjectives} | {style.size for style in lexicon.STYLES}
CLOSING_OF = {tuple(opening.split()): tuple(closing.split()) for opening, closing in lexicon.TIMES}


@dataclass(frozen=True)
class Recogniser:
    """Accepts a sentence whose finite verbs all have one tense and whose pronouns all belong to one speaker."""

    words: list[str]
    tense: str
    speaker: lexicon.Speaker

    def at(self, place: int) -> str:
        return self.words[place] if place < len(self.words) else ""

    def expect(self, place: int, *wanted: str) -> Iterator[int]:
        if self.words[place : place + len(wanted)] == list(wanted):
            yield place + len(wanted)

    def noun_phrase(self, start: int, nested: int = 0) -> Iterator[tuple[int, int, bool]]:
        """(end, number of the head, whether it acts) of each noun phrase that begins at `start`."""
        if self.at(start) in lexicon.NAMES:
            yield start + 1, 1, True
            return
        determiner, place = self.at(start), start + 1
        if determiner in ("a", "an") and (self.at(place)[:1] in tuple("aeiou")) != (determiner == "an"):
            return
        either = determiner in ("the", self.speaker.possessive)
        numbers = [1] * (either or determiner in ("a", "an", "this", "every"))
        numbers += [2] * (either or determiner in ("these", "some", "many"))
        if self.at(place) in ADJECTIVES:
            place += 1
        for number in numbers:
            forms = SINGULAR if number == 1 else PLURAL
            if self.at(place) not in forms:
                continue
            agent = forms[self.at(place)]
            yield place + 1, number, agent
            if nested > 2:
                continue
            if self.at(place + 1) in lexicon.NOUN_PREPOSITIONS:
                yield from ((end, number, agent) for end, _, _ in self.noun_phrase(place + 2, nested=9))
            if self.at(place + 1) == ("who" if agent else "that"):
                yield from ((end, number, agent) for end in self.relative(place + 2, number, agent, nested + 1))

    def relative(self, start: int, number: int, agent: bool, nested: int) -> Iterator[int]:
        yield from self.predicate(start, number, agent, nested)
        for place, inner, acts in self.noun_phrase(start, nested):
            if acts:
                verbs = lexicon.COMMON.transitive if agent else TRANSITIVE
                yield from (end for end, verb in self.verb(place, inner, aspects=("simple",)) if verb in verbs)

    def subject(self, start: int) -> Iterator[tuple[int, int, bool]]:
        """Number 0 is the first person singular, which has a form of its own of `be`."""
        if self.at(start) == self.speaker.subject:
            yield start + 1, {"i": 0, "she": 1, "he": 1}.get(self.at(start), 2), True
        for place, number, agent in self.noun_phrase(start):
            yield place, number, agent
            if agent and self.at(place) == "and":
                yield from ((end, 2, True) for end, _, acts in self.noun_phrase(place + 1) if acts)

    def be(self, number: int) -> str:
        return {"past": ("was", "was", "were"), "present": ("am", "is", "are"), "future": ("will",) * 3}[self.tense][
            number
        ]

    def do(self, number: int) -> str:
        return {"past": "did", "present": ("do", "does", "do")[number], "future": "will"}[self.tense]

    def finite(self, verb: lexicon.Verb, number: int) -> tuple[str, ...]:
        if self.tense == "future":
            return ("will", verb.base)
        if self.tense == "past":
            return (verb.past,)
        return (verb.third if number == 1 else verb.base,)

    def verb(
        self, start: int, number: int, aspects: tuple[str, ...] = ("simple", "progressive", "negated")
    ) -> Iterator[tuple[int, lexicon.Verb]]:
        be = ("be",) * (self.tense == "future")
        for verb in VERBS:
            forms = {
                "simple": self.finite(verb, number),
                "progressive": (self.be(number), *be, verb.progressive),
                "negated": (self.do(number), "not", verb.base),
            }
            for aspect in aspects:
                yield from ((end, verb) for end in self.expect(start, *forms[aspect]))

    def predicate(self, start: int, number: int, agent: bool, nested: int = 1) -> Iterator[int]:
        for place, verb in self.verb(start, number):
            yield from self.complement(place, verb, agent, nested)
        be = ("be",) * (self.tense == "future")
        for negation in ((), ("not",)):
            for place in self.expect(start, self.be(number), *negation, *be):
                yield from self.description(place)

    def complement(self, place: int, verb: lexicon.Verb, agent: bool, nested: int) -> Iterator[int]:
        if not agent:
            if verb in lexicon.THING_VERBS:
                yield place
        elif verb in TRANSITIVE:
            objects = self.noun_phrase(place, nested)
            yield from (end for end, _, acts in objects if not acts or verb in lexicon.COMMON.transitive)
        elif verb in INTRANSITIVE:
            yield place
            if self.at(place) in {style.adverb for style in lexicon.STYLES}:
                yield place + 1
        elif verb in lexicon.DITRANSITIVE:
            for middle in self.recipient(place):
                yield from (end for end, _, acts in self.noun_phrase(middle, 9) if not acts)
            for middle, _, acts in self.noun_phrase(place, 9):
                if not acts and self.at(middle) == "to":
                    yield from self.recipient(middle + 1)

    def recipient(self, place: int) -> Iterator[int]:
        yield from self.expect(place, self.speaker.object)
        yield from (end for end, _, acts in self.noun_phrase(place, 9) if acts)

    def description(self, place: int) -> Iterator[int]:
        for topic in lexicon.TOPICS:
            yield from self.expect(place, "in", "the", topic.name)
        if self.at(place) in {style.intensifier for style in lexicon.STYLES}:
            place += 1
        if self.at(place) in ADJECTIVES:
            yield place + 1

    def clause(self, start: int) -> Iterator[int]:
        for place, number, agent in self.subject(start):
            yield from self.predicate(place, number, agent)

    def report(self, start: int) -> Iterator[int]:
        for place, number, agent in self.noun_phrase(start, 9):
            for end, verb in self.verb(place, number, aspects=("simple",)):
                if agent and verb in lexicon.SAYING and self.at(end) == "that":
                    yield from self.clauses(end + 1)

    def clauses(self, start: int) -> Iterator[int]:
        for place in self.clause(start):
            yield place
            if self.at(place) in {style.connective for style in lexicon.STYLES}:
                yield from self.clause(place + 1)

    def question(self, start: int) -> Iterator[int]:
        if self.at(start) == "who":
            yield from self.predicate(start + 1, 1, agent=True)
        if self.at(start) == "what":
            yield from self.inverted(start + 1, gap=True)
        yield from self.inverted(start + (self.at(start) == "why"), gap=False)

    def inverted(self, start: int, gap: bool) -> Iterator[int]:
        for place, number, agent in self.subject(start + 1):
            for negation in ((), ("not",)):
                if self.at(start) == self.do(number):
                    for verb in VERBS:
                        for end in self.expect(place, *negation, verb.base):
                            yield from self.asked(end, verb, agent, gap)
                be = ("be",) * (self.tense == "future")
                if self.at(start) == self.be(number):
                    for middle in self.expect(place, *negation, *be):
                        yield from () if gap else self.description(middle)
                        for verb in VERBS:
                            for end in () if negation else self.expect(middle, verb.progressive):
                                yield from self.asked(end, verb, agent, gap)

    def asked(self, place: int, verb: lexicon.Verb, agent: bool, gap: bool) -> Iterator[int]:
        if not gap:
            yield from self.complement(place, verb, agent, 1)
        elif agent and verb in TRANSITIVE:
            yield place

    def ends(self, place: int, opening: tuple[str, ...], marks: str) -> bool:
        rest = self.words[place:]
        for closing in CLOSING_OF.values():
            if tuple(rest[:2]) == closing:
                if opening and CLOSING_OF[opening] != closing:
                    return False
                rest = rest[2:]
                break
        number = {"i": 0, "she": 1, "he": 1}.get(self.speaker.subject, 2)
        said = [",", "as", self.speaker.subject, *self.finite(lexicon.SAYING[0], number)]
        if rest[: len(said)] == said:
            rest = rest[len(said) :]
        return len(rest) == 1 and rest[0] in marks

    def accepts(self) -> bool:
        start: int = 0
        opening: tuple[str, ...] = ()
        if self.at(0) in {style.opener for style in lexicon.STYLES} and self.at(1) == ",":
            start = 2
        if tuple(self.words[start : start + 2]) in CLOSING_OF and self.at(start + 2) == ",":
            opening, start = tuple(self.words[start : start + 2]), start + 3
        told = (end for parse in (self.clauses, self.report) for end in parse(start))
        return any(self.ends(end, opening, ".!") for end in told) or any(
            self.ends(end, opening, "?") for end in self.question(start)
        )


def grammatical(words: list[str]) -> bool:
    return any(
        Recogniser(words, tense, speaker).accepts() for tense, _ in grammar.TENSES for speaker in lexicon.SPEAKERS
    )


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return grammar_corpus()


@pytest.fixture(scope="module")
def sample() -> list[list[str]]:
    return grammar_corpus(seed=11, train=400, valid=0, test=0).train


@pytest.mark.parametrize(
    "text",
    [
        "the dogs who the baker likes taste the soup .",
        "in spring , is the soup that the waiters stir very spicy before summer ?",
        "i am in the kitchen , as i say .",
        "an old sailor gives the boat to me !",
        "what did the women who anna admired not find ?",
    ],
)
def test_the_recogniser_accepts_good_sentences(text: str) -> None:
    assert grammatical(text.split())


@pytest.mark.parametrize(
    "text",
    [
        "the dogs who the baker likes tastes the soup .",  # the verb follows the nearer noun
        "the dogs who the baker like taste the soup .",
        "the dog who the baker likes tasted the soup .",  # two tenses
        "these soup vanished .",
        "a old sailor sleeps .",
        "the soup who vanished is old .",
        "in spring , anna slept before spring .",  # the closing does not belong to the opening
        "i am in the kitchen , as she says .",  # two speakers
        "my dog gives us the letter .",
        "does the dogs sleep ?",
        "anna sleeps",
    ],
)
def test_the_recogniser_refuses_bad_sentences(text: str) -> None:
    assert not grammatical(text.split())


def test_every_sentence_is_grammatical(sample: list[list[str]]) -> None:
    for words in sample:
        assert grammatical(words), " ".join(words)


@pytest.mark.slow
def test_every_sentence_of_the_default_corpus_is_grammatical(corpus: Corpus) -> None:
    for words in (*corpus.train, *corpus.valid, *corpus.test):
        assert grammatical(words), " ".join(words)


def test_no_verb_form_can_be_exchanged_for_its_other_number(sample: list[list[str]]) -> None:
    """So agreement is really there in what is generated, not only permitted by the recogniser."""
    other = {verb.base: verb.third for verb in VERBS} | {verb.third: verb.base for verb in VERBS}
    other |= {"is": "are", "are": "is", "was": "were", "were": "was", "does": "do", "do": "does"}
    flipped = [
        [*words[:place], other[word], *words[place + 1 :]]
        for words in sample[:150]
        for place, word in enumerate(words)
        if word in other
    ]
    assert len(flipped) > 100
    for words in flipped:
        assert not grammatical(words), " ".join(words)


def test_words_belong_to_one_part_of_speech() -> None:
    content = [*SINGULAR, *PLURAL, *ADJECTIVES, *lexicon.NAMES]
    content += [form for verb in VERBS for form in (verb.base, verb.third, verb.past, verb.progressive)]
    assert not [word for word, count in Counter(content).items() if count > 1]


def test_word_forms() -> None:
    assert {"children", "women", "boxes", "boats", "verdicts"} <= PLURAL.keys()
    by_base = {verb.base: (verb.third, verb.past, verb.progressive) for verb in VERBS}
    assert by_base["testify"] == ("testifies", "testified", "testifying")
    assert by_base["stir"] == ("stirs", "stirred", "stirring")
    assert by_base["see"] == ("sees", "saw", "seeing")
    assert by_base["say"] == ("says", "said", "saying")
    assert by_base["dine"] == ("dines", "dined", "dining")


def test_lengths_and_vocabulary(corpus: Corpus) -> None:
    lengths = [len(words) for words in corpus.train]
    assert min(lengths) >= 4
    assert max(lengths) <= 20
    assert len(set(lengths)) == 17
    known = {word for words in corpus.train for word in words}
    assert 300 <= len(known) <= 500
    assert not {word for words in (*corpus.valid, *corpus.test) for word in words} - known


def test_clauses_nest_in_the_centre(corpus: Corpus) -> None:
    """Two relative pronouns before the first verb of either clause: `the dogs that the cat that the boys see ...`."""
    forms = {form for verb in VERBS for form in (verb.base, verb.third, verb.past, verb.progressive)}
    forms |= {"is", "are", "was", "were", "will", "does", "do", "did"}
    deep = 0
    for words in corpus.train:
        finite = [place for place, word in enumerate(words) if word in forms]
        before = words[: finite[0]] if finite and words[-1] != "?" else []
        deep += sum(word in ("who", "that") for word in before) >= 2
    assert deep > 20


def test_splits_share_no_sentence(corpus: Corpus) -> None:
    sentences = [tuple(words) for words in (*corpus.train, *corpus.valid, *corpus.test)]
    assert len(sentences) == 9600
    assert len(set(sentences)) == 9600


def test_the_same_seed_gives_the_same_corpus_everywhere() -> None:
    """The fingerprint pins the generator over Python versions: a change of it changes every published figure."""
    corpus = grammar_corpus(seed=3, train=50, valid=5, test=5)
    assert corpus == grammar_corpus(seed=3, train=50, valid=5, test=5)
    text = "\n".join(" ".join(words) for words in (*corpus.train, *corpus.valid, *corpus.test))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "480be7b25f9a0004"


def test_another_seed_gives_another_corpus() -> None:
    first, second = (grammar_corpus(seed=seed, train=200, valid=0, test=0).train for seed in (0, 1))
    assert len({tuple(words) for words in first} & {tuple(words) for words in second}) < 20


def test_themes_are_visible_in_the_words(corpus: Corpus) -> None:
    """Words of one topic keep together: naming two topics' nouns in one sentence never happens."""
    for words in corpus.test:
        topics = {
            topic.name
            for topic in lexicon.TOPICS
            for noun in (*topic.agents, *topic.things)
            if noun.singular in words or noun.plural in words
        }
        assert len(topics) <= 1


def test_hidden_information_is_several_nats() -> None:
    information = hidden_information()
    assert information["topic"] == pytest.approx(2.0794, abs=1e-4)
    assert information["tense"] == pytest.approx(1.0549, abs=1e-4)
    assert sum(information.values()) == pytest.approx(9.042, abs=1e-3)


@pytest.mark.parametrize("sizes", [{"train": -1}, {"train": 0, "valid": 0, "test": 0}])
def test_impossible_sizes_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(TextError, match="grammar corpus"):
        grammar_corpus(**sizes)
