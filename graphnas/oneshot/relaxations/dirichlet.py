"""Dirichlet samples of DrNAS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Gamma

from graphnas.oneshot.base import Alpha, Group, Mix, Tensors
from graphnas.oneshot.relaxations.base import Relaxation


@dataclass(frozen=True)
class Dirichlet(Relaxation):
    """Weights drawn from a Dirichlet distribution with concentration ``elu(alpha) + 1`` (Chen et al., ICLR 2021).

    The gradient passes through the samples by implicit reparametrisation of the Gamma variables whose ratios they are
    (Figurnov et al., NeurIPS 2018).

    Attributes:
        prune: (progress, options): from that part of the search on, only so many options of each row are left, those
            with the greatest concentration.
    """

    prune: tuple[tuple[float, int], ...] = ()

    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        """One sample for each row, or ``n`` of them."""
        weights: Tensors = {}
        # torch's Gamma draws from the default generators, whose state is put back.
        seed = int(torch.randint(2**62, (), generator=generator))
        devices = sorted({a.device.index or 0 for a in alpha.values() if a.device.type == "cuda"})
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            for g in groups:
                level = concentration(alpha[g.name]).masked_fill(~g.mask, 1.0)
                drawn = Gamma(level, torch.ones_like(level)).rsample(torch.Size([] if n is None else [n]))
                drawn = drawn.masked_fill(~g.mask, 0.0)
                weights[g.name] = drawn / drawn.sum(-1, keepdim=True)
        return Mix(weights, rows=weights)

    def expected(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> Mix:
        """The mean of the distribution."""
        weights: Tensors = {}
        for g in groups:
            level = concentration(alpha[g.name]).masked_fill(~g.mask, 0.0)
            weights[g.name] = level / level.sum(-1, keepdim=True)
        return Mix(weights, rows=weights)

    def project_(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> tuple[Group, ...]:
        """Leave the options that the schedule allows."""
        left = min((count for begin, count in self.prune if progress >= begin), default=None)
        if left is None:
            return tuple(groups)
        made = []
        for g in groups:
            order = (
                alpha[g.name].detach().masked_fill(~g.mask, -torch.inf).argsort(dim=-1, descending=True, stable=True)
            )
            best = torch.zeros_like(g.mask).scatter_(1, order[:, :left], True)
            made.append(g.masked(g.mask & best))
        return tuple(made)


def concentration(alpha: Tensor) -> Tensor:
    """``elu(alpha) + 1``, greater than 0; 1 at alpha 0, where the distribution is uniform."""
    # The exponential itself instead of elu + 1, which rounds small concentrations to 0.
    return torch.where(alpha > 0, alpha + 1, alpha.clamp_max(0.0).exp())
