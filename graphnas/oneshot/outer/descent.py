"""Gradientless descent: ZARTS-GLD."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from graphnas.errors import GraphnasError
from graphnas.oneshot.context import Context
from graphnas.oneshot.outer.base import Update
from graphnas.oneshot.outer.zero_order import Candidates


@dataclass(frozen=True)
class GLD:
    """The best of no displacement and one displacement for each radius R, R/2, ..., r (Golovin et al., ICLR 2020).

    Each is uniform in the ball of its radius. A displacement that does not lower the loss is never taken.

    Attributes:
        largest: R.
        smallest: r; the radii are R / 2^k for k = 0, ..., floor(log2(R / r)).
        steps: M steps of the weights for every candidate.
    """

    largest: float = 0.1
    smallest: float = 0.0125
    steps: int = 10

    gives_delta = True

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest:
            raise GraphnasError(
                f"radii must fall from a largest to a smallest above 0, not from {self.largest} to {self.smallest}"
            )

    @property
    def radii(self) -> list[float]:
        """All radii, the largest first."""
        return [self.largest / 2**k for k in range(math.floor(math.log2(self.largest / self.smallest) + 1e-9) + 1)]

    def __call__(self, context: Context) -> Update:
        """(M + 1) forward and M backward passes for every radius, and once more for the present alpha."""
        candidates = Candidates(context, self.steps)
        radii = self.radii
        directions = candidates.noise(len(radii), "directions")
        directions = directions / directions.norm(dim=1, keepdim=True)
        uniform = torch.rand(len(radii), generator=context.generator("heights"), dtype=torch.float64).tolist()
        best, least = candidates.zero, candidates.value(candidates.zero)
        before = least
        for radius, direction, part in zip(radii, directions, uniform, strict=True):
            # The D-th root of a uniform number makes the point uniform in the ball.
            displacement = direction * (radius * part ** (1 / len(direction)))
            value = candidates.value(displacement)
            if value < least:
                best, least = displacement, value
        return Update(delta=candidates.delta(best), log={"outer_loss": before, "outer_loss_after": least})
