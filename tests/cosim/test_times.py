"""Times in a run's summary: loading, stepping and figures, and the engine's part of the stepping."""

from __future__ import annotations

import json
import time
from contextlib import closing

import numpy as np
import pytest

from hvae_mnn import Options, build_netlist
from hvae_mnn.cosim import simulation
from hvae_mnn.cosim.journal import JournalEngine
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.layout import ArrayLayout
from hvae_mnn.devices.moving import MovingDevices
from hvae_mnn.devices.presets import AIST
from hvae_mnn.engines import start
from hvae_mnn.engines.ideal import IdealEngine

DRAWING_S = 0.3


@pytest.fixture(scope="module")
def manifest(make_checkpoint, tmp_path_factory):
    return build_netlist(make_checkpoint("rnn"), tmp_path_factory.mktemp("times") / "net")


@pytest.mark.parametrize("engine", ["exact", "ideal"])
def test_figures_are_not_stepping_and_stepping_is_not_loading(manifest, make_checkpoint, tmp_path, engine):
    checkpoint = simulation.checkpoint_of(manifest)
    sentence = checkpoint.vocabulary.encode_sentence(["the", "dogs", "sleep", "."])
    options = Options(engine=engine)
    with (
        simulation.start(manifest, "text", [sentence], options, tmp_path / "run") as (folder, plan),
        closing(start.start_engine(engine, manifest)) as started,
    ):
        loading = started.seconds_loading
        summary = simulation.execute(
            folder, plan, manifest, checkpoint, started, finish=lambda _: time.sleep(DRAWING_S)
        ).summary
        spent = started.seconds
    assert summary.items() <= json.loads((folder / "summary.json").read_text(encoding="utf-8")).items()
    assert summary["seconds_loading"] == round(loading, 3)
    assert summary["seconds_figures"] >= DRAWING_S
    assert spent <= summary["seconds_in_engine"] + 1e-3
    assert summary["seconds_in_engine"] <= summary["seconds_stepping"]
    parts = summary["seconds_stepping"] + summary["seconds_figures"]
    assert summary["seconds_total"] == pytest.approx(parts, abs=2e-3)


def test_devices_that_a_resumed_run_moves_again_are_time_in_the_engine(tmp_path):
    layout = ArrayLayout(3, 2, read_hardware("paper"))
    memristors = np.random.default_rng(0).uniform(AIST.g_min, AIST.g_max, (3, 2))

    def started():
        return IdealEngine({"a": memristors}, {"a": layout}, MovingDevices(AIST, "behavioural", 1e-3))

    volts = [{"a": np.full((2, 3), 0.2 + 0.01 * number)} for number in range(3)]
    with closing(JournalEngine(started(), tmp_path / "journal.bin", {"a": 2})) as first:
        answers = [first.currents(asked)["a"] for asked in volts]
        assert first.seconds > 0
    again = started()
    with closing(JournalEngine(again, tmp_path / "journal.bin", {"a": 2})) as second:
        for asked, answer in zip(volts, answers, strict=True):
            np.testing.assert_array_equal(second.currents(asked)["a"], answer)
        assert second.replayed == 3
        assert second.seconds >= again.seconds > 0
