"""The gate matrices of a torch module are those that torch multiplies by.

Torch's own forward pass judges: every module that is accepted is stepped from its gate matrices and compared with it.
"""

from __future__ import annotations

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from hvae_mnn.cosim.export import build_netlist
from hvae_mnn.cosim.source import CrossbarSource
from hvae_mnn.engines.start import start_engine
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.models.peephole import PeepholeLSTM
from hvae_mnn.models.stepwise import State, WeightsSource, layer_step
from tests.torch_modules import (
    ALL,
    HIDDEN,
    INPUTS,
    WEIGHTS,
    Checkered,
    Drop,
    changed,
    lstm,
    normed,
    parametrized,
    pruned,
    replaced,
    spread,
    wide,
)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


def judged(module, x, source=None):
    """Hidden states (T, B, H) of the top layer, forward beside reverse, from gate matrices alone; `x` (T, B, I)."""
    layers = recurrent_layers(module, "net") if source is None else recurrent_layers(module, kind_of(module))
    source = source or WeightsSource.of_layers({layer.name: layer for layer in layers})
    ways = 2 if getattr(module, "bidirectional", False) else 1
    for below in range(0, len(layers), ways):
        outputs = []
        for way, layer in enumerate(layers[below : below + ways]):
            zeros = torch.zeros(x.shape[1], HIDDEN, dtype=torch.float64)
            state = State(zeros, zeros if layer.cell == "lstm" else None)
            found = []
            for step in x.flip(0) if way else x:
                state, _ = layer_step(layer, source, {"x": step}, state)
                found.append(state.hidden)
            outputs.append(torch.stack(found[::-1] if way else found))
        x = torch.cat(outputs, dim=2)
    return x


def kind_of(module):
    return next(kind for kind in ("PeepholeLSTM", "LSTM", "GRU", "RNN") if kind in type(module).__name__).lower()


def torch_states(module, x):
    """What torch gives in eval mode, (T, B, H)."""
    training = module.training
    first = getattr(module, "batch_first", isinstance(module, PeepholeLSTM))
    with torch.no_grad():
        found = module.eval()(x.transpose(0, 1) if first else x)[0]
    module.train(training)
    return found.transpose(0, 1) if first else found


def assert_is_what_torch_computes(module):
    x = torch.randn(5, 2, INPUTS, dtype=torch.float64)
    found = judged(module, x)  # before torch's own pass, which may bring attributes up to date
    torch.testing.assert_close(found, torch_states(module, x), rtol=0, atol=1e-12)
    torch.testing.assert_close(judged(module, x), found, rtol=0, atol=0)


@pytest.mark.parametrize("names", [("weight_ih_l0",), ("weight_hh_l0",), ("bias_ih_l0",), ("bias_hh_l0",), ALL[:4]])
@pytest.mark.parametrize("how", [prune.l1_unstructured, prune.random_unstructured])
def test_pruned(names, how):
    assert_is_what_torch_computes(pruned(lstm(), *names, how=how))


@pytest.mark.parametrize("name", ALL)
def test_pruned_in_any_layer_and_direction(name):
    assert_is_what_torch_computes(pruned(wide(), name))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_pruned_everywhere_in_every_cell(kind):
    assert_is_what_torch_computes(pruned(wide(kind), *ALL))


def test_pruned_twice_and_by_rows():
    twice = pruned(pruned(lstm(), "weight_ih_l0"), "weight_ih_l0", how=prune.random_unstructured)
    assert_is_what_torch_computes(twice)
    prune.ln_structured(twice, "weight_hh_l0", amount=2, n=2, dim=1)
    assert_is_what_torch_computes(twice)


def test_pruned_and_trained_on():
    """The attribute is of the last pass; torch multiplies by mask times weight_orig at the next."""
    assert_is_what_torch_computes(changed(pruned(lstm(), *ALL[:4]), "_orig"))


def test_pruning_made_permanent():
    """The parameters come in another order then; layers keep theirs."""
    module = pruned(lstm(num_layers=2), "weight_ih_l0", "weight_hh_l0")
    for name in ("weight_ih_l0", "weight_hh_l0"):
        prune.remove(module, name)
    assert [layer.name for layer in recurrent_layers(module, "net")] == ["net_l0", "net_l1"]
    assert_is_what_torch_computes(module)


def test_pruned_by_a_method_of_ones_own():
    module = lstm()
    Checkered.apply(module, "weight_hh_l0")
    assert_is_what_torch_computes(module)


@pytest.mark.parametrize("names", [("weight_ih_l0", "weight_hh_l0"), ("weight_ih_l1",), ("weight_hh_l1_reverse",)])
def test_older_weight_norm(names):
    assert_is_what_torch_computes(changed(normed(wide(), *names), "_g"))


