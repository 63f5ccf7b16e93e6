"""The tokenizers, against hand-made cases and the published counts of the real corpora."""

import os
from pathlib import Path

import pytest

from hvae_mnn.errors import TextError
from hvae_mnn.text.sources import load_corpus, read_corpus
from hvae_mnn.text.tokenizers import TOKENIZERS, join_tokens, tokenize
from hvae_mnn.text.vocabulary import Vocabulary

DATA = os.environ.get("HVAE_MNN_DATA")
needs_corpora = pytest.mark.skipif(DATA is None, reason="HVAE_MNN_DATA does not name a folder with the real corpora")


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        ("  the Cat sat\n", ["the", "cat", "sat"]),
        ("the u.s. lost", ["the", "u", ".s", ".", "lost"]),
        ("mr. smith's dog", ["mr", ".", "smith", "'s", "dog"]),
        ("it is 's already", ["it", "is", "'s", "already"]),
        ("well... no", ["well", ".", "no"]),
        ("a . . b", ["a", ".", ".", "b"]),  # only dots that touch are one run
        ("yes,no!why?", ["yes", ",no", "!why", "?"]),
        (", he said", ["", ",", "he", "said"]),  # TWR-VAE counts the empty token, so we do
        ("?!", ["", "?", "!"]),
        ("don't N 's", ["don't", "n", "'s"]),
        ("tab\tand   spaces", ["tab", "and", "spaces"]),
        ("   ", []),
    ],
)
def test_twr_cuts_as_published(line: str, tokens: list[str]) -> None:
    assert tokenize("twr", line) == tokens


def test_plain_is_white_space_only() -> None:
    assert tokenize("plain", " The u.s. , it's \n") == ["The", "u.s.", ",", "it's"]


@pytest.mark.parametrize(
    ("line", "tokens"),
    [
        (" a  bc\t.\n", ["a", " ", "b", "c", " ", "."]),
        ("<unk> N", ["<", "u", "n", "k", ">", " ", "N"]),  # spelled, as in the published character corpus
        ("It's_é", ["I", "t", "'", "s", "_", "é"]),  # a literal underscore is no space
        ("\u2028\u00a0", []),
        (" \n", []),
    ],
)
def test_a_character_is_a_symbol_and_white_space_is_one(line: str, tokens: list[str]) -> None:
    assert tokenize("char", line) == tokens


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokens_put_together_are_cut_alike(name: str) -> None:
    line = "  The u.s.  lost it's <unk>_tail ...\n"
    text = join_tokens(name, tokenize(name, line))
    assert tokenize(name, text) == tokenize(name, line)
    assert text == ("the u .s . lost it 's <unk>_tail ." if name == "twr" else " ".join(line.split()))


def test_the_built_in_corpus_is_cut_by_every_tokenizer() -> None:
    plain, twr, char = (load_corpus(None, name) for name in ("plain", "twr", "char"))
    assert (plain.tokenizer, twr.tokenizer, char.tokenizer) == ("plain", "twr", "char")
    for split in ("train", "valid", "test"):
        texts = [" ".join(words) for words in plain.split(split)]
        assert ["".join(symbols) for symbols in char.split(split)] == texts
        assert twr.split(split) == [tokenize("twr", text) for text in texts]


def test_unknown_tokenizer_names_the_known_ones() -> None:
    with pytest.raises(TextError, match=r"'bpe'.*plain, twr, char"):
        tokenize("bpe", "x")
    with pytest.raises(TextError, match=r"'bpe'.*plain, twr, char"):
        join_tokens("bpe", ["x"])
    assert list(TOKENIZERS) == ["plain", "twr", "char"]


COUNTS = {  # sentences, tokens and distinct tokens of each split, as the data's own count has them
    ("ptb", "twr"): [(42068, 904244, 9943), (3370, 71645, 5997), (3761, 80185, 6014)],
    ("ptb", "plain"): [(42068, 887521, 9999), (3370, 70390, 6021), (3761, 78669, 6048)],
    ("ptb", "char"): [(42068, 4975414, 49), (3370, 389672, 49), (3761, 438662, 47)],
    ("yahoo", "twr"): [None, (10000, 792401, 16834), (10000, 790455, 16819)],
    ("yelp_short", "twr"): [(100000, 893306, 9068), (10000, 89361, 4943), (10000, 90033, 4797)],
}


@needs_corpora
@pytest.mark.corpus
@pytest.mark.parametrize(("name", "tokenizer"), COUNTS)
def test_counts_of_the_real_corpora(name: str, tokenizer: str) -> None:
    expected = COUNTS[name, tokenizer]
    splits = [split for split, counts in zip(("train", "valid", "test"), expected, strict=True) if counts]
    corpus = read_corpus(Path(str(DATA)) / name, tokenizer, splits)
    for split, counts in zip(("train", "valid", "test"), expected, strict=True):
        sentences = corpus.split(split)
        found = (len(sentences), sum(map(len, sentences)), len({word for words in sentences for word in words}))
        assert found == (counts or (0, 0, 0)), split


@needs_corpora
@pytest.mark.corpus
def test_penn_treebank_has_the_published_vocabulary_and_no_unknown_words() -> None:
    corpus = read_corpus(Path(str(DATA)) / "ptb", "twr")
    vocabulary = Vocabulary.build(corpus.train)
    assert len(vocabulary) == 9947
    assert "<unk>" in vocabulary
    assert all(1 not in vocabulary.encode(sentence) for sentence in corpus.test)


@needs_corpora
@pytest.mark.corpus
def test_dialogues_can_be_read_line_by_line() -> None:
    corpus = read_corpus(Path(str(DATA)) / "dailydialog", "plain")
    assert [len(corpus.split(split)) for split in ("train", "valid", "test")] == [11118, 1000, 1000]


@needs_corpora
@pytest.mark.corpus
def test_penn_treebank_has_the_published_characters() -> None:
    """5017k / 393k / 442k symbols, of 50 kinds: characters and ends of sentences."""
    corpus = read_corpus(Path(str(DATA)) / "ptb", "char")
    symbols = [sum(len(line) + 1 for line in corpus.split(split)) for split in ("train", "valid", "test")]
    assert symbols == [5017482, 393042, 442423]
    assert len(Vocabulary.build(corpus.train)) == 49 + 4
