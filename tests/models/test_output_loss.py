"""The fused output layer and cross entropy against torch's own two, and its refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from hvae_mnn.models.objective import reconstruction
from hvae_mnn.models.output_loss import fused_cross_entropy, sentence_losses
from hvae_mnn.text.batches import collate

SENTENCES = [[2, 5, 6, 7, 8, 3], [2, 9, 3], [2, 10, 11, 5, 3]]


def inputs(
    n: int, h: int, v: int, dtype: torch.dtype, scale: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states, weight, bias with gradients, and targets."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()

    return normal(n, h), normal(v, h), normal(v), torch.randint(v, (n,), generator=generator)


def plain(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Each row's loss by torch, with gradient."""
    return nn.functional.cross_entropy(nn.functional.linear(hidden, weight, bias), targets, reduction="none")


def difference(found: Tensor, expected: Tensor) -> float:
    """Relative, in the Euclidean norm."""
    return float((found.double() - expected.double()).detach().norm() / expected.double().detach().norm())


@pytest.mark.parametrize("rows", [1, 3, 7, 20, 64])
@pytest.mark.parametrize("with_bias", [True, False])
def test_losses_and_gradients_are_torchs_in_float64(rows: int, with_bias: bool) -> None:
    hidden, weight, bias, targets = inputs(20, 6, 31, torch.float64)
    parts = (hidden, weight, bias) if with_bias else (hidden, weight)
    expected = plain(hidden, weight, bias if with_bias else None, targets)
    total, losses = fused_cross_entropy(hidden, weight, bias if with_bias else None, targets, torch.float64, rows)
    assert difference(losses, expected) < 1e-12
    assert difference(total, expected.sum()) < 1e-12
    wanted = torch.autograd.grad(-0.7 * expected.sum(), parts)
    for found, right in zip(torch.autograd.grad(-0.7 * total, parts), wanted, strict=True):
        assert difference(found, right) < 1e-12


def test_losses_and_gradients_are_torchs_in_float32() -> None:
    hidden, weight, bias, targets = inputs(300, 64, 1000, torch.float32, scale=0.3)
    expected = plain(hidden, weight, bias, targets)
    total, losses = fused_cross_entropy(hidden, weight, bias, targets, torch.float32, 128)
    assert difference(losses, expected) < 3e-6
    wanted = torch.autograd.grad(expected.sum(), (hidden, weight, bias))
    for found, right in zip(torch.autograd.grad(total, (hidden, weight, bias)), wanted, strict=True):
        assert found.dtype == torch.float32
        assert difference(found, right) < 3e-6


def test_bfloat16_products_are_no_worse_than_autocasts() -> None:
    hidden, weight, bias, targets = inputs(300, 64, 1000, torch.float32, scale=0.3)
    parts = (hidden, weight, bias)
    wide = plain(hidden.double(), weight.double(), bias.double(), targets)
    exact = torch.autograd.grad(wide.sum(), parts)
    with torch.autocast("cpu", torch.bfloat16):
        logits = nn.functional.linear(hidden, weight, bias)
    cast = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    total, losses = fused_cross_entropy(hidden, weight, bias, targets, torch.bfloat16, 128)
    assert losses.dtype == torch.float32
    assert difference(losses, wide) <= difference(cast, wide) < 0.01
    by_cast = torch.autograd.grad(cast.sum(), parts)
    for found, right, other in zip(torch.autograd.grad(total, parts), exact, by_cast, strict=True):
        assert found.dtype == torch.float32
        assert difference(found, right) < 1.05 * difference(other, right)
        assert difference(found, right) < 0.01


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(dtype: torch.dtype) -> None:
    hidden = torch.tensor([[1e4], [-1e4], [0.0]], dtype=torch.promote_types(dtype, torch.float32), requires_grad=True)
    weight = hidden.new_tensor([[1.0], [0.0], [-1.0]])
    total, losses = fused_cross_entropy(hidden, weight, None, torch.tensor([2, 2, 1]), dtype, 2)
    (gradient,) = torch.autograd.grad(total, hidden)
    assert losses.tolist() == pytest.approx([2e4, 0.0, 1.0986123], rel=5e-3)
    assert gradient[:, 0].tolist() == pytest.approx([2.0, 0.0, 0.0], abs=1e-6)


def test_the_sum_alone_has_a_gradient() -> None:
    hidden, weight, bias, targets = inputs(5, 4, 9, torch.float64)
    total, losses = fused_cross_entropy(hidden, weight, bias, targets, torch.float64, 2)
    assert total.requires_grad
    assert not losses.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        (2 * losses).mean().backward()


def test_a_second_derivative_is_refused() -> None:
    """An unrolled inner loop would get a wrong gradient without a word: the first derivative as a constant."""
    hidden, weight, bias, targets = inputs(5, 4, 9, torch.float64)
    total, _ = fused_cross_entropy(hidden, weight, bias, targets, torch.float64, 2)
    with pytest.raises(RuntimeError, match="second derivatives"):
        torch.autograd.grad(total, hidden, create_graph=True)


