"""Where corpora come from: a folder of train, valid and test text files, plain or gzip, or the built-in grammar.

Nothing is ever downloaded. One line is one sentence (or document); blank lines are skipped.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Collection
from pathlib import Path

from hvae_mnn.errors import TextError
from hvae_mnn.names import unknown_name
from hvae_mnn.reading import MIB, absolute, errors_as, is_folder, is_missing, names_in, read_bytes, shown, text_bytes
from hvae_mnn.text.corpus import SPLITS, Corpus, Sentence
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.tokenizers import find_tokenizer, join_tokens

_SPLIT_NAMES = {"train": ("train", "training"), "valid": ("valid", "val", "validation", "dev"), "test": ("test",)}
CORPUS_BYTES = 1024 * MIB
"""Largest text file, unpacked, in bytes: twice WikiText-103, two hundred times the Penn Treebank. Split into words, it
takes ten times as much memory."""
LINE_WORDS = 10_000
"""Most words of a line, or characters where these are the tokens. Every token is one step of the recurrent layers, and
a batch is as long as its longest sentence: a file without line ends, read as one sentence, would exhaust the memory."""
_RATIO, _ALWAYS = 32, 16 * MIB
"""Largest ratio of unpacked to packed size of a gzip file (text: three to ten), and the size that is always allowed."""
_ENDINGS = ("", ".txt", ".tokens", ".gz", ".txt.gz", ".tokens.gz")


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file, without their line ends; a file that begins with gzip's magic number is unpacked.

    Lines end at a line feed, a carriage return, or both: other separators (U+2028, a form feed) are white space inside
    a line. Byte order marks are left out, at the beginning and where files were joined: before a line.

    Raises `TextError` if the file is missing, no regular file, unreadable, a damaged gzip, not UTF-8 text, or larger
    than `CORPUS_BYTES`, unpacked.
    """
    path = Path(path)
    with errors_as(TextError):
        data = read_bytes(path, CORPUS_BYTES, "text file")
    if data[:2] == b"\x1f\x8b":
        data = _unpacked(path, data)
    with errors_as(TextError):
        data = text_bytes(data, path)
    decoded: list[str] = []
    for number, line in enumerate(data.splitlines(), start=1):  # splits bytes, at no other separator
        try:
            decoded.append(line.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise TextError(
                f"{shown(path)}, line {number}: byte 0x{line[error.start]:02x} at position {error.start + 1} is not"
                " UTF-8; convert the file to UTF-8"
            ) from error
    return decoded


def _unpacked(path: Path, packed: bytes) -> bytes:
    """The content of a gzip file, unpacked no further than allowed."""
    limit = min(CORPUS_BYTES, max(_ALWAYS, _RATIO * len(packed)))
    data = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            while part := file.read(MIB):
                data += part
                if len(data) > limit:
                    raise TextError(
                        f"{shown(path)} unpacks from {len(packed):,} bytes to more than {limit:,}; allowed for a text"
                        f" file: {CORPUS_BYTES:,}, and {_RATIO} times its size: check it with gunzip, give it unpacked"
                    )
    except (EOFError, zlib.error, OSError) as error:
        raise TextError(
            f"{shown(path)} is a damaged or truncated gzip file ({error}); fetch or pack it again"
        ) from error
    return bytes(data)


def find_split(folder: Path, split: str) -> Path | None:
    """The file of `folder` that holds a split, or None.

    Known names are the split's own (valid also as val, validation, dev), alone or after a prefix (`ptb.train.txt`,
    `ptb_train.txt`), with or without `.txt`, `.tokens` and `.gz`.

    Raises `TextError` if the folder cannot be read, or more than one file fits.
    """
    endings = sorted(_ENDINGS, key=len, reverse=True)
    ranked: list[tuple[int, Path]] = []
    with errors_as(TextError):
        paths = [Path(folder) / name for name in names_in(folder, "folder with text files") if name[0] != "."]
    for path in paths:
        if is_folder(path):
            continue
        name = path.name.lower()
        stem = next(name.removesuffix(ending) for ending in endings if name.endswith(ending))
        for rank, word in enumerate(_SPLIT_NAMES[split]):
            if stem == word:
                ranked.append((rank, path))
            elif stem.endswith((f".{word}", f"_{word}", f"-{word}")):
                ranked.append((rank + len(_SPLIT_NAMES[split]), path))
    if not ranked:
        return None
    best = min(rank for rank, _ in ranked)
    paths = [path for rank, path in ranked if rank == best]
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise TextError(
            f"{shown(folder)} has {len(paths)} files for the split {split!r}: {shown(names)}; leave one of them there"
        )
    return paths[0]


def read_corpus(folder: Path, tokenizer: str = "plain", splits: Collection[str] = SPLITS) -> Corpus:
    """Read the asked-for splits of a folder of text files.

    `splits` are required to be there and non-empty; a split that is not asked for is left empty and its file is not
    opened. So a folder without a train file can serve evaluation: ``splits=("valid", "test")``.

    Raises `TextError` if the folder or a split is missing, empty or unreadable, a line has more than `LINE_WORDS`
    tokens, or the tokenizer is unknown.
    """
    folder = Path(folder)
    find_tokenizer(tokenizer)
    foreign = sorted(set(splits) - set(SPLITS))
    if foreign:
        raise TextError(unknown_name("split", foreign[0], SPLITS))
    if not is_folder(folder):
        problem = "does not exist" if is_missing(folder) else "is not a folder that can be read"
        raise TextError(
            f"corpus folder {shown(folder)} {problem}; give a folder with train.txt, valid.txt and test.txt (or .gz)"
        )
    sentences: dict[str, list[Sentence]] = {split: [] for split in SPLITS}
    for split in (split for split in SPLITS if split in splits):
        path = find_split(folder, split)
        if path is None:
            names = ", ".join(names_in(folder)) or "nothing"
            raise TextError(
                f"no {split} file in {shown(folder)} (found: {shown(names)}); allowed: "
                f"{' or '.join(f'{word}.txt[.gz]' for word in _SPLIT_NAMES[split])}, also after a prefix like ptb."
            )
        sentences[split] = _sentences(path, tokenizer)
        if not sentences[split]:
            raise TextError(f"empty corpus: {path} has no words; give a text file with one sentence a line")
    return Corpus(name=absolute(folder).name, tokenizer=tokenizer, **sentences)


def _sentences(path: Path, tokenizer: str) -> list[Sentence]:
    """The lines of a file that have words, as their tokens."""
    sentences: list[Sentence] = []
    cutter = find_tokenizer(tokenizer)
    for number, line in enumerate(read_lines(path), start=1):
        tokens = cutter.cut(line)
        if len(tokens) > LINE_WORDS:
            raise TextError(
                f"{shown(path)}, line {number} has {len(tokens):,} {cutter.unit}s; allowed: {LINE_WORDS:,}; put one"
                " sentence on a line"
            )
        if tokens:
            sentences.append(tokens)
    return sentences


def load_corpus(
    data_dir: Path | None, tokenizer: str = "plain", seed: int = 0, splits: Collection[str] = SPLITS
) -> Corpus:
    """The corpus in `data_dir`, or without one the built-in grammar corpus made from `seed`, cut by the tokenizer.

    Raises as `read_corpus`.
    """
    if data_dir is not None:
        return read_corpus(data_dir, tokenizer, splits)
    corpus = grammar_corpus(seed=seed)
    if tokenizer == corpus.tokenizer:
        return corpus
    cutter = find_tokenizer(tokenizer)

    def cut(sentences: list[Sentence]) -> list[Sentence]:
        return [cutter.cut(join_tokens(corpus.tokenizer, words)) for words in sentences]

    return Corpus(corpus.name, cut(corpus.train), cut(corpus.valid), cut(corpus.test), tokenizer)
