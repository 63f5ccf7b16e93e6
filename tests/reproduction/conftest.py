"""A small corpus in a folder, and plans of tables for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hvae_mnn.text.grammar import grammar_corpus

PLAN = """
table = "table2"
title = "Small"
rows = ["hsr-lstm-lstm", "hsr-gru-gru", "hsr-lstm-lstm-last"]

[profiles.cpu]
embedding = 6
hidden = 8
latent = 3
epochs = 2
seeds = 1
importance_samples = 4
importance_sentences = 8
set = { learning_rate = 0.01, batch_size = 16 }

[profiles.cpu.corpora.short]
folder = "toy"
stands_for = "ptb"
longest = 12
note = "A note."

[profiles.cpu.corpora.short.rows.hsr-lstm-lstm]
seeds = 2
"""


def write_corpus(folder: Path) -> Path:
    """A folder `toy` with three splits of the grammar's sentences, below `folder`."""
    corpus = grammar_corpus(seed=3, train=120, valid=30, test=30)
    (folder / "toy").mkdir(parents=True)
    for split in ("train", "valid", "test"):
        text = "".join(" ".join(words) + "\n" for words in corpus.split(split))
        (folder / "toy" / f"{split}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder above the corpus `toy`."""
    return write_corpus(tmp_path_factory.mktemp("corpora"))


@pytest.fixture
def plan_file(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the plan, with parts of its text replaced, and returns its path."""

    def write(*changes: tuple[str, str]) -> Path:
        text = PLAN
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "plan.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
