"""Table 1: counts of the real corpora as published, and of small ones by hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hvae_mnn.cli.reproduce_table1 import table1
from hvae_mnn.errors import TextError
from hvae_mnn.reproduction.corpora import CorpusCounts, SplitCount, VocabularyCount, count_corpora
from hvae_mnn.reproduction.corpora_table import blocks, latex, markdown, write_outputs
from hvae_mnn.tables import read_table

FOUR = "with 4 special symbols"
SPLITS = ("train", "valid", "test")


def fill(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """PTB with all splits, Yahoo without train but with a list of its words, a corpus that the paper does not have."""
    data = tmp_path / "data"
    fill(data / "ptb", train="the u.s. won\n\n, he said\n", valid="The u.s.\n", test="it 's\n")
    fill(data / "yahoo", valid="a b\n", test="a\n")
    listed = "<pad>\t0\n<bos>\t1\n<eos>\t2\n_UNK\t3\nu.s.\t4\n.\t5\nThe\t6\nthe\t7\n"
    (data / "yahoo" / "vocab.txt.gz").write_bytes(gzip.compress(listed.encode()))
    fill(data / "another", test="x_1 & y\n")
    fill(data / "notes", remark="no corpus\n")
    return data


def test_a_small_folder_by_hand(folder: Path) -> None:
    counts = count_corpora(folder)
    assert counts.corpora == ("ptb", "yelp", "yahoo", "dailydialog", "another")
    by_place = {(one.corpus, one.split, one.tokenizer): one for one in counts.splits}
    assert len(by_place) == len(counts.splits) == 5 * 3 * 2
    # twr: the u .s . won | (empty) , he said
    assert by_place["ptb", "train", "plain"] == SplitCount("ptb", "train", "plain", 2, 6, 6)
    assert by_place["ptb", "train", "twr"] == SplitCount("ptb", "train", "twr", 2, 9, 9)
    assert by_place["another", "test", "plain"] == SplitCount("another", "test", "plain", 1, 3, 3)
    for missing in ("yelp", "dailydialog"):
        assert not counts.is_found(missing)
        assert by_place[missing, "test", "twr"] == SplitCount(missing, "test", "twr", None, None, None)
    assert counts.sentences("yahoo") == (None, 1, 1)
    assert counts.vocabularies == (
        VocabularyCount("ptb", "train, plain", 6, 6, False),
        VocabularyCount("ptb", f"train, twr, {FOUR}", 13, 13, False),
        VocabularyCount("yahoo", "word list of train, as it is", 5, 5, False),
        # _unk, u, .s, ., the; and perhaps the empty token
        VocabularyCount("yahoo", f"word list of train, twr, {FOUR}", 9, 10, False),
    )


def test_what_is_missing_has_a_row_that_says_so(folder: Path) -> None:
    compared, splits, _ = (rows for _, _, rows in blocks(count_corpora(folder)))
    assert ("Yelp", "printed", "100,000", "10,000", "10,000", "19.76", "–") in compared
    assert ("Yelp", "yelp: not found", *["–"] * 5) in compared
    assert ("Yahoo", "yahoo", "–", "1", "1", "0.009 to 0.010", f"word list of train, twr, {FOUR}") in compared
    assert ("yelp", "not found", *["–"] * 5) in splits
    assert ("yahoo", "train: not found", *["–"] * 5) in splits
    assert ("ptb", "train", "2", "6", "6", "9", "9") in splits


def test_outputs_hold_the_same_rows(folder: Path, tmp_path: Path) -> None:
    counts = count_corpora(folder)
    paths = write_outputs(counts, tmp_path / "out")
    names = ["table1.md", "table1.tex", "table1.parquet", "table1-vocabularies.parquet"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert paths[0].read_text() == markdown(counts)
    assert "| ptb | train | 2 | 6 | 6 | 9 | 9 |" in markdown(counts)
    written = latex(counts)
    assert paths[1].read_text() == written
    assert written.count(r"\begin{table}") == written.count(r"\end{table}") == 3
    assert r"ptb & train & 2 & 6 & 6 & 9 & 9 \\" in written
    assert "–" not in written
    rows = read_table(paths[2]).to_pylist()
    assert [SplitCount(**row) for row in rows] == list(counts.splits)
    assert [VocabularyCount(**row) for row in read_table(paths[3]).to_pylist()] == list(counts.vocabularies)


def test_a_name_is_no_markup_of_latex(tmp_path: Path) -> None:
    fill(tmp_path / "a_b&c", test="x\n")
    assert r"a\_b\&c & test" in latex(count_corpora(tmp_path))


def test_the_command_prints_and_writes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    table1.main(["--data-dir", str(folder), "--out", str(tmp_path / "out")], standalone_mode=False)
    printed = capsys.readouterr().out
    for title in ("Beside the printed figures", "Sentences, tokens and types", "Vocabularies"):
        assert title in printed
    assert "yelp: not found" in printed
    assert "another" in printed
    assert (tmp_path / "out" / "table1.md").is_file()


def test_what_cannot_be_counted_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged"
    fill(damaged / "ptb")
    (damaged / "ptb" / "train.txt.gz").write_bytes(gzip.compress(b"a b\n" * 99)[:-9])
    for place, message in (
        (tmp_path / "nowhere", "does not exist; give an existing folder with corpora"),
        (tmp_path / "empty", "holds no corpus; allowed: folders such as ptb"),
        (folder / "ptb", "holds no corpus; give the folder around it; allowed"),
        (damaged, "damaged or truncated gzip"),
    ):
        with pytest.raises(TextError, match=message) as caught:
            count_corpora(place)
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def real(data_dir: Path) -> CorpusCounts:
    return count_corpora(data_dir)


REAL = {  # sentences, tokens and types, as the data's own count has them
    ("ptb", "plain"): [(42068, 887521, 9999), (3370, 70390, 6021), (3761, 78669, 6048)],
    ("ptb", "twr"): [(42068, 904244, 9943), (3370, 71645, 5997), (3761, 80185, 6014)],
    ("yelp", "plain"): [(None, None, None)] * 3,
    ("yelp_short", "plain"): [(100000, 892918, 9116), (10000, 89330, 4957), (10000, 89998, 4808)],
    ("yelp_short", "twr"): [(100000, 893306, 9068), (10000, 89361, 4943), (10000, 90033, 4797)],
    ("yahoo", "plain"): [(None, None, None), (10000, 790680, 17044), (10000, 788673, 17024)],
    ("yahoo", "twr"): [(None, None, None), (10000, 792401, 16834), (10000, 790455, 16819)],
    ("yahoo_lite", "plain"): [(9000, 713059, 16697), (1000, 77621, 6951), (10000, 788673, 17024)],
    ("yahoo_lite", "twr"): [(9000, 714605, 16492), (1000, 77796, 6893), (10000, 790455, 16819)],
    ("dailydialog", "plain"): [(11118, 1273216, 25188), (1000, 117002, 7498), (1000, 114371, 7763)],
}


@pytest.mark.corpus
@pytest.mark.parametrize(("corpus", "tokenizer"), REAL)
def test_counts_of_the_real_corpora(real: CorpusCounts, corpus: str, tokenizer: str) -> None:
    found = {one.split: one for one in real.splits if (one.corpus, one.tokenizer) == (corpus, tokenizer)}
    counts = [(found[split].sentences, found[split].tokens, found[split].vocabulary) for split in SPLITS]
    assert counts == REAL[corpus, tokenizer]


@pytest.mark.corpus
def test_one_vocabulary_of_each_corpus_is_the_printed_one(real: CorpusCounts) -> None:
    printed = [one for one in real.vocabularies if one.is_printed]
    assert [(one.corpus, one.source, one.least, one.most) for one in printed] == [
        ("ptb", f"train, twr, {FOUR}", 9947, 9947),
        ("yelp", f"word list of train, twr, {FOUR}", 19756, 19757),
        ("yahoo", f"word list of train, twr, {FOUR}", 19728, 19729),
        ("dailydialog", "train, plain, lower case", 22076, 22076),
    ]
