"""Runs of text through ngspice beside the digital model, and their interruption."""

from __future__ import annotations

import copy
import json

import pyarrow.parquet as pq
import pytest
import torch

from hvae_mnn import Options, build_netlist, load_checkpoint, resume, simulate
from hvae_mnn.api import circuits
from hvae_mnn.errors import InputError, MendedWarning, RunError, SimulatorError
from hvae_mnn.files import write_sealed
from hvae_mnn.owned import alone
from hvae_mnn.text.grammar import grammar_corpus
from hvae_mnn.text.vocabulary import EOS

pytestmark = pytest.mark.spice

EXACT = Options(dac_bits=0, adc_bits=0)
IDEAL = Options(engine="ideal", dac_bits=0, adc_bits=0)
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
    for sentence, written in zip(result.sentences, result.tokens, strict=True):
        tokens = torch.tensor([sentence])
        with torch.no_grad():
            mean, _ = whole.encode(tokens, torch.tensor([len(sentence)]), masked=True).last()
            expected = whole.decode(tokens, mean)[0].argmax(-1)
        assert list(written.hardware) == expected.tolist()


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
    for sentence, written in zip(result.sentences, result.tokens, strict=True):
        assert written.digital == written.hardware
        with torch.no_grad():
            mean, _ = whole.encode(torch.tensor([sentence]), torch.tensor([len(sentence)]), masked=True).last()
            own = [sentence[0]]
            while len(own) < len(sentence) and own[-1] != EOS:
                logits = whole.decode(torch.tensor([[*own, 0]]), mean)
                own.append(int(logits[0, -1].argmax()))
        assert list(written.hardware) == own[1:]


def test_a_model_that_has_ended_says_eos_until_the_other_one_ends(make_checkpoint, tmp_path, monkeypatch):
    from hvae_mnn.models.stepwise import Stepper

    manifest = build_netlist(make_checkpoint("rnn"), tmp_path / "net")
    logits, ends = Stepper.logits, {}

    def ending(self, state):  # the digital model says eos at its third step, the hardware at its sixth
        changed = logits(self, state).clone()
        ends[id(self)] = count = ends.get(id(self), 0) + 1
        first = id(self) == next(iter(ends))
        changed[0, EOS] = 1e9 if count == (3 if first else 6) else -1e9
        return changed

    monkeypatch.setattr(Stepper, "logits", ending)
    options = Options(engine="ideal", dac_bits=0, adc_bits=0, decoding="free-running")
    text = " ".join(grammar_corpus().test[0])
    result = simulate(manifest, text=text, options=options, out=tmp_path / "run")
    digital, hardware = result.tokens[0].digital, result.tokens[0].hardware
    assert len(digital) == len(hardware) == 6
    assert digital[2:] == (EOS,) * 4
    assert EOS not in hardware[:5]
    assert hardware[5] == EOS
    assert result.summary["token_agreement"] == pytest.approx(3 / 6)  # two tokens before, and the last eos
    assert sorted(ends.values()) == [3, 6]


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
    """Results that must not depend on interruptions: tables bit for bit, the summary without its times."""
    summary = json.loads((folder / "summary.json").read_text())
    for key in [key for key in summary if key.startswith("seconds_")] + ["engine_facts", "sha256"]:
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


def test_netlists_built_anew_are_noticed(make_checkpoint, tmp_path):
    manifest = build_netlist(make_checkpoint("rnn"), tmp_path / "net")
    with pytest.raises(Stop):
        simulate(manifest, steps=9, options=IDEAL, out=tmp_path / "run", progress=stop_after(3))
    build_netlist(make_checkpoint("rnn"), tmp_path / "net", calibration="p99")
    with pytest.raises(RunError, match="was built anew since"):
        resume(tmp_path / "run")
    (tmp_path / "net").rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="needs the netlists it was started with"):
        resume(tmp_path / "run")


@pytest.fixture
def stopped(netlist, tmp_path):
    """A run that was interrupted after some answers."""
    with pytest.raises(Stop):
        simulate(netlist("rnn"), steps=9, options=IDEAL, out=tmp_path / "run", progress=stop_after(5))
    return tmp_path / "run"


def test_a_journal_of_other_options_is_noticed(stopped):
    plan = json.loads((stopped / "run.json").read_text())
    plan["options"]["dac_bits"] = 3
    write_sealed(stopped / "run.json", plan)
    with pytest.raises(RunError, match="answers other voltages than this run asks for"):
        resume(stopped)


