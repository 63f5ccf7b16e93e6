"""Table 1: sentences, tokens and vocabularies of the corpora in a folder, beside the printed figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hvae_mnn.errors import TextError
from hvae_mnn.reading import errors_as, is_folder, names_in, shown
from hvae_mnn.reproduction.printed import PrintedCorpus, printed_corpora
from hvae_mnn.text.corpus import SPLITS
from hvae_mnn.text.sources import find_split, read_lines
from hvae_mnn.text.tokenizers import find_tokenizer
from hvae_mnn.text.vocabulary import SPECIALS

TOKENIZERS = ("plain", "twr")
"""Ways in which words of a corpus are counted."""


STAND_INS = {"yelp": ("yelp_short",), "yahoo": ("yahoo_lite",)}
"""Corpora of the same source that stand in for a printed one: their texts, and so all figures, are others."""
WORD_LISTS = {"yahoo": ("yahoo", "vocab.txt"), "yelp": ("yelp_short", "yelp_full_vocab.txt")}
"""Folder and file (or file.gz) that list every word of a printed corpus's train split: `word<TAB>id` lines."""
_LIST_SPECIALS = {"<pad>", "<bos>", "<eos>"}
"""Entries of such a list that are no words of the text."""
_LOWER_CASE = "dailydialog"
"""The corpus whose printed vocabulary is that of its lower-cased text."""


@dataclass(frozen=True)
class SplitCount:
    """A split of a corpus, counted in one way."""

    corpus: str
    """Name of the corpus's folder."""
    split: str
    """`train`, `valid` or `test`."""
    tokenizer: str
    """`plain` or `twr`."""
    sentences: int | None
    """Lines with words; None if the corpus or its file is not there."""
    tokens: int | None
    """Tokens without start and end symbols; `__eou__` of DailyDialog is one."""
    vocabulary: int | None
    """Distinct tokens, without special symbols."""


@dataclass(frozen=True)
class VocabularyCount:
    """A vocabulary that the printed one may be."""

    corpus: str
    """Name of the printed corpus."""
    source: str
    """Text it was counted on, and how."""
    least: int
    """Number of entries."""
    most: int
    """The same with the empty token, which `twr` makes of a line that begins with a split mark: a word list does not
    tell whether the text has one."""
    is_printed: bool
    """Whether either number is the printed one, to the printed digits."""


@dataclass(frozen=True)
class CorpusCounts:
    """What was counted in a folder of corpora."""

    splits: tuple[SplitCount, ...]
    """By corpus, split and tokenizer; the printed corpora first, found or not."""
    vocabularies: tuple[VocabularyCount, ...]
    """Of the printed corpora that were found."""

    def sentences(self, corpus: str) -> tuple[int | None, int | None, int | None]:
        """Sentences of train, valid and test."""
        found = {count.split: count.sentences for count in self.splits if count.corpus == corpus}
        return found.get("train"), found.get("valid"), found.get("test")

    def is_found(self, corpus: str) -> bool:
        """Whether the folder has any split of it."""
        return any(number is not None for number in self.sentences(corpus))

    @property
    def corpora(self) -> tuple[str, ...]:
        """Names of all corpora, in their order."""
        return tuple(dict.fromkeys(count.corpus for count in self.splits))


