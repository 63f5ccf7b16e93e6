"""The words of the built-in grammar corpus: eight topics, common words, and the words that follow a hidden style.

Every spelling belongs to one part of speech (a few function words apart), so that a sentence can be checked by its
words alone.
"""

from __future__ import annotations

from dataclasses import dataclass

_VOWELS = "aeiou"


@dataclass(frozen=True)
class Noun:
    """A countable noun."""

    singular: str
    """e.g. `child`."""
    plural: str
    """e.g. `children`."""
    agent: bool
    """True for people and animals: they act, and their relative pronoun is `who`; `that` for things."""


@dataclass(frozen=True)
class Verb:
    """A verb in the forms the grammar uses."""

    base: str
    """e.g. `see`."""
    third: str
    """Present, third person singular: `sees`."""
    past: str
    """Simple past: `saw`."""
    progressive: str
    """Present participle: `seeing`."""


@dataclass(frozen=True)
class Topic:
    """The lexical field of one topic."""

    name: str
    """Its name; also the noun of its place."""
    agents: tuple[Noun, ...]
    """People and animals that act."""
    things: tuple[Noun, ...]
    """Things that agents act on."""
    transitive: tuple[Verb, ...]
    """Verbs with an agent as subject and an object."""
    intransitive: tuple[Verb, ...]
    """Verbs with an agent as subject and no object."""
    adjectives: tuple[str, ...]
    """Adjectives of agents and things."""


@dataclass(frozen=True)
class Style:
    """The words that a register prefers; all three styles fill the same slots."""

    name: str
    """`plain`, `formal` or `chatty`."""
    opener: str
    """Word before the first comma."""
    intensifier: str
    """Degree word before a predicative adjective."""
    size: str
    """Adjective of size."""
    adverb: str
    """Adverb after an intransitive verb."""
    connective: str
    """Word between two main clauses."""


@dataclass(frozen=True)
class Speaker:
    """Whose pronouns a sentence uses."""

    subject: str
    """As a subject: `i`."""
    object: str
    """As a recipient: `me`."""
    possessive: str
    """As a determiner: `my`."""


def _s_form(word: str) -> str:
    """`word` with the -s of a plural or of the third person."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def _noun(singular: str, agent: bool, plural: str | None = None) -> Noun:
    return Noun(singular, plural or _s_form(singular), agent)


def _verb(base: str, past: str | None = None, progressive: str | None = None) -> Verb:
    if past is None:
        if base.endswith("e"):
            past = base + "d"
        elif base.endswith("y") and base[-2] not in _VOWELS:
            past = base[:-1] + "ied"
        else:
            past = base + "ed"
    if progressive is None:
        progressive = (base[:-1] if base.endswith("e") and not base.endswith("ee") else base) + "ing"
    return Verb(base, _s_form(base), past, progressive)


def _topic(name: str, agents: str, things: str, transitive: list[Verb], intransitive: str, adjectives: str) -> Topic:
    return Topic(
        name=name,
        agents=tuple(_noun(word, agent=True) for word in agents.split()),
        things=tuple(_noun(word, agent=False) for word in things.split()),
        transitive=tuple(transitive),
        intransitive=(_verb("sing", "sang") if intransitive == "sing" else _verb(intransitive),),
        adjectives=tuple(adjectives.split()),
    )


TOPICS = (
    _topic(
        "kitchen",
        "baker waiter",
        "soup onion oven",
        [_verb("taste"), _verb("stir", "stirred", "stirring")],
        "dine",
        "spicy fresh",
    ),
    _topic("harbour", "sailor diver", "boat anchor net", [_verb("tow"), _verb("moor")], "sail", "salty wooden"),
    _topic("farm", "farmer shepherd", "field plough fence", [_verb("harvest"), _verb("mend")], "toil", "muddy rustic"),
    _topic(
        "school", "teacher pupil", "lesson essay exam", [_verb("explain"), _verb("grade")], "study", "clever strict"
    ),
    _topic(
        "court", "lawyer judge", "verdict contract alibi", [_verb("dispute"), _verb("sign")], "testify", "stern legal"
    ),
    _topic(
        "theatre", "singer violinist", "tune drum concert", [_verb("rehearse"), _verb("perform")], "sing", "famous loud"
    ),
    _topic(
        "clinic",
        "doctor nurse",
        "bandage needle pill",
        [_verb("examine"), _verb("prescribe")],
        "sneeze",
        "sterile pale",
    ),
    _topic(
        "market",
        "merchant customer",
        "basket carpet coin",
        [_verb("sell", "sold"), _verb("buy", "bought")],
        "haggle",
        "cheap rare",
    ),
)

COMMON = Topic(
    name="place",
    agents=(
        _noun("child", True, "children"),
        _noun("woman", True, "women"),
        _noun("man", True, "men"),
        _noun("neighbour", True),
        _noun("stranger", True),
        _noun("dog", True),
    ),
    things=(_noun("book", False), _noun("letter", False), _noun("box", False), _noun("picture", False)),
    transitive=(
        _verb("see", "saw"),
        _verb("like"),
        _verb("find", "found"),
        _verb("watch"),
        _verb("remember"),
        _verb("admire"),
    ),
    intransitive=(_verb("sleep", "slept"), _verb("laugh"), _verb("wait"), _verb("arrive")),
    adjectives=("old", "new", "quiet", "strange"),
)
"""Words of every topic."""

DITRANSITIVE = (_verb("give", "gave"), _verb("send", "sent"), _verb("show"), _verb("offer"))
"""Verbs with a recipient."""
THING_VERBS = (_verb("vanish"), _verb("remain"))
"""Verbs with a thing as subject."""
SAYING = (_verb("say", "said"), _verb("think", "thought"), _verb("believe"))
"""Verbs before `that` and a clause."""
NAMES = ("anna", "tom", "maria", "peter")
"""People without a determiner."""

STYLES = (
    Style("plain", "again", "very", "big", "often", "and"),
    Style("formal", "indeed", "rather", "large", "seldom", "while"),
    Style("chatty", "well", "really", "huge", "always", "so"),
)
SPEAKERS = (
    Speaker("i", "me", "my"),
    Speaker("we", "us", "our"),
    Speaker("you", "you", "your"),
    Speaker("she", "her", "her"),
    Speaker("he", "him", "his"),
    Speaker("they", "them", "their"),
)
TIMES = (
    ("at dawn", "until noon"),
    ("at noon", "until dusk"),
    ("at dusk", "until midnight"),
    ("at midnight", "until dawn"),
    ("in spring", "before summer"),
    ("in summer", "before autumn"),
    ("in autumn", "before winter"),
    ("in winter", "before spring"),
)
"""How a sentence opens, and how it then closes."""

SINGULAR_DETERMINERS = ("the", "a", "this", "every")
PLURAL_DETERMINERS = ("the", "these", "some", "many")
NOUN_PREPOSITIONS = ("near", "behind", "with")


def article(following: str) -> str:
    """`a` or `an`, as the next word's first letter wants; the lexicon has no silent h and no spoken y-sound."""
    return "an" if following[0] in _VOWELS else "a"
