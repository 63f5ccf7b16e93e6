"""Training with the hardware in the loop: its values are the circuit's, its gradients software's."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from hvae_mnn.cosim.chip import draw_chip
from hvae_mnn.cosim.export import build_netlist, map_checkpoint
from hvae_mnn.cosim.stepper import HardwareStepper
from hvae_mnn.crossbar.hardware.file import read_hardware
from hvae_mnn.crossbar.hardware.spec import ConverterSpec, Tiling
from hvae_mnn.crossbar.hardware.wires import Wires
from hvae_mnn.crossbar.mapping import row_weights
from hvae_mnn.crossbar.nonidealities.spec import Nonidealities, Programming, ReadNoise
from hvae_mnn.errors import InputError
from hvae_mnn.files import sha256
from hvae_mnn.finetuning import run as module
from hvae_mnn.finetuning.clipping import clip_weights, weight_bounds
from hvae_mnn.finetuning.config import FinetuneConfig
from hvae_mnn.finetuning.costs import costs
from hvae_mnn.finetuning.run import finetune
from hvae_mnn.finetuning.stepper import MixedStepper
from hvae_mnn.models.checkpoint import load_checkpoint
from hvae_mnn.models.latent import sample_latent
from hvae_mnn.models.objective import charged_kl, reconstruction
from hvae_mnn.models.stepwise import model_layers, run_batch
from hvae_mnn.text.batches import collate
from hvae_mnn.text.grammar import grammar_corpus

CELLS = ["lstm", "gru", "mixed", "peephole"]
SPREAD = Nonidealities(programming=Programming("lognormal", 0.2))


@pytest.fixture(scope="module")
def corpus():
    return grammar_corpus(train=400, valid=60, test=20)


@pytest.fixture
def network(make_checkpoint, corpus):
    """A checkpoint in float64, and six sentences, longest first."""

    def make(cells="lstm"):
        checkpoint = load_checkpoint(make_checkpoint(cells))
        checkpoint.model.double()
        sentences = [checkpoint.vocabulary.encode_sentence(words) for words in corpus.valid[:6]]
        return checkpoint, sorted(sentences, key=len, reverse=True)

    return make


def plain(name="paper"):
    hardware = read_hardware(name)
    return replace(hardware, dac=ConverterSpec(0), adc=ConverterSpec(0))


def crossbars(checkpoint, hardware, noise=SPREAD, seed=1):
    chip = draw_chip(map_checkpoint(checkpoint, hardware), noise, seed)
    found = chip.source(chip.exact_engine())
    found.begin(range(6))
    return found


def mixed(checkpoint, hardware, noise=SPREAD, seed=1, **options):
    chip = draw_chip(map_checkpoint(checkpoint, hardware), noise, seed)
    engine = chip.exact_engine()
    source = chip.source(engine)
    source.begin(range(6))
    return MixedStepper(checkpoint.model, source, chip.weights(engine), **options)


def digital_costs(model, sentences):
    """What training computes of the model alone, on a padded batch."""
    batch = collate(sentences)
    posterior = model.encode(batch.tokens, batch.lengths, masked=True)
    latent = sample_latent(*posterior.last())
    return reconstruction(model.decode(batch.tokens, latent), batch.tokens), charged_kl(posterior, "last")


@pytest.mark.parametrize("cells", CELLS)
def test_on_hardware_without_faults_it_is_the_digital_training(network, cells):
    checkpoint, sentences = network(cells)
    model = checkpoint.model
    gradients, losses = [], []
    for way in ("mixed", "digital"):
        model.zero_grad()
        torch.manual_seed(5)
        if way == "mixed":
            rec, posterior = costs(mixed(checkpoint, plain(), Nonidealities()), sentences)
            found = rec, charged_kl(posterior, "last")
        else:
            found = digital_costs(model, sentences)
        (found[0] + found[1]).mean().backward()
        losses.append(torch.stack(found).detach())
        gradients.append({name: value.grad.clone() for name, value in model.named_parameters()})
    # The digital way computes its losses in float32.
    torch.testing.assert_close(losses[0], losses[1].double(), rtol=1e-5, atol=1e-5)
    for name, value in gradients[0].items():
        torch.testing.assert_close(value, gradients[1][name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("cells", CELLS)
def test_values_are_those_of_the_circuit(network, cells):
    """Wires, tiles, converters with noise and a spread: the logits are bit for bit those that a sweep has."""
    checkpoint, sentences = network(cells)
    hardware = replace(
        read_hardware("paper"),
        wires=Wires(2.0, 3.0, 40.0),
        tiling=Tiling(5, 3),
        dac=ConverterSpec(6, noise_lsb=0.3),
        adc=ConverterSpec(7, noise_lsb=0.4),
    )
    noise = replace(SPREAD, read_noise=ReadNoise(thermal=True, bandwidth_hz=1e9))
    sweep = run_batch(HardwareStepper(checkpoint.model, crossbars(checkpoint, hardware, noise)), sentences)
    found = run_batch(mixed(checkpoint, hardware, noise), sentences)
    for ours, theirs in zip(found, sweep, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    digital = run_batch(mixed(checkpoint, plain(), Nonidealities()), sentences)
    assert not torch.allclose(digital[-1], sweep[-1], atol=1e-3)


def test_gradients_come_to_the_weights_as_if_the_hardware_were_not_there(network):
    """One step of one layer: d(sum of pre-activations)/dW is the input, whatever the circuit made of the product."""
    checkpoint, sentences = network()
    stepper = mixed(checkpoint, read_hardware("paper"))
    x = stepper.embedded("encoder1", torch.tensor([sentence[1] for sentence in sentences]))
    state = stepper.zero_state("encoder1", len(sentences))
    _, found = stepper.step("encoder1", {"x": x}, state)
    found["f"].sum().backward()
    hidden = checkpoint.config.hidden_size
    gradient = checkpoint.model.encoder1.weight_ih_l0.grad
    expected = torch.zeros_like(gradient)
    expected[hidden : 2 * hidden] = x.detach().sum(dim=0)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("cells", ["lstm", "gru", "mixed"])
@pytest.mark.parametrize("tiles", [None, Tiling(5, 3)])
def test_gradients_of_what_enters_are_those_of_the_circuit(network, cells, tiles):
    """Through all steps and layers: finite differences of the circuit's own loss, without converters."""
    checkpoint, sentences = network(cells)
    changes = {"wires": Wires(2.0, 3.0, 40.0), **({} if tiles is None else {"tiling": tiles})}
    hardware = replace(plain(), **changes)
    table = checkpoint.model.encoder_embedding.weight

    def loss():
        torch.manual_seed(3)
        return costs(mixed(checkpoint, hardware), sentences)[0].mean()

    checkpoint.model.eval()
    loss().backward()
    gradient = table.grad.clone()
    for row, column in ((sentences[0][1], 0), (sentences[1][2], 3), (sentences[0][-2], 1)):
        assert gradient[row, column] != 0
        sides = []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                table[row, column] += step
                sides.append(loss().item())
                table[row, column] -= step
        assert gradient[row, column].item() == pytest.approx((sides[0] - sides[1]) / 2e-4, rel=1e-5, abs=1e-9)


