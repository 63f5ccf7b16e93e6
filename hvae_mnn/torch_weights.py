"""Tensors that a torch recurrent module multiplies by, which may differ from its parameters.

Pruning and the older weight norms recompute a tensor in a hook before every forward pass; parametrizations recompute it
whenever it is read; and torch's recurrent modules multiply by a list that they store beside their attributes. This
module reads the tensors that the next forward pass in eval mode would use, and does not change the module. It refuses
by name what it cannot determine: foreign code in the forward pass, and tensors that the forward pass does not use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from hvae_mnn.errors import MappingError

TORCH_MODES: dict[type[nn.Module], str] = {nn.RNN: "RNN_TANH", nn.LSTM: "LSTM", nn.GRU: "GRU"}
"""torch's recurrent modules, each with the `mode` that can be mapped."""
DECLARATION = "gate_tensors"
"""Attribute in which a class with torch's parameter layout and its own forward pass names all tensors that it uses."""

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types in which torch runs recurrent modules; float64 represents all their values."""
_INGREDIENTS: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (BasePruningMethod, "_tensor_name", ("_orig", "_mask")),
    (WeightNorm, "name", ("_g", "_v")),
    (SpectralNorm, "name", ("_orig", "_u", "_v")),
)
"""torch's weight hooks: class, attribute with the name of the tensor that it sets, name endings of its ingredients."""
_NO_PART_IN_FORWARD = {
    *("__init__", "__new__", "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__"),
    *("__static_attributes__", "__firstlineno__", "__parameters__", "__orig_bases__", "__init_subclass__"),
    *("__constants__", "__jit_unused_properties__", "__getstate__", "__setstate__", "__deepcopy__", "__repr__"),
    *("extra_repr", "reset_parameters", "call_super_init", "dump_patches", "_version"),
}
"""Names that a subclass may override without changing the computation."""


def running_class(module: nn.Module) -> type[nn.Module]:
    """The class whose forward pass a recurrent module runs: `nn.RNN`, `nn.LSTM`, `nn.GRU`, or a class that declares its
    tensors.

    Raises `MappingError` for a module of another kind.
    """
    for cls in type(module).__mro__:
        if cls in TORCH_MODES or DECLARATION in vars(cls):
            return cls
    kind = f"{type(module).__module__}.{type(module).__qualname__}"  # quantised modules are also called LSTM
    wrapped = [part for part in ("module", "_orig_mod") if part in getattr(module, "_modules", {})]
    remedy = f"what it wraps, its .{wrapped[0]}" if wrapped else "one of these with the same weights"
    raise MappingError(f"cannot map a {kind}; allowed: nn.RNN with tanh, nn.LSTM and nn.GRU themselves: give {remedy}")


def acting_tensors(module: nn.Module, name: str) -> dict[str, Tensor]:
    """The tensors that a recurrent `module` multiplies by and adds at its next forward pass in eval mode.

    Keys are torch's names, layer by layer, forward before reverse; `name` names the module in errors.

    Raises `MappingError` with the tensor, class or hook for anything that cannot be determined: foreign code in the
    forward pass, or a tensor that is missing, unused, or different at every pass.
    """
    cls = running_class(module)
    _check_code(module, cls, name)
    hooks = list(_weight_hooks(module, name))
    names = _names(module, cls, name)
    made_of = {target + ending for _, target, endings in hooks for ending in endings}
    _check_leftovers(module, made_of | set(names), [f"parametrizations.{key}." for key in names], name)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), _in_eval_mode(module):
            tensors, again = (_read(module, cls, [hook for hook, *_ in hooks], names) for _ in range(2))
    except Exception as error:  # parametrizations may be any code
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise MappingError(
            f"{name}: its weights cannot be computed ({reason}); make it a module whose forward pass runs"
        ) from error
    for key, tensor in tensors.items():
        _check_plain(tensor, f"{name}.{key}")
        if tensor is not again[key] and not torch.equal(tensor, again[key]) and torch.isfinite(tensor).all():
            raise MappingError(f"{name}.{key} is another tensor at every pass, as random ones are; make it a fixed one")
    kinds = {str(tensor.dtype): key for key, tensor in tensors.items()}
    if len(kinds) > 1:
        told = ", ".join(f"{key} of {kind}" for kind, key in sorted(kinds.items()))
        raise MappingError(f"{name} has tensors of several types ({told}); torch runs on one: convert the module")
    return {key: tensor.detach() for key, tensor in tensors.items()}


def acting_weight(module: nn.Embedding | nn.Linear, name: str) -> Tensor:
    """The `weight` of another module as its next forward pass in eval mode finds it; errors as in `acting_tensors`."""
    hooks = [hook for hook, *_ in _weight_hooks(module, name)]
    with torch.no_grad(), _in_eval_mode(module):
        weight: Tensor = _read(module, type(module), hooks, ["weight"])["weight"]
    _check_plain(weight, f"{name}.weight")
    return weight.detach()


def _check_code(module: nn.Module, cls: type[nn.Module], name: str) -> None:
    """Raise `MappingError` for foreign code in the forward pass of `cls`."""
    for other in type(module).__mro__:
        if other in cls.__mro__:
            continue
        for attribute in vars(other):
            if hasattr(cls, attribute) and attribute not in _NO_PART_IN_FORWARD:
                raise MappingError(
                    f"{name}: class {other.__qualname__} has its own {attribute}, which may compute something else than"
                    f" {cls.__name__}'s; give a plain {cls.__name__} with the same weights"
                )
    for attribute in vars(module):
        if callable(getattr(cls, attribute, None)):
            raise MappingError(
                f"{name}: its {attribute} was replaced on the module itself, which may compute something else; undo"
                f" that (del module.{attribute})"
            )


