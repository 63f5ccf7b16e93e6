"""Metrics against loops over sentences and places, against the model's other report, and by hand."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from hvae_mnn.errors import InputError
from hvae_mnn.evaluation.answers import Answers, run_answers
from hvae_mnn.evaluation.bleu import corpus_bleu
from hvae_mnn.evaluation.proper import proper_report
from hvae_mnn.evaluation.text_metrics import METRICS, compute_metrics, passes_for
from hvae_mnn.evaluation.unigram import unigram_metrics
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.decoding import NOT_FINITE
from hvae_mnn.models.stepwise import Stepper
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import EOS, SOS

CELLS = ["lstm", "gru", "rnn", "mixed", "peephole"]
PASSES = {"teacher", "sampled", "free"}


@pytest.fixture
def network(make_checkpoint):
    def make(cells="mixed"):
        checkpoint = load_checkpoint(make_checkpoint(cells))
        lines = [*grammar_corpus(train=400, valid=60, test=20).test, []]
        return checkpoint, [checkpoint.vocabulary.encode_sentence(line) for line in lines]

    return make


def disturbed(model, size):
    """A stepper whose pre-activations are off, by something that depends on their values alone."""
    stepper = Stepper(model)
    inner = stepper.source

    def source(layer, units, inputs, *, new_step=True):
        return {unit: value + size * torch.cos(17 * value) for unit, value in inner(layer, units, inputs).items()}

    stepper.source = source
    return stepper


def answers_by_hand(sentences, **arrays):
    """Answers with the given arrays, one latent unit."""
    count = len(sentences)
    empty = {"likeliest": [], "written": [], "nats": [], "top": []}
    given = {name: np.asarray(arrays.get(name, empty.get(name)), dtype=np.int64) for name in ("likeliest", "written")}
    return Answers(
        starts=np.cumsum([0, *(len(sentence) - 1 for sentence in sentences)]),
        mean=np.asarray(arrays.get("mean", np.zeros((count, 1)))),
        log_variance=np.asarray(arrays.get("log_variance", np.zeros((count, 1)))),
        top=np.asarray(arrays.get("top", np.zeros(len(given["likeliest"]))), dtype=bool),
        nats=np.asarray(arrays.get("nats", []), dtype=np.float64),
        **given,
    )


def by_loops(answers, reference, sentences):
    """All metrics but BLEU, place by place."""
    targets = sum(len(sentence) - 1 for sentence in sentences)
    counted = dict.fromkeys(("top1", "top5", "reconstruction", "agreement", "agreement_free"), 0)
    nats, kls, own_kls, mean_squares, variance_squares, place = 0.0, 0.0, 0.0, 0.0, 0.0, 0
    for number, sentence in enumerate(sentences):
        ended = other_ended = False
        for target in sentence[1:]:
            counted["top1"] += int(answers.likeliest[place]) == target
            counted["top5"] += bool(answers.top[place])
            counted["agreement"] += int(answers.likeliest[place]) == int(reference.likeliest[place])
            word, other = int(answers.written[place]), int(reference.written[place])
            counted["reconstruction"] += not ended and word == target
            counted["agreement_free"] += (ended and other_ended) or (not ended and not other_ended and word == other)
            ended, other_ended = ended or word == EOS, other_ended or other == EOS
            place += 1
        nats += answers.nats[number]
        for unit in range(answers.mean.shape[1]):
            mean, log_variance = answers.mean[number, unit], answers.log_variance[number, unit]
            own_mean, own_log_variance = reference.mean[number, unit], reference.log_variance[number, unit]
            kls -= 0.5 * (1 + log_variance - mean**2 - math.exp(log_variance))
            own_kls -= 0.5 * (1 + own_log_variance - own_mean**2 - math.exp(own_log_variance))
            mean_squares += (mean - own_mean) ** 2
            variance_squares += (log_variance - own_log_variance) ** 2
    count, latent = answers.mean.shape
    return {name: value / targets for name, value in counted.items()} | {
        "ppl": math.exp((nats + kls) / targets),
        "mean_error": math.sqrt(mean_squares / (count * latent)),
        "log_variance_error": math.sqrt(variance_squares / (count * latent)),
        "kl": kls / count,
        "kl_shift": (kls - own_kls) / count,
    }


@pytest.mark.parametrize("cells", CELLS)
def test_metrics_are_their_formulas_place_by_place(network, cells):
    checkpoint, sentences = network(cells)
    reference = run_answers(Stepper(checkpoint.model), sentences, PASSES)
    answers = run_answers(disturbed(checkpoint.model, 0.3), sentences, PASSES)
    found = compute_metrics(answers, reference, sentences, METRICS)
    expected = by_loops(answers, reference, sentences)
    assert set(found) - {"bleu"} == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name
    assert found["agreement"] < 1
    assert found["mean_error"] > 0.01


@pytest.mark.parametrize("cells", ["lstm", "mixed"])
@pytest.mark.parametrize("seed", [0, 4])
def test_ppl_is_that_of_the_proper_report(network, cells, seed):
    checkpoint, sentences = network(cells)
    answers = run_answers(Stepper(checkpoint.model), sentences, {"sampled"}, seed=seed)
    report = proper_report(checkpoint.model, sentences, importance_samples=0, seed=seed)
    found = compute_metrics(answers, answers, sentences, ["ppl", "kl"])
    assert found["ppl"] == pytest.approx(report.elbo_ppl, rel=1e-5)
    assert found["kl"] == pytest.approx(report.kl, rel=1e-5)


def test_the_digital_model_agrees_with_itself(network):
    checkpoint, sentences = network()
    answers = run_answers(Stepper(checkpoint.model), sentences, PASSES)
    found = compute_metrics(answers, answers, sentences, METRICS)
    assert found["agreement"] == found["agreement_free"] == 1
    assert found["mean_error"] == found["log_variance_error"] == found["kl_shift"] == 0
    assert list(found) == list(METRICS)


A, B, C, D = 4, 5, 6, 7
SENTENCES = [[SOS, A, B, C, EOS], [SOS, D, EOS], [SOS, EOS]]


def test_what_follows_an_end_symbol_was_not_put_out():
    """The first output ends too early and goes on with the right words, the second does not end, the third is right."""
    written = [A, EOS, C, EOS, D, D, EOS]
    answers = answers_by_hand(SENTENCES, written=written)
    assert compute_metrics(answers, answers, SENTENCES, ["reconstruction"]) == {"reconstruction": 3 / 7}
    # Both have ended at the third and fourth place: what would come there is of no account.
    also = answers_by_hand(SENTENCES, written=[A, EOS, B, B, D, D, EOS])
    later = answers_by_hand(SENTENCES, written=[A, B, EOS, EOS, D, EOS, A])
    assert compute_metrics(answers, also, SENTENCES, ["agreement_free"])["agreement_free"] == 1
    # Against `later`: A, the fourth place (both ended), D.
    assert compute_metrics(answers, later, SENTENCES, ["agreement_free"])["agreement_free"] == 3 / 7
    assert compute_metrics(later, answers, SENTENCES, ["agreement_free"])["agreement_free"] == 3 / 7


def test_top1_and_top5_by_hand():
    answers = answers_by_hand(SENTENCES, likeliest=[A, A, C, EOS, A, A, EOS], top=[1, 1, 1, 1, 0, 1, 1])
    found = compute_metrics(answers, answers, SENTENCES, ["top1", "top5"])
    assert found == {"top1": 4 / 7, "top5": 6 / 7}


def test_latent_metrics_by_hand():
    answers = answers_by_hand(SENTENCES, mean=np.array([[1.0, 0], [0, 2], [0, 0]]), log_variance=np.zeros((3, 2)))
    reference = answers_by_hand(SENTENCES, mean=np.zeros((3, 2)), log_variance=np.full((3, 2), math.log(4.0)))
    names = ["kl", "kl_shift", "mean_error", "log_variance_error"]
    found = compute_metrics(answers, reference, SENTENCES, names)
    own = 6 * (4 - math.log(4) - 1) / 2 / 3  # six units of three sentences
    assert found["kl"] == pytest.approx((1 + 4) / 2 / 3)
    assert found["kl_shift"] == pytest.approx(5 / 6 - own)
    assert found["mean_error"] == pytest.approx(math.sqrt(5 / 6))
    assert found["log_variance_error"] == pytest.approx(math.log(4))


def test_bleu_of_corpora_counted_by_hand():
    # 5 of 7 words, 3 of 5 pairs, 2 of 3 triples, 1 of 2 quadruples: their product is 1/7; 7 words for 8.
    found = corpus_bleu(["abcde", "xx"], ["abcdfg", "xy"])
    assert found == pytest.approx(math.exp(1 - 8 / 7) * (1 / 7) ** 0.25, rel=1e-12)
    # Too long is no merit: 4/5 * 3/4 * 2/3 * 1/2 = 1/5, without a penalty for length.
    assert corpus_bleu(["abcde"], ["abcd"]) == pytest.approx(0.2**0.25, rel=1e-12)
    # Words in a row count as often as the reference has them: a 4 times of 5, aa twice of 4, aaa once of 3.
    assert corpus_bleu(["aaaaabcd"], ["abcdaaax"]) == pytest.approx((7 / 8 * 5 / 7 * 3 / 6 * 1 / 5) ** 0.25)
    assert corpus_bleu(["abcd", "", "x"], ["abcd", "", "x"]) == 1
    assert corpus_bleu(["abc"], ["abc"]) == corpus_bleu(["", ""], ["abcd", "a"]) == 0  # no four words in a row


def test_bleu_is_of_the_words_before_the_end_symbol():
    sentences = [[SOS, A, B, C, D, A, B, EOS], [SOS, D, D, EOS]]
    answers = answers_by_hand(sentences, written=[A, B, C, D, A, EOS, B, D, C, A])
    found = compute_metrics(answers, answers, sentences, ["bleu"])["bleu"]
    # abcda for abcdab, dca for dd: 6 of 8, 4 of 6, 3 of 4, 2 of 2; 8 words for 8.
    assert found == pytest.approx((6 / 8 * 4 / 6 * 3 / 4 * 2 / 2) ** 0.25, rel=1e-12)


@pytest.mark.parametrize("layer", ["encoder1", "decoder"])
def test_a_network_that_is_broken_has_no_metrics(network, layer):
    checkpoint, sentences = network("rnn")
    stepper = Stepper(checkpoint.model)
    inner = stepper.source

    def source(name, units, inputs, *, new_step=True):
        return {u: v * (torch.nan if name == layer else 1) for u, v in inner(name, units, inputs).items()}

    stepper.source = source
    reference = run_answers(Stepper(checkpoint.model), sentences, PASSES)
    found = compute_metrics(run_answers(stepper, sentences, PASSES), reference, sentences, METRICS)
    bad = {name for name, value in found.items() if math.isnan(value)}
    assert bad == (set(METRICS) if layer == "encoder1" else {n for n, m in METRICS.items() if m.needs})


@pytest.mark.parametrize("name", ["top1", "top5", "agreement", "reconstruction", "agreement_free", "bleu"])
def test_one_word_that_could_not_be_found_is_enough(name):
    words = [A, B, C, EOS, D, EOS, EOS]
    good, bad = (
        answers_by_hand(SENTENCES, likeliest=found, top=np.ones(7), written=found)
        for found in (words, [*words[:5], NOT_FINITE, EOS])
    )
    assert math.isfinite(compute_metrics(good, good, SENTENCES, [name])[name])
    assert math.isnan(compute_metrics(bad, good, SENTENCES, [name])[name])


def test_a_perplexity_beyond_all_numbers_is_nan():
    answers = answers_by_hand(SENTENCES, nats=[1e300, 1e5, 3.0])
    assert math.isnan(compute_metrics(answers, answers, SENTENCES, ["ppl"])["ppl"])


def test_passes_are_those_that_the_metrics_take():
    assert passes_for(["kl", "mean_error"]) == set()
    assert passes_for(["top5", "kl"]) == {"teacher"}
    assert passes_for(["agreement", "ppl"]) == {"teacher", "sampled"}
    assert passes_for(METRICS) == PASSES


def test_what_cannot_be_measured_is_refused():
    answers = answers_by_hand(SENTENCES, written=[A, B, C, EOS, D, EOS, EOS])
    with pytest.raises(InputError, match=r"unknown metric 'top3'; did you mean 'top5'\? allowed: top1, top5, ppl"):
        passes_for(["top1", "top3"])
    with pytest.raises(InputError, match="unknown metric 'accuracy'"):
        compute_metrics(answers, answers, SENTENCES, ["accuracy"])
    with pytest.raises(InputError, match="top1 takes the pass 'teacher', which is not in the model's answers"):
        compute_metrics(answers, answers, SENTENCES, ["top1"])
    without = answers_by_hand(SENTENCES)
    assert compute_metrics(answers, without, SENTENCES, ["reconstruction"])["reconstruction"] == 1
    with pytest.raises(InputError, match="not in the digital model's answers"):
        compute_metrics(answers, without, SENTENCES, ["agreement_free"])
    with pytest.raises(InputError, match="the model's answers are to other sentences"):
        compute_metrics(answers, answers, SENTENCES[:2], ["kl"])
    with pytest.raises(InputError, match="the digital model's answers are to other sentences"):
        compute_metrics(answers, answers_by_hand(SENTENCES[:2]), SENTENCES, ["kl"])


def test_unigram_counted_by_hand():
    train = [[SOS, A, A, B, EOS], [SOS, A, EOS]]
    # Counts and one: A 4, EOS 3, B 2, and 1 for the unknown word, C and D; 12 in all.
    found = unigram_metrics(train, [[SOS, A, D, EOS]], 8)
    assert found["ppl"] == pytest.approx((12 / 4 * 12 / 1 * 12 / 3) ** (1 / 3))
    assert found["top1"] == pytest.approx(1 / 3)
    assert found["top5"] == pytest.approx(2 / 3)  # A, EOS, B, the unknown word, C: of equals the lowest ids
    assert unigram_metrics(train, [[SOS, C, EOS]], 8)["top5"] == 1


def test_unigram_is_a_distribution():
    train, words = [[SOS, A, A, C, EOS], [SOS, B, EOS]], [1, EOS, A, B, C, D]
    chances = [1 / unigram_metrics(train, [[SOS, word]], 8)["ppl"] for word in words]
    assert sum(chances) == pytest.approx(1)


def test_the_documentation_has_every_metric_as_it_is_measured():
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = [re.split(r"\s*(?<!\\)\|\s*", line.strip("| ")) for line in text.splitlines() if line.startswith("| `")]
    found = {row[0].strip("`"): row[1:] for row in rows if row[0].strip("`") in METRICS}
    assert list(found) == list(METRICS)
    for name, (definition, formula, unit, better, needs) in found.items():
        metric = METRICS[name]
        assert definition == metric.definition
        assert formula.replace("\\|", "|").strip("`") == metric.formula
        assert (unit, better, needs) == (metric.unit, metric.better, metric.needs or "encoder"), name