def test_dropout_is_off_unless_it_is_asked_for(network):
    """Whatever the checkpoint was trained with; and never on outside of training."""
    checkpoint, sentences = network()
    assert checkpoint.config.dropout > 0

    def run(training, options):
        stepper = mixed(checkpoint, read_hardware("paper"), **options)
        checkpoint.model.train(training)
        torch.manual_seed(2)
        return run_batch(stepper, sentences)[-1]

    assert torch.equal(run(True, {}), run(False, {"dropout": 0.5}))
    assert not torch.allclose(run(True, {"dropout": 0.5}), run(False, {}), atol=1e-3)


def test_arrays_that_bend_leave_the_digital_gradient(network):
    checkpoint, _ = network()
    cells = replace(read_hardware("paper").cells, read_law="sinh", sinh_per_volt=2.0)
    chip = draw_chip(map_checkpoint(checkpoint, replace(plain(), cells=cells)), SPREAD, 1)
    assert chip.weights(chip.exact_engine()) == {}


def test_every_update_draws_anew_and_the_same_seed_draws_the_same(network):
    checkpoint, sentences = network()
    first, same, other = (run_batch(mixed(checkpoint, plain(), seed=seed), sentences)[-1] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)


def test_weights_are_clipped_unit_by_unit(network):
    checkpoint, _ = network("gru")
    layer = checkpoint.model.decoder
    before = model_layers(checkpoint.model)["decoder"]
    bounds = {}
    for name, gate in before.gates.items():
        parts = [part.ravel() for part in (gate.x, gate.h) if part is not None]
        bounds[name] = 1.5 * torch.cat([torch.from_numpy(part) for part in parts]).std().item()
    found = weight_bounds(layer, 1.5)
    assert found == pytest.approx(bounds)
    clip_weights(layer, found)
    after = model_layers(checkpoint.model)["decoder"]
    for name, gate in after.gates.items():
        weights = row_weights(gate)
        assert abs(weights).max() <= bounds[name] * (1 + 1e-12)
        kept = abs(row_weights(before.gates[name])[:-1]) <= bounds[name]
        assert (weights[:-1][kept] == row_weights(before.gates[name])[:-1][kept]).all()
    assert bounds["r"] != bounds["z"]