def _weight_hooks(module: nn.Module, name: str) -> Iterator[tuple[Callable[..., Any], str, tuple[str, ...]]]:
    """torch's weight hooks in their order: hook, its tensor, its ingredients. Raises `MappingError` for other hooks."""
    for hook in module._forward_pre_hooks.values():
        for kind, attribute, endings in _INGREDIENTS:
            # A user's pruning methods are fine: they make masks, and torch's hook applies these.
            if isinstance(hook, kind) and type(hook).__call__ is kind.__call__:
                yield hook, getattr(hook, attribute, ""), endings
                break
        else:
            raise _foreign_hook(hook, name)
    for hooks in (
        module._forward_hooks,
        torch_module._global_forward_pre_hooks,
        torch_module._global_forward_hooks,
    ):
        for hook in hooks.values():
            raise _foreign_hook(hook, name)


def _foreign_hook(hook: Callable[..., Any], name: str) -> MappingError:
    told = getattr(hook, "__qualname__", type(hook).__qualname__)
    return MappingError(
        f"{name}: the forward hook {told} may change inputs or outputs; allowed: torch's pruning, weight_norm and"
        " spectral_norm: remove it (handle.remove())"
    )


def _names(module: Any, cls: type[nn.Module], name: str) -> list[str]:
    """Names of the tensors that the module declares."""
    if cls not in TORCH_MODES:
        return list(getattr(cls, DECLARATION))
    for key in ("input_size", "hidden_size", "num_layers"):
        value = getattr(module, key, None)
        if not isinstance(value, Integral) or value < 1:
            raise MappingError(f"{name}: {key} is {value!r}; allowed: a whole number from 1 on")
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if module.bias else 2]
    ways = ("", "_reverse")[: 2 if module.bidirectional else 1]
    expected = [f"{kind}_l{layer}{way}" for layer in range(module.num_layers) for way in ways for kind in kinds]
    own = list(module._flat_weights_names)
    if own != expected:
        odd = sorted(set(own) ^ set(expected)) or own
        raise MappingError(
            f"{name}: num_layers={module.num_layers}, bidirectional={module.bidirectional}, bias={module.bias} do not"
            f" fit its tensors ({odd[0]}); they were changed after the module was made: make a new one"
        )
    return expected


def _check_leftovers(module: nn.Module, known: set[str], prefixes: Sequence[str], name: str) -> None:
    """Raise `MappingError` for parameters and buffers that the forward pass does not use: other code uses them."""
    tensors = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    for key, _ in tensors:
        if key not in known and not key.startswith(tuple(prefixes)):
            raise MappingError(
                f"{name}.{key} has no part in the module's forward pass; wrappers such as weight drop leave some:"
                " move its values to the weight in use, and delete it"
            )


def _read(
    module: Any, cls: type[nn.Module], hooks: Sequence[Callable[..., Any]], names: Sequence[str]
) -> dict[str, Any]:
    """Values that forward would find under `names` after `hooks`; None for a missing one."""
    seen: Any = _AfterHooks(module)
    for hook in hooks:
        hook(seen, ())
    # torch stores a list of its weights, and rebuilds it only if an attribute is another object than before.
    if cls in TORCH_MODES and not nn.RNNBase._weights_have_changed(seen):  # type: ignore[no-untyped-call]
        return dict(zip(names, module._flat_weights, strict=True))
    return {key: getattr(seen, key, None) for key in names}


class _AfterHooks:
    """A view of a module after its hooks: it stores the values they set; all other values are the unchanged
    module's."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __getattr__(self, key: str) -> Any:
        return getattr(self.__dict__["_module"], key)


@contextlib.contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Switch `training` off, which stops weight dropout and power iterations, and restore it afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    for part, _ in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _check_plain(tensor: Any, where: str) -> None:
    """Raise `MappingError` for anything but a dense floating-point tensor with values."""
    fault, remedy = "", ""
    if not isinstance(tensor, Tensor):
        fault, remedy = "missing, although the module says that it has one", "set it"
    elif type(tensor) not in (Tensor, nn.Parameter):
        fault, remedy = f"a {type(tensor).__module__}.{type(tensor).__qualname__}", "make it a plain nn.Parameter"
    elif tensor.is_meta:
        fault, remedy = "on the meta device and has no values", "load its weights first"
    elif tensor.layout != torch.strided:
        fault, remedy = f"stored as {tensor.layout}", "make it dense with .to_dense()"
    elif tensor.dtype not in _DTYPES:
        fault, remedy = f"of {tensor.dtype}", "convert the module with .double()"
    elif _values_end(tensor) > tensor.untyped_storage().nbytes():
        fault, remedy = "without memory: its storage was freed", "load its weights again"
    if fault:
        raise MappingError(
            f"{where} is {fault}; allowed: dense tensors of float16, bfloat16, float32 or float64: {remedy}"
        )


def _values_end(tensor: Tensor) -> int:
    """Bytes of storage up to the tensor's last value."""
    if not tensor.numel():
        return 0
    last = tensor.storage_offset() + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return int(last + 1) * tensor.element_size()
