"""Table 1 as text: Markdown, LaTeX, and two Parquet tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from hvae_mnn.files import write_text
from hvae_mnn.reproduction.corpora import (
    STAND_INS,
    CorpusCounts,
    SplitCount,
    VocabularyCount,
)
from hvae_mnn.reproduction.markup import NONE, latex_table, markdown_table
from hvae_mnn.reproduction.printed import PrintedCorpus, printed_corpora
from hvae_mnn.tables import write_table
from hvae_mnn.text.corpus import SPLITS

NAME = "table1"
Cells = tuple[str, ...]
_TITLE = "Table 1: data sets"
HEADINGS = ("corpus", "here", "train", "valid", "test", "vocabulary (k)", "which vocabulary")
COUNT_HEADINGS = ("corpus", "split", "sentences", "plain tokens", "plain types", "twr tokens", "twr types")
VOCABULARY_HEADINGS = ("corpus", "counted on", "words", "printed (k)", "the printed one")
_LEGEND = (
    "Sentences are lines with words (dialogues of DailyDialog). plain: split on white space; twr: TWR-VAE's tokenizer."
    " Types are distinct tokens; its 4 special symbols are counted where the table says so.",
    "A stand-in is another text of the same source: its figures cannot be compared with the printed ones.",
)


def compared_rows(counts: CorpusCounts) -> list[Cells]:
    """Printed corpora and their stand-ins: printed figures, and below them ours; columns `HEADINGS`."""
    rows: list[Cells] = []
    for printed in printed_corpora():
        sentences = (printed.train, printed.valid, printed.test)
        rows.append((printed.label, "printed", *map(_number, sentences), f"{printed.vocabulary_k:.4g}", NONE))
        rows.append(_own(counts, printed))
        for name in STAND_INS.get(printed.name, ()):
            if counts.is_found(name):
                rows.append((f"{printed.label}, stand-in", name, *map(_number, counts.sentences(name)), NONE, NONE))
    return rows


def _own(counts: CorpusCounts, printed: PrintedCorpus) -> Cells:
    """Our figures beside those of a printed corpus: of its vocabularies, the printed one, or else the last."""
    found = [count for count in counts.vocabularies if count.corpus == printed.name]
    best = next((count for count in found if count.is_printed), found[-1] if found else None)
    here = printed.name if counts.is_found(printed.name) else f"{printed.name}: not found"
    words = (NONE, NONE) if best is None else (_thousands(best), best.source)
    return (printed.label, here, *map(_number, counts.sentences(printed.name)), *words)


def count_rows(counts: CorpusCounts) -> list[Cells]:
    """Every split of every corpus under both tokenizers; columns `COUNT_HEADINGS`."""
    rows: list[Cells] = []
    for corpus in counts.corpora:
        if not counts.is_found(corpus):
            rows.append((corpus, "not found", *[NONE] * 5))
            continue
        for split in SPLITS:
            own = {one.tokenizer: one for one in counts.splits if (one.corpus, one.split) == (corpus, split)}
            plain, twr = own["plain"], own["twr"]
            if plain.sentences is None:
                rows.append((corpus, f"{split}: not found", *[NONE] * 5))
                continue
            numbers = (plain.sentences, plain.tokens, plain.vocabulary, twr.tokens, twr.vocabulary)
            rows.append((corpus, split, *map(_number, numbers)))
    return rows


def vocabulary_rows(counts: CorpusCounts) -> list[Cells]:
    """Vocabularies that the printed ones may be; columns `VOCABULARY_HEADINGS`."""
    printed = {one.name: f"{one.vocabulary_k:.4g}" for one in printed_corpora()}
    return [
        (one.corpus, one.source, _words(one), printed[one.corpus], "yes" if one.is_printed else "no")
        for one in counts.vocabularies
    ]


def _words(count: VocabularyCount) -> str:
    return _number(count.least) if count.least == count.most else f"{count.least:,} to {count.most:,}"


def _thousands(count: VocabularyCount) -> str:
    """Thousands with three decimals, so that the number itself can be read."""
    least, most = count.least / 1000, count.most / 1000
    return f"{least:.3f}" if least == most else f"{least:.3f} to {most:.3f}"


def _number(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def blocks(counts: CorpusCounts) -> list[tuple[str, Cells, list[Cells]]]:
    """Title, headings and rows of each part of the table."""
    return [
        ("Beside the printed figures", HEADINGS, compared_rows(counts)),
        ("Sentences, tokens and types", COUNT_HEADINGS, count_rows(counts)),
        ("Vocabularies", VOCABULARY_HEADINGS, vocabulary_rows(counts)),
    ]


def left_columns(headings: Sequence[str]) -> list[str]:
    """Columns of text."""
    texts = {"corpus", "here", "split", "which vocabulary", "counted on", "the printed one"}
    return [heading for heading in headings if heading in texts]


def markdown(counts: CorpusCounts) -> str:
    """The table as Markdown."""
    lines = [f"# {_TITLE}", ""]
    for paragraph in _LEGEND:
        lines += [paragraph, ""]
    for title, headings, rows in blocks(counts):
        lines += [f"## {title}", "", *markdown_table(headings, rows, left_columns(headings)), ""]
    return "\n".join(lines)


def latex(counts: CorpusCounts) -> str:
    """The table as LaTeX for the package booktabs: one `table` for each part."""
    lines = [f"% {_TITLE}"]
    for title, headings, rows in blocks(counts):
        left = left_columns(headings)
        columns = "".join("l" if heading in left else "r" for heading in headings)
        lines += latex_table(f"{_TITLE}. {title}.", columns, headings, rows)
    return "\n".join(lines) + "\n"


def write_outputs(counts: CorpusCounts, folder: Path) -> list[Path]:
    """Write `table1.md`, `.tex`, `.parquet` (splits) and `-vocabularies.parquet`; returns the paths.

    Raises `StorageError`.
    """
    endings = (".md", ".tex", ".parquet", "-vocabularies.parquet")
    paths = [Path(folder) / f"{NAME}{ending}" for ending in endings]
    write_text(paths[0], markdown(counts))
    write_text(paths[1], latex(counts))
    write_table(paths[2], _table(counts.splits, SplitCount))
    write_table(paths[3], _table(counts.vocabularies, VocabularyCount))
    return paths


def _table(rows: Sequence[Any], kind: type[Any]) -> pa.Table:
    """Rows of one dataclass, with columns of its fields' types."""
    types = {"str": pa.string(), "bool": pa.bool_(), "int": pa.int64(), "int | None": pa.int64()}
    schema = pa.schema([(field.name, types[str(field.type)]) for field in fields(kind)])
    return pa.Table.from_pylist([asdict(row) for row in rows], schema)
