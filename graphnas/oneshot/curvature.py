"""The outer loss's curvature in alpha, which grows before a search collapses, and the rule that stops it then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from graphnas.oneshot.base import Tensors
from graphnas.oneshot.context import Context
from graphnas.ops.twice import TwiceDifferentiable


@dataclass(frozen=True)
class Curvature:
    """The eigenvalue of the greatest magnitude of the outer loss's second derivative by alpha."""

    iterations: int = 20

    def __call__(self, context: Context, derived: Tensors) -> dict[str, float]:
        """``curvature``."""
        return {"curvature": top_eigenvalue(context, self.iterations)}


@dataclass(frozen=True)
class CurvatureStop:
    """Stop when the outer loss's curvature has grown, and go back (Zela et al., ICLR 2020).

    Every few epochs the top eigenvalue is taken. When the moving average of the last ``window`` values is more than
    ``ratio`` times what it was ``distance`` values earlier, the architecture of that earlier moment is the result.

    Attributes:
        every: epochs between two values.
        window: values in an average.
        distance: values between the averages that are compared.
        ratio: see above.
        earliest: epoch before which the search goes on in any case.
        iterations: of the power iteration.
    """

    every: int = 2
    window: int = 5
    distance: int = 4
    ratio: float = 1.3
    earliest: int = 10
    iterations: int = 20

    def due(self, epoch: int) -> bool:
        """Whether a value is to be taken after so many epochs."""
        return epoch % self.every == 0

    def back_to(self, values: Sequence[Mapping[str, float]]) -> int | None:
        """The epoch to go back to, or None to go on.

        Args:
            values: ``epoch`` and ``curvature`` of all moments so far.
        """
        if len(values) <= self.distance or values[-1]["epoch"] < self.earliest:
            return None
        now, earlier = self._mean(values), self._mean(values[: -self.distance])
        return int(values[-1 - self.distance]["epoch"]) if 0 < earlier < now / self.ratio else None

    def _mean(self, values: Sequence[Mapping[str, float]]) -> float:
        last = [v["curvature"] for v in values[-self.window :]]
        return sum(last) / len(last)


def top_eigenvalue(context: Context, iterations: int = 20, tolerance: float = 1e-4) -> float:
    """The Rayleigh quotient that power iteration on ``d^2 outer_loss / d alpha^2`` ends at, with weights without noise.

    Args:
        context: alpha, weights and validation batch.
        iterations: at most so many products.
        tolerance: relative change at which to stop.
    """
    batch = context.outer_batch()
    parameters = list(context.alpha.values())
    with TwiceDifferentiable():
        loss = context.outer_loss(context.state, context.expected(), batch)
    slopes = context.differentiate(loss, parameters, keep=True)
    generator = context.generator("curvature")
    masks = context.masks
    vector = [
        torch.randn(a.shape, generator=generator, dtype=a.dtype).to(a.device) * masks[name]
        for name, a in context.alpha.items()
    ]
    value = 0.0
    for _ in range(iterations):
        length = _length(vector)
        if length == 0:
            return 0.0
        vector = [v / length for v in vector]
        product = torch.stack([(g * v).sum() for g, v in zip(slopes, vector, strict=True)]).sum()
        image = context.averaged(context.differentiate(product, parameters, second=True))
        before, value = value, float(sum((x * v).sum() for x, v in zip(image, vector, strict=True)))
        vector = image
        if abs(value - before) <= tolerance * abs(value):
            break
    return value


def _length(vector: Sequence[torch.Tensor]) -> float:
    return float(torch.stack([v.norm() for v in vector]).norm())
