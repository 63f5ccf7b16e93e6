from __future__ import annotations

import pytest

from hvae_mnn.cosim.plan import Options, RunPlan, choose_sentences
from hvae_mnn.errors import InputError, RunError, TextError
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import EOS, SOS


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint):
    return load_checkpoint(make_checkpoint("lstm"))


def choose(checkpoint, **changes):
    options = {"text": None, "data_dir": None, "split": "test", "sentences": None, "steps": None, **changes}
    return choose_sentences(checkpoint, **options)


@pytest.mark.parametrize("steps", [1, 7, 40, 123])
def test_steps_are_used_up_exactly(checkpoint, steps):
    origin, chosen = choose(checkpoint, steps=steps)
    assert origin.endswith("/test")
    assert sum(len(sentence) - 1 for sentence in chosen) == steps
    assert all(sentence[0] == SOS and sentence[-1] == EOS for sentence in chosen)


def test_forty_steps_when_nothing_is_said(checkpoint):
    assert sum(len(sentence) - 1 for sentence in choose(checkpoint)[1]) == 40


def test_sentences_come_in_order_and_whole(checkpoint):
    _, chosen = choose(checkpoint, sentences=3)
    expected = [checkpoint.vocabulary.encode_sentence(words) for words in grammar_corpus().test[:3]]
    assert chosen == expected


def test_the_tighter_limit_holds(checkpoint):
    _, chosen = choose(checkpoint, sentences=1, steps=400)
    assert len(chosen) == 1
    _, chosen = choose(checkpoint, sentences=5, steps=3)
    assert [len(sentence) for sentence in chosen] == [4]


def test_text_is_one_sentence_whole(checkpoint):
    words = " ".join(grammar_corpus().test[0])
    origin, chosen = choose(checkpoint, text=f"  {words} ")
    assert origin == "text"
    assert checkpoint.vocabulary.decode(chosen[0][1:-1]) == words.split()


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("steps", -4), ("sentences", 0)])
def test_limits_below_one_are_refused(checkpoint, name, value):
    with pytest.raises(InputError, match=f"--{name} is {value}; allowed: 1 or more"):
        choose(checkpoint, **{name: value})


def test_text_without_words_and_text_of_another_language_are_refused(checkpoint):
    with pytest.raises(TextError, match="no words"):
        choose(checkpoint, text="  ")
    with pytest.raises(TextError, match="2 of 3 words of text are not in the model's vocabulary"):
        choose(checkpoint, text="the Zwiebelfisch schwimmt")


def test_a_plan_comes_back_from_its_file(tmp_path):
    plan = RunPlan("netlists/x", "ab" * 32, Options(dac_bits=5, seed=9), "text", ((2, 7, 3), (2, 3)))
    plan.save(tmp_path)
    assert RunPlan.load(tmp_path) == plan


@pytest.mark.filterwarnings("ignore::hvae_mnn.errors.UncheckedFileWarning")
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "other"}', '{"format": "hvae-mnn-run/1"}'])
def test_a_damaged_plan_is_one_line(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match="cannot be read"):
        RunPlan.load(tmp_path)


def test_unknown_choices_are_refused():
    with pytest.raises(
        InputError, match=r"unknown engine 'hspice'; did you mean 'ngspice'\? allowed: ngspice, exact, ideal"
    ):
        Options(engine="hspice")  # type: ignore[arg-type]
