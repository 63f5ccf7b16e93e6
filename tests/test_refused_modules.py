"""Modules whose weights cannot be had for certain are refused in one line that names the tensor, class or hook."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from hvae_mnn.errors import MappingError
from hvae_mnn.gates import recurrent_layers
from hvae_mnn.models.peephole import PeepholeLSTM
from tests.torch_modules import (
    HIDDEN,
    INPUTS,
    Checkered,
    Drop,
    lstm,
    parametrized,
    pruned,
    replaced,
    wide,
)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


class Doubled(nn.LSTM):
    def forward(self, x, state=None):
        found, state = super().forward(x, state)
        return 2 * found, state


class Clamped(nn.LSTM):
    def _update_flat_weights(self):
        super()._update_flat_weights()
        self._flat_weights = [weight.clamp(-0.1, 0.1) for weight in self._flat_weights]


class Mixin(nn.Module):
    def __call__(self, x):
        return super().__call__(2 * x)


class Mixed(nn.LSTM, Mixin):
    pass


class OwnPeephole(PeepholeLSTM):
    def forward(self, x, state=None):
        return super().forward(2 * x, state)


class Lookalike(nn.Module):
    """torch's parameter layout, and nothing that says how it computes."""

    mode = "LSTM"

    def __init__(self):
        super().__init__()
        for name, parameter in lstm().named_parameters():
            self.register_parameter(name, parameter)


class SubTensor(torch.Tensor):
    pass


class OwnMask(Checkered):
    def __call__(self, module, inputs):
        module.weight_hh_l0 = torch.zeros(())


def hooked(register, hook):
    module = lstm()
    getattr(module, register)(hook)
    return module


def doubled(*_):
    return None


def with_own_hook():
    module = lstm()
    OwnMask.apply(module, "weight_hh_l0")
    return module


def weight_drop(forward_ran):
    """As AWD-LSTM leaves the module that it wraps, before and after a forward pass."""
    module = lstm()
    weight = module.weight_hh_l0
    del module._parameters["weight_hh_l0"]
    module.register_parameter("weight_hh_l0_raw", nn.Parameter(weight.detach()))
    if forward_ran:
        module.weight_hh_l0 = torch.dropout(weight.detach(), 0.5, True)
    return module


def with_part(name, part):
    module = lstm()
    if isinstance(part, nn.Module):
        module.add_module(name, part)
    elif isinstance(part, nn.Parameter):
        module.register_parameter(name, part)
    else:
        module.register_buffer(name, part)
    return module


def told_otherwise(module, **attributes):
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def unhooked():
    """Pruned, and the hook lost: torch goes on with the attribute of the last pass."""
    module = pruned(lstm(), "weight_ih_l0")
    module._forward_pre_hooks.clear()
    return module


def without_memory():
    module = lstm()
    module.weight_hh_l0.untyped_storage().resize_(0)
    return module


def converted(name, dtype):
    module = lstm()
    return replaced(module, name, getattr(module, name).detach().to(dtype))