def test_older_weight_norm_of_a_pruned_direction():
    """Two hooks, of which one makes what the other is made of."""
    module = pruned(normed(lstm(), "weight_hh_l0"), "weight_hh_l0_v", amount=0.2)
    assert_is_what_torch_computes(module)
    x = torch.randn(4, 2, INPUTS, dtype=torch.float64)
    changed(module, "_v_orig")  # weight_norm's hook runs first: the next pass still has the old direction
    next_pass = judged(module, x)
    torch.testing.assert_close(next_pass, torch_states(module, x), rtol=0, atol=1e-12)
    after_it = judged(module, x)
    torch.testing.assert_close(after_it, torch_states(module, x), rtol=0, atol=1e-12)
    assert (next_pass - after_it).abs().max() > 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_older_spectral_norm_does_not_iterate(training):
    module = nn.utils.spectral_norm(nn.utils.spectral_norm(lstm(), "weight_hh_l0"), "weight_ih_l0")
    assert_is_what_torch_computes(module.train(training))


@pytest.mark.parametrize(
    "norm", [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal]
)
@pytest.mark.parametrize("name", WEIGHTS)
def test_parametrizations_of_torch(norm, name):
    assert_is_what_torch_computes(norm(wide(), name))


@pytest.mark.parametrize("name", ALL)
def test_parametrizations_of_ones_own(name):
    assert_is_what_torch_computes(changed(parametrized(wide(), name), "original"))


def test_several_at_once():
    module = parametrized(wide(nn.GRU), *ALL)
    assert_is_what_torch_computes(parametrizations.spectral_norm(module, "weight_hh_l1"))
    mixed = parametrizations.weight_norm(pruned(lstm(num_layers=2), "weight_ih_l0", "bias_hh_l1"), "weight_ih_l1")
    assert_is_what_torch_computes(mixed)


@pytest.mark.parametrize("seed", range(12))
def test_any_cell_with_any_mixture(seed):
    """Every tensor plain, pruned, normed, parametrized or made permanent again, as a seed has it."""
    draw = random.Random(seed)
    kind = draw.choice([nn.LSTM, nn.GRU, nn.RNN])
    options = {name: draw.random() < 0.5 for name in ("bias", "bidirectional", "batch_first")}
    module = spread(kind(INPUTS, HIDDEN, num_layers=draw.randint(1, 3), **options))
    for name in list(module._flat_weights_names):
        is_weight = name.startswith("weight")
        change = draw.choice([None, pruned, parametrized, "permanent", *([normed] if is_weight else [])])
        if change == "permanent":
            prune.remove(pruned(module, name), name)
        elif change is not None:
            change(module, name)
    assert_is_what_torch_computes(module)
    assert_is_what_torch_computes(changed(module, ("_orig", "_g", "original")))


def test_dropout_of_weights_and_between_layers_is_off_as_in_eval_mode():
    module = parametrized(lstm(num_layers=2, dropout=0.5), "weight_hh_l0", by=lambda: Drop(always=False))
    assert module.training
    assert_is_what_torch_computes(module)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pruned(normed(wide(), "weight_ih_l0"), "weight_hh_l1"),
        lambda: parametrizations.spectral_norm(lstm(), "weight_hh_l0"),
        lambda: parametrized(lstm(), "weight_hh_l0", by=lambda: Drop(always=False)),
    ],
)
def test_reading_leaves_the_module_and_random_numbers_as_they_were(make):
    module = make()
    modes = [part.training for part in module.modules()]
    state = {name: value.clone() for name, value in module.state_dict().items()}
    attributes, flat, random = dict(vars(module)), list(module._flat_weights), torch.get_rng_state()
    recurrent_layers(module, "net")
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert vars(module).keys() == attributes.keys()
    assert all(value is attributes[name] for name, value in vars(module).items())
    assert all(now is before for now, before in zip(module._flat_weights, flat, strict=True))
    assert torch.equal(torch.get_rng_state(), random)


def set_directly(module, where):
    getattr(module, where)["weight_ih_l0"] = nn.Parameter(3 * module.weight_ih_l0.detach())
    return module


def with_other_list(module):
    module._flat_weights = [1.5 * weight.detach() for weight in module._flat_weights]
    return module


def deleted(module, name):
    delattr(module, name)
    return module


def tied(name):
    module = spread(nn.LSTM(INPUTS, INPUTS if "ih" in name else HIDDEN, num_layers=2))
    setattr(module, name.replace("l0", "l1"), getattr(module, name))
    return module


