"""Both tokenizers, against hand-made cases and the published counts of the real corpora."""

import os
from pathlib import Path

import pytest

from hvae_mnn.errors import TextError
from hvae_mnn.text.sources import read_corpus
from hvae_mnn.text.tokenizers import TOKENIZERS, tokenize
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


def test_unknown_tokenizer_names_the_known_ones() -> None:
    with pytest.raises(TextError, match=r"'bpe'.*plain, twr"):
        tokenize("bpe", "x")
    assert list(TOKENIZERS) == ["plain", "twr"]


COUNTS = {  # sentences, tokens and distinct tokens of each split, as the data's own count has them
    ("ptb", "twr"): [(42068, 904244, 9943), (3370, 71645, 5997), (3761, 80185, 6014)],
    ("ptb", "plain"): [(42068, 887521, 9999), (3370, 70390, 6021), (3761, 78669, 6048)],
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
