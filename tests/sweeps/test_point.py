"""A point of a sweep against the digital model, and dependencies of its result."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import Tiling
from hvae_mnn.crossbar.nonidealities.spec import DeviceSpread, Nonidealities, Programming, ReadNoise, StuckCells
from hvae_mnn.errors import CheckpointError, InputError, TextError
from hvae_mnn.evaluation.answers import run_answers
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.sweeps.digital import reference_answers
from hvae_mnn.sweeps.point import checkpoint_of, chip_of, run_task
from hvae_mnn.sweeps.sentences import choose_text, chosen_sentences, further_text
from hvae_mnn.sweeps.task import TextChoice

SPREAD = Nonidealities(programming=Programming("lognormal", 0.2))


def plain(hardware, **changes):
    """The hardware without converters."""
    return replace(hardware, dac=replace(hardware.dac, bits=0), adc=replace(hardware.adc, bits=0), **changes)


@pytest.fixture
def paper():
    return read_hardware("paper")


@pytest.mark.parametrize("cells", ["lstm", "gru", "mixed", "peephole"])
@pytest.mark.parametrize("scheme", ["fixed_resistor_per_cell", "reference_column", "differential_pair"])
def test_without_anything_it_is_the_digital_model(make_task, paper, cells, scheme):
    hardware = plain(paper, cells=replace(paper.cells, scheme=scheme))
    outcome = run_task(make_task("point", hardware, Nonidealities(), 5, cells=cells))
    digital = run_task(make_task("digital", seed=None, cells=cells))
    assert outcome.metrics["agreement"] == outcome.metrics["agreement_free"] == 1
    for name, value in digital.metrics.items():
        assert outcome.metrics[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    assert (outcome.sentences, outcome.tokens) == (digital.sentences, digital.tokens)


def test_a_result_depends_on_the_seed_and_on_nothing_else(make_task, paper):
    task = make_task("point", paper, SPREAD, 3)
    before = torch.get_num_threads()
    first = run_task(task).metrics
    assert torch.get_num_threads() == before
    assert run_task(task).metrics == first
    other = run_task(make_task("point", paper, SPREAD, 4)).metrics
    assert other["mean_error"] != first["mean_error"]


def test_more_of_a_spread_is_a_larger_error(make_task, paper):
    errors = [
        np.mean(
            [
                run_task(
                    make_task("point", plain(paper), Nonidealities(programming=Programming("lognormal", s)), seed)
                ).metrics["mean_error"]
                for seed in range(3)
            ]
        )
        for s in (0.01, 0.05, 0.2)
    ]
    assert errors[0] < errors[1] < errors[2]


def test_read_noise_depends_on_the_sentence_and_not_on_the_batch(make_task, paper):
    noise = Nonidealities(read_noise=ReadNoise(thermal=True, bandwidth_hz=1e9, flicker=1e-3, low_hz=1e3))
    task = make_task("point", paper, noise, 1)
    checkpoint, chip = checkpoint_of(task), chip_of(task)
    sentences = chosen_sentences(checkpoint, task.text)
    answers = []
    for batch_size in (3, 64):
        source = chip.source(chip.exact_engine())
        stepper = HardwareStepper(checkpoint.model, source)
        answers.append(run_answers(stepper, sentences, {"sampled"}, begin=source.begin, batch_size=batch_size))
    np.testing.assert_allclose(answers[0].mean, answers[1].mean, rtol=1e-9)
    np.testing.assert_allclose(answers[0].nats, answers[1].nats, rtol=1e-9)


def test_read_noise_is_seeded(make_task, paper):
    noise = Nonidealities(read_noise=ReadNoise(thermal=True, bandwidth_hz=1e9, flicker=1e-3, low_hz=1e3))
    few, other = (run_task(make_task("point", paper, noise, seed, metrics=("mean_error",))) for seed in (1, 2))
    quiet = run_task(make_task("point", paper, Nonidealities(), 1, metrics=("mean_error",)))
    assert few.metrics["mean_error"] > quiet.metrics["mean_error"]
    assert few.metrics != other.metrics
    again = run_task(make_task("point", paper, noise, 1, metrics=("mean_error",)))
    assert again.metrics == few.metrics


def test_stuck_cells_are_counted(make_task, paper):
    outcome = run_task(make_task("point", paper, Nonidealities(stuck=StuckCells(on=0.1, off=0.3)), 2))
    task = make_task("point", paper, Nonidealities(spread=DeviceSpread(0.1, 0.1)), 2)
    assert outcome.facts["stuck_off"] > 2 * outcome.facts["stuck_on"] > 0
    assert run_task(task).facts["stuck_on"] == 0


def test_the_unigram_has_what_it_can_have(make_task):
    outcome = run_task(make_task("unigram", seed=None))
    assert set(outcome.metrics) == {"top1", "top5", "ppl"}
    assert 0 < outcome.metrics["top1"] <= outcome.metrics["top5"] < 1 < outcome.metrics["ppl"]


def test_a_file_that_changed_since_the_sweep_began_is_refused(make_task, tmp_path):
    task = make_task("digital", seed=None)
    changed = tmp_path / "changed.pt"
    changed.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="has changed since the sweep began"):
        run_task(replace(task, model=replace(task.model, checkpoint=str(changed))))
    with pytest.raises(InputError, match="the sentences have changed since the sweep began"):
        run_task(replace(task, text=TextChoice(None, "test", 11, task.text.sha256)))


def test_text_of_other_splits_that_a_result_depends_on_is_in_its_key(make_task, paper):
    per_tile = replace(paper, tiling=Tiling(4, 3, "after_adc"))
    for task in (make_task("unigram", seed=None), make_task("point", per_tile, SPREAD, 1)):
        changed = replace(task, further_text="0" * 64)
        assert task.further_text
        assert changed.key != task.key
        with pytest.raises(InputError, match="sentences of another split that the result depends on have changed"):
            run_task(changed)
    assert run_task(make_task("point", per_tile, SPREAD, 1)).metrics["top1"] >= 0
    assert not make_task("point", paper, SPREAD, 1).further_text


def test_keys_know_what_a_result_depends_on(make_task, paper):
    task = make_task("point", paper, SPREAD, 3)
    same = replace(task, model=replace(task.model, label="other", checkpoint="elsewhere.pt"))
    assert same.key == task.key
    renamed = replace(task, hardware={**task.hardware, "name": "other", "source": "other"})
    assert renamed.key == task.key
    others = [
        replace(task, seed=4),
        replace(task, metrics=("top1",)),
        replace(task, noise={}),
        replace(task, model=replace(task.model, sha256="0")),
        replace(task, text=replace(task.text, sha256="0")),
        make_task("point", plain(paper), SPREAD, 3),
    ]
    assert len({task.key, *(other.key for other in others)}) == 7


def test_a_damaged_reference_is_made_again(make_task, tmp_path, monkeypatch):
    monkeypatch.setenv("HVAE_MNN_CACHE", str(tmp_path))
    task = make_task("digital", seed=None, sentences=7)
    first = run_task(task).metrics
    (path,) = (tmp_path / "answers").iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 64
    for damaged in (whole[:-40], bytes(flipped)):
        path.write_bytes(damaged)
        reference_answers.__globals__["_KNOWN"].clear()
        assert run_task(task).metrics == first
        assert path.read_bytes()[-40:] == whole[-40:]
    assert all(math.isfinite(value) for value in first.values())


def test_a_task_counts_its_own_time_and_not_that_of_a_cached_answer(make_task, paper):
    """Cached answers carry the time of their computation, which is not the time of a task that reads them."""
    first = run_task(make_task("digital", seed=None))
    again = run_task(make_task("digital", seed=None))
    point = run_task(make_task("point", paper, SPREAD, 3))
    assert set(first.seconds) == set(again.seconds) == {"load", "reference", "total"}
    assert set(point.seconds) == {"load", "reference", "draw", "transfer", "forward", "logits", "total"}
    for outcome in (first, again, point):
        assert sum(outcome.seconds.values()) - outcome.seconds["total"] <= outcome.seconds["total"]


def test_text_that_the_model_does_not_know_makes_no_baseline_and_no_calibration(make_checkpoint, paper, tmp_path):
    checkpoint = load_checkpoint(make_checkpoint("lstm"))
    for split, lines in (("train", ["wort für wort"] * 30), ("valid", ["wort für wort"] * 30), ("test", ["the ."] * 9)):
        (tmp_path / f"{split}.txt").write_text("\n".join(lines), encoding="utf-8")
    text = choose_text(checkpoint, tmp_path, "test", None)
    per_tile = replace(paper, tiling=Tiling(4, 3, "after_adc"))
    for kind, hardware, split in (("unigram", None, "train"), ("point", per_tile, "valid")):
        with pytest.raises(TextError, match=f"90 of 90 words of .*/{split} are not in the model's vocabulary"):
            further_text(checkpoint, text, kind, hardware)
    assert further_text(checkpoint, text, "point", paper) == []
