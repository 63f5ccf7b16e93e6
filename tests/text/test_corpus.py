import gzip
import os
import resource
from pathlib import Path

import pytest

from hvae_mnn.errors import TextError
from hvae_mnn.text.sources import find_split, load_corpus, read_corpus, read_lines


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "news", train="a b .\n\n c d\n", valid=" e\n", test="f\ng")


def test_splits_tokens_and_blank_lines(folder: Path) -> None:
    corpus = read_corpus(folder, "plain")
    assert corpus.name == "news"
    assert corpus.tokenizer == "plain"
    assert (corpus.train, corpus.valid, corpus.test) == ([["a", "b", "."], ["c", "d"]], [["e"]], [["f"], ["g"]])


def test_gzip_is_recognised_by_content_not_by_name(folder: Path) -> None:
    data = (folder / "train.txt").read_bytes()
    (folder / "train.txt").unlink()
    (folder / "train.txt.gz").write_bytes(gzip.compress(data))
    (folder / "valid.txt").write_bytes(gzip.compress(b"e\n"))
    assert read_corpus(folder).train == [["a", "b", "."], ["c", "d"]]
    assert read_corpus(folder).valid == [["e"]]


@pytest.mark.parametrize(
    "name", ["ptb.valid.txt", "ptb_val.txt.gz", "dev", "news-validation.txt", "VALID.TXT", "val.gz"]
)
def test_file_names_found_in_the_wild(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "vocab.txt").touch()
    (tmp_path / "train.txt").touch()
    assert find_split(tmp_path, "valid") == tmp_path / name


def test_a_plain_name_goes_before_a_prefixed_one_and_two_alike_are_refused(tmp_path: Path) -> None:
    for name in ("old.train.txt", "train.txt"):
        (tmp_path / name).touch()
    assert find_split(tmp_path, "train") == tmp_path / "train.txt"
    (tmp_path / "train.txt.gz").touch()
    with pytest.raises(TextError, match=r"2 files for the split 'train': train\.txt, train\.txt\.gz"):
        find_split(tmp_path, "train")


def test_a_folder_without_train_serves_evaluation_only_when_asked_so(folder: Path) -> None:
    (folder / "train.txt").unlink()
    corpus = read_corpus(folder, splits=("valid", "test"))
    assert corpus.train == []
    assert corpus.test == [["f"], ["g"]]
    with pytest.raises(TextError, match=r"no train file in .*news \(found: test\.txt, valid\.txt\)"):
        read_corpus(folder)


