"""The output layer and its cross entropy as one function, a chunk of rows at a time, with gradients made on the way.

The logits of a batch are its largest tensor by far. Here they are used while they are near the processor: each chunk's
scores become probabilities and then their share of the gradients, in two buffers that every chunk uses again. So the
backward pass has nothing to compute, and memory holds one chunk instead of all logits and their copies.

Axis letters: N predicted tokens (rows), B batch, T padded sentence length, H hidden, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hvae_mnn.text.vocabulary import PAD

LOGITS_AT_ONCE = {"cpu": 5 << 19, "cuda": 1 << 26}
"""Logits of a chunk at the most. A CPU's stay near its cache; a GPU needs large products."""


@dataclass
class _Gradients:
    """Of the sum of all losses; None where none is asked for."""

    hidden: Tensor | None
    """(N, H)"""
    weight: Tensor | None
    """(V, H)"""
    bias: Tensor | None
    """(V,)"""


def sentence_losses(
    layer: nn.Linear,
    hidden: Float[Tensor, "B predicted H"],
    tokens: Int[Tensor, "B T"],
    dtype: torch.dtype,
    *,
    layer_gradients: bool = True,
) -> tuple[Float[Tensor, ""], Float[Tensor, " B"]]:
    """The sum of all sentences' -ln p(x | z) in nats, with gradient, and each sentence's own (B,), without.

    The decoder states `hidden` are (B, T - 1, H), the tokens (B, T); words and the end symbol are predicted, pads are
    neither counted nor computed. Matrix products are in `dtype`, sums and losses in float32 or wider. Gradients reach
    `hidden` and, with `layer_gradients`, the layer; none are computed where torch records none.

    Second derivatives are refused (`RuntimeError`): take `models.objective.reconstruction` for them.
    """
    targets = tokens[:, 1:].flatten()  # (B * (T - 1),)
    places = (targets != PAD).nonzero()[:, 0]  # (N,)
    weight: Tensor = layer.weight if layer_gradients else layer.weight.detach()
    bias: Tensor | None = layer.bias if layer_gradients or layer.bias is None else layer.bias.detach()
    at_once = LOGITS_AT_ONCE.get(hidden.device.type, LOGITS_AT_ONCE["cuda"])
    chunks = -(-len(places) * len(weight) // at_once)
    rows = max(1, -(-len(places) // max(1, chunks)))  # alike in size: a small rest costs as much as a chunk
    states = hidden.flatten(0, 1).index_select(0, places)  # (N, H)
    total, losses = fused_cross_entropy(states, weight, bias, targets[places], dtype, rows)
    spread = losses.new_zeros(targets.shape).index_copy(0, places, losses)  # (B * (T - 1),)
    return total, spread.view(len(tokens), -1).sum(dim=1)


def fused_cross_entropy(
    hidden: Float[Tensor, "N H"],
    weight: Float[Tensor, "V H"],
    bias: Float[Tensor, " V"] | None,
    targets: Int[Tensor, " N"],
    dtype: torch.dtype,
    rows: int,
) -> tuple[Float[Tensor, ""], Float[Tensor, " N"]]:
    """The sum of all rows' cross entropies in nats, with gradient, and each row's own (N,), without.

    Row n's logits are `weight @ hidden[n] + bias`. Products are in `dtype`, `rows` rows at a time.

    The gradients are made before anyone knows what the result is used for. They fit the sum, times any number; so only
    the sum has a gradient, and a backward pass is possible once. Raises `RuntimeError` in the backward pass for a
    second one or for second derivatives, which would miss these gradients' own dependence.
    """
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (hidden, weight, bias)):
        total, losses = _FusedCrossEntropy.apply(hidden, weight, bias, targets, dtype, rows)  # type: ignore[no-untyped-call]
        return total, losses
    losses, _ = _chunk_by_chunk(hidden, weight, bias, targets, dtype, rows, (False, False, False))
    return losses.sum(), losses


class _FusedCrossEntropy(torch.autograd.Function):
    """`fused_cross_entropy` where torch records gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        dtype: torch.dtype,
        rows: int,
    ) -> tuple[Tensor, Tensor]:
        losses, ctx.gradients = _chunk_by_chunk(
            hidden, weight, bias, targets, dtype, rows, tuple(ctx.needs_input_grad[:3])
        )
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the fused output loss has no second derivatives; use models.objective.reconstruction where "
                "create_graph is set"
            )
        if ctx.gradients is None:
            raise RuntimeError("the fused output loss allows one backward pass; compute the loss again")
        gradients, ctx.gradients = ctx.gradients, None
        # In place: nobody else has them, and fresh memory of this size costs more than the product.
        scaled = (
            None if gradient is None else gradient.mul_(upstream)
            for gradient in (gradients.hidden, gradients.weight, gradients.bias)
        )
        return (*scaled, None, None, None)


def _chunk_by_chunk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    dtype: torch.dtype,
    rows: int,
    wanted: tuple[bool, ...],
) -> tuple[Tensor, _Gradients]:
    """Losses (N,), and the gradients of their sum that are `wanted`: of hidden, weight, bias."""
    wide = torch.promote_types(weight.dtype, torch.float32)
    losses = weight.new_empty(len(hidden), dtype=wide)
    sums = _Gradients(
        torch.empty_like(hidden) if wanted[0] else None,
        torch.empty_like(weight) if wanted[1] else None,
        torch.empty_like(bias) if bias is not None and wanted[2] else None,
    )
    scores = weight.new_empty(min(rows, len(hidden)), len(weight), dtype=dtype)
    shares = scores if dtype == wide else torch.empty_like(scores, dtype=wide)
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        matrix = weight.to(dtype)
        product = torch.empty_like(matrix) if wanted[1] else None
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            states, wished = hidden[part].to(dtype), targets[part, None]  # (R, H), (R, 1)
            rounded, exact = scores[: len(states)], shares[: len(states)]  # (R, V)
            exact.copy_(torch.mm(states, matrix.T, out=rounded))
            if bias is not None:
                exact.add_(bias)
            margin = exact.amax(dim=1) - exact.gather(1, wished)[:, 0]
            torch.softmax(exact, 1, out=exact)
            # The largest probability is 1 / sum(exp(logits - largest)): no second pass over exponentials for the sum.
            losses[part] = margin - exact.amax(dim=1).log()
            if any(wanted):
                exact.scatter_add_(1, wished, exact.new_full(wished.shape, -1.0))
                _add_gradients(sums, part, states, exact, rounded.copy_(exact), matrix, product)
    return losses, sums


def _add_gradients(
    sums: _Gradients,
    part: slice,
    states: Tensor,
    exact: Tensor,
    rounded: Tensor,
    matrix: Tensor,
    product: Tensor | None,
) -> None:
    """Add a chunk's gradients, from those of its logits (R, V): `exact`, and `rounded` to the products' type."""
    keep = Tensor.copy_ if part.start == 0 else Tensor.add_  # the sums are not set to zero first
    if sums.bias is not None:
        keep(sums.bias, exact.sum(dim=0))  # first: the products push `exact` out of the cache
    if sums.hidden is not None:
        sums.hidden[part] = torch.mm(rounded, matrix)
    if sums.weight is not None:
        keep(sums.weight, torch.mm(rounded.T, states, out=product))
