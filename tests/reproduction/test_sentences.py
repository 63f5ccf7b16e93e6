"""Table 3: the printed texts, the corpus that they come from, and both models on all six sentences."""

from __future__ import annotations

import copy
import re

import pyarrow.parquet as pq
import pytest
import torch

from hvae_mnn import load_checkpoint, reproduce_table3
from hvae_mnn.errors import InputError, RunError, TextError
from hvae_mnn.models.checkpoint import save_checkpoint
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.reproduction.printed import printed_sentences
from hvae_mnn.reproduction.sentences import in_corpus, right_words
from hvae_mnn.text.sources import load_corpus, read_lines
from hvae_mnn.text.tokenizers import tokenize
from hvae_mnn.text.vocabulary import EOS, SOS, Vocabulary

SOURCES = [row.source for row in printed_sentences()]
LINES = (2874, 2940, 140, 1931, 1975, 2123)
"""Where the sources stand in the test file of the Penn Treebank, from 1."""
RIGHT = (2, 2, 2, 5, 4, 4)
"""Words of the sources that the printed texts have at their places, counted by hand."""


@pytest.fixture(scope="module")
def make_model(tmp_path_factory):
    """A checkpoint of random weights that knows the six sentences, by tokenizer and encoder cells."""

    def make(tokenizer, cells, latent_size=3):
        lines = [tokenize(tokenizer, in_corpus(source)) for source in SOURCES]
        vocabulary = Vocabulary.build(lines)
        config = ModelConfig(len(vocabulary), 7, 5, latent_size, cells, encoder_sees_eos=False)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(len(cells))
            model = HSRVAE(config).eval()
            for parameter in model.parameters():
                parameter.mul_(2).add_(0.3 * torch.randn_like(parameter))
        path = tmp_path_factory.mktemp("models") / f"{tokenizer}{len(cells)}.pt"
        return save_checkpoint(path, model, TrainingConfig(), vocabulary, tokenizer, {"epoch": 3, "corpus": "six"})

    return make


@torch.no_grad()
def forced(path, source):
    """The most likely words by the whole model in torch, and -ln p of the source."""
    checkpoint = load_checkpoint(path)
    model = copy.deepcopy(checkpoint.model).double().eval()
    words = checkpoint.vocabulary.words
    ids = [SOS, *(words.index(word) for word in tokenize(checkpoint.tokenizer, source)), EOS]
    mean, _ = model.encode(torch.tensor([ids]), torch.tensor([len(ids)]), masked=True).last()
    logits = model.decode(torch.tensor([ids]), mean)[0]
    nats = float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))
    return " ".join(words[word] for word in logits.argmax(dim=1).tolist()).removesuffix(" <eos>"), nats


def test_both_models_read_all_six(make_model, tmp_path):
    paths = {"TWR-VAE": make_model("twr", ("lstm",)), "HSR-VAE": make_model("plain", ("lstm", "lstm"))}
    told = []
    result = reproduce_table3(
        *paths.values(), seed=2, temperature=0.5, out=tmp_path, progress=lambda *event: told.append(event)
    )
    assert len(result.rows) == 2 * 6 * 3 == told[-1][1] == told[-1][2]
    for row in result.rows:
        if row.form == "teacher-forced":
            text, nats = forced(paths[row.model], in_corpus(row.source))
            assert (row.text, row.nats) == (text, pytest.approx(nats, rel=1e-7))
    assert len({row.text for row in result.rows}) > 10
    assert len({row.text for row in result.rows if row.model == "HSR-VAE"}) > 6
    table = pq.read_table(tmp_path / "table3.parquet").to_pylist()
    assert [row["text"] for row in table] == [row.text for row in result.rows]
    assert {(row["seed"], row["temperature"]) for row in table} == {(2, 0.5)}
    assert result.table("table3").num_rows == 36
    assert "printed='19/28 words right'" in repr(result)
    # Made again in the same place, to the same bytes.
    before = {path: path.read_bytes() for path in result.paths}
    again = reproduce_table3(*paths.values(), seed=2, temperature=0.5, out=tmp_path, progress=False)
    assert {path: path.read_bytes() for path in again.paths} == before


def test_printed_texts_stand_beside_ours(make_model, tmp_path):
    result = reproduce_table3(
        make_model("plain", ("gru",)), make_model("twr", ("lstm", "gru")), out=tmp_path, progress=False
    )
    markdown, latex = (path.read_text(encoding="utf-8") for path in result.paths[:2])
    for row, right in zip(printed_sentences(), RIGHT, strict=True):
        count = len(row.source.split())
        line = f"| {row.source} | {row.label}: {row.generated} ({right}/{count}) | "
        assert markdown.count(line) == 1
        assert latex.count(f"{row.source} & ") == 3
    assert "| words right | 19/28 | " in markdown
    assert markdown.count("| words right | ") == 3
    assert latex.count(r"\begin{table*}") == latex.count(r"\end{table*}") == 3
    assert latex.isascii()
    assert not re.search(r"(?<!\\)[#_]", "\n".join(line for line in latex.splitlines() if line[0] != "%"))
    assert "gru encoder, lstm decoder, 7/5/3, objective sound, tokenizer plain, epoch 3 on six" in markdown


def test_models_that_cannot_are_refused_before_anything_is_written(make_model, make_checkpoint, tmp_path):
    good = make_model("plain", ("lstm",))
    with pytest.raises(InputError, match="is a language model, which has no latent; allowed: --prior N"):
        reproduce_table3(good, make_model("plain", (), latent_size=0), out=tmp_path / "a", progress=False)
    with pytest.raises(TextError, match=r"Table 3 with .*rnn\.pt: no word of .* is in the model's vocabulary"):
        reproduce_table3(good, make_checkpoint("rnn"), out=tmp_path / "a", progress=False)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "manifest.json").write_text("{}")
    with pytest.raises(RunError, match="holds netlists"):
        reproduce_table3(good, good, out=tmp_path / "net", progress=False)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(("source", "text", "right"), [("A b", "a B c", 2), ("a b c", "b c a", 0), ("a b", "", 0)])
def test_words_count_at_their_places(source, text, right):
    assert right_words(source, text) == right


@pytest.mark.corpus
def test_the_six_sources_are_lines_of_the_treebank(data_dir):
    (path,) = (data_dir / "ptb").glob("*test*")
    lines = [line.strip() for line in read_lines(path)]
    found = tuple(lines.index(in_corpus(source)) + 1 for source in SOURCES)
    assert found == LINES
    assert all(lines.count(in_corpus(source)) == 1 for source in SOURCES)
    # As the paper prints them, under TWR-VAE's tokenizer.
    cut = load_corpus(data_dir / "ptb", "twr", splits=("test",)).test
    assert [" ".join(cut[line - 1]) for line in LINES] == SOURCES
    known = Vocabulary.build(load_corpus(data_dir / "ptb", "twr", splits=("train",)).train)
    assert all(word in known for source in SOURCES for word in source.split())
    printed = {word for row in printed_sentences() for word in row.generated.split()}
    assert all(word in known for word in printed)
