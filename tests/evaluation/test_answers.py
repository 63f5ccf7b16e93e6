"""Answers in batches against one sentence at a time on the whole model in float64, and on crossbars without losses."""

from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from hvae_mnn.cosim.export import build_netlist
from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.engines.start import start_engine
from hvae_mnn.errors import InputError, StorageError, TensorsError
from hvae_mnn.evaluation import answers as module
from hvae_mnn.evaluation.answers import Answers, run_answers
from hvae_mnn.evaluation.text_metrics import METRICS, compute_metrics
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.decoding import NOT_FINITE
from hvae_mnn.models.latent import sentence_noise
from hvae_mnn.models.stepwise import Stepper
from hvae_mnn.tensors import write_tensors
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import EOS, SOS

CELLS = ["lstm", "gru", "rnn", "mixed", "peephole"]
PASSES = {"teacher", "sampled", "free"}
LINES = grammar_corpus(train=400, valid=60, test=20).test[:11]


@pytest.fixture
def network(make_checkpoint):
    """A checkpoint and sentences of several lengths, one without words, two of them equal."""

    def make(cells="mixed"):
        checkpoint = load_checkpoint(make_checkpoint(cells))
        sentences = [checkpoint.vocabulary.encode_sentence(line) for line in [*LINES, [], LINES[4]]]
        assert len({len(sentence) for sentence in sentences}) > 4
        return checkpoint, sentences

    return make


@torch.no_grad()
def one_by_one(model, sentences, seed):
    """The same answers from the model as torch runs it; free running by decoding everything anew at every step."""
    whole = copy.deepcopy(model).double().eval()
    found = {name: [] for name in ("mean", "log_variance", "likeliest", "top", "nats", "written")}
    for sentence in sentences:
        tokens, lengths = torch.tensor([sentence]), torch.tensor([len(sentence)])
        mean, log_variance = whole.encode(tokens, lengths, masked=True).last()
        found["mean"].append(mean[0].numpy())
        found["log_variance"].append(log_variance[0].numpy())
        for logits, target in zip(whole.decode(tokens, mean)[0], sentence[1:], strict=True):
            order = logits.argsort(descending=True).tolist()
            found["likeliest"].append(order[0])
            found["top"].append(target in order[:5])
        noise = sentence_noise(seed, 0, sentence, (mean.shape[1],))
        probabilities = whole.decode(tokens, mean + (log_variance / 2).exp() * noise)[0].softmax(dim=1)
        found["nats"].append(-sum(float(p[w].log()) for p, w in zip(probabilities, sentence[1:], strict=True)))
        written = [SOS]
        for _ in sentence[1:]:
            written.append(int(whole.decode(torch.tensor([[*written, EOS]]), mean)[0, -1].argmax()))
        found["written"] += written[1:]
    return {name: np.array(values) for name, values in found.items()}


def parts(answers, name):
    """An array of answers as one array per sentence."""
    values = getattr(answers, name)
    return list(values) if name in ("mean", "log_variance", "nats") else np.split(values, answers.starts[1:-1])


def assert_same(first, second, order=None):
    """Answers to the same sentences, the second's in another order."""
    for name in ("mean", "log_variance", "likeliest", "top", "nats", "written"):
        other = parts(second, name)
        for place, part in enumerate(parts(first, name)):
            moved = other[place if order is None else order.index(place)]
            np.testing.assert_allclose(part, moved, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batches_are_the_sentences_one_by_one(network, cells, batch_size):
    checkpoint, sentences = network(cells)
    found = run_answers(Stepper(checkpoint.model), sentences, PASSES, batch_size=batch_size, seed=3)
    for name, expected in one_by_one(checkpoint.model, sentences, seed=3).items():
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-10, atol=1e-10, err_msg=name)
    assert found.starts.tolist() == np.cumsum([0, *(len(sentence) - 1 for sentence in sentences)]).tolist()
    assert {type(value) for value in found.seconds.values()} == {float}
    assert all(found.seconds[name] > 0 for name in ("recurrent", "logits"))


@given(order=st.permutations(range(13)), batch_size=st.integers(1, 14))
def test_order_and_batch_size_do_not_matter(make_checkpoint, order, batch_size):
    checkpoint = load_checkpoint(make_checkpoint("mixed"))
    sentences = [checkpoint.vocabulary.encode_sentence(line) for line in [*LINES, [], LINES[4]]]
    stepper = Stepper(checkpoint.model)
    expected = run_answers(stepper, sentences, PASSES)
    moved = run_answers(stepper, [sentences[place] for place in order], PASSES, batch_size=batch_size)
    assert_same(expected, moved, order)