def test_lines_end_as_on_any_machine_and_at_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes("one\r\ntwo\u2028still two\x0cand\x85on\x0b\x1c\n\nfour\rfive\r\rseven".encode())
    found = read_lines(path)
    assert found == ["one", "two\u2028still two\x0cand\x85on\x0b\x1c", "", "four", "five", "", "seven"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_a_corpus_is_the_same_from_any_editor(tmp_path: Path, end: str, mark: str, last: bool, packed: bool) -> None:
    lines = ["the dogs sleep .", "", "the cat sleeps ."]
    data = (mark + end.join(lines) + end * last).encode()
    folder = tmp_path / "news"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_bytes(gzip.compress(data) if packed else data)
    corpus = read_corpus(folder)
    expected = [["the", "dogs", "sleep", "."], ["the", "cat", "sleeps", "."]]
    assert (corpus.train, corpus.valid, corpus.test) == (expected,) * 3


def test_byte_order_marks_of_joined_files_are_no_part_of_a_word(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes("\ufeffone\n\ufefftwo\n".encode())
    assert read_lines(path) == ["one", "two"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a b\n".encode("utf-16"), "is UTF-16 text; convert it to UTF-8"),
        (b"\xfe\xff" + "a b\n".encode("utf-16-be"), "is UTF-16 text"),
        ("a b\n".encode("utf-32"), "is UTF-32 text"),
        ("a b\n".encode("utf-16-le"), "line 1: a zero byte, which no text in UTF-8 has"),
        (b"fine\nnot \0 fine\n", "line 2: a zero byte"),
        (b"fine\n" + b"a " * 10_001 + b"\n", "line 2 has 10,001 words; allowed: 10,000; put one sentence on a line"),
    ],
)
def test_what_is_no_text_of_sentences_is_refused_in_one_line(folder: Path, data: bytes, message: str) -> None:
    (folder / "valid.txt").write_bytes(data)
    with pytest.raises(TextError, match=message) as caught:
        read_corpus(folder)
    assert "valid.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_long_line_of_characters_is_refused_as_such(folder: Path) -> None:
    (folder / "train.txt").write_text("ab " * 4_000, encoding="utf-8")
    assert len(read_corpus(folder, "plain").train[0]) == 4_000
    with pytest.raises(TextError, match="line 1 has 11,999 characters; allowed: 10,000"):
        read_corpus(folder, "char")


def test_a_long_line_is_a_sentence(folder: Path) -> None:
    (folder / "valid.txt").write_bytes(b"a " * 10_000)
    assert len(read_corpus(folder).valid[0]) == 10_000


def test_not_utf8_names_file_and_line(folder: Path) -> None:
    (folder / "train.txt").write_bytes(b"fine\ncaf\xe9\n")
    with pytest.raises(TextError, match=r"train\.txt, line 2: byte 0xe9 at position 4 is not UTF-8"):
        read_corpus(folder)


@pytest.mark.parametrize("cut", [5, 15, -4])
def test_truncated_gzip(folder: Path, cut: int) -> None:
    packed = gzip.compress(b"some words here\n" * 50)
    (folder / "train.txt").write_bytes(packed[:cut])
    with pytest.raises(TextError, match="damaged or truncated gzip"):
        read_corpus(folder)


@pytest.mark.parametrize("count", [1, 400])
def test_a_gzip_that_unpacks_to_gigabytes_is_refused_before(folder: Path, count: int) -> None:
    member = gzip.compress(bytes(2**24), mtime=0)  # 16 KiB for 16 MiB
    (folder / "train.txt").write_bytes(member * count + gzip.compress(b"x"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        TextError, match=r"unpacks from [0-9,]+ bytes to more than [0-9,]+; allowed for a text file"
    ) as e:
        read_corpus(folder)
    assert "\n" not in str(e.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB; all of it would be 6.4 GB


def test_a_text_that_packs_well_is_read_up_to_sixteen_mebibytes(folder: Path) -> None:
    (folder / "train.txt").write_bytes(gzip.compress(b"the same words again and again\n" * 2**18))
    assert len(read_lines(folder / "train.txt")) == 2**18


def test_a_file_larger_than_the_largest_corpus(folder: Path) -> None:
    with (folder / "train.txt").open("wb") as file:
        file.truncate(2**40)  # a hole
    with pytest.raises(TextError, match=r"has 1,099,511,627,776 bytes; allowed for a text file: 1,073,741,824"):
        read_corpus(folder)


def test_a_split_that_is_a_pipe_is_refused_and_does_not_wait(folder: Path) -> None:
    (folder / "train.txt").unlink()
    os.mkfifo(folder / "train.txt")
    with pytest.raises(TextError, match=r"train\.txt is a pipe"):
        read_corpus(folder)
    (folder / "train.txt").unlink()
    (folder / "train.txt").symlink_to("/dev/zero")
    with pytest.raises(TextError, match=r"train\.txt is a pipe, a socket or a device"):
        read_corpus(folder)
    (folder / "train.txt").unlink()
    (folder / "train.txt").symlink_to("train.txt")
    with pytest.raises(TextError, match=r"train\.txt: Too many levels of symbolic links"):
        read_corpus(folder)


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_empty_corpus(folder: Path, text: str) -> None:
    (folder / "valid.txt").write_text(text)
    with pytest.raises(TextError, match=r"empty corpus: .*valid\.txt"):
        read_corpus(folder)


def test_missing_things_are_one_line(tmp_path: Path, folder: Path) -> None:
    for call, message in (
        (lambda: read_corpus(tmp_path / "nowhere"), "does not exist"),
        (lambda: read_corpus(folder / "train.txt"), "is not a folder"),
        (lambda: read_corpus(folder, "bpe"), "unknown tokenizer 'bpe'"),
        (lambda: read_corpus(folder, splits=("dev",)), "unknown split 'dev'"),
        (lambda: read_corpus(folder).split("dev"), "unknown split 'dev'"),
        (lambda: read_lines(tmp_path / "nothing.txt"), "no text file at"),
        (lambda: read_lines(tmp_path), "is a folder"),
        (lambda: read_lines(Path("/dev/zero")), "is a pipe, a socket or a device"),
        (lambda: read_corpus(tmp_path / ("x" * 300)), "is not a folder that can be read"),
        (lambda: read_corpus(Path("a\0b")), "is not a folder that can be read"),
        (lambda: find_split(tmp_path / ("x" * 300), "train"), "File name too long"),
    ):
        with pytest.raises(TextError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_without_a_folder_the_built_in_grammar_is_the_corpus(folder: Path) -> None:
    assert load_corpus(folder).name == "news"
    built_in = load_corpus(None, seed=3)
    assert len(built_in.train) == 8000
    assert built_in.train[:5] == load_corpus(None, seed=3).train[:5]
    assert built_in.train[:5] != load_corpus(None, seed=4).train[:5]
