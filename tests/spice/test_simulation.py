"""The main job: text through ngspice beside the digital model, and runs that are interrupted."""

from __future__ import annotations

import copy
import json

import pyarrow.parquet as pq
import pytest
import torch

from hvae_mnn import Options, build_netlist, load_checkpoint, resume, simulate
from hvae_mnn.cosim import simulation
from hvae_mnn.errors import RunError, SimulatorError
from hvae_mnn.text.vocabulary import EOS

pytestmark = pytest.mark.spice

EXACT = Options(dac_bits=0, adc_bits=0)
TABLES = ("steps.parquet", "tokens.parquet", "preactivations.parquet")


@pytest.fixture(scope="module")
def netlist(make_checkpoint, tmp_path_factory):
    made = {}

    def make(cells):
        if cells not in made:
            made[cells] = build_netlist(make_checkpoint(cells), tmp_path_factory.mktemp("netlists") / cells)
        return made[cells]

    return make


@pytest.mark.parametrize("cells", ["lstm", "gru", "rnn", "mixed", "peephole"])
def test_without_converters_ngspice_is_the_digital_model(netlist, tmp_path, cells):
    result = simulate(netlist(cells), steps=25, options=EXACT, out=tmp_path / "run")
    summary = result.summary
    assert summary["steps"] == 25
    assert summary["engine_facts"]["solver"] == "KLU"
    for layer, units in summary["preactivation_error"].items():
        for unit, error in units.items():
            assert error["full_scale"] > 0.5, (layer, unit)
            assert error["max_of_full_scale"] < 1e-9, (layer, unit)
            assert error["array_max_of_full_scale"] < 1e-9, (layer, unit)
    assert summary["token_agreement"] == 1
    assert summary["tokens_digital"] == summary["tokens_hardware"]
    # Not the same token everywhere, or agreement would say nothing.
    assert len({token for tokens in result.tokens for token in tokens.hardware}) > 3
    # Every gate of every layer at every step.
    table = pq.read_table(tmp_path / "run" / "steps.parquet").to_pydict()
    counted = len(
        set(zip(table["sentence"], table["phase"], table["position"], table["layer"], table["unit"], strict=True))
    )
    gates = [len(layer.units) for layer in netlist(cells).layers]
    assert counted == len(table["unit"]) == 25 * sum(gates)
    assert max(e / s for e, s in zip(table["max_error"], table["full_scale"], strict=True)) < 1e-9


def test_tokens_are_those_of_the_trained_model_as_torch_runs_it(netlist, tmp_path):
    result = simulate(netlist("lstm"), sentences=2, options=EXACT, out=tmp_path / "run")
    checkpoint = load_checkpoint(netlist("lstm").folder / "checkpoint.pt")
    whole = copy.deepcopy(checkpoint.model).double().eval()
    for sentence, found in zip(result.sentences, result.tokens, strict=True):
        tokens = torch.tensor([sentence])
        with torch.no_grad():
            mean, _ = whole.encode(tokens, torch.tensor([len(sentence)]), masked=True).last()
            expected = whole.decode(tokens, mean)[0].argmax(-1)
        assert list(found.hardware) == expected.tolist()


def test_coarse_converters_show_and_finer_ones_show_less(netlist, tmp_path):
    worst = {}
    for bits in (4, 8, 12):
        options = Options(dac_bits=bits, adc_bits=bits)
        summary = simulate(netlist("lstm"), steps=12, options=options, out=tmp_path / str(bits)).summary
        worst[bits] = summary["preactivation_error"]["decoder"]["i"]["array_max_of_full_scale"]
        ideal = simulate(
            netlist("lstm"),
            steps=12,
            options=Options(engine="ideal", dac_bits=bits, adc_bits=bits),
            out=tmp_path / f"{bits}-ideal",
        ).summary
        assert ideal["preactivation_error"]["decoder"]["i"]["max"] == pytest.approx(
            summary["preactivation_error"]["decoder"]["i"]["max"], rel=1e-6
        )
    assert worst[4] > 5 * worst[8] > 25 * worst[12] > 0