def test_logits_made_in_slices_are_the_same(network, monkeypatch):
    checkpoint, sentences = network()
    whole = run_answers(Stepper(checkpoint.model), sentences, PASSES)
    monkeypatch.setattr(module, "_ROWS", 7)
    assert_same(whole, run_answers(Stepper(checkpoint.model), sentences, PASSES))


def test_another_seed_draws_other_latents_and_changes_nothing_else(network):
    checkpoint, sentences = network()
    first, second = (run_answers(Stepper(checkpoint.model), sentences, PASSES, seed=seed) for seed in (0, 1))
    assert (first.nats != second.nats).all()
    assert (first.likeliest == second.likeliest).all()
    assert (first.written == second.written).all()


def test_batches_begin_with_the_numbers_of_their_rows(network):
    checkpoint, sentences = network()
    stepper = Stepper(checkpoint.model)
    inner, begun, said, rows = stepper.source, [], [], []

    def source(layer, units, inputs, *, new_step=True):
        rows[-1].append((layer, inputs["x"]))
        return inner(layer, units, inputs)

    def begin(numbers):
        begun.append(list(numbers))
        rows.append([])

    stepper.source = source
    run_answers(stepper, sentences, {"teacher"}, begin=begin, batch_size=5, progress=lambda *done: said.append(done))
    # Once for the encoder, once for the decoder's pass.
    assert begun[0::2] == begun[1::2]
    begun, rows = begun[0::2], rows[0::2]
    assert sorted(number for numbers in begun for number in numbers) == list(range(13))
    lengths = [len(sentences[number]) for numbers in begun for number in numbers]
    assert lengths == sorted(lengths, reverse=True)
    assert [len(numbers) for numbers in begun] == [5, 5, 3]
    assert said == [("sentences", 5, 13), ("sentences", 10, 13), ("sentences", 13, 13)]
    embedding = checkpoint.model.encoder_embedding.weight.detach().double()
    for numbers, seen in zip(begun, rows, strict=True):
        # Row by row the second word of those that have one, once the start symbol has been read.
        second = [x for layer, x in seen if layer == "encoder1"][1]
        words = [sentences[number][1] for number in numbers if len(stepper.encoder_tokens(sentences[number])) > 1]
        torch.testing.assert_close(second, embedding[words])


@pytest.mark.parametrize(
    ("passes", "filled", "decoders"),
    [(set(), set(), 0), ({"teacher"}, {"likeliest", "top"}, 1), ({"sampled"}, {"nats"}, 1), ({"free"}, {"written"}, 1)],
)
def test_nothing_is_run_that_was_not_asked_for(network, passes, filled, decoders):
    checkpoint, sentences = network()
    stepper = Stepper(checkpoint.model)
    inner, steps = stepper.source, []

    def source(layer, units, inputs, *, new_step=True):
        steps.append(layer)
        return inner(layer, units, inputs)

    stepper.source = source
    found = run_answers(stepper, sentences, passes)
    longest = max(map(len, sentences)) - 1  # all in one batch; the encoder does not see the end symbol
    assert steps.count("encoder1") == steps.count("encoder2") == longest
    assert steps.count("decoder") == decoders * longest
    assert {name for name in ("likeliest", "top", "nats", "written") if getattr(found, name).size} == filled
    assert {kind for kind in PASSES if found.has(kind)} == passes
    whole = run_answers(Stepper(checkpoint.model), sentences, PASSES)
    for name in filled | {"mean", "log_variance"}:
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


@pytest.mark.parametrize("cells", ["lstm", "mixed", "peephole"])
def test_crossbars_without_losses_are_the_digital_model(network, cells, tmp_path):
    checkpoint, sentences = network(cells)
    manifest = build_netlist(checkpoint, tmp_path / "net")
    source = CrossbarSource(manifest, start_engine("exact", manifest), dac_bits=0, adc_bits=0)
    stepper = HardwareStepper(checkpoint.model, source)
    digital = run_answers(Stepper(checkpoint.model), sentences, PASSES)
    found = run_answers(stepper, sentences, PASSES, begin=source.begin, batch_size=5)
    np.testing.assert_array_equal(found.likeliest, digital.likeliest)
    np.testing.assert_array_equal(found.top, digital.top)
    np.testing.assert_array_equal(found.written, digital.written)
    assert 0 < np.abs(found.mean - digital.mean).max() < 1e-9  # it did go through the circuit
    expected = compute_metrics(digital, digital, sentences, METRICS)
    for name, value in compute_metrics(found, digital, sentences, METRICS).items():
        assert value == pytest.approx(expected[name], rel=1e-9, abs=1e-9), name


