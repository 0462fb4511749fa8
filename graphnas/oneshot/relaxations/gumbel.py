"""Straight-through Gumbel samples of GDAS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from graphnas.oneshot.base import Alpha, Group, Mix, Tensors
from graphnas.oneshot.relaxations.base import Relaxation, exponentials, log_softmax
from graphnas.oneshot.relaxations.softmax import Softmax
from graphnas.oneshot.schedules import Linear, Schedule


@dataclass(frozen=True)
class StraightThroughGumbel(Relaxation):
    """A one-hot sample whose gradient is that of the relaxed sample (Dong & Yang, CVPR 2019, equations 3 to 5).

    Attributes:
        temperature: of the relaxed sample.
    """

    temperature: Schedule = Linear(10.0, 0.1)  # noqa: RUF009 - frozen

    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        """One sample for each row, or ``n`` of them; the weights are exactly one-hot."""
        heat = self.temperature(progress)
        weights: Tensors = {}
        hard: Tensors = {}
        relaxed: Tensors = {}
        for g in groups:
            log = log_softmax(alpha[g.name], g.mask)
            noisy = log - exponentials(log, generator, n).log()
            soft = (noisy / heat).softmax(-1)
            one_hot = torch.zeros_like(soft).scatter_(-1, noisy.argmax(-1, keepdim=True), 1.0)
            weights[g.name] = one_hot + (soft - soft.detach())
            hard[g.name], relaxed[g.name] = one_hot, soft
        return Mix(weights, hard=hard, rows=relaxed, sampled=True)

    def expected(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> Mix:
        """The probabilities of the options."""
        return replace(Softmax().expected(groups, alpha, progress), sampled=True)
