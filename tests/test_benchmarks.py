"""The benchmarks measure what they say: every way that is timed gives the right currents first."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks import devices, training
from benchmarks.__main__ import main
from benchmarks.children import KINDS, Child
from benchmarks.figures import Figure, in_turns
from benchmarks.step import expected_currents
from benchmarks.workspace import decks, random_reads
from hvae_mnn import build_netlist
from hvae_mnn.spice.osdi import osdi_problem


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A deck, its volts and the currents they should give."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        manifest = build_netlist(nn.LSTM(5, 3), tmp_path_factory.mktemp("bench") / "net")
    layer = manifest.layers[0]
    deck = decks(manifest, layer)[1]
    reads = random_reads(manifest, layer, np.random.default_rng(0))
    return deck, reads[deck.name][0], expected_currents(manifest, reads)[deck.name][0]


@pytest.mark.spice
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_of_solving_is_timed_again_and_again(task, kind):
    with Child(kind, *task) as child:
        child.wait_ready()
        assert all(child.go() > 0 for _ in range(3))


@pytest.mark.spice
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_current_is_no_result(task, kind):
    deck, volts, expected = task
    wrong = expected.copy()
    wrong[1] *= 1 + 1e-6
    with Child(kind, deck, volts, wrong) as child, pytest.raises(RuntimeError, match="child process"):
        child.wait_ready().go()


@pytest.mark.spice
def test_devices_are_measured_with_the_current_they_should_carry():
    kinds = ["static", "behavioural", *([] if osdi_problem() else ["osdi"])]
    found = {(kind, 100): devices._measure(kind, 100) for kind in kinds}
    assert all(figure["step_s"] > 0 and figure["load_s"] > 0 for figure in found.values())
    devices._check_currents(found, 100)
    found["osdi", 100] = {"current": found["behavioural", 100]["current"] * (1 + 1e-5)}
    with pytest.raises(RuntimeError, match="100 devices"):
        devices._check_currents(found, 100)


def test_a_figure_knows_its_aim():
    assert Figure("a", "a", 1.1, "x", at_most=1.15).met is True
    assert Figure("a", "a", 19.0, "x", at_least=20).met is False
    assert Figure("a", "a", 19.0, "x").met is None


def test_sides_of_a_ratio_take_turns_and_the_warm_up_does_not_count():
    order = []

    def side(name, values):
        left = iter(values)
        return lambda: order.append(name) or next(left)

    found = in_turns({"a": side("a", [99, 1, 2, 9]), "b": side("b", [99, 5, 5, 5])}, 3)
    assert found == {"a": 2, "b": 5}
    assert order == ["a", "b"] * 4


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_training_step_and_its_bare_twin_give_the_same_loss(optimizer):
    with training.one_thread():
        loops = training.Loops("tiny", 300, optimizer)
        loops.check()
        with torch.no_grad():
            loops.bare.to_logits.bias[5:] += 1.0  # probability moves from the end symbol to the words
        with pytest.raises(RuntimeError, match="by torch alone"):
            loops.check()


def test_both_ways_through_the_output_layer_give_the_same_gradients():
    with training.one_thread():
        loops = training.Loops("tiny", 300, "sgd")
        found = {}
        for name, action in training.output_layer(loops).items():
            action()
            found[name] = loops.bare.to_logits.weight.grad.clone()
    assert not loops.bf16
    assert torch.allclose(found["fused"], found["separate"], rtol=1e-4, atol=1e-5)


@pytest.mark.spice
def test_the_report(tmp_path):
    path = tmp_path / "folder" / "bench.json"
    done = CliRunner().invoke(main, ["ideal", "--json", str(path)])
    assert done.exit_code == 0, done.output
    report = json.loads(path.read_text(encoding="utf-8"))
    assert list(report["benchmarks"]) == ["ideal"]
    assert report["benchmarks"]["ideal"]["figures"]["ratio"]["value"] > 0
    assert report["machine"]["ngspice"]