def test_a_journal_that_the_power_cut_left_as_zeros_is_cut_off(stopped, netlist, tmp_path):
    journal = stopped / "journal.bin"
    journal.write_bytes(journal.read_bytes()[:-30] + bytes(200))
    with pytest.warns(MendedWarning, match=r"journal\.bin is damaged"):
        resume(stopped)
    simulate(netlist("rnn"), steps=9, options=IDEAL, out=tmp_path / "whole")
    assert results(stopped) == results(tmp_path / "whole")


def test_a_run_that_was_killed_once_it_was_finished_keeps_no_journal(stopped):
    journal = (stopped / "journal.bin").read_bytes()
    resume(stopped)
    (stopped / "journal.bin").write_bytes(journal)
    with pytest.raises(RunError, match="is finished"):
        resume(stopped)
    assert not (stopped / "journal.bin").exists()


def test_a_run_belongs_to_one_process_at_a_time(stopped):
    with alone(stopped), pytest.raises(RunError, match="is being run by another process"):
        resume(stopped)
    resume(stopped)


@pytest.mark.parametrize("sentences", [[], [[2]], [[2, 999_999]], [[2, -1]], [["the", 3]], 7])
def test_a_run_of_impossible_sentences_is_refused(stopped, sentences):
    plan = json.loads((stopped / "run.json").read_text())
    plan["sentences"] = sentences
    write_sealed(stopped / "run.json", plan)
    with pytest.raises(RunError, match=r"run\.json"):
        resume(stopped)


def test_word_lines_stay_within_the_read_voltage(netlist, tmp_path):
    manifest = netlist("lstm")
    summary = simulate(manifest, steps=20, options=Options(engine="ideal"), out=tmp_path / "run").summary
    assert 0.5 * manifest.device.read_v < summary["max_word_line_volts"] <= manifest.device.read_v * (1 + 1e-12)


def test_without_dacs_nothing_above_the_threshold_is_driven(make_checkpoint, tmp_path):
    content = torch.load(make_checkpoint("rnn"), weights_only=True)
    for spread in content["activation_ranges"]["encoder1"]["inputs"].values():
        spread["max"] /= 8
    torch.save(content, tmp_path / "narrow.pt")
    manifest = build_netlist(tmp_path / "narrow.pt", tmp_path / "net")
    # The word lines follow the narrow range: clipped by DACs, refused without them.
    clipped = simulate(manifest, steps=4, options=Options(engine="ideal"), out=tmp_path / "clipped").summary
    assert clipped["clipping"]["dac"]["encoder1.x"]["clipped"] > 0
    assert clipped["max_word_line_volts"] <= manifest.device.read_v * (1 + 1e-12)
    with pytest.raises(InputError, match=r"above the device's threshold of 0\.1 V"):
        simulate(manifest, steps=4, options=IDEAL, out=tmp_path / "refused")


def test_peepholes_convert_a_steps_inputs_once(netlist, tmp_path):
    summary = simulate(netlist("peephole"), steps=4, options=Options(engine="ideal"), out=tmp_path / "run").summary
    samples = {name: entry["samples"] for name, entry in summary["clipping"]["dac"].items()}
    assert samples["encoder1.x"] == 4 * 7
    assert samples["decoder.z"] == 4 * 3
    assert samples["decoder.h"] == samples["decoder.cp"] == samples["decoder.ct"] == 4 * 5


@pytest.mark.parametrize("name", ["two words", "naïve Ω"])
def test_folders_of_any_name(make_checkpoint, tmp_path, name):
    manifest = build_netlist(make_checkpoint("rnn"), tmp_path / name)
    summary = simulate(manifest, steps=3, options=EXACT, out=tmp_path / f"run {name}").summary
    assert summary["preactivation_error"]["decoder"]["h"]["max_of_full_scale"] < 1e-9


def test_a_run_whose_ngspice_failed_can_be_resumed(netlist, tmp_path, monkeypatch):
    manifest, folder = netlist("lstm"), tmp_path / "run"
    unbroken = circuits.start_engine

    def start_and_break_later(*arguments):
        engine = unbroken(*arguments)
        inner, calls = engine.currents, []

        def currents(volts):
            calls.append(1)
            if len(calls) == 8:
                raise SimulatorError("ngspice failed twice")
            return inner(volts)

        engine.currents = currents
        return engine

    monkeypatch.setattr(circuits, "start_engine", start_and_break_later)
    with pytest.raises(SimulatorError):
        simulate(manifest, steps=12, out=folder)
    monkeypatch.undo()
    resume(folder)
    simulate(manifest, steps=12, out=tmp_path / "whole")
    assert results(folder) == results(tmp_path / "whole")