def test_numbers_that_are_none_are_said_to_be(network):
    checkpoint, sentences = network()
    stepper = Stepper(checkpoint.model)
    inner = stepper.source

    def source(layer, units, inputs, *, new_step=True):
        found = inner(layer, units, inputs)
        if layer == "decoder":
            for values in found.values():
                values[0] = torch.nan  # the longest sentence of every batch
        return found

    stepper.source = source
    found, whole = (run_answers(s, sentences, PASSES) for s in (stepper, Stepper(checkpoint.model)))
    longest = max(range(len(sentences)), key=lambda number: (len(sentences[number]), [-w for w in sentences[number]]))
    for place in range(len(sentences)):
        part = slice(found.starts[place], found.starts[place + 1])
        if place == longest:
            assert (found.likeliest[part] == NOT_FINITE).all()
            assert (found.written[part] == NOT_FINITE).all()
            assert not found.top[part].any()
            assert np.isnan(found.nats[place])
        else:
            np.testing.assert_array_equal(found.likeliest[part], whole.likeliest[part])
            np.testing.assert_array_equal(found.written[part], whole.written[part])
            assert found.nats[place] == whole.nats[place]


@pytest.mark.parametrize(
    ("sentences", "changed", "message"),
    [
        ([], {}, "0 sentences in batches of 64"),
        ([[SOS, EOS]], {"batch_size": 0}, "batches of 0"),
        ([[SOS, EOS]], {"seed": -1}, "seed is -1"),
        ([[SOS, EOS], [SOS]], {}, "sentence 1 has 1 ids"),
        ([[SOS, EOS], [SOS, 5, 9999, EOS]], {}, "sentence 1 has ids from 2 to 9999; allowed: 0 to "),
        ([[SOS, -5, EOS]], {}, "sentence 0 has ids from -5 to 3"),
        (
            [[SOS, EOS]],
            {"passes": {"greedy"}},
            r"unknown pass 'greedy'; did you mean 'free'\? allowed: teacher, sampled, free",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(network, sentences, changed, message):
    checkpoint, _ = network()
    with pytest.raises(InputError, match=message):
        run_answers(Stepper(checkpoint.model), sentences, changed.pop("passes", PASSES), **changed)


@pytest.mark.parametrize("passes", [set(), {"free"}, PASSES])
def test_answers_come_back_from_a_file(network, tmp_path, passes):
    checkpoint, sentences = network()
    found = run_answers(Stepper(checkpoint.model), sentences, passes)
    path = tmp_path / "kept" / "answers.safetensors"
    found.save(path)
    again = Answers.load(path)
    for field in fields(Answers):
        if field.name != "seconds":
            np.testing.assert_array_equal(getattr(again, field.name), getattr(found, field.name))
            assert getattr(again, field.name).dtype == getattr(found, field.name).dtype
    assert again.seconds == found.seconds
    assert list(again.seconds) == sorted(again.seconds)  # the file's own order differs from reading to reading
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def damage(path, kind):
    tensors = load_file(path)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "gone":
        path.unlink()
    elif kind == "lacking":
        del tensors["nats"]
        write_tensors(path, tensors)
    elif kind == "bare":
        save_file(tensors, path)
    elif kind == "foreign":
        write_tensors(path, tensors | {"other": tensors["nats"]})
    elif kind == "short":
        write_tensors(path, tensors | {"written": tensors["written"][:-1].copy()})
    elif kind == "kind":
        write_tensors(path, tensors | {"likeliest": tensors["likeliest"].astype(np.float32)})
    elif kind == "starts":
        write_tensors(path, tensors | {"starts": np.empty(0, dtype=np.int64)})
    elif kind == "seconds":
        write_tensors(path, tensors | {"seconds.logits": np.array([1.0, 2.0])})


@pytest.mark.parametrize(
    "kind", ["cut", "empty", "gone", "lacking", "foreign", "short", "kind", "starts", "seconds", "bare"]
)
def test_a_damaged_file_is_no_answer(network, tmp_path, kind):
    checkpoint, sentences = network()
    path = tmp_path / "answers.safetensors"
    run_answers(Stepper(checkpoint.model), sentences, PASSES).save(path)
    damage(path, kind)
    told = {
        "cut": "is damaged or not a file of tensors",
        "empty": "is damaged or not a file of tensors",
        "gone": "no file of answers at",
        "bare": "does not match its checksum",
    }
    with pytest.raises(TensorsError, match=told.get(kind, r"answers\.safetensors holds no answers \(.*\); delete it")):
        Answers.load(path)


def test_answers_that_cannot_be_written_say_so(network, tmp_path):
    checkpoint, sentences = network()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        run_answers(Stepper(checkpoint.model), sentences, set()).save(tmp_path / "file" / "answers.safetensors")
