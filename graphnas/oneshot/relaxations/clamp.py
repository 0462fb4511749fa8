"""Clipped weights without a softmax, and pruning: the activation of DARTS-PRIME."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from graphnas.oneshot.base import Alpha, Group, Mix
from graphnas.oneshot.relaxations.base import Relaxation


@dataclass(frozen=True)
class ClampNorm(Relaxation):
    """``clamp(alpha, 0, 1)``; the supernet normalises each node's sum (Maile et al., arXiv 2106.11655, version 1).

    Options do not compete for a sum of 1, so those of different edges can be compared. An option whose parameter
    reaches 0 is pruned: its mask is False from then on.

    Attributes:
        exclude: options that are pruned from the start; an edge can vanish without "none".
    """

    exclude: tuple[str, ...] = ("none",)

    node_norm = True

    def initial(self, groups: Sequence[Group], generator: torch.Generator) -> Alpha:
        """1 / K with a little noise, where K is the number of options of the row."""
        noise = self.drawn(groups, generator, 0.0, 1e-4)
        made = {}
        for g in groups:
            mask = self._allowed(g)
            made[g.name] = (noise[g.name] + 1.0 / mask.sum(1, keepdim=True).clamp_min(1)).masked_fill(~mask, 0.0)
        return made

    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        """The same weights for every example."""
        return self.expected(groups, alpha, progress)

    def expected(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> Mix:
        """The clipped parameters."""
        weights = {g.name: alpha[g.name].clamp(0.0, 1.0).masked_fill(~self._allowed(g), 0.0) for g in groups}
        return Mix(weights, rows=weights, node_norm=True)

    def project_(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> tuple[Group, ...]:
        """Prune what is not above 0."""
        return tuple(g.masked(self._allowed(g) & (alpha[g.name] > 0)) for g in groups)

    def _allowed(self, group: Group) -> torch.Tensor:
        left = group.mask.clone()
        for k, option in enumerate(group.options):
            if option in self.exclude:
                left[:, k] = False
        return left