def count_corpora(folder: Path) -> CorpusCounts:
    """Count every corpus in `folder`, each a folder of its own with train, valid and test files.

    Raises `TextError` for a folder that cannot be read or holds no corpus, and for damaged text files.
    """
    folder = Path(folder)
    with errors_as(TextError):
        names = sorted(name for name in names_in(folder, "folder with corpora") if is_folder(folder / name))
    found = [name for name in names if name[0] != "." and any(find_split(folder / name, split) for split in SPLITS)]
    if not found:
        hint = "; give the folder around it" if any(find_split(folder, split) for split in SPLITS) else ""
        raise TextError(
            f"{shown(folder)} holds no corpus{hint}; allowed: folders such as ptb, yahoo or dailydialog, each with"
            " train.txt, valid.txt and test.txt (or .gz)"
        )
    order = [name for printed in printed_corpora() for name in (printed.name, *STAND_INS.get(printed.name, ()))]
    printed_names = {printed.name for printed in printed_corpora()}
    ordered = [name for name in order if name in found or name in printed_names]
    ordered += [name for name in found if name not in order]
    splits: list[SplitCount] = []
    types: dict[str, set[str]] = {}
    for name in ordered:
        counts, train = _count_splits(folder, name)
        splits += counts
        types[name] = train
    vocabularies = [
        count for printed in printed_corpora() for count in _vocabularies(folder, printed, types[printed.name])
    ]
    return CorpusCounts(tuple(splits), tuple(vocabularies))


def _count_splits(folder: Path, corpus: str) -> tuple[list[SplitCount], set[str]]:
    """Counts of every split under every tokenizer, and the distinct `twr` tokens of train."""
    counts: list[SplitCount] = []
    train: set[str] = set()
    for split in SPLITS:
        path = find_split(folder / corpus, split) if is_folder(folder / corpus) else None
        lines = None if path is None else read_lines(path)
        for tokenizer in TOKENIZERS:
            if lines is None:
                counts.append(SplitCount(corpus, split, tokenizer, None, None, None))
                continue
            sentences, tokens, types = _count(lines, tokenizer)
            counts.append(SplitCount(corpus, split, tokenizer, sentences, tokens, len(types)))
            if (split, tokenizer) == ("train", "twr"):
                train = types
    return counts, train


def _count(lines: Iterable[str], tokenizer: str) -> tuple[int, int, set[str]]:
    """Number of lines with tokens, number of tokens, distinct tokens."""
    cut = find_tokenizer(tokenizer).cut
    sentences = tokens = 0
    types: set[str] = set()
    for line in lines:
        words = cut(line)
        sentences += bool(words)
        tokens += len(words)
        types.update(words)
    return sentences, tokens, types


def _vocabularies(folder: Path, printed: PrintedCorpus, train: set[str]) -> Iterator[VocabularyCount]:
    """Vocabularies that the printed number may be, as far as the text for them is there."""

    def counted(source: str, least: int, most: int) -> VocabularyCount:
        is_printed = any(_is_printed(number, printed.vocabulary_k) for number in (least, most))
        return VocabularyCount(printed.name, source, least, most, is_printed)

    if train:
        path = find_split(folder / printed.name, "train")
        assert path is not None
        lines = read_lines(path)
        plain = len(_count(lines, "plain")[2])
        yield counted("train, plain", plain, plain)
        if printed.name == _LOWER_CASE:
            lower = len(_count(map(str.lower, lines), "plain")[2])
            yield counted("train, plain, lower case", lower, lower)
        specials = len(train) + len(SPECIALS)
        yield counted(f"train, twr, with {len(SPECIALS)} special symbols", specials, specials)
    path = _word_list(folder, printed.name)
    if path is not None:
        words = {line.split("\t")[0] for line in read_lines(path) if line} - _LIST_SPECIALS
        yield counted("word list of train, as it is", len(words), len(words))
        types = _count(words, "twr")[2] - {""}
        least = len(types) + len(SPECIALS)
        yield counted(f"word list of train, twr, with {len(SPECIALS)} special symbols", least, least + 1)


def _word_list(folder: Path, corpus: str) -> Path | None:
    """The file that lists the words of a printed corpus, or None."""
    if corpus not in WORD_LISTS:
        return None
    home, name = WORD_LISTS[corpus]
    paths = [folder / home / name, folder / home / f"{name}.gz"]
    return next((path for path in paths if path.is_file()), None)


def _is_printed(number: int, thousands: float) -> bool:
    """Whether a number, in thousands, rounds to the printed one: two decimals, none where it is printed without."""
    return round(number / 1000, 0 if thousands == int(thousands) else 2) == thousands
