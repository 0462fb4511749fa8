"""Figures that tell how a search fares, taken at the end of every epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from graphnas.oneshot.base import Tensors
from graphnas.oneshot.context import Context


class Monitor(Protocol):
    """Takes figures and changes nothing."""

    def __call__(self, context: Context, derived: Tensors) -> dict[str, float]:
        """Figures by name.

        Args:
            context: after the last step of the epoch.
            derived: the architecture that would be derived now.
        """


@dataclass(frozen=True)
class ParameterFree:
    """How many chosen operations have no parameters, and how many are chosen at all.

    A skip collapse shows as the first figure near the second.
    """

    def __call__(self, context: Context, derived: Tensors) -> dict[str, float]:
        """``parameter_free`` and ``chosen``."""
        costs = context.problem.costs()
        free = sum(float((m * (costs[name][..., 0] == 0).to(m)).sum()) for name, m in derived.items())
        return {"parameter_free": free, "chosen": sum(float(m.sum()) for m in derived.values())}


@dataclass(frozen=True)
class RowEntropy:
    """The mean entropy of the rows' weights, divided by their sums, in nats."""

    def __call__(self, context: Context, derived: Tensors) -> dict[str, float]:
        """``entropy``."""
        rows = torch.cat([_entropies(w.detach()) for w in context.expected().weights.values()])
        return {"entropy": float(rows.mean())}


@dataclass(frozen=True)
class AlphaNorm:
    """The Euclidean norm of all architecture parameters."""

    def __call__(self, context: Context, derived: Tensors) -> dict[str, float]:
        """``alpha_norm``."""
        return {"alpha_norm": float(torch.stack([a.detach().norm() for a in context.alpha.values()]).norm())}


@dataclass(frozen=True)
class Gap:
    """The supernet's accuracy on validation batches, with its weights and with those of the derived architecture."""

    batches: int = 1

    def __call__(self, context: Context, derived: Tensors) -> dict[str, float]:
        """``supernet``, ``child`` and ``gap``, their difference."""
        mix = context.expected().detached()
        children = mix.with_weights(derived)
        batches = [context.streams.outer(context.opened + i) for i in range(self.batches)]
        supernet, child = (
            sum(context.problem.accuracy(context.state, m, batch) for batch in batches) / len(batches)
            for m in (mix, children)
        )
        return {"supernet": supernet, "child": child, "gap": supernet - child}


def _entropies(weights: torch.Tensor) -> torch.Tensor:
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return -torch.xlogy(shares, shares).sum(-1)