def test_peepholes_are_clipped_too(network):
    checkpoint, _ = network("peephole")
    layer = checkpoint.model.decoder
    found = weight_bounds(layer, 0.5)
    clip_weights(layer, found)
    for name, gate in model_layers(checkpoint.model)["decoder"].gates.items():
        assert abs(row_weights(gate)).max() <= found[name] * (1 + 1e-12)


@pytest.fixture
def tune(make_checkpoint, corpus, tmp_path):
    def run(name, config, *, until=None, **options):
        checkpoint = load_checkpoint(make_checkpoint("lstm"))

        def stop(update, _, loss):
            if update == until:
                raise KeyboardInterrupt

        return finetune(
            checkpoint, corpus, read_hardware("paper"), SPREAD, config, tmp_path / name, progress=stop, **options
        )

    return run


SHORT = FinetuneConfig(updates=12, validate_every=4, redraw_every=2, valid_sentences=8, batch_size=8, clip_weights=3.0)


def test_a_killed_run_ends_with_the_same_bits(tune, tmp_path):
    whole = load_checkpoint(tune("whole", SHORT))
    for until in (3, 7, 11):
        with pytest.raises(KeyboardInterrupt):
            tune("killed", SHORT, until=until, resume=until != 3)
    again = load_checkpoint(tune("killed", SHORT, resume=True))
    last = [torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "killed")]
    for key, value in last[0]["model"].items():
        assert torch.equal(value, last[1]["model"][key]), key
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key
    for name in ("metrics.json", "best.pt", "last.pt"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


@pytest.mark.parametrize("victim", ["save_checkpoint", "write_sealed"])
def test_a_run_killed_while_it_writes_goes_on(tune, tmp_path, monkeypatch, victim):
    tune("whole", SHORT)
    real, calls = getattr(module, victim), []

    def killed(*arguments, **options):
        found = real(*arguments, **options)
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(module, victim, killed)
    with pytest.raises(KeyboardInterrupt):
        tune("killed", SHORT)
    tune("killed", SHORT, resume=True)
    names = ["whole/metrics.json", "killed/metrics.json"]
    assert (tmp_path / names[0]).read_text() == (tmp_path / names[1]).read_text()


def test_clipping_is_measured_and_can_be_all_that_is_done(tune, make_checkpoint, tmp_path):
    history = []
    for name, config in (("clipped", replace(SHORT, updates=0, clip_weights=1.0)), ("trained", SHORT)):
        best = load_checkpoint(tune(name, config)).metrics
        history.append(json.loads((tmp_path / name / "metrics.json").read_text(encoding="utf-8"))["history"])
        assert [(record["update"], record["clipped"]) for record in history[-1][:2]] == [(0, False), (0, True)]
        assert best["valid_top1"] == max(record["valid_top1"] for record in history[-1])
    assert len(history[0]) == 2
    assert history[0][0] == history[1][0]
    assert history[0][1]["valid_ppl"] != history[0][0]["valid_ppl"]
    base = load_checkpoint(make_checkpoint("lstm")).model.decoder
    clip_weights(base, weight_bounds(base, 1.0))
    stored = torch.load(tmp_path / "clipped/last.pt", weights_only=True)["model"]
    assert torch.equal(stored["decoder.weight_ih_l0"], base.weight_ih_l0)


def test_tiles_own_converters_are_calibrated_with_the_corpus_given(make_checkpoint, corpus, tmp_path):
    hardware = replace(read_hardware("paper"), tiling=Tiling(4, 3, "after_adc"))
    checkpoint = load_checkpoint(make_checkpoint("lstm"))
    short = replace(SHORT, updates=4)
    path = finetune(checkpoint, corpus, hardware, SPREAD, short, tmp_path / "out")
    assert load_checkpoint(path).metrics["finetuned"]["hardware"]["tiles"]["partial_sums"] == "after_adc"


def test_what_comes_out_is_a_checkpoint_like_any_other(tune, tmp_path):
    path = tune("out", SHORT)
    checkpoint = load_checkpoint(path)
    assert checkpoint.metrics["finetuned"]["noise"]["programming"]["sigma"] == 0.2
    assert build_netlist(path, tmp_path / "net").source["sha256"] == sha256(path)


@pytest.mark.parametrize(
    ("annealing", "annealing_epochs"),
    [("none", 5.0), ("linear", 4.0), ("linear", 40.0), ("cyclical", 4.0), ("cyclical", 3.0)],
)
def test_the_kl_is_charged_in_full_however_it_was_annealed(
    make_checkpoint, corpus, tmp_path, monkeypatch, annealing, annealing_epochs
):
    """The base was trained for 20 epochs: whole cycles of 4, a ramp half done at 40."""
    base = load_checkpoint(make_checkpoint("lstm"))
    training = replace(base.training_config, annealing=annealing, annealing_epochs=annealing_epochs, beta=1.5)
    assert training.epochs == 20
    real, charged = module.batch_loss, []

    def spy(rec, kl, weight, config):
        charged.append(weight)
        return real(rec, kl, weight, config)

    monkeypatch.setattr(module, "batch_loss", spy)
    short = replace(SHORT, updates=3, validate_every=2)
    finetune(replace(base, training_config=training), corpus, read_hardware("paper"), SPREAD, short, tmp_path / "out")
    assert charged == [1.5] * 3
    stored = json.loads((tmp_path / "out/metrics.json").read_text(encoding="utf-8"))
    assert stored["kl_weight"] == 1.5
    found = [record["learning_rate"] for record in stored["history"]]
    sizes = [3e-4 * (0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * update / 3))) for update in range(3)]
    assert found == [None, None, pytest.approx((sizes[0] + sizes[1]) / 2), pytest.approx(sizes[2])]


