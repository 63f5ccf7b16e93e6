"""Sentences that a model and its crossbars write, against the whole model as torch runs it, word by word."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hvae_mnn import build_netlist, generate, load_checkpoint, read_hardware
from hvae_mnn.crossbar.hardware.spec import ConverterSpec, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.errors import InputError, ManifestError, RunError, TextError, UnknownWordsWarning
from hvae_mnn.models.activations import activation_ranges
from hvae_mnn.models.checkpoint import save_checkpoint
from hvae_mnn.models.config import ModelConfig
from hvae_mnn.models.hsrvae import HSRVAE
from hvae_mnn.models.inference.infer import infer
from hvae_mnn.models.training_config import TrainingConfig
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.tokenizers import tokenize
from hvae_mnn.text.vocabulary import EOS, SOS, Vocabulary

TEXTS = [" ".join(words) for words in grammar_corpus(train=400, valid=60, test=20).test[:4]]
LIMIT = 9
EXACT = {"dac_bits": 0, "adc_bits": 0}
NOISY = replace(
    read_hardware("paper"),
    name="noisy",
    wires=Wires(40.0, 60.0, 30.0),
    tiling=Tiling(6, 4),
    dac=ConverterSpec(4, noise_lsb=0.3, inl_lsb=0.5),
    adc=ConverterSpec(5, noise_lsb=0.7, inl_lsb=0.4),
)


@pytest.fixture(scope="module")
def netlist(make_checkpoint, tmp_path_factory):
    made = {}

    def make(cells, hardware="paper"):
        name = hardware if isinstance(hardware, str) else hardware.name
        if (cells, name) not in made:
            folder = tmp_path_factory.mktemp("netlists") / f"{cells}-{name}"
            made[cells, name] = build_netlist(make_checkpoint(cells), folder, hardware=hardware)
        return made[cells, name]

    return make


class Whole:
    """The model as torch runs it in float64, everything decoded anew for every word."""

    def __init__(self, path):
        checkpoint = load_checkpoint(path)
        self.vocabulary = checkpoint.vocabulary
        self.model = copy.deepcopy(checkpoint.model).double().eval()

    def encoded(self, text):
        return [SOS, *(self.vocabulary.words.index(word) for word in text.split()), EOS]

    @torch.no_grad()
    def mean(self, text):
        sentence = self.encoded(text)
        return self.model.encode(torch.tensor([sentence]), torch.tensor([len(sentence)]), masked=True).last()[0]

    @torch.no_grad()
    def forced(self, text, z):
        logits = self.model.decode(torch.tensor([self.encoded(text)]), z)[0]
        nats = torch.nn.functional.cross_entropy(logits, torch.tensor(self.encoded(text)[1:]), reduction="sum")
        return logits.argmax(dim=1).tolist(), float(nats)

    @torch.no_grad()
    def free(self, z, choose):
        own = [SOS]
        while len(own) <= LIMIT and own[-1] != EOS:
            own.append(choose(self.model.decode(torch.tensor([[*own, 0]]), z)[0, -1]))
        return own[1:]

    def greedy(self, z):
        return self.free(z, lambda logits: int(logits.argmax()))

    def sampled(self, z, numbers, temperature):
        numbers = iter(numbers)

        def choose(logits):
            left = next(numbers)
            for word, part in enumerate((logits / temperature).softmax(0).tolist()):
                left -= part
                if left < 0:
                    return word
            raise AssertionError

        return self.free(z, choose)


def tokens(result, side, form):
    return [list(one.tokens) for one in result.written if (one.side, one.form) == (side, form)]


@pytest.mark.spice
@pytest.mark.parametrize("cells", ["lstm", "mixed"])
def test_engines_and_model_write_what_torch_writes(netlist, tmp_path, cells):
    manifest = netlist(cells)
    whole = Whole(manifest.folder / "checkpoint.pt")
    means = [whole.mean(text) for text in TEXTS[:2]]
    numbers = [np.random.default_rng([5, 4, 0, *whole.encoded(text)]).random(LIMIT) for text in TEXTS]
    forced = [whole.forced(text, z) for text, z in zip(TEXTS, means, strict=False)]
    expected = {
        "teacher-forced": [words for words, _ in forced],
        "greedy": [whole.greedy(z) for z in means],
        "sampled": [whole.sampled(z, own, 0.7) for z, own in zip(means, numbers, strict=False)],
    }
    assert len({word for sentences in expected.values() for words in sentences for word in words}) > 5
    asked = {"reconstruct": True, "texts": TEXTS[:2], "temperature": 0.7, "most_words": LIMIT, "seed": 5}
    for engine in ("ngspice", "exact", "ideal"):
        result = generate(manifest, engine=engine, out=tmp_path / engine, progress=False, **asked, **EXACT)
        assert result.summary["hardware"]["engine"] == engine
        assert result.summary["equal"] == 1
        for form, written in expected.items():
            assert tokens(result, "digital", form) == written, form
            assert tokens(result, "hardware", form) == written, form
        rows = [row for row in result.summary["sentences"] if row["form"] == "teacher-forced"]
        for row, (words, nats) in zip(rows, np.repeat(np.array(forced, dtype=object), 2, axis=0), strict=True):
            assert row["nats"] == pytest.approx(nats, rel=1e-7)
            source = whole.encoded(row["source"])
            assert row["right"] == sum(word == target for word, target in zip(words, source[1:], strict=True))
            assert row["text"] == " ".join(whole.vocabulary.words[word] for word in words).removesuffix(" <eos>")


def test_prior_and_interpolation_are_decoded_from_their_latents(make_checkpoint, tmp_path):
    path = make_checkpoint("gru")
    whole = Whole(path)
    result = generate(
        path,
        prior=3,
        interpolate=(TEXTS[0], TEXTS[1]),
        steps=5,
        most_words=LIMIT,
        seed=8,
        out=tmp_path / "run",
        progress=False,
    )
    noise = [np.random.default_rng([8, 1, number]).standard_normal(3, dtype=np.float32) for number in (1, 2, 3)]
    latents = [torch.from_numpy(z).double()[None] for z in noise]
    first, second = whole.mean(TEXTS[0]), whole.mean(TEXTS[1])
    latents += [first + (second - first) * step / 4 for step in range(5)]
    assert tokens(result, "digital", "greedy") == [whole.greedy(z) for z in latents]
    assert len({tuple(words) for words in tokens(result, "digital", "greedy")}) > 2
    numbers = [np.random.default_rng([8, 4, 1, number]).random(LIMIT) for number in (1, 2, 3)]
    both = [*whole.encoded(TEXTS[0]), *whole.encoded(TEXTS[1])]
    numbers += [np.random.default_rng([8, 4, 2, *both]).random(LIMIT)] * 5
    expected = [whole.sampled(z, own, 1.0) for z, own in zip(latents, numbers, strict=True)]
    assert tokens(result, "digital", "sampled") == expected
    assert not tokens(result, "digital", "teacher-forced")
    # The ends are the sentences' own reconstructions.
    own = generate(
        path,
        reconstruct=True,
        texts=TEXTS[:2],
        forms=["greedy"],
        most_words=LIMIT,
        out=tmp_path / "own",
        progress=False,
    )
    ends = tokens(result, "digital", "greedy")
    assert tokens(own, "digital", "greedy") == [ends[3], ends[-1]]


OTHER = {
    "lm": {"encoder_cells": (), "latent_size": 0, "decoder_start": "hidden"},
    "svi": {"encoder_cells": ("gru",), "inference": "svi", "inference_steps": 3},
    "step": {"encoder_cells": ("gru",), "latent_use": "step"},
    "langevin": {"encoder_cells": (), "inference": "langevin", "inference_steps": 4},
}


@pytest.fixture
def other_model(make_checkpoint, tmp_path):
    """A checkpoint of random weights of a model without an encoder, or with more than one."""

    def make(name):
        known = load_checkpoint(make_checkpoint("lstm"))
        sizes = {"embedding_size": 7, "hidden_size": 5, "latent_size": 3, "encoder_sees_eos": False}
        config = ModelConfig(vocabulary_size=len(known.vocabulary), **{**sizes, **OTHER[name]})
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(4)
            model = HSRVAE(config).eval()
            for parameter in model.parameters():
                parameter.mul_(2).add_(0.3 * torch.randn_like(parameter))
        ranges = activation_ranges(model, [known.vocabulary.encode_sentence(text.split()) for text in TEXTS])
        path = tmp_path / f"{name}.pt"
        return save_checkpoint(path, model, known.training_config, known.vocabulary, "plain", {}, ranges)

    return make


def test_a_language_model_writes_from_no_latent(other_model, tmp_path):
    path = other_model("lm")
    whole = Whole(path)
    asked = {"prior": 3, "most_words": LIMIT, "seed": 6, "progress": False}
    manifest = build_netlist(path, tmp_path / "net", progress=False)
    result = generate(manifest, engine="exact", out=tmp_path / "run", **EXACT, **asked)
    numbers = [np.random.default_rng([6, 4, 1, number]).random(LIMIT) for number in (1, 2, 3)]
    nothing = torch.zeros(1, 0, dtype=torch.float64)
    expected = [whole.sampled(nothing, own, 1.0) for own in numbers]
    assert len({tuple(words) for words in expected}) == 3
    for side in ("digital", "hardware"):
        assert tokens(result, side, "sampled") == expected
        assert not tokens(result, side, "greedy")  # three times the same sentence
    alone = generate(path, forms=["greedy"], out=tmp_path / "greedy", **asked)
    assert tokens(alone, "digital", "greedy") == [whole.greedy(nothing)] * 3
    for more in ({"reconstruct": True, "texts": TEXTS}, {"interpolate": (TEXTS[0], TEXTS[1])}):
        with pytest.raises(InputError, match=r"needs an encoder, and .*lm\.pt is a language model.*allowed: --prior N"):
            generate(path, progress=False, **more)


@pytest.mark.parametrize("name", ["svi", "langevin"])
def test_latents_that_software_finds_are_reconstructed_from(other_model, tmp_path, name):
    path = other_model(name)
    whole = Whole(path)
    manifest = build_netlist(path, tmp_path / "net", progress=False)
    asked = {"forms": ["greedy", "teacher-forced"], "engine": "exact", "most_words": LIMIT, "progress": False}
    result = generate(manifest, reconstruct=True, texts=TEXTS[:2], out=tmp_path / "run", **EXACT, **asked)
    for place, text in enumerate(TEXTS[:2]):
        sentence = whole.encoded(text)
        z = infer(whole.model, torch.tensor([sentence]), torch.tensor([len(sentence)])).last()[0]
        for side in ("digital", "hardware"):
            assert tokens(result, side, "greedy")[place] == whole.greedy(z)
            assert tokens(result, side, "teacher-forced")[place] == whole.forced(text, z)[0]


def test_a_latent_per_step_lasts_as_long_as_its_source(other_model, tmp_path):
    path = other_model("step")
    whole = Whole(path)
    asked = {"reconstruct": True, "texts": TEXTS[:2], "prior": 2, "most_words": 30, "seed": 1, "progress": False}
    result = generate(path, out=tmp_path / "run", **asked)
    forced, greedy = tokens(result, "digital", "teacher-forced"), tokens(result, "digital", "greedy")
    for place, text in enumerate(TEXTS[:2]):
        assert forced[place] == whole.forced(text, whole.mean(text))[0]
        assert len(greedy[place]) <= len(whole.encoded(text)) - 1
    z = np.random.default_rng([1, 1, 2]).standard_normal(3 * 30, dtype=np.float32)
    words = greedy[3]
    with torch.no_grad():
        used = torch.from_numpy(z).double()[None, : 3 * len(words)]
        logits = whole.model.decode(torch.tensor([[SOS, *words]]), used)[0]
    assert logits.argmax(dim=1).tolist() == words
    with pytest.raises(InputError, match=r"--interpolate needs one latent per sentence, and .* has one per step"):
        generate(path, interpolate=(TEXTS[0], TEXTS[1]), progress=False)


def test_characters_are_joined_to_text(tmp_path):
    lines = [tokenize("char", text) for text in TEXTS]
    vocabulary = Vocabulary.build(lines)
    config = ModelConfig(len(vocabulary), 7, 5, 3, ("gru",), encoder_sees_eos=False)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = HSRVAE(config).eval()
    path = save_checkpoint(tmp_path / "char.pt", model, TrainingConfig(), vocabulary, "char", {})
    asked = {"reconstruct": True, "texts": TEXTS[:1], "forms": ["teacher-forced", "sampled"], "progress": False}
    result = generate(path, out=tmp_path / "run", **asked)
    assert result.sources(result.written[0].item) == TEXTS[:1]
    for written, row in zip(result.written, result.summary["sentences"], strict=True):
        assert row["source"] == TEXTS[0]
        assert row["text"] == "".join(vocabulary.decode(written.tokens)).removesuffix("<eos>")
        assert row["tokens"] == len(written.tokens)


def by_source(result):
    return {
        (row["kind"], row["source"] or row["number"], row["form"], row["model"]): (
            row["text"], row["tokens"], row["stopped"], row["nats"]
        )
        for row in result.summary["sentences"]
    }  # fmt: skip


def test_no_digit_depends_on_order_or_number_of_sentences(netlist, tmp_path):
    """Not even with noise in the converters, which has a stream for each sentence."""
    manifest = netlist("lstm", NOISY)
    asked = {"reconstruct": True, "engine": "exact", "most_words": LIMIT, "seed": 2, "progress": False}
    every = by_source(generate(manifest, texts=TEXTS, prior=4, out=tmp_path / "every", **asked))
    moved = by_source(generate(manifest, texts=[TEXTS[2], TEXTS[0]], prior=2, out=tmp_path / "moved", **asked))
    assert len(moved) == 2 * (2 * 3) + 2 * (2 * 2)
    assert moved == {key: every[key] for key in moved}
    other = by_source(generate(manifest, texts=TEXTS, prior=4, out=tmp_path / "other", **{**asked, "seed": 3}))
    assert other != every
    # A longer limit continues the same sentences.
    longer = generate(manifest, prior=4, out=tmp_path / "longer", **{**asked, "reconstruct": False, "most_words": 15})
    for key, (text, length, stopped, _) in by_source(longer).items():
        before = every[key]
        assert text.split()[: before[1]] == before[0].split()
        assert (length, stopped) == before[1:3] or before[2] == "limit"


def test_a_coarse_circuit_writes_other_words_and_says_so(netlist, tmp_path):
    result = generate(
        netlist("lstm", NOISY), prior=6, most_words=2, engine="exact", out=tmp_path / "run", progress=False
    )
    assert 0 < result.summary["equal"] < 1
    pairs = zip(result.summary["sentences"][::2], result.summary["sentences"][1::2], strict=True)
    for digital, hardware in pairs:
        assert (digital["model"], hardware["model"], digital["equal"]) == ("digital", "hardware", None)
        assert hardware["equal"] == (digital["text"] == hardware["text"] and digital["tokens"] == hardware["tokens"])


def test_files_say_what_was_written_on_which_hardware(netlist, tmp_path):
    asked = {"reconstruct": True, "texts": TEXTS[:1], "prior": 1, "engine": "ideal", "most_words": 3, "seed": 4}
    told = []
    result = generate(netlist("rnn"), out=tmp_path / "run", progress=lambda *event: told.append(event), **asked)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"generation.json", "sentences.parquet"}
    stored = json.loads((tmp_path / "run" / "generation.json").read_text())
    assert stored["hardware"]["description"]["name"] == stored["hardware"]["name"] == "paper"
    assert stored["seeds"] == {"latents": 4, "words": 4, "converters": 4}
    assert stored["checkpoint"]["sha256"] == netlist("rnn").files["checkpoint.pt"]
    assert result.table("sentences").to_pylist() == stored["sentences"]
    assert [event for event in told if event[0] == "writing sentences"] == [
        ("writing sentences", done, 10) for done in range(1, 11)
    ]
    html = result._repr_html_()
    assert "<td>hardware</td>" in html
    assert TEXTS[0] in html
    assert len(repr(result)) < 400
    with pytest.raises(RunError, match="exists and is not empty"):
        generate(netlist("rnn"), out=tmp_path / "run", progress=False, **asked)


def test_sentences_come_from_a_file_and_from_a_split(make_checkpoint, tmp_path):
    path = make_checkpoint("rnn")
    (tmp_path / "mine.txt").write_text(f"\n{TEXTS[1]}\n\n{TEXTS[0]}\n")
    asked = {"reconstruct": True, "forms": ["greedy"], "progress": False}
    of_file = generate(path, file=tmp_path / "mine.txt", out=tmp_path / "file", **asked)
    assert [row["source"] for row in of_file.summary["sentences"]] == [TEXTS[1], TEXTS[0]]
    of_split = generate(path, sentences=3, split="valid", out=tmp_path / "split", **asked)
    expected = [" ".join(words) for words in grammar_corpus().valid[:3]]
    # The small vocabulary of the tests lacks some words of the whole corpus.
    known = load_checkpoint(path).vocabulary
    expected = [" ".join(word if word in known else "<unk0>" for word in line.split()) for line in expected]
    assert [row["source"] for row in of_split.summary["sentences"]] == expected


def test_unknown_words_are_reported_and_shown(make_checkpoint, tmp_path):
    words = TEXTS[0].split()
    words[1] = "xyzzy"
    with pytest.warns(UnknownWordsWarning, match=r"--text: not in the model's vocabulary, and read as <unk0>: 'xyzzy'"):
        result = generate(
            make_checkpoint("rnn"), reconstruct=True, texts=[" ".join(words)], out=tmp_path / "run", progress=False
        )
    words[1] = "<unk0>"
    assert result.summary["sentences"][0]["source"] == " ".join(words)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({}, InputError, "nothing to write; give sentences to reconstruct, --prior N, or --interpolate A B"),
        ({"texts": ["the dog"]}, InputError, "add --reconstruct"),
        ({"reconstruct": True, "texts": [" "]}, TextError, "' ' has no words; give a sentence of at least one word"),
        (
            {"reconstruct": True, "texts": ["Fischers Fritz"]},
            TextError,
            "no word of 'Fischers Fritz' is in the model's",
        ),
        ({"reconstruct": True, "split": "tset"}, InputError, "unknown split 'tset'; did you mean 'test'"),
        ({"reconstruct": True, "file": "nowhere.txt"}, TextError, "nowhere.txt"),
        ({"prior": 0}, InputError, "--prior is 0; allowed: 1 or more"),
        ({"prior": 1, "forms": ["teacher-forced"]}, InputError, "allowed for --prior: greedy, sampled"),
        ({"prior": 1, "forms": ["greddy"]}, InputError, "unknown form 'greddy'; did you mean 'greedy'"),
        ({"prior": 1, "temperature": 0.0}, InputError, "--temperature is 0; allowed: a finite number above 0"),
        ({"prior": 1, "most_words": 0}, InputError, "--most-words is 0"),
        ({"interpolate": (TEXTS[0], TEXTS[1]), "steps": 1}, InputError, "--steps is 1; allowed: 2 or more"),
        ({"interpolate": (TEXTS[0], "")}, TextError, "--interpolate: '' has no words"),
        ({"prior": 1, "netlist": "nowhere"}, ManifestError, "nowhere is not a netlist folder"),
        ({"prior": 1, "engine": "exakt"}, InputError, "unknown engine 'exakt'; did you mean 'exact'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(make_checkpoint, tmp_path, monkeypatch, asked, error, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as raised:
        generate(make_checkpoint("rnn"), progress=False, **asked)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_netlists_must_be_the_model_s(make_checkpoint, netlist, tmp_path):
    asked = {"prior": 1, "engine": "ideal", "most_words": 2, "progress": False}
    with pytest.raises(ManifestError, match=r"was built from another checkpoint .* give .* alone, or build"):
        generate(make_checkpoint("gru"), netlist=netlist("rnn"), out=tmp_path / "a", **asked)
    result = generate(make_checkpoint("rnn"), netlist=netlist("rnn"), out=tmp_path / "b", **asked)
    alone = generate(netlist("rnn").folder, out=tmp_path / "c", **asked)
    assert result.summary["sentences"] == alone.summary["sentences"]
    with pytest.raises(InputError, match="the model is a netlist folder already; leave out --netlist"):
        generate(netlist("rnn"), netlist=netlist("rnn"), **asked)
    bare = build_netlist(torch.nn.LSTM(2, 2), tmp_path / "bare", progress=False)
    with pytest.raises(ManifestError, match="was built from a bare module and has no text model"):
        generate(bare, **asked)
