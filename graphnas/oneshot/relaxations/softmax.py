"""The softmax of DARTS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from graphnas.oneshot.base import Alpha, Group, Mix
from graphnas.oneshot.relaxations.base import Relaxation, log_softmax
from graphnas.oneshot.schedules import Constant, Schedule


@dataclass(frozen=True)
class Softmax(Relaxation):
    """``softmax(alpha / temperature)`` (Liu, Simonyan & Yang, ICLR 2019, equation 2)."""

    temperature: Schedule = Constant(1.0)  # noqa: RUF009 - frozen

    def __call__(
        self, groups: Sequence[Group], alpha: Alpha, progress: float, generator: torch.Generator, n: int | None = None
    ) -> Mix:
        """The same weights for every example."""
        return self.expected(groups, alpha, progress)

    def expected(self, groups: Sequence[Group], alpha: Alpha, progress: float) -> Mix:
        """The softmax."""
        heat = self.temperature(progress)
        weights = {g.name: log_softmax(alpha[g.name] / heat, g.mask).exp() for g in groups}
        return Mix(weights, rows=weights)
