import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvae_mnn.errors import TextError
from hvae_mnn.text.vocabulary import EOS, PAD, SOS, SPECIALS, UNK, Vocabulary

SENTENCES = [["b", "a", "c"], ["b", "a"], ["b", "<unk>"]]


def test_ids_are_specials_then_frequency_then_alphabet() -> None:
    vocabulary = Vocabulary.build(SENTENCES)
    assert vocabulary.words == (*SPECIALS, "b", "a", "<unk>", "c")
    assert (PAD, UNK, SOS, EOS) == (0, 1, 2, 3)
    assert vocabulary.encode(["a", "b", "zebra", "<unk>"]) == [5, 4, UNK, 6]
    assert vocabulary.encode_sentence(["c"]) == [SOS, 7, EOS]
    assert len(vocabulary) == 8


def test_bounds_drop_rare_words() -> None:
    assert Vocabulary.build(SENTENCES, min_count=2).words[4:] == ("b", "a")
    assert Vocabulary.build(SENTENCES, max_size=5).words[4:] == ("b",)


def test_a_word_that_looks_like_a_special_is_an_ordinary_word() -> None:
    vocabulary = Vocabulary.build([["<eos>", "x"]])
    assert vocabulary.encode(["<eos>"]) == [4]
    assert Vocabulary.build([["x"]]).encode(["<eos>"]) == [UNK]


@given(st.lists(st.lists(st.text(max_size=4), min_size=1, max_size=5), min_size=1, max_size=8))
def test_known_words_survive_the_round_trip(sentences: list[list[str]]) -> None:
    vocabulary = Vocabulary.build(sentences)
    for sentence in sentences:
        assert vocabulary.decode(vocabulary.encode(sentence)) == sentence
    assert Vocabulary(vocabulary.words) == vocabulary


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vocabulary(("a", "b")), "begins with"),
        (lambda: Vocabulary((*SPECIALS, "a", "b", "a")), "'a' twice"),
        (lambda: Vocabulary.build([]), "would be empty"),
        (lambda: Vocabulary.build(SENTENCES, min_count=0), "min_count is 0"),
        (lambda: Vocabulary.build(SENTENCES, max_size=4), "max_size is 4"),
        (lambda: Vocabulary.build(SENTENCES).decode([8]), "id 8 .* 0 to 7"),
        (lambda: Vocabulary.build(SENTENCES).decode([-1]), "id -1"),
    ],
)
def test_bad_vocabularies_are_refused(make, message: str) -> None:
    with pytest.raises(TextError, match=message):
        make()