def test_free_running_reads_its_own_tokens_and_ends(netlist, tmp_path):
    options = Options(dac_bits=0, adc_bits=0, decoding="free-running")
    result = simulate(netlist("gru"), sentences=2, options=options, out=tmp_path / "run")
    checkpoint = load_checkpoint(netlist("gru").folder / "checkpoint.pt")
    whole = copy.deepcopy(checkpoint.model).double().eval()
    for sentence, found in zip(result.sentences, result.tokens, strict=True):
        assert found.digital == found.hardware
        with torch.no_grad():
            mean, _ = whole.encode(torch.tensor([sentence]), torch.tensor([len(sentence)]), masked=True).last()
            own = [sentence[0]]
            while len(own) < len(sentence) and own[-1] != EOS:
                logits = whole.decode(torch.tensor([[*own, 0]]), mean)
                own.append(int(logits[0, -1].argmax()))
        assert list(found.hardware) == own[1:]


def test_a_sampled_latent_is_seeded_and_shared_with_the_digital_model(netlist, tmp_path):
    def run(seed, name):
        options = Options(dac_bits=0, adc_bits=0, latent="sampled", seed=seed)
        return simulate(netlist("lstm"), steps=15, options=options, out=tmp_path / name)

    one, again, other = run(1, "a"), run(1, "b"), run(2, "c")
    for result in (one, other):
        assert result.summary["preactivation_error"]["decoder"]["o"]["max_of_full_scale"] < 1e-9
    table = [pq.read_table(result.folder / "tokens.parquet") for result in (one, again, other)]
    assert table[0].equals(table[1])
    assert not table[0].equals(table[2])


class Stop(Exception):
    pass


def stop_after(count):
    def progress(what, done, total):
        if what == "stepping" and done == count:
            raise Stop

    return progress


def results(folder):
    """Everything that must not depend on interruptions: tables bit for bit, the summary without its times."""
    summary = json.loads((folder / "summary.json").read_text())
    for key in ("seconds_total", "seconds_in_engine", "seconds_per_step", "engine_facts"):
        summary.pop(key)
    return summary, [(folder / name).read_bytes() for name in TABLES]


@pytest.mark.parametrize("options", [Options(), Options(latent="sampled", decoding="free-running", seed=5)])
def test_an_interrupted_run_goes_on_bit_for_bit(netlist, tmp_path, options):
    manifest = netlist("lstm")
    simulate(manifest, sentences=3, options=options, out=tmp_path / "whole")
    folder = tmp_path / "parts"
    with pytest.raises(Stop):
        simulate(manifest, sentences=3, options=options, out=folder, progress=stop_after(9))
    assert sorted(path.name for path in folder.iterdir()) == ["journal.bin", "run.json"]
    with (folder / "journal.bin").open("r+b") as journal:  # the last answer was being written when the power went
        journal.truncate(journal.seek(0, 2) - 5)
    with pytest.raises(Stop):
        resume(folder, progress=stop_after(20))
    finished = resume(folder)
    assert finished.summary["engine_facts"]["answers_from_journal"] > 20
    assert results(folder) == results(tmp_path / "whole")
    assert not (folder / "journal.bin").exists()


def test_a_finished_run_is_not_run_again(netlist, tmp_path):
    simulate(netlist("rnn"), steps=2, options=EXACT, out=tmp_path / "run")
    with pytest.raises(RunError, match="is finished"):
        resume(tmp_path / "run")
    with pytest.raises(RunError, match="exists and is not empty"):
        simulate(netlist("rnn"), steps=2, options=EXACT, out=tmp_path / "run")


def test_netlists_built_anew_are_noticed(netlist, make_checkpoint, tmp_path):
    manifest = build_netlist(make_checkpoint("rnn"), tmp_path / "net")
    with pytest.raises(Stop):
        simulate(manifest, steps=9, options=EXACT, out=tmp_path / "run", progress=stop_after(3))
    build_netlist(make_checkpoint("gru"), tmp_path / "net")
    with pytest.raises(RunError, match="built from another checkpoint"):
        resume(tmp_path / "run")


def test_a_run_whose_ngspice_failed_can_be_resumed(netlist, tmp_path, monkeypatch):
    manifest, folder = netlist("lstm"), tmp_path / "run"
    start = simulation.start_engine

    def start_and_break_later(*arguments):
        engine = start(*arguments)
        inner, calls = engine.currents, []

        def currents(volts):
            calls.append(1)
            if len(calls) == 8:
                raise SimulatorError("ngspice failed twice")
            return inner(volts)

        engine.currents = currents
        return engine

    monkeypatch.setattr(simulation, "start_engine", start_and_break_later)
    with pytest.raises(SimulatorError):
        simulate(manifest, steps=12, out=folder)
    monkeypatch.undo()
    resume(folder)
    simulate(manifest, steps=12, out=tmp_path / "whole")
    assert results(folder) == results(tmp_path / "whole")
