"""The devices that share a batch: one by itself, or one for each process that `torchrun` starts, through Fabric.

Each process takes some of a batch's sentences, and all compute the one loss of the whole batch: sums and posteriors are
exchanged, with gradients to a process's own sentences, and so floors and means see every sentence. The gradients of the
processes then add up to those of one process. Weights stay equal everywhere, as all take the same steps.

Axis letters: B sentences of the batch, S of them in this process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from hvae_mnn.models.latent import Posterior
from hvae_mnn.text.batches import Batch


class Accelerator(Protocol):
    """Where and in which precision a model is trained."""

    device: torch.device
    """This process's own."""
    rank: int
    """Number of this process; 0 writes the files."""

    def share(self, batch: Batch) -> Share:
        """This process's part of a batch, on its device. All processes ask for the same batch."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which recurrent layers compute."""

    def backward(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        """Gradients of the batch's loss, the same in every process."""

    def wait(self) -> None:
        """Return once every process has come here."""


@dataclass(frozen=True)
class Share:
    """A process's part of a batch, and what it exchanges with the others about the batch."""

    batch: Batch
    """S sentences. In a process that has none, one of them all the same, which counts nothing."""
    count: int
    """Sentences of the whole batch."""

    def rows(self, values: Tensor) -> Tensor:
        """This part's rows (S, ...) of values for the whole batch (B, ...)."""
        return values

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, with gradient to this one's own value."""
        return value

    def gathered(self, posterior: Posterior) -> Posterior:
        """The posterior of the whole batch, with gradient to this part's own."""
        return posterior


class Alone:
    """One device in one process: torch as it is."""

    rank = 0

    def __init__(self, device: torch.device, bf16: bool) -> None:
        """`bf16`: recurrent layers in bfloat16, on a GPU."""
        self.device, self._bf16 = device, bf16 and device.type == "cuda"

    def share(self, batch: Batch) -> Share:
        """See `Accelerator.share`: all of it."""
        return Share(batch.to(self.device), len(batch.lengths))

    def autocast(self) -> AbstractContextManager[Any]:
        """See `Accelerator.autocast`."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)

    def backward(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        """See `Accelerator.backward`."""
        loss.backward()  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """See `Accelerator.wait`: at once."""


class Together:
    """One of several processes, with a device each."""

    def __init__(self, device: torch.device, bf16: bool) -> None:
        """In every process of a `torchrun`, with the same arguments; `device` names the kind."""
        from lightning_fabric import Fabric  # takes as long to import as torch itself

        processes, here = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        self._fabric = Fabric(
            accelerator=device.type,
            strategy="ddp",
            devices=here,
            num_nodes=processes // here,
            precision="bf16-mixed" if bf16 and device.type == "cuda" else "32-true",
        )
        self._fabric.launch()
        self.device, self.rank = self._fabric.device, self._fabric.global_rank

    def share(self, batch: Batch) -> Share:
        """See `Accelerator.share`: parts alike in size, the last ones smaller or empty."""
        count = len(batch.lengths)
        size = -(-count // self._fabric.world_size)
        start = min(self.rank * size, count)
        own = max(0, min(size, count - start))
        part = slice(start, start + own) if own else slice(count - 1, count)
        return _Exchanged(
            Batch(batch.tokens[part], batch.lengths[part]).to(self.device), count, self._fabric, part, own, size
        )

    def autocast(self) -> AbstractContextManager[Any]:
        """See `Accelerator.autocast`."""
        return self._fabric.autocast()

    def backward(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        """See `Accelerator.backward`: the sum over the processes, in one exchange for each type."""
        self._fabric.backward(loss)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for kind in dict.fromkeys(gradient.dtype for gradient in gradients):
            alike = [gradient for gradient in gradients if gradient.dtype == kind]
            flat = _summed(self._fabric, torch.cat([gradient.flatten() for gradient in alike]))
            parts = torch.split(flat, [gradient.numel() for gradient in alike])
            for gradient, part in zip(alike, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def wait(self) -> None:
        """See `Accelerator.wait`."""
        self._fabric.barrier()


@dataclass(frozen=True)
class _Exchanged(Share):
    """A part of a batch that other processes have other parts of."""

    fabric: Any
    """Carries the values."""
    part: slice
    """Rows of the batch that are in `batch`."""
    own: int
    """Sentences that count, S or 0."""
    size: int
    """S of the first process; the others have at most as many."""

    def rows(self, values: Tensor) -> Tensor:
        """See `Share.rows`."""
        return values[self.part]

    def total(self, value: Tensor) -> Tensor:
        """See `Share.total`."""
        return cast("Tensor", _Total.apply(value if self.own else 0.0 * value, self.fabric))  # type: ignore[no-untyped-call]

    def gathered(self, posterior: Posterior) -> Posterior:
        """See `Share.gathered`."""
        return replace(
            posterior,
            mean=self._gathered(posterior.mean),
            log_variance=self._gathered(posterior.log_variance),
            steps=self._gathered(posterior.steps),
        )

    def _gathered(self, values: Tensor) -> Tensor:
        """(S, ...) to (B, ...)."""
        own = values[: self.own]
        padded = torch.cat([own, own.new_zeros(self.size - self.own, *own.shape[1:])])
        everywhere = cast("Tensor", _Gathered.apply(padded, self.fabric))  # type: ignore[no-untyped-call]
        return everywhere[: self.count]


class _Total(torch.autograd.Function):
    """Sum over the processes. Each computes the same loss of it, and the gradients of their parameters are added: so a
    process's own value has the gradient of the sum."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, fabric: Any) -> Tensor:
        return _summed(fabric, value.clone())

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream, None


class _Gathered(torch.autograd.Function):
    """Values (size, ...) of each process, one after the other, with the gradient of this process's own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, fabric: Any) -> Tensor:
        ctx.own = slice(fabric.global_rank * len(values), (fabric.global_rank + 1) * len(values))
        return cast("Tensor", fabric.all_gather(values.contiguous())).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream[ctx.own], None


def _summed(fabric: Any, values: Tensor) -> Tensor:
    return cast("Tensor", fabric.all_reduce(values, reduce_op="sum"))


def accelerate(device: torch.device, bf16: bool) -> Accelerator:
    """All processes of the `torchrun` that this one belongs to, a device of that kind each; else `device` alone.

    `bf16`: recurrent layers in bfloat16, on GPUs.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "TORCHELASTIC_RUN_ID" in os.environ
    return Together(device, bf16) if several else Alone(device, bf16)
