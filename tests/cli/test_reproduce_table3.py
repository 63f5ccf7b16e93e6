"""The command `reproduce table3`, as a group calls it."""

from __future__ import annotations

import pytest

from hvae_mnn.cli.reproduce_table3 import table3
from hvae_mnn.models.checkpoint import save_checkpoint
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.reproduction.printed import printed_sentences
from hvae_mnn.reproduction.sentences import in_corpus
from hvae_mnn.text.vocabulary import Vocabulary


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    vocabulary = Vocabulary.build([in_corpus(row.source).split() for row in printed_sentences()])
    for name, cells in (("twr", ("lstm",)), ("hsr", ("lstm", "lstm"))):
        model = HSRVAE(ModelConfig(len(vocabulary), 7, 5, 3, cells))
        save_checkpoint(tmp_path / f"{name}.pt", model, TrainingConfig(), vocabulary, "plain", {})
    return ["--twr", "twr.pt", "--hsr", "hsr.pt"]


def test_the_table_is_printed_and_written(models, tmp_path, capsys):
    table3.main([*models, "--temperature", "0.8", "--seed", "2"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "Most likely next word after each word of the source (as printed)" in printed
    assert "19/28" in printed
    for row in printed_sentences():
        assert printed.count(row.source) >= 3
    assert "TWR-VAE: lstm encoder, lstm decoder, 7/5/3" in printed
    assert "HSR-VAE: lstm+lstm encoder, lstm decoder, 7/5/3" in printed
    assert "wrote runs/table3/table3.md, runs/table3/table3.tex, runs/table3/table3.parquet" in printed
    names = {path.name for path in (tmp_path / "runs" / "table3").iterdir()}
    assert names == {"table3.md", "table3.tex", "table3.parquet"}
