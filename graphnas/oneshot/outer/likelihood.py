"""Maximum-likelihood guided parameter search: ZARTS-MGS."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from graphnas.oneshot.context import Context
from graphnas.oneshot.derivatives import named
from graphnas.oneshot.outer.base import Update
from graphnas.oneshot.outer.zero_order import Candidates
from graphnas.oneshot.schedules import Cosine, Schedule


@dataclass(frozen=True)
class MGS:
    """The mean of ``p(u) ~ exp(-L(alpha + u) / tau)`` by importance sampling (Wang et al., NeurIPS 2022).

    Displacements are drawn from ``(1 - lambda) N(-g, sigma^2) + lambda N(0, sigma^2)``, where g is the first-order
    gradient, and weighted with p / q, normalised over the samples. The mean is added to alpha as it is.

    The authors' code differs: it adds two normal variables in fixed proportion instead of drawing from a mixture, its
    second density lacks brackets, it adds 1e-4 to an unnormalised density, trains candidates on validation data, with an optimiser that owns the
    parent's weights, and does not put back running means. Here the weights are computed as logarithms.

    Attributes:
        samples: N.
        steps: M steps of the weights for every candidate.
        temperature: tau.
        sigma: standard deviation of each component.
        mixture: lambda.
    """

    samples: int = 4
    steps: int = 10
    temperature: float = 0.01
    sigma: Schedule = Cosine(0.025, 0.0, begin=0.2)  # noqa: RUF009 - frozen
    mixture: float = 1e-3

    gives_delta = True

    def __call__(self, context: Context) -> Update:
        """``N (M + 1) + 1`` forward and ``N M + 1`` backward passes."""
        candidates = Candidates(context, self.steps)
        centre = -self._gradient(context, candidates)
        # At the very end of a schedule sigma is 0; the smallest number keeps the densities finite.
        sigma = max(self.sigma(context.clock.progress), 1e-8)
        drawn = sigma * candidates.noise(self.samples, "displacements")
        first = torch.rand(self.samples, generator=context.generator("mixture")) >= self.mixture
        drawn = drawn + first.to(drawn.device)[:, None] * centre
        values = drawn.new_tensor([candidates.value(u) for u in drawn])
        weights = importance(values, drawn, centre, sigma, self.temperature, self.mixture)
        log = {"outer_loss": float(values.mean()), "effective_samples": float(1 / weights.square().sum())}
        return Update(delta=candidates.delta(weights @ drawn), log=log)

    def _gradient(self, context: Context, candidates: Candidates) -> Tensor:
        batch = context.outer_batch()
        mix = context.mix(batch=batch)
        asked = mix.cut()
        loss = context.outer_loss(context.state, asked, batch)
        found = named(asked.weights, context.gradient(loss, list(asked.weights.values())))
        pulled = torch.autograd.grad(
            [mix.weights[name] for name in found], list(context.alpha.values()), list(found.values()), allow_unused=True
        )
        return candidates.vector(
            {
                name: torch.zeros_like(a) if g is None else g
                for (name, a), g in zip(context.alpha.items(), pulled, strict=True)
            }
        )


def importance(
    values: Tensor, drawn: Tensor, centre: Tensor, sigma: float, temperature: float, mixture: float
) -> Tensor:
    """Self-normalised importance weights ``[N]``.

    Args:
        values: ``[N]`` losses of the samples; a common constant does not matter.
        drawn: ``[N, D]`` samples of ``(1 - mixture) N(centre, sigma^2) + mixture N(0, sigma^2)``.
        centre: ``[D]``.
        sigma: standard deviation of each component.
        temperature: of the target density ``exp(-value / temperature)``.
        mixture: in [0, 1].
    """

    def log(part: float, mean: Tensor | float) -> Tensor:
        share = math.log(part) if part > 0 else -math.inf
        return share - (drawn - mean).square().sum(1) / (2 * sigma**2)

    proposal = torch.logaddexp(log(1 - mixture, centre), log(mixture, 0.0))
    return (-values / temperature - proposal).softmax(0)
