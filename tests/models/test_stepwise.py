"""The step-by-step model against the trained one as torch runs it, in float64."""

from __future__ import annotations

import copy

import pytest
import torch

from hvae_mnn.models.activations import activation_ranges
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.stepwise import Stepper, run_batch
from hvae_mnn.text.grammar import grammar_corpus

CELLS = ["lstm", "gru", "rnn", "mixed", "peephole"]


@pytest.mark.parametrize("cells", CELLS)
def test_logits_are_those_of_the_whole_model(make_checkpoint, cells):
    checkpoint = load_checkpoint(make_checkpoint(cells))
    whole = copy.deepcopy(checkpoint.model).double().eval()
    stepper = Stepper(checkpoint.model)
    lines = [grammar_corpus(train=400, valid=60, test=20).test[k] for k in (0, 3)]
    for line in lines:
        sentence = checkpoint.vocabulary.encode_sentence(line)
        tokens, lengths = torch.tensor([sentence]), torch.tensor([len(sentence)])
        with torch.no_grad():
            mean, _ = whole.encode(tokens, lengths, masked=True).last()
            expected = whole.decode(tokens, mean)
            found = run_batch(stepper, [sentence])
        torch.testing.assert_close(torch.stack(found, dim=1), expected, rtol=1e-11, atol=1e-11)


def test_a_batch_of_unequal_lengths_is_its_sentences_one_by_one(make_checkpoint):
    checkpoint = load_checkpoint(make_checkpoint("mixed"))
    stepper = Stepper(checkpoint.model)
    lines = sorted(grammar_corpus(train=400, valid=60, test=20).test[:4], key=len, reverse=True)
    sentences = [checkpoint.vocabulary.encode_sentence(line) for line in lines]
    assert len({len(sentence) for sentence in sentences}) > 1
    together = run_batch(stepper, sentences)
    for index, sentence in enumerate(sentences):
        for step, logits in enumerate(run_batch(stepper, [sentence])):
            torch.testing.assert_close(together[step][index], logits[0], rtol=1e-12, atol=1e-12)


def test_a_source_sees_the_layers_inputs_by_role(make_checkpoint):
    checkpoint = load_checkpoint(make_checkpoint("peephole"))
    stepper = Stepper(checkpoint.model)
    inner, seen = stepper.source, []

    def source(layer, units, inputs, *, new_step=True):
        seen.append((layer, tuple(units), tuple(inputs), new_step))
        return inner(layer, units, inputs, new_step=new_step)

    stepper.source = source
    run_batch(stepper, [checkpoint.vocabulary.encode_sentence(["the"])])
    # The output gate is asked after the other three, since it sees the memory that they make.
    assert seen[:2] == [
        ("encoder1", ("i", "f", "g"), ("x", "h", "c"), True),
        ("encoder1", ("o",), ("x", "h", "c"), False),
    ]
    assert seen[-1] == ("decoder", ("o",), ("x", "z", "h", "c"), False)


@pytest.mark.parametrize("cells", CELLS)
def test_ranges_cover_every_input_and_gate(make_checkpoint, cells):
    checkpoint = load_checkpoint(make_checkpoint(cells))
    ranges = checkpoint.activation_ranges
    for layer, read in Stepper(checkpoint.model).layers.items():
        roles = {"x", "h"} | ({"z"} if layer == "decoder" else set()) | ({"c"} if read.peepholes else set())
        assert set(ranges[layer]["inputs"]) == roles
        assert set(ranges[layer]["preactivations"]) == set(read.gates)
        for kind in ranges[layer].values():
            for spread in kind.values():
                assert spread["max"] >= spread["p99.99"] >= spread["p99.9"] >= spread["p99"] > 0


def test_the_range_of_the_first_layers_input_is_the_largest_embedding_met(make_checkpoint):
    checkpoint = load_checkpoint(make_checkpoint("lstm"))
    sentences = [checkpoint.vocabulary.encode_sentence(["the", "old"]), checkpoint.vocabulary.encode_sentence(["the"])]
    met = checkpoint.model.encoder_embedding.weight[list(sentences[0][:-1])].detach()
    found = activation_ranges(checkpoint.model, sentences)["encoder1"]["inputs"]["x"]["max"]
    assert found == pytest.approx(float(met.abs().max()), rel=1e-6)