def test_a_second_backward_pass_is_refused() -> None:
    hidden, weight, bias, targets = inputs(5, 4, 9, torch.float64)
    total, _ = fused_cross_entropy(hidden, weight, bias, targets, torch.float64, 2)
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        total.backward()


def test_gradients_of_two_losses_add_up() -> None:
    """The first gradient becomes `weight.grad` itself: adding to it must leave other losses' gradients alone."""
    first, second = inputs(5, 4, 9, torch.float64), inputs(6, 4, 9, torch.float64, seed=1)
    weight = first[1]
    expected = plain(first[0], weight, None, first[3]).sum() + 3 * plain(second[0], weight, None, second[3]).sum()
    (right,) = torch.autograd.grad(expected, weight)
    totals = [fused_cross_entropy(part[0], weight, None, part[3], torch.float64, 2)[0] for part in (first, second)]
    totals[0].backward()
    (3 * totals[1]).backward()
    assert weight.grad is not None
    assert difference(weight.grad, right) < 1e-12


class Products(TorchDispatchMode):
    """Notes every matrix product and the size of the largest tensor made."""

    def __init__(self) -> None:
        super().__init__()
        self.products, self.largest = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.products += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm)
        self.largest = max(self.largest, *(part.numel() for part in (result,) if isinstance(part, Tensor)), 0)
        return result


def counted(with_gradient: bool, **layer: bool) -> Products:
    hidden, weight, bias, targets = inputs(40, 2, 30, torch.float32)
    for part, name in ((hidden, "hidden"), (weight, "weight"), (bias, "bias")):
        part.requires_grad_(layer.get(name, True))
    with Products() as noted, torch.set_grad_enabled(with_gradient):
        total, _ = fused_cross_entropy(hidden, weight, bias, targets, torch.float32, 10)
        assert total.requires_grad == (with_gradient and any(part.requires_grad for part in (hidden, weight, bias)))
    return noted


def test_memory_holds_one_chunk_of_logits() -> None:
    assert counted(True).largest == 10 * 30


def test_gradients_that_nobody_asked_for_are_not_made() -> None:
    assert counted(True).products == 3 * 4
    assert counted(True, weight=False, bias=False).products == 2 * 4
    assert counted(True, hidden=False).products == 2 * 4
    assert counted(False).products == 4
    assert counted(True, hidden=False, weight=False, bias=False).products == 4


def batch() -> tuple[nn.Linear, Tensor, Tensor]:
    """Output layer, decoder states and tokens with pads."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(4, 12).double(), torch.randn(3, 5, 4).double().requires_grad_(), collate(SENTENCES).tokens


def test_sentence_losses_are_the_reconstruction() -> None:
    layer, hidden, tokens = batch()
    expected = nn.functional.cross_entropy(
        layer(hidden).flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0, reduction="none"
    ).view(3, 5)
    total, losses = sentence_losses(layer, hidden, tokens, torch.float64)
    assert losses.tolist() == pytest.approx(expected.sum(dim=1).tolist(), rel=1e-12)
    assert losses.tolist() == pytest.approx(reconstruction(layer(hidden), tokens).tolist(), rel=1e-6)
    parts = (hidden, layer.weight, layer.bias)
    wanted = torch.autograd.grad(expected.sum() / 3, parts)
    found = torch.autograd.grad(total / 3, parts)
    for gradient, right in zip(found, wanted, strict=True):
        assert difference(gradient, right) < 1e-12
    assert not found[0][1, 2:].any()  # pads


def test_a_layer_can_be_left_out_of_the_gradients() -> None:
    layer, hidden, tokens = batch()
    (expected,) = torch.autograd.grad(sentence_losses(layer, hidden, tokens, torch.float64)[0], hidden)
    total, _ = sentence_losses(layer, hidden, tokens, torch.float64, layer_gradients=False)
    total.backward()
    assert torch.equal(hidden.grad, expected)
    assert layer.weight.grad is None
    assert layer.bias.grad is None


def test_autocast_around_it_changes_nothing() -> None:
    layer, hidden, tokens = batch()
    expected = sentence_losses(layer, hidden, tokens, torch.float64)[1]
    with torch.autocast("cpu", torch.bfloat16):
        total, losses = sentence_losses(layer, hidden, tokens, torch.float64)
    assert torch.equal(losses, expected)
    total.backward()
    assert layer.weight.grad is not None


def test_losses_depend_on_chunks_by_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, hidden, tokens = batch()
    expected = sentence_losses(layer, hidden, tokens, torch.float64)[1]
    monkeypatch.setattr("hvae_mnn.models.output_loss.LOGITS_AT_ONCE", {"cpu": 1, "cuda": 1})
    found = sentence_losses(layer, hidden, tokens, torch.float64)[1]
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-12)
