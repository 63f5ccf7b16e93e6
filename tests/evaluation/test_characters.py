"""Bits per character: what they divide by, and that both reports agree with the likelihoods they come from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hvae_mnn import evaluate
from hvae_mnn.cli.main import main
from hvae_mnn.evaluation.characters import count_characters
from hvae_mnn.evaluation.importance import importance_report
from hvae_mnn.evaluation.report import encode_split
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.text.corpus import Corpus
from hvae_mnn.text.sources import load_corpus
from hvae_mnn.text.tokenizers import tokenize

LINES = ["the <unk> dog", "a <unk> <unk> cat ran"]
QUICK = {"sentences": 30, "importance_samples": 6, "importance_sentences": 7, "progress": False}


@pytest.mark.parametrize("name", ["plain", "twr", "char"])
def test_symbols_are_characters_and_ends_whatever_the_tokens(name: str) -> None:
    counts = count_characters(name, [tokenize(name, f" {line} ") for line in LINES])
    assert counts.symbols == (len(LINES[0]) + 1, len(LINES[1]) + 1)
    assert counts.to_dict() == {
        "symbols": 13 + 21 + 2,
        "spaces": 2 + 4,
        "ends": 2,
        "unknown_marks": 3,
        "symbols_if_unk_is_one": 36 - 4 * 3,
    }


def test_a_model_of_characters_has_the_bits_of_its_perplexity(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    result = evaluate(make_checkpoint("gru", "char"), out=tmp_path, **QUICK)
    paper, proper, importance = result.paper, result.proper, result.proper.importance
    assert importance is not None
    assert proper.bits_per_character == pytest.approx(math.log2(proper.elbo_ppl))
    assert importance.bits_per_character == pytest.approx(math.log2(importance.ppl))
    assert importance.set_bits_per_character == pytest.approx(math.log2(importance.set_ppl))
    # The paper's own formula counts the start symbol, the bits per character do not.
    assert paper.tokens == proper.tokens + 30
    assert paper.bits_per_character == pytest.approx(math.log2(paper.ppl) * paper.tokens / proper.tokens)
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record["unit"] == "character"
    assert record["characters"]["symbols"] == proper.tokens == record["words"] + 30
    assert record["characters"]["ends"] == 30
    assert record["paper"]["bits_per_character"] == paper.bits_per_character
    assert record["proper"]["importance"]["set_bits_per_character"] == importance.set_bits_per_character


def known_corpus(checkpoint: Path) -> Corpus:
    """The built-in test split without the sentences that have a word that the model lacks."""
    vocabulary = load_checkpoint(checkpoint).vocabulary
    corpus = load_corpus(None)
    lines = [words for words in corpus.test if all(word in vocabulary for word in words)][:30]
    assert len(lines) == 30
    return Corpus("known", [], [], lines)


def write(corpus: Corpus, folder: Path) -> Path:
    folder.mkdir()
    (folder / "test.txt").write_text("".join(f"{' '.join(words)}\n" for words in corpus.test), encoding="utf-8")
    return folder


def test_a_model_of_words_spreads_its_nats_over_the_same_characters(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint("gru")
    folder = write(known_corpus(checkpoint), tmp_path / "known")
    words = evaluate(checkpoint, data_dir=folder, out=tmp_path / "words", **QUICK)
    chars = evaluate(make_checkpoint("gru", "char"), data_dir=folder, out=tmp_path / "chars", **QUICK)
    assert words.summary["characters"] == chars.summary["characters"]
    symbols = words.summary["characters"]["symbols"]
    assert symbols == sum(len(line) + 1 for line in (folder / "test.txt").read_text().splitlines())
    for report, nll in ((words.proper, words.proper.elbo_nll), (words.paper, words.paper.nll)):
        assert report.bits_per_character == pytest.approx(30 * nll / symbols / math.log(2))
    importance = words.proper.importance
    assert importance is not None
    assert importance.set_bits_per_character == pytest.approx(30 * importance.set_nll / symbols / math.log(2))


def test_weighted_sentences_are_divided_by_their_own_characters(make_checkpoint: Callable[..., Path]) -> None:
    checkpoint = load_checkpoint(make_checkpoint("gru"))
    text = encode_split(checkpoint, known_corpus(checkpoint.path), "test")
    assert text.characters is not None
    mean = torch.zeros(30, checkpoint.config.latent_size)
    chosen = [3, 11]
    report = importance_report(
        checkpoint.model,
        text.sentences,
        (mean, mean),
        chosen,
        samples=4,
        set_elbo_nll=50.0,
        seed=0,
        characters=text.characters.symbols,
    )
    own = sum(text.characters.symbols[index] for index in chosen)
    assert report.bits_per_character == pytest.approx(2 * report.nll / own / math.log(2))


def test_unknown_words_leave_no_bits_per_character_but_unknown_characters_do(
    make_checkpoint: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = known_corpus(make_checkpoint("gru"))
    corpus.test[0].append("zyz#")
    folder = write(corpus, tmp_path / "text")
    quick = {**QUICK, "importance_samples": 0}
    words = evaluate(make_checkpoint("gru"), data_dir=folder, out=tmp_path / "words", **quick)
    assert words.summary["unknown_words"] == 1
    assert words.summary["characters"] is None
    assert words.paper.bits_per_character is words.proper.bits_per_character is None
    chars = evaluate(make_checkpoint("gru", "char"), data_dir=folder, out=tmp_path / "chars", **quick)
    assert chars.summary["unknown_words"] >= 1
    assert chars.proper.bits_per_character == pytest.approx(math.log2(chars.proper.elbo_ppl))


def test_evaluate_prints_the_bits_and_says_what_a_symbol_is(
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "test.txt").write_text("the dog sings\nthe old sailor sleeps in the boat by the sea\n" * 3)
    checkpoint = make_checkpoint("gru", "char")
    arguments = ["--data-dir", tmp_path / "text", "--importance-samples", "3", "--out", tmp_path / "out"]
    main(["evaluate", *map(str, [checkpoint, *arguments])])
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "6 sentences, 171 characters," in printed
    assert "177 symbols, which are all characters (33 are spaces) and 6 ends of sentences" in printed
    assert "per characters + 2" in printed
    assert "per words" not in printed
    for report in ("paper", "proper"):
        assert f"{record[report]['bits_per_character']:.3f}" in printed
    assert f"{record['proper']['importance']['set_bits_per_character']:.3f}" in printed
