"""What the paper prints in its Tables 1 to 4, read from `printed.toml`, the one place where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from hvae_mnn.reading import parse_toml

PrintedKind = Literal["importance", "langevin", "paper"]
"""How a printed row was computed. `importance`: importance-weighted NLL and PPL, KL of the latent, copied from earlier
papers; `langevin`: Sri-VAE's own estimate; both stand beside the report `proper`. `paper`: the formulas of TWR-VAE's
code, beside the report `paper`."""
FIGURES = ("nll", "ppl", "mi", "kl")
"""Names of the printed figures; nats per sentence but for `ppl`."""


@dataclass(frozen=True)
class PrintedRow:
    """A row of Table 2 or 4."""

    label: str
    """Its first cell."""
    models: tuple[str, ...]
    """Names in `models.rows.ROWS` beside which it stands."""
    kind: PrintedKind
    figures: Mapping[str, Mapping[str, float]]
    """By corpus (`ptb`, `yahoo`, `yelp`), then by name, of `FIGURES`."""


@dataclass(frozen=True)
class PrintedCorpus:
    """A row of Table 1."""

    label: str
    """Its first cell."""
    name: str
    """Name of the corpus here."""
    train: int
    """Number of sentences (dialogues of DailyDialog) of each split."""
    valid: int
    test: int
    vocabulary_k: float
    """Thousands of words."""


@dataclass(frozen=True)
class PrintedSentence:
    """An example of Table 3."""

    label: str
    """Model as printed."""
    model: str
    """Name in `models.rows.ROWS`."""
    number: int
    """Number within the model's examples."""
    source: str
    generated: str


@cache
def _stored() -> Mapping[str, Any]:
    text = (files("hvae_mnn.reproduction") / "printed.toml").read_text(encoding="utf-8")
    return parse_toml(text, "printed.toml")


def printed_source() -> str:
    """The paper, with its DOI."""
    return f"{_stored()['source']}, doi:{_stored()['doi']}"


def printed_title(table: str) -> str:
    """Caption of `table1` to `table4`, and its section."""
    stored = _stored()[table]
    return f"{stored['title']} (section {stored['section']})"


@cache
def printed_rows(table: str) -> tuple[PrintedRow, ...]:
    """Rows of `table2` or `table4`, in the printed order."""
    return tuple(_row(stored) for stored in _stored()[table]["rows"])


def _row(stored: Mapping[str, Any]) -> PrintedRow:
    own = ("label", "models", "kind")
    figures = {name: value for name, value in stored.items() if name not in own}
    return PrintedRow(stored["label"], tuple(stored["models"]), stored["kind"], figures)


def printed_of(table: str, corpus: str | None, model: str) -> tuple[PrintedRow, Mapping[str, float]] | None:
    """The printed row of a model on a corpus, and its figures; None where the paper prints none."""
    for row in printed_rows(table):
        if corpus is not None and model in row.models and corpus in row.figures:
            return row, row.figures[corpus]
    return None


def printed_corpora() -> tuple[PrintedCorpus, ...]:
    """Rows of Table 1."""
    return tuple(PrintedCorpus(**stored) for stored in _stored()["table1"]["rows"])


def printed_sentences() -> tuple[PrintedSentence, ...]:
    """Examples of Table 3."""
    return tuple(PrintedSentence(**stored) for stored in _stored()["table3"]["rows"])


def printed_changes() -> Mapping[str, Mapping[str, float]]:
    """Changes of NLL, PPL and KL against baselines that sections 1 and 4.1 state, by the baseline's model."""
    changes: Mapping[str, Mapping[str, float]] = _stored()["changes"]
    return changes
