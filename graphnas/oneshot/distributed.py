"""One search in several processes (``torchrun``): shared batches, averaged gradients, normalisation over the joined batch."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import CARRIED, Tensors
from graphnas.oneshot.streams import Split, Streams
from graphnas.oneshot.text_streams import TextStreams


def join_processes() -> tuple[int, int]:
    """(rank, number of processes): those of the process group, which is made if ``torchrun`` started this process."""
    if not distributed.is_available():
        return 0, 1
    if not distributed.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        distributed.init_process_group("gloo")
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def average(tensors: list[Tensor]) -> list[Tensor]:
    """The mean of each tensor over the processes, in one message for each type and device."""
    made: list[Tensor | None] = [None] * len(tensors)
    kinds: dict[Any, list[int]] = {}
    for i, t in enumerate(tensors):
        kinds.setdefault((t.dtype, t.device), []).append(i)
    for places in kinds.values():
        flat = torch.cat([tensors[i].reshape(-1) for i in places])
        distributed.all_reduce(flat)
        flat = flat / distributed.get_world_size()
        for i, part in zip(places, torch.split(flat, [tensors[i].numel() for i in places]), strict=True):
            made[i] = part.view_as(tensors[i])
    return [t for t in made if t is not None]


def share_of_each_batch(streams: Streams, rank: int, processes: int) -> Streams:
    """The same batches, of which this process gets every ``processes``-th example, or column of text.

    Means over equal shares are means over the joined batch, so the size of a batch must be divisible.

    Raises:
        GraphnasError: a size that is not, or streams that cannot be divided.
    """
    if not isinstance(streams, (Split, TextStreams)):
        raise GraphnasError("only streams of examples or of text can be shared by processes")
    if streams.batch % processes:
        raise GraphnasError(f"a batch of {streams.batch} cannot be shared by {processes} processes; choose a multiple")
    if isinstance(streams, TextStreams):
        streams.rows = [rows[rank::processes] for rows in streams.rows]
        streams.noise = rank
        return streams
    whole = streams.fetch

    def fetch(indices: Tensor, seed: int) -> Any:
        # A seed of its own, as the noise of the joined batch differs between examples.
        return whole(indices[rank::processes], seed + rank)

    streams.fetch = fetch
    return streams


def joined(buffers: Tensors, rank: int) -> Tensors:
    """Buffers with what all processes carry from batch to batch, in the order of the joined batch.

    Every process must call it; those but the first get nothing new.
    """
    made = dict(buffers)
    for name, own in buffers.items():
        if name.startswith(CARRIED):
            parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
            distributed.all_gather(parts, own.contiguous())
            made[name] = torch.stack(parts, 1).flatten(0, 1)
    return made if rank == 0 else buffers


def own_share(buffers: Tensors, rank: int, processes: int) -> Tensors:
    """The inverse: what this process carries of a joined batch."""
    return {name: b[rank::processes] if name.startswith(CARRIED) else b for name, b in buffers.items()}


class JoinedBatchNorm(nn.Module):
    """Batch normalisation by the statistics of the batches of all processes together, also on CPUs.

    Differentiable as often as wanted; every process must take part in every pass. Takes the place of ``norm``, whose
    parameters and running means it has, by the same names.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.eps, self.momentum = norm.eps, 0.1 if norm.momentum is None else norm.momentum
        for name in ("weight", "bias"):
            self.register_parameter(name, getattr(norm, name))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))

    def forward(self, x: Tensor) -> Tensor:
        """``x[B, C, ...]`` normalised."""
        if not self.training:
            return self._scaled(x, self.running_mean, self.running_var)
        axes = [0, *range(2, x.ndim)]
        count = x.numel() // x.shape[1] * distributed.get_world_size()
        mean = _total(x.sum(axes)) / count
        centred = x - mean.view(1, -1, *[1] * (x.ndim - 2))
        variance = _total(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(variance.detach() * (count / max(1, count - 1)), self.momentum)
        return self._scaled(x, mean, variance)

    def _scaled(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.ndim - 2))
        made = (x - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.weight is None or self.bias is None:
            return made
        return made * self.weight.view(shape) + self.bias.view(shape)


def _total(x: Tensor) -> Tensor:
    total: Tensor = all_reduce(x)  # type: ignore[no-untyped-call]
    return total


def join_norms(module: nn.Module) -> None:
    """Replace every batch normalisation in a module by one over all processes."""
    for name, child in list(module.named_children()):
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            setattr(module, name, JoinedBatchNorm(child))
        else:
            join_norms(child)