def test_a_state_that_charged_another_kl_is_not_gone_on_with(make_checkpoint, corpus, tmp_path):
    """Before the weight was named, it was the last point of the ramp."""
    base = load_checkpoint(make_checkpoint("lstm"))
    for annealing in ("linear", "cyclical"):
        training = replace(base.training_config, annealing=annealing, annealing_epochs=4.0)
        given = replace(base, training_config=training), corpus, read_hardware("paper"), SPREAD, SHORT
        out = tmp_path / annealing
        finetune(*given, out)
        stored = torch.load(out / "last.pt", weights_only=True)
        assert list(stored) == ["format", "identity", "model", "optimizer", "place"]
        assert stored["format"] == "hvae-mnn finetuning state/2"
        assert set(stored["place"]) == {"update", "loss_sum", "loss_count", "history", "ranges"}
        del stored["identity"]["kl_weight"]
        torch.save(stored, out / "last.pt")
        if annealing == "linear":
            finetune(*given, out, resume=True)
            continue
        with pytest.raises(InputError, match=r"has kl_weight 0\.0, asked for is 1\.0"):
            finetune(*given, out, resume=True)


def test_another_run_or_another_configuration_is_not_gone_on_with(tune):
    tune("out", SHORT)
    with pytest.raises(InputError, match="already holds a finetuning run; rerun with --resume"):
        tune("out", SHORT)
    with pytest.raises(InputError, match=r"has learning_rate 0\.0003, asked for is 0\.001"):
        tune("out", replace(SHORT, learning_rate=1e-3), resume=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"updates": 0}, "--updates is 0; allowed: 1 or more"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan; allowed: a number above 0"),
        ({"validate_every": 10, "redraw_every": 4}, "a multiple of --redraw-every, 4"),
        ({"clip_weights": -1.0}, "--clip-weights is -1.0"),
        ({"dropout": 1.0}, "--dropout is 1.0; allowed: 0 to below 1"),
        ({"valid_sentences": 1}, "--valid-sentences is 1"),
    ],
)
def test_numbers_that_make_no_sense(values, message):
    with pytest.raises(InputError, match=message):
        FinetuneConfig(**values)
