"""Corpora: a folder of train, valid and test text files, plain or gzip, becomes lists of token lists.

Nothing is ever downloaded. One line is one sentence (or document); blank lines are skipped.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from hvae_mnn.errors import TextError
from hvae_mnn.names import unknown_name
from hvae_mnn.text.tokenizers import TOKENIZERS, tokenize

Sentence = list[str]

SPLITS = ("train", "valid", "test")
_SPLIT_NAMES = {"train": ("train", "training"), "valid": ("valid", "val", "validation", "dev"), "test": ("test",)}
_ENDINGS = ("", ".txt", ".tokens", ".gz", ".txt.gz", ".tokens.gz")


@dataclass(frozen=True)
class Corpus:
    """Sentences in three splits, as token lists without special symbols; a split that nobody asked for may be empty."""

    name: str
    """What the corpus is called in reports, e.g. the folder's name."""
    train: list[Sentence] = field(repr=False)
    """Sentences that the vocabulary and the weights come from; empty where a corpus has no such split (Yahoo here)."""
    valid: list[Sentence] = field(repr=False)
    """Sentences that choose the best epoch."""
    test: list[Sentence] = field(repr=False)
    """Sentences that are only reported on."""
    tokenizer: str = "plain"
    """Name of the tokenizer that made the tokens, a key of `tokenizers.TOKENIZERS`."""

    def split(self, name: str) -> list[Sentence]:
        """The sentences of `train`, `valid` or `test`.

        Errors: `TextError` for another name.
        """
        if name not in SPLITS:
            raise TextError(unknown_name("split", name, SPLITS))
        sentences: list[Sentence] = getattr(self, name)
        return sentences


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file, without their line ends; a file that begins with gzip's magic number is unpacked.

    Lines end at a line feed only (or carriage return and line feed): other separators inside a line are white space.

    Errors: `TextError` if the file is missing, a folder, unreadable, a damaged gzip or not UTF-8.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise TextError(f"no such text file: {path}; give the path of an existing file") from error
    except OSError as error:
        raise TextError(f"cannot read {path}: {error.strerror or error}; give a readable text file") from error
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, zlib.error, OSError) as error:
            raise TextError(f"{path} is a damaged or truncated gzip file ({error}); fetch or pack it again") from error
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    decoded: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            decoded.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise TextError(
                f"{path}, line {number}: byte 0x{line[error.start]:02x} at position {error.start + 1} is not UTF-8; "
                "convert the file to UTF-8"
            ) from error
    return decoded


def find_split(folder: Path, split: str) -> Path | None:
    """The file of `folder` that holds a split, or None.

    Known names are the split's own (valid also as val, validation, dev), alone or after a prefix (`ptb.train.txt`,
    `ptb_train.txt`), with or without `.txt`, `.tokens` and `.gz`.

    Errors: `TextError` if more than one file fits.
    """
    endings = sorted(_ENDINGS, key=len, reverse=True)
    found: list[tuple[int, Path]] = []
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith("."):
            continue
        name = path.name.lower()
        stem = next(name.removesuffix(ending) for ending in endings if name.endswith(ending))
        for rank, word in enumerate(_SPLIT_NAMES[split]):
            if stem == word:
                found.append((rank, path))
            elif stem.endswith((f".{word}", f"_{word}", f"-{word}")):
                found.append((rank + len(_SPLIT_NAMES[split]), path))
    if not found:
        return None
    best = min(rank for rank, _ in found)
    paths = [path for rank, path in found if rank == best]
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise TextError(f"{folder} has {len(paths)} files for the split {split!r}: {names}; leave one of them there")
    return paths[0]


def read_corpus(folder: Path, tokenizer: str = "plain", splits: Collection[str] = SPLITS) -> Corpus:
    """Read the asked-for splits of a folder of text files.

    `splits` are required to be there and non-empty; a split that is not asked for is left empty and its file is not
    opened. So a folder without a train file can serve evaluation: ``splits=("valid", "test")``.

    Errors: `TextError` if the folder or a split is missing, empty or unreadable, or the tokenizer is unknown.
    """
    folder = Path(folder)
    if tokenizer not in TOKENIZERS:
        raise TextError(unknown_name("tokenizer", tokenizer, TOKENIZERS))
    foreign = sorted(set(splits) - set(SPLITS))
    if foreign:
        raise TextError(unknown_name("split", foreign[0], SPLITS))
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise TextError(
            f"corpus folder {folder} {problem}; give a folder with train.txt, valid.txt and test.txt (or .gz)"
        )
    sentences: dict[str, list[Sentence]] = {split: [] for split in SPLITS}
    for split in (split for split in SPLITS if split in splits):
        try:
            path = find_split(folder, split)
            names = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        except OSError as error:
            raise TextError(f"cannot read the folder {folder}: {error.strerror or error}") from error
        if path is None:
            raise TextError(
                f"no {split} file in {folder} (found: {names}); allowed: "
                f"{' or '.join(f'{word}.txt[.gz]' for word in _SPLIT_NAMES[split])}, also after a prefix like ptb."
            )
        sentences[split] = [tokens for line in read_lines(path) if (tokens := tokenize(tokenizer, line))]
        if not sentences[split]:
            raise TextError(f"empty corpus: {path} has no words; give a text file with one sentence a line")
    return Corpus(name=folder.resolve().name, tokenizer=tokenizer, **sentences)


def load_corpus(
    data_dir: Path | None, tokenizer: str = "plain", seed: int = 0, splits: Collection[str] = SPLITS
) -> Corpus:
    """The corpus in `data_dir`, or without one the built-in grammar corpus made from `seed` (split on white space).

    Errors: those of `read_corpus`.
    """
    if data_dir is not None:
        return read_corpus(data_dir, tokenizer, splits)
    from hvae_mnn.text.grammar import grammar_corpus

    return grammar_corpus(seed=seed)