def old(function, *arguments, **options):
    """Parts of torch that warn that they are old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


class Failing(nn.Module):
    def forward(self, weight):
        if not self.training:
            raise ValueError("no weights today\nnor tomorrow")
        return weight


REFUSED = {
    "forward overridden": (lambda: Doubled(INPUTS, HIDDEN), "class Doubled has its own forward"),
    "inner step overridden": (lambda: Clamped(INPUTS, HIDDEN), "class Clamped has its own _update_flat_weights"),
    "call overridden in a mixin": (lambda: Mixed(INPUTS, HIDDEN), "class Mixin has its own __call__"),
    "own peephole": (lambda: OwnPeephole(INPUTS, HIDDEN), "class OwnPeephole has its own forward"),
    "forward replaced": (lambda: told_otherwise(lstm(), forward=doubled), r"del module\.forward"),
    "forward hook": (lambda: hooked("register_forward_hook", doubled), "forward hook doubled may change"),
    "forward pre-hook": (lambda: hooked("register_forward_pre_hook", doubled), "forward hook doubled may change"),
    "own pruning hook": (with_own_hook, "forward hook OwnMask may change"),
    "lookalike": (Lookalike, "cannot map a .*Lookalike; allowed: nn.RNN with tanh"),
    "base class": (lambda: nn.RNNBase("LSTM", INPUTS, HIDDEN), "cannot map a .*RNNBase"),
    "another mode": (lambda: told_otherwise(lstm(), mode="GRU"), "cannot map LSTM with mode GRU"),
    "weight drop": (lambda: weight_drop(True), r"net\.weight_hh_l0_raw has no part in .* weight drop"),
    "weight drop, not yet run": (lambda: weight_drop(False), r"net\.weight_hh_l0_raw has no part"),
    "parameter left over": (lambda: with_part("weight_foo", nn.Parameter(torch.ones(2))), r"net\.weight_foo has no"),
    "layer left over": (lambda: with_part("weight_ih_x", nn.Parameter(torch.ones(12, 4))), r"net\.weight_ih_x has no"),
    "buffer left over": (lambda: with_part("scale", torch.ones(2)), r"net\.scale has no part"),
    "child left over": (lambda: with_part("norm", nn.LayerNorm(HIDDEN)), r"net\.norm\.weight has no part"),
    "lost pruning hook": (unhooked, r"net\.weight_ih_l0_orig has no part"),
    "random weights": (
        lambda: parametrized(lstm(), "weight_hh_l0", by=lambda: Drop(always=True)),
        r"net\.weight_hh_l0 is another tensor at every pass",
    ),
    "failing weights": (
        lambda: parametrized(lstm(), "weight_hh_l0", by=Failing),
        r"net: its weights cannot be computed \(no weights today\)",
    ),
    "no bias": (lambda: told_otherwise(lstm(), bias_ih_l0=None), r"net\.bias_ih_l0 is missing"),
    "bias flag": (lambda: told_otherwise(lstm(), bias=False), r"bias=False do not fit its tensors \(bias_hh_l0\)"),
    "layers": (lambda: told_otherwise(lstm(num_layers=2), num_layers=1), r"num_layers=1, .* \(bias_hh_l1\)"),
    "directions": (lambda: told_otherwise(wide(), bidirectional=False), r"bidirectional=False, .* \(bias_hh_l0_rev"),
    "no layers": (lambda: told_otherwise(lstm(), num_layers=0), "num_layers is 0; allowed: a whole number from 1"),
    "layers in words": (lambda: told_otherwise(lstm(), num_layers="two"), "num_layers is 'two'; allowed:"),
    "input size": (
        lambda: told_otherwise(lstm(), input_size=5),
        r"weight_ih_l0 has shape \(12, 4\); allowed: \(12, 5\)",
    ),
    "weight shape": (
        lambda: replaced(lstm(num_layers=2), "weight_ih_l1", torch.zeros(12, 4, dtype=torch.float64)),
        r"net\.weight_ih_l1 has shape \(12, 4\); allowed: \(12, 3\)",
    ),
    "bias shape": (
        lambda: replaced(lstm(), "bias_hh_l0", torch.zeros(24, dtype=torch.float64)),
        r"net\.bias_hh_l0 has shape \(24,\); allowed: \(12,\)",
    ),
    "NaN in a mask": (
        lambda: told_otherwise(pruned(lstm(), "weight_hh_l0"), weight_hh_l0_mask=torch.full((12, 3), torch.nan)),
        r"net\.weight_hh_l0: 36 of 36 weights are NaN or infinite",
    ),
    "meta": (lambda: nn.LSTM(INPUTS, HIDDEN, device="meta"), r"net\.weight_ih_l0 is on the meta device"),
    "sparse": (
        lambda: replaced(lstm(), "weight_hh_l0", torch.eye(12, 3, dtype=torch.float64).to_sparse()),
        r"net\.weight_hh_l0 is stored as torch\.sparse_coo; .* \.to_dense\(\)",
    ),
    "complex": (lambda: nn.LSTM(INPUTS, HIDDEN, dtype=torch.complex128), r"net\.weight_ih_l0 is of torch\.complex128"),
    "integers": (lambda: converted("weight_ih_l0", torch.int64), r"net\.weight_ih_l0 is of torch\.int64"),
    "eight bits": (lambda: converted("bias_ih_l0", torch.float8_e4m3fn), r"net\.bias_ih_l0 is of torch\.float8_e4m3fn"),
    "quantised": (
        lambda: replaced(
            lstm(), "weight_ih_l0", old(torch.quantize_per_tensor, torch.ones(12, 4), 0.1, 0, torch.qint8)
        ),
        r"net\.weight_ih_l0 is of torch\.qint8",
    ),
    "two types": (
        lambda: converted("weight_hh_l0", torch.float32),
        r"weight_hh_l0 of torch\.float32.*torch runs on one",
    ),
    "subclassed tensor": (
        lambda: replaced(lstm(), "weight_ih_l0", torch.ones(12, 4).as_subclass(SubTensor)),
        r"net\.weight_ih_l0 is a .*SubTensor; .* make it a plain nn.Parameter",
    ),
    "freed": (without_memory, r"net\.weight_hh_l0 is without memory"),
    "DataParallel": (lambda: nn.DataParallel(lstm()), r"cannot map a .*DataParallel; .* what it wraps, its \.module"),
    "Sequential": (lambda: nn.Sequential(lstm()), "cannot map a .*Sequential; .* one of these with the same weights"),
    "scripted": (lambda: old(torch.jit.script, lstm()), "cannot map a .*RecursiveScriptModule"),
    "traced": (
        lambda: old(torch.jit.trace, lstm(), torch.ones(2, 2, 4).double()),
        "cannot map a .*TopLevelTracedModule",
    ),
    "quantised dynamically": (
        lambda: old(torch.ao.nn.quantized.dynamic.LSTM, INPUTS, HIDDEN),
        r"cannot map a torch\.ao\.nn\.quantized\.dynamic\.modules\.rnn\.LSTM",
    ),
    "quantisable": (lambda: torch.ao.nn.quantizable.LSTM(INPUTS, HIDDEN), r"torch\.ao\.nn\.quantizable\.modules"),
}


def refused(module):
    with pytest.raises(MappingError) as caught:
        recurrent_layers(module, "net")
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_had_is_refused_by_name(case):
    make, message = REFUSED[case]
    assert re.search(message, refused(make()))


def test_a_hook_on_all_modules_is_refused():
    handle = register_module_forward_hook(doubled)
    try:
        assert "forward hook doubled may change" in refused(lstm())
    finally:
        handle.remove()
    recurrent_layers(lstm(), "net")


@pytest.mark.slow  # torch.compile takes seconds to import
def test_a_compiled_module_is_refused_for_what_it_wraps():
    assert re.search(
        r"OptimizedModule; .* what it wraps, its \._orig_mod", refused(torch.compile(lstm(), backend="eager"))
    )