@pytest.mark.parametrize(
    "make",
    [
        lambda: lstm(),
        lambda: lstm(bias=False, num_layers=2),
        lambda: lstm(batch_first=True),
        lambda: lstm().requires_grad_(False),
        lambda: copy.deepcopy(wide()),
        lambda: pickle.loads(pickle.dumps(pruned(wide(), "weight_hh_l1"))),
        lambda: pruned(wide(), "weight_ih_l1").float().double(),
        lambda: spread(nn.GRU(INPUTS, HIDDEN, num_layers=3)),
        lambda: spread(nn.RNN(INPUTS, HIDDEN, bidirectional=True)),
        lambda: spread(PeepholeLSTM(INPUTS, HIDDEN)),
        lambda: tied("weight_hh_l0"),
        lambda: set_directly(lstm(), "_parameters"),
        lambda: set_directly(lstm(), "__dict__"),
        lambda: with_other_list(lstm()),
        lambda: deleted(lstm(), "bias_ih_l0"),  # torch goes on with the tensor in its list
        lambda: replaced(lstm(), "weight_ih_l0", torch.randn(INPUTS, 4 * HIDDEN, dtype=torch.float64).T),
        lambda: replaced(lstm(), "weight_hh_l0", torch.randn(1, 1, dtype=torch.float64).expand(4 * HIDDEN, HIDDEN)),
        lambda: pruned(spread(PeepholeLSTM(INPUTS, HIDDEN)), "weight_ih_l0", "peephole_o", "bias_hh_l0"),
        lambda: parametrized(spread(PeepholeLSTM(INPUTS, HIDDEN)), "weight_hh_l0", "peephole_f"),
    ],
)
def test_other_ways_to_have_weights(make):
    assert_is_what_torch_computes(make())


def test_weights_shared_between_layers_keep_both():
    module = tied("weight_ih_l0")
    first, second = recurrent_layers(module, "net")
    np.testing.assert_array_equal(first.gates["g"].x, second.gates["g"].x)
    np.testing.assert_array_equal(second.gates["i"].x, module.weight_ih_l1.detach()[:INPUTS])


def test_weights_made_in_inference_mode():
    with torch.inference_mode():
        module = lstm()
    assert_is_what_torch_computes(module)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_types_become_float64_exactly(dtype):
    module = wide().to(dtype)
    x = torch.randn(5, 2, INPUTS, dtype=torch.float64)
    torch.testing.assert_close(judged(module, x), torch_states(module.double(), x), rtol=0, atol=1e-12)


def test_matrices_do_not_follow_the_module():
    module = lstm()
    (layer,) = recurrent_layers(module, "net")
    before = layer.gates["f"].h.copy()
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    np.testing.assert_array_equal(layer.gates["f"].h, before)


class Named(nn.LSTM):
    """A subclass that only adds."""

    extra = 3

    def __init__(self, hidden):
        super().__init__(INPUTS, hidden)

    def extra_repr(self):
        return "named"

    def helper(self):
        return self.extra


class Tied(nn.LSTM):
    """A subclass whose weight is computed whenever it is read."""

    @property
    def weight_hh_l0(self):
        return self._parameters["weight_ih_l0"][:, :HIDDEN] / 2


def tied_by_property():
    module = lstm()
    del module._parameters["weight_hh_l0"]
    module.__class__ = Tied
    return module


@pytest.mark.parametrize("make", [lambda: spread(Named(HIDDEN)), tied_by_property])
def test_subclasses_that_only_add(make):
    assert_is_what_torch_computes(make())


@pytest.mark.slow  # torch.compile takes seconds to import
def test_compiled_in_place():
    """The module stays itself, with its weights and hooks."""
    module = pruned(lstm(), "weight_hh_l0")
    module.compile(backend="eager")
    assert_is_what_torch_computes(module)


def test_hooks_on_gradients_are_no_matter():
    module = lstm()
    module.register_full_backward_hook(lambda *_: None)
    assert_is_what_torch_computes(module)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pruned(lstm(), "weight_ih_l0", "weight_hh_l0"),
        lambda: normed(wide(nn.GRU), "weight_ih_l0", "weight_hh_l1_reverse"),
        lambda: parametrizations.weight_norm(lstm(num_layers=2), "weight_ih_l1"),
        lambda: parametrized(spread(PeepholeLSTM(INPUTS, HIDDEN)), "bias_ih_l0", "peephole_i"),
    ],
)
@pytest.mark.parametrize("engine", ["ideal", "exact"])
def test_a_netlist_folder_computes_what_torch_does(tmp_path, make, engine):
    module = make()
    manifest = build_netlist(module, tmp_path / "net", input_range=5.0)
    ways = 2 if getattr(module, "bidirectional", False) else 1
    limits = [layer.input_range["x"] for layer in manifest.layers]
    assert limits == [5.0] * ways + [1.0] * (len(limits) - ways)
    source = CrossbarSource(manifest, start_engine(engine, manifest), dac_bits=0, adc_bits=0)
    x = torch.randn(5, 2, INPUTS, dtype=torch.float64).clamp(-5, 5)
    torch.testing.assert_close(judged(module, x, source), torch_states(module, x), rtol=0, atol=1e-12)


def test_a_netlist_is_called_after_the_class_that_computes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = build_netlist(type("Größer", (nn.LSTM,), {})(INPUTS, HIDDEN))
    assert (manifest.folder.name, manifest.layers[0].name) == ("lstm", "lstm")
