"""Random smoothing: ZARTS-RS."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphnas.oneshot.context import Context
from graphnas.oneshot.outer.base import Update
from graphnas.oneshot.outer.zero_order import Candidates
from graphnas.oneshot.schedules import Constant, Schedule


@dataclass(frozen=True)
class RandomSmoothing:
    """``mean_i [L(alpha + u_i) - L(alpha - u_i)] / (2 sigma^2) u_i`` (Wang et al., NeurIPS 2022, random search).

    Unbiased for the gradient of L smoothed with the distribution of u, and so for quadratic L itself. In D dimensions
    the expected cosine with the gradient is about ``sqrt(N / (N + D + 1))``.

    Attributes:
        samples: N directions, two candidates each.
        steps: M steps of the weights for every candidate.
        sigma: standard deviation of each component of u.
        sphere: draw u from the sphere of radius ``sigma * sqrt(D)`` instead of a normal distribution.
    """

    samples: int = 4
    steps: int = 10
    sigma: Schedule = Constant(0.025)  # noqa: RUF009 - frozen
    sphere: bool = False

    gives_delta = False

    def __call__(self, context: Context) -> Update:
        """``2 N (M + 1)`` forward and ``2 N M`` backward passes."""
        candidates = Candidates(context, self.steps)
        directions = candidates.noise(self.samples, "directions")
        if self.sphere:
            directions = directions / directions.norm(dim=1, keepdim=True) * directions.shape[1] ** 0.5
        sigma = self.sigma(context.clock.progress)
        estimate, total = candidates.zero, 0.0
        for z in directions:
            above, below = candidates.value(sigma * z), candidates.value(-sigma * z)
            estimate = estimate + z * ((above - below) / (2 * sigma * self.samples))
            total += above + below
        log = {"outer_loss": total / (2 * self.samples)}
        return Update(surrogate=_linear(context, candidates, estimate), log=log)


def _linear(context: Context, candidates: Candidates, gradient: Tensor) -> Tensor:
    matrices = candidates.delta(gradient)
    return torch.stack([(context.alpha[name] * g).sum() for name, g in matrices.items()]).sum()
