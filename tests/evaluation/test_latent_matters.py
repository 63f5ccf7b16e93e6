"""The built-in corpus gives a latent something to do: a model that is robbed of it is measurably worse."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hvae_mnn.evaluation.proper import proper_report
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.presets import configure
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import Vocabulary
from hvae_mnn.training.run import train


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from a second thread, and on a busy machine its waiting costs minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_a_trained_model_needs_its_latent(tmp_path: Path) -> None:
    corpus = grammar_corpus(train=5000, valid=100, test=300)
    vocabulary = Vocabulary.build(corpus.train)
    specs = configure("tiny", "sound", len(vocabulary), epochs=10, annealing_epochs=2.0)
    checkpoint = load_checkpoint(train(corpus, *specs, tmp_path / "run", vocabulary=vocabulary))
    sentences = [vocabulary.encode_sentence(words) for words in corpus.test]
    report = proper_report(checkpoint.model, sentences, importance_samples=100, importance_sentences=60)
    assert report.ablation.gain > 3.0
    # What is left after the whole KL is paid, against the best this decoder does without knowing its latent.
    assert report.ablation.net_gain > 0.5
    assert report.mutual_information > 1.0
    assert report.active_units >= 8
    assert report.importance is not None
    assert report.importance.set_nll < report.elbo_nll
    assert all(check.holds for check in report.checks)
